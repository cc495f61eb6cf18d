//! What programs that embed the library rely on.

use std::{error::Error as _, sync::Arc, thread};

use mustdrop::{
    Answer, Cancel, Chat, Error, Event, GenerationOptions, Llava, LlavaBuilder, Part, Picture, PictureCache,
    Pruning, Report, TextModel, TextModelBuilder,
    device::{Meter, Work},
    drop::Keep,
    kernel::tally,
    prompt::Role,
    report::AnswerWork,
};

use crate::common::{MODEL, ON_ADAPTER, repository};

fn about_a_bus() -> [Part; 2] {
    let picture = Part::image_path(repository("models/picture-book/sample_1.png")).expect("a picture");
    [picture, Part::text("is there a spider?")]
}

fn may_be_shared<T: Send + Sync>() {}
fn may_be_sent<T: Send>() {}

#[test]
fn models_are_shared_and_conversations_are_sent_between_threads() {
    may_be_shared::<Llava>();
    may_be_shared::<LlavaBuilder>();
    may_be_shared::<TextModel>();
    may_be_shared::<TextModelBuilder>();
    may_be_shared::<PictureCache>();
    may_be_shared::<Cancel>();
    may_be_shared::<Picture>();
    may_be_shared::<Part>();
    may_be_shared::<Pruning>();
    may_be_shared::<GenerationOptions>();
    may_be_shared::<Report>();
    may_be_shared::<Event>();
    may_be_shared::<Error>();
    may_be_sent::<Chat>();
    may_be_sent::<Answer<'static>>();
}

/// A server's session: a conversation, kept without a borrowed model beside it.
struct Session {
    chat: Chat,
}

#[test]
fn a_conversation_lives_on_its_own_and_goes_on_in_another_thread() {
    let mut session = Session { chat: MODEL.clone().chat() };
    let first = session.chat.ask(about_a_bus()).expect("an answer").complete();
    assert_eq!(first.expect("a complete answer"), "no");
    let answered = thread::spawn(move || {
        let mut answer = session.chat.ask([Part::text("is there a crown?")]).expect("an answer");
        let text = answer.complete().expect("a complete answer");
        (text, answer.report().reused_tokens)
    });
    let (text, reused) = answered.join().expect("no panic");
    assert!(!text.is_empty() && reused > 576, "the picture is in the cache: {reused}");
}

#[test]
fn an_error_of_the_system_has_its_source() {
    let missing = repository("tests/golden").join("no-such-folder").join("file");
    let source = std::fs::read(&missing).expect_err("no such file");
    let error = Error::io(&missing, source);
    let source = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    assert_eq!(source.expect("the system's reason").kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("no-such-folder"), "{error}");
}

#[test]
fn a_raised_flag_stops_a_question_and_an_answer_and_the_conversation_goes_on() {
    for model in [&*MODEL, &*ON_ADAPTER] {
        let flag = Cancel::new();
        let mut chat = model.chat().cancel(flag.clone());
        flag.cancel();
        let before = tally::so_far();
        assert!(matches!(chat.ask(about_a_bus()), Err(Error::Cancelled)));
        assert_eq!((tally::so_far() - before).dispatches, 0, "no layer was computed");
        flag.reset();
        let mut answer = chat.ask(about_a_bus()).expect("an answer");
        assert!(matches!(answer.next(), Some(Ok(Event::Text(_)))));
        flag.cancel();
        assert!(matches!(answer.next(), Some(Err(Error::Cancelled))), "in the middle of the answer");
        assert!(answer.next().is_none());
        assert_eq!(answer.text(), "no");
        drop(answer);
        flag.reset();
        let mut next = chat.ask([Part::text("is there a spider?")]).expect("the conversation goes on");
        next.complete().expect("a complete answer");
        assert!(next.report().reused_tokens > 576, "what was computed is still there");
    }
    let before = tally::so_far();
    ON_ADAPTER.chat().ask(about_a_bus()).expect("an answer");
    assert!((tally::so_far() - before).dispatches > 10, "layers are counted");
}

#[test]
fn a_report_has_all_that_the_adapter_was_asked_to_do() {
    let mut chat = ON_ADAPTER.chat().pruning(Pruning::mustdrop().keep(Keep::Tokens(64)));
    let meter = Meter::start(ON_ADAPTER.compute()).expect("an adapter");
    let mut answer = chat.ask(about_a_bus()).expect("an answer");
    let asked = answer.report().work.expect("an adapter");
    assert_eq!(asked.decode, Work::default(), "nothing was decoded so far");
    answer.complete().expect("a complete answer");
    let (all, _) = meter.lap(ON_ADAPTER.compute()).expect("an adapter");
    let AnswerWork { prompt, decode, .. } = answer.report().work.expect("an adapter");
    assert_eq!(prompt, asked.prompt);
    let mut tally = prompt.tally;
    tally += decode.tally;
    assert_eq!(tally, all.tally);
    // The report asks for the number of submissions three times; other tests submit meanwhile.
    assert!(prompt.submissions > 0 && decode.submissions > 0, "{prompt:?}, {decode:?}");
    assert!(prompt.submissions + decode.submissions + 3 <= all.submissions, "{all:?}");
    // 12 layers of at least 6 dispatches; what is read back is a token each time.
    let steps = answer.report().new_tokens as u64;
    assert!(decode.tally.dispatches > steps * 12 * 6, "{decode:?}");
    assert_eq!((decode.tally.read_backs, decode.tally.read_back_bytes), (steps + 1, 16 * (steps + 1)));
    assert!(
        prompt.tally.read_back_bytes > 0 && prompt.tally.host_write_bytes > 336 * 336 * 3 * 4,
        "{prompt:?}"
    );
    let json = serde_json::to_value(answer.report()).expect("JSON");
    assert_eq!(json["work"]["prompt"]["dispatches"], prompt.tally.dispatches);
    assert_eq!(json["work"]["decode"]["submissions"], decode.submissions);
}

#[test]
fn a_picture_that_was_not_encoded_to_its_end_is_not_kept() {
    let (flag, cache) = (Cancel::new(), Arc::new(PictureCache::new(1 << 30)));
    let mut chat = MODEL.chat().cancel(flag.clone()).picture_cache(Arc::clone(&cache));
    flag.cancel();
    assert!(matches!(chat.ask(about_a_bus()), Err(Error::Cancelled)));
    assert_eq!(cache.pictures(), 0);
    flag.reset();
    assert_eq!(chat.ask(about_a_bus()).expect("an answer").complete().expect("a complete answer"), "no");
    assert_eq!(cache.pictures(), 1);
}

#[test]
fn random_numbers_go_on_from_answer_to_answer_and_begin_anew_with_the_conversation() {
    let hot = || {
        let mut options = GenerationOptions::default();
        options.max_new_tokens = 12;
        options.sampling.temperature = 3.0;
        options.sampling.seed = 11;
        MODEL.chat().options(options)
    };
    let mut chat = hot();
    let first = chat.ask(about_a_bus()).expect("an answer").complete().expect("complete");
    let second =
        chat.ask([Part::text("is there a crown?")]).expect("an answer").complete().expect("complete");

    // The same second question behind the same first answer, with the seed's first numbers.
    let earlier = [(Role::User, about_a_bus().to_vec()), (Role::Assistant, vec![Part::text(first.clone())])];
    let mut fresh = hot();
    let mut retold = fresh.ask_after(earlier, [Part::text("is there a crown?")]).expect("an answer");
    assert_ne!(retold.complete().expect("complete"), second);
    drop(retold);

    chat.clear();
    assert_eq!(chat.ask(about_a_bus()).expect("an answer").complete().expect("complete"), first);
}
