//! Questions taken back, instructions changed on the way, conversations taken up again: as if it had been so from the start.

use crate::common::{MODEL, ON_ADAPTER, repository};
use mustdrop::{
    Chat, Llava, Part, Pruning,
    drop::{Keep, Turns},
    prompt::Role,
};

fn picture(name: &str) -> Part {
    Part::image_path(repository("models/picture-book").join(name)).expect("a sample picture")
}

fn ask(chat: &mut Chat, parts: impl IntoIterator<Item = Part>) -> String {
    chat.ask(parts).expect("an answer").complete().expect("a complete answer")
}

const FIRST: &str = "what is in the picture?";
const SECOND: &str = "is there a spider?";
const THIRD: &str = "what color is the background?";

fn taken_back_is_as_never_asked(model: &Llava, pruning: Option<Pruning>) {
    let chat = || match &pruning {
        None => model.chat(),
        Some(pruning) => model.chat().pruning(pruning.clone()),
    };
    let mut expected = chat();
    let first = ask(&mut expected, [picture("sample_1.png"), Part::text(FIRST)]);
    let third = ask(&mut expected, [Part::text(THIRD)]);

    let mut chat = chat();
    assert!(!chat.undo(), "nothing was asked");
    // A picture that is taken back leaves its number to another.
    ask(&mut chat, [picture("sample_2.png"), Part::text(FIRST)]);
    assert!(chat.undo());
    assert_eq!(ask(&mut chat, [picture("sample_1.png"), Part::text(FIRST)]), first);
    ask(&mut chat, [Part::text(SECOND)]);
    assert!(chat.undo());
    let mut answer = chat.ask([Part::text(THIRD)]).expect("an answer");
    assert!(answer.report().reused_tokens > 0, "what stays is not computed again");
    assert_eq!(answer.complete().expect("a complete answer"), third);
    drop(answer);
    assert!(chat.undo() && chat.undo() && !chat.undo());
    assert_eq!(ask(&mut chat, [picture("sample_1.png"), Part::text(FIRST)]), first, "from the beginning");
}

#[test]
fn a_question_taken_back_was_never_asked() {
    taken_back_is_as_never_asked(&MODEL, None);
    for model in [&*MODEL, &*ON_ADAPTER] {
        taken_back_is_as_never_asked(model, Some(Pruning::mustdrop().keep(Keep::Tokens(64))));
    }
}

#[test]
fn a_question_that_failed_cannot_be_taken_back() {
    let mut chat = MODEL.chat();
    ask(&mut chat, [picture("sample_1.png"), Part::text(FIRST)]);
    assert!(chat.ask([Part::text("word ".repeat(5000))]).is_err(), "longer than the context");
    let third = ask(&mut chat, [Part::text(THIRD)]);
    assert!(chat.undo() && chat.undo() && !chat.undo());
    ask(&mut chat, [picture("sample_1.png"), Part::text(FIRST)]);
    assert_eq!(ask(&mut chat, [Part::text(THIRD)]), third);
}

#[test]
fn instructions_are_as_if_they_had_stood_there_from_the_start() {
    let text = || vec![Part::text("a red house and a blue car")];
    let mut expected = MODEL.chat();
    let question = || [picture("sample_1.png"), Part::text(FIRST)];
    let mut answer = expected.ask_after([(Role::System, text())], question()).expect("an answer");
    let (first, tokens) = (answer.complete().expect("a complete answer"), answer.report().prompt_tokens);
    drop(answer);
    let second = ask(&mut expected, [Part::text(SECOND)]);

    let mut chat = MODEL.chat();
    let plain = chat.ask(question()).expect("an answer").report().prompt_tokens;
    assert!(plain < tokens, "instructions are in the prompt");
    chat.undo();
    chat.instruct(Some("a red house and a blue car".into()));
    assert_eq!(ask(&mut chat, question()), first);
    chat.instruct(Some("something else".into()));
    chat.instruct(Some("a red house and a blue car".into()));
    assert_eq!(ask(&mut chat, [Part::text(SECOND)]), second);
    chat.instruct(None);
    assert!(chat.undo() && chat.undo() && !chat.undo());
    let answer = chat.ask(question()).expect("an answer");
    assert_eq!(answer.report().prompt_tokens, plain, "and gone again");
}

#[test]
fn a_conversation_taken_up_again_goes_on_as_it_would_have() {
    for model in [&*MODEL, &*ON_ADAPTER] {
        let mut expected = model.chat();
        let mut turns = Vec::new();
        for (shown, question) in [(Some("sample_1.png"), FIRST), (Some("sample_2.png"), SECOND)] {
            let parts: Vec<Part> = shown.into_iter().map(picture).chain([Part::text(question)]).collect();
            let answer = ask(&mut expected, parts.clone());
            turns.extend([(Role::User, parts), (Role::Assistant, vec![Part::text(answer)])]);
        }
        let third = ask(&mut expected, [Part::text(THIRD)]);
        let mut chat = model.chat();
        chat.resume(turns.clone()).expect("what was said");
        assert_eq!(ask(&mut chat, [Part::text(THIRD)]), third);
        assert!(chat.undo() && chat.undo() && chat.undo() && !chat.undo(), "all of it can be taken back");
        chat.resume(turns[..2].to_vec()).expect("what was said");
        let too_long = [(Role::User, vec![picture("sample_1.png"); 9])];
        assert!(chat.resume(too_long).is_err(), "more pictures than the context holds");
        chat.resume(turns[2..].to_vec()).expect("as if that had not been tried");
        assert_eq!(ask(&mut chat, [Part::text(THIRD)]), third);
    }
}

/// What is kept of pictures that the undone question had computed is chosen by the one that takes its place.
#[test]
fn an_undone_question_leaves_no_choice_behind() {
    let rules = |turns| {
        let mut rules = Pruning::mustdrop().keep(Keep::Tokens(16));
        rules.turns = turns;
        rules
    };
    let parts = vec![picture("sample_1.png"), Part::text(FIRST)];
    let said = [(Role::User, parts), (Role::Assistant, vec![Part::text("an elephant")])];
    let kept = |chat: &mut Chat| {
        let mut answer = chat.ask([Part::text(THIRD)]).expect("an answer");
        answer.complete().expect("a complete answer");
        let report = answer.report().pruning.clone().expect("a report");
        report.pictures.into_iter().map(|picture| picture.kept).collect::<Vec<_>>()
    };
    let taken_up = || {
        let mut chat = MODEL.chat().pruning(rules(Turns::Pin));
        chat.resume(said.clone()).expect("what was said");
        chat
    };
    let expected = kept(&mut taken_up());
    assert!(!expected.is_empty());
    let mut chat = taken_up();
    ask(&mut chat, [Part::text(SECOND)]);
    chat.undo();
    assert_eq!(kept(&mut chat), expected, "after a conversation was taken up");
    let mut chat = taken_up();
    chat.set_pruning(Some(rules(Turns::Requery))).expect("rules");
    ask(&mut chat, [Part::text(SECOND)]);
    ask(&mut chat, [Part::text("is there a cow?")]);
    chat.undo();
    chat.undo();
    chat.set_pruning(Some(rules(Turns::Pin))).expect("rules");
    assert_eq!(kept(&mut chat), expected, "after questions that chose anew");
}
