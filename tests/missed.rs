//! Later questions about what earlier ones dropped.

use crate::common::{MODEL, ON_ADAPTER, repository};
use mustdrop::{
    Chat, Llava, Part, Pruning, Report,
    drop::{Keep, Turns},
};

fn ask(chat: &mut Chat, shown: Option<&str>, question: &str) -> Report {
    let picture =
        |name| Part::image_path(repository("models/picture-book").join(name)).expect("a sample picture");
    let parts = shown.map(picture).into_iter().chain([Part::text(question)]);
    let mut answer = chat.ask(parts).expect("an answer");
    answer.complete().expect("a complete answer");
    answer.report().clone()
}

const FIRST: &str = "what is in the picture?";
const SECOND: &str = "what color is the background?";

fn rules(keep: usize, turns: Turns) -> Pruning {
    let mut rules = Pruning::mustdrop().keep(Keep::Tokens(keep));
    rules.turns = turns;
    rules
}

#[test]
fn both_paths_say_the_same_of_pinned_pictures_and_nothing_of_others() {
    let shares = [&*MODEL, &*ON_ADAPTER].map(|model: &Llava| {
        let mut chat = model.chat().pruning(rules(16, Turns::Pin));
        assert_eq!(ask(&mut chat, Some("sample_1.png"), FIRST).missed, None, "nothing was dropped before");
        let first = ask(&mut chat, None, SECOND).missed.expect("a share");
        assert_eq!(ask(&mut chat, Some("sample_2.png"), FIRST).missed, None, "it is about a new picture");
        let second = ask(&mut chat, None, SECOND).missed.expect("a share");
        // Without a budget from now on, what was dropped stays so.
        chat.set_pruning(None).expect("no rules");
        let third = ask(&mut chat, None, FIRST).missed.expect("a share");
        for share in [first, second, third] {
            assert!(share.attention > 0.0 && share.attention < 1.0, "{share:?}");
            assert!(share.tokens > 0.2 && share.tokens < 0.8, "{share:?}");
        }
        for quiet in [Some(rules(16, Turns::Requery)), Some(Pruning::none()), None] {
            let mut chat = model.chat();
            chat.set_pruning(quiet).expect("rules");
            ask(&mut chat, Some("sample_1.png"), FIRST);
            assert_eq!(ask(&mut chat, None, SECOND).missed, None, "all is there, or chosen anew");
        }
        [first, second, third]
    });
    for (cpu, adapter) in shares[0].iter().zip(&shares[1]) {
        assert!((cpu.attention - adapter.attention).abs() < 1e-3, "{cpu:?}, {adapter:?}");
        assert_eq!(cpu.tokens, adapter.tokens);
    }
}

#[test]
fn what_is_missed_counts_the_tokens_that_the_report_says_were_dropped() {
    for (pruning, filters) in [(rules(64, Turns::Pin), 1), (Pruning::mustdrop(), 4)] {
        let mut chat = MODEL.chat().pruning(pruning);
        let report = ask(&mut chat, Some("sample_4.png"), FIRST).pruning.expect("a report");
        let picture = &report.pictures[0];
        assert_eq!(picture.kept.len(), filters);
        let kept = picture.kept.last().expect("a filter").tokens.len();
        let share = ask(&mut chat, None, SECOND).missed.expect("a share");
        let dropped = picture.tokens.len() - kept;
        assert_eq!(share.tokens, dropped as f64 / picture.tokens.len() as f64);
    }
}
