//! What programs that embed the library rely on.

use std::{error::Error as _, thread};

use mustdrop::{
    Answer, Cancel, Chat, Error, Event, GenerationOptions, Llava, LlavaBuilder, Part, Picture, PictureCache,
    Pruning, Report, TextModel, TextModelBuilder,
};

use crate::common::{MODEL, ON_ADAPTER, repository};

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
    let picture = Part::image_path(repository("models/picture-book/sample_1.png")).expect("a picture");
    let first = session.chat.ask([picture, Part::text("is there a bus?")]).expect("an answer").complete();
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
    let question = || {
        let picture = Part::image_path(repository("models/picture-book/sample_1.png")).expect("a picture");
        [picture, Part::text("is there a bus?")]
    };
    for model in [&*MODEL, &*ON_ADAPTER] {
        let flag = Cancel::new();
        let mut chat = model.chat().cancel(flag.clone());
        flag.cancel();
        assert!(matches!(chat.ask(question()), Err(Error::Cancelled)), "before anything was computed");
        flag.reset();
        let mut answer = chat.ask(question()).expect("an answer");
        assert!(matches!(answer.next(), Some(Ok(Event::Text(_)))));
        flag.cancel();
        assert!(answer.any(|event| matches!(event, Err(Error::Cancelled))), "in the middle of the answer");
        assert_eq!(answer.text(), "no");
        drop(answer);
        flag.reset();
        // What was said stays, and nothing of the pass that was stopped is in the cache.
        let mut next = chat.ask([Part::text("is there a bus?")]).expect("the conversation goes on");
        next.complete().expect("a complete answer");
        assert_eq!((next.report().reused_tokens, next.report().vision_tokens), (0, 576));
    }
}

#[test]
fn a_flag_raised_meanwhile_stops_a_long_prompt_early() {
    let flag = Cancel::new();
    let mut chat = MODEL.chat().cancel(flag.clone());
    let picture = Part::image_path(repository("models/picture-book/sample_1.png")).expect("a picture");
    let raised = flag.clone();
    let raiser = thread::spawn(move || {
        thread::sleep(std::time::Duration::from_millis(20));
        raised.cancel();
    });
    let parts = [picture, Part::text("dog ".repeat(400))];
    assert!(matches!(chat.ask(parts), Err(Error::Cancelled)), "the picture alone takes longer than that");
    raiser.join().expect("no panic");
}
