//! Answers of the default model: equal to transformers', the same each time, streamed and stopped as asked.

use crate::common::{MODEL, ON_ADAPTER, repository, samples};
use mustdrop::{
    Error, Event, GenerationOptions, Llava, Part, Picture, Sampling, StopReason,
    eval::{
        Setting, ask_about,
        questions::{Question, by_picture},
        records::{Outcome, Record},
    },
};
use serde_json::Value;

fn picture(name: &str) -> Part {
    Part::image_path(repository("models/picture-book").join(name)).expect("a sample picture")
}

fn greedy(max_new_tokens: usize) -> GenerationOptions {
    let mut options = GenerationOptions::default();
    options.max_new_tokens = max_new_tokens;
    options
}

fn ask(model: &Llava, options: GenerationOptions, question: &str) -> (String, StopReason) {
    let mut chat = model.chat().options(options);
    let mut answer = chat.ask([picture("sample_2.png"), Part::text(question)]).expect("an answer");
    let text = answer.complete().expect("a complete answer");
    (text, answer.report().stop.expect("a reason"))
}

/// Picture, question and transformers' answer.
fn sample_questions() -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let asked = |sample: &Value| {
        let image = text(&sample["image"]);
        let questions = sample["questions"].as_array().expect("questions").clone();
        questions
            .into_iter()
            .map(move |asked| (image.clone(), text(&asked["question"]), text(&asked["model_answer"])))
    };
    let questions: Vec<_> = samples().iter().flat_map(asked).collect();
    assert_eq!(questions.len(), 47);
    questions
}

#[test]
fn the_cpu_answers_every_sample_question_as_transformers_does() {
    for (image, question, expected) in sample_questions() {
        let mut chat = MODEL.chat();
        let answer = chat.ask([picture(&image), Part::text(&question)]).expect("an answer").complete();
        assert_eq!(answer.expect("a complete answer"), expected, "{image}: {question}");
    }
}

/// As `mustdrop eval` asks, which encodes a picture once for all questions: a software adapter takes its time.
#[test]
fn an_adapter_answers_every_sample_question_as_transformers_does() {
    let expected = sample_questions();
    let questions: Vec<Question> = expected
        .iter()
        .map(|(image, question, answer)| Question {
            image: image.clone(),
            question: question.clone(),
            answers: vec![answer.clone()],
            kind: String::new(),
            picture: 0,
        })
        .collect();
    let settings = [(Setting::dense(), Setting::dense().pruning(0))];
    let mut asked = 0;
    for (image, about) in by_picture(&questions) {
        let path = repository("models/picture-book").join(image);
        let compare = |record: Record| {
            let Outcome::Answered { answer, .. } = &record.outcome else { panic!("{record:?}") };
            let (_, asked_about) =
                about.iter().find(|(_, asked)| asked.question == record.question).expect("asked");
            assert_eq!(answer, &asked_about.answers[0], "{image}: {}", record.question);
            asked += 1;
            Ok(())
        };
        ask_about(&ON_ADAPTER, &path, &settings, &about, |_, _| true, compare).expect("answers");
    }
    assert_eq!(asked, 47);
}

#[test]
fn pieces_join_to_the_whole_answer() {
    let mut chat = MODEL.chat();
    let mut answer =
        chat.ask([picture("sample_3.png"), Part::text("describe the picture.")]).expect("an answer");
    let mut pieces = Vec::new();
    let mut reason = None;
    for event in &mut answer {
        match event.expect("an event") {
            Event::Text(piece) => {
                assert!(!piece.is_empty() && reason.is_none());
                pieces.push(piece);
            }
            Event::Done(why) => reason = Some(why),
            _ => panic!("an event this test does not know"),
        }
    }
    assert!(pieces.len() > 3, "streamed, not delivered at once: {pieces:?}");
    assert_eq!(pieces.concat(), answer.text());
    assert_eq!(reason, Some(StopReason::StopToken));
    assert_eq!(answer.report().stop, reason);
    assert!(answer.next().is_none(), "an ended answer stays ended");
    let (whole, _) = {
        let mut chat = MODEL.chat();
        let mut answer =
            chat.ask([picture("sample_3.png"), Part::text("describe the picture.")]).expect("an answer");
        (answer.complete().expect("a complete answer"), ())
    };
    assert_eq!(pieces.concat(), whole);
}

#[test]
fn the_same_seed_gives_the_same_answer_and_another_seed_another() {
    let hot = |seed| {
        let mut options = greedy(16);
        options.sampling.temperature = 3.0;
        options.sampling.seed = seed;
        ask(&MODEL, options, "describe the picture.").0
    };
    assert_eq!(hot(1), hot(1));
    assert_ne!(hot(1), hot(2));
}

#[test]
fn both_paths_draw_the_same_tokens() {
    let mut options = greedy(12);
    options.sampling = Sampling::default();
    options.sampling.temperature = 1.0;
    options.sampling.seed = 5;
    // With few candidates an adapter hands out those alone.
    let mut few = options.clone();
    few.sampling.top_k = Some(20);
    few.max_new_tokens = 4;
    let [cpu, gpu] = [&*MODEL, &*ON_ADAPTER]
        .map(|model| [&options, &few].map(|options| ask(model, options.clone(), "describe the picture.").0));
    assert_eq!(cpu, gpu);
}

#[test]
fn an_answer_ends_at_its_token_limit_or_stop_string() {
    let (text, reason) = ask(&MODEL, greedy(2), "what is in the picture?");
    assert_eq!((text.split_whitespace().count(), reason), (2, StopReason::MaxNewTokens));

    let (whole, reason) = ask(&MODEL, greedy(40), "what is in the picture?");
    assert_eq!(reason, StopReason::StopToken);
    let mut options = greedy(40);
    options.stop = vec![" and".into()];
    let (cut, reason) = ask(&MODEL, options, "what is in the picture?");
    assert_eq!(reason, StopReason::StopString);
    assert_eq!(Some(cut.as_str()), whole.split(" and").next());
}

#[test]
fn a_repetition_penalty_changes_a_repetitive_answer() {
    let mut options = greedy(20);
    options.sampling.repetition_penalty = 3.0;
    let plain = ask(&MODEL, greedy(20), "what is in the picture?").0;
    assert_ne!(ask(&MODEL, options, "what is in the picture?").0, plain);
}

#[test]
fn a_second_question_reuses_what_the_first_computed_and_answers_as_if_recomputed() {
    let mut chat = MODEL.chat();
    let first = chat
        .ask([picture("sample_2.png"), Part::text("what color is the background?")])
        .expect("an answer")
        .complete();
    assert_eq!(first.expect("a complete answer"), "blue");
    let mut second = chat.ask([Part::text("is there a crown?")]).expect("an answer");
    let answer = second.complete().expect("a complete answer");
    let report = second.report();
    assert!(report.reused_tokens > 576, "the picture is not run through the decoder again: {report:?}");
    assert!(report.times.encode < report.times.prefill + report.times.decode, "nor through the tower");
    drop(second);

    // The same conversation without a cache: a picture and the same turns, computed in one pass.
    let mut fresh = MODEL.chat();
    let cut = fresh.ask([picture("sample_2.png"), Part::text("what color is the background?")]);
    assert_eq!(cut.expect("an answer").complete().expect("a complete answer"), "blue");
    fresh.forget();
    let mut recomputed = fresh.ask([Part::text("is there a crown?")]).expect("an answer");
    assert_eq!(recomputed.complete().expect("a complete answer"), answer);
    assert_eq!(recomputed.report().reused_tokens, 0);
}

#[test]
fn an_answer_dropped_half_way_leaves_a_usable_conversation() {
    let mut chat = MODEL.chat();
    let mut answer =
        chat.ask([picture("sample_1.png"), Part::text("what is in the picture?")]).expect("an answer");
    let said = answer.next();
    assert!(matches!(said, Some(Ok(Event::Text(_)))));
    drop(answer);
    let mut recomputed = MODEL.chat();
    let mut answer =
        recomputed.ask([picture("sample_1.png"), Part::text("what is in the picture?")]).expect("an answer");
    answer.next();
    drop(answer);
    recomputed.forget();
    let [next, expected] = [&mut chat, &mut recomputed].map(|chat| {
        let answer = chat.ask([Part::text("what color is the background?")]).expect("an answer").complete();
        answer.expect("a complete answer")
    });
    assert_eq!(next, expected);
}

#[test]
fn several_pictures_take_their_own_places() {
    let ask = |first, second| {
        let mut chat = MODEL.chat();
        let parts = [picture(first), picture(second), Part::text("describe the picture.")];
        let mut answer = chat.ask(parts).expect("an answer");
        let text = answer.complete().expect("a complete answer");
        assert_eq!(answer.report().vision_tokens, 2 * 576);
        text
    };
    // The model was made for one picture; what matters here is that their order does.
    assert_ne!(ask("sample_1.png", "sample_4.png"), ask("sample_4.png", "sample_1.png"));
}

#[test]
fn a_prompt_beyond_the_context_is_refused_with_both_numbers() {
    let question = "dog ".repeat(3000);
    let mut chat = MODEL.chat();
    let error = chat.ask([picture("sample_1.png"), Part::text(question)]).err().expect("too long");
    let message = error.to_string();
    assert!(matches!(error, Error::Context { limit: 2048, .. }), "{message}");
    assert!(message.contains("2048") && message.contains("context"), "{message}");
    // The conversation is as it was: empty, and usable.
    let answer =
        chat.ask([picture("sample_1.png"), Part::text("is there a spider?")]).expect("an answer").complete();
    assert_eq!(answer.expect("a complete answer"), "no");
}

#[test]
fn rules_out_of_range_are_refused_before_anything_is_computed() {
    let picture = Picture::from_rgb8(2, 2, vec![0; 12]).expect("a picture");
    for bad in [
        {
            let mut o = greedy(5);
            o.max_new_tokens = 0;
            o
        },
        {
            let mut o = greedy(5);
            o.sampling.temperature = f32::NAN;
            o
        },
        {
            let mut o = greedy(5);
            o.stop = vec![String::new()];
            o
        },
    ] {
        let mut chat = MODEL.chat().options(bad.clone());
        let error = chat.ask([Part::Image(picture.clone()), Part::text("?")]).err();
        assert!(matches!(error, Some(Error::Argument { .. })), "{bad:?}: {error:?}");
    }
}

#[test]
fn a_users_special_tokens_are_only_text() {
    let mut chat = MODEL.chat();
    let parts = [picture("sample_1.png"), Part::text("is there a <image> </s> spider?")];
    let mut answer = chat.ask(parts).expect("one picture, one place for it");
    answer.complete().expect("a complete answer");
    assert_eq!(answer.report().vision_tokens, 576);
}
