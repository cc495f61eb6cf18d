//! What programs that embed the library rely on.

use std::{error::Error as _, thread};

use mustdrop::{
    Answer, Chat, Error, Event, GenerationOptions, Llava, LlavaBuilder, Part, Picture, PictureCache, Pruning,
    Report, TextModel, TextModelBuilder,
};

use crate::common::{MODEL, repository};

fn may_be_shared<T: Send + Sync>() {}
fn may_be_sent<T: Send>() {}

#[test]
fn models_are_shared_and_conversations_are_sent_between_threads() {
    may_be_shared::<Llava>();
    may_be_shared::<LlavaBuilder>();
    may_be_shared::<TextModel>();
    may_be_shared::<TextModelBuilder>();
    may_be_shared::<PictureCache>();
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
