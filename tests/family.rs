//! Models of LLaVA's family from their folders, as the hub has them, against the answers that transformers gives: every
//! token of every case, on both paths.

use mustdrop::{GenerationOptions, Llava, Part, StopReason, WeightFormat};
use serde_json::Value;

use crate::common::{DEVICES, golden, golden_json};

/// Every case of a fixture: pictures and a question, and so many tokens of an answer.
fn assert_answers(name: &str) {
    let expected = golden_json(name, "expected.json");
    let new_tokens = expected["new_tokens"].as_u64().expect("a number") as usize;
    let cases = expected["cases"].as_array().expect("cases");
    assert!(cases.len() >= 5);
    for device in &DEVICES {
        let builder = Llava::builder(golden(name)).device(device.clone()).weights(WeightFormat::F32);
        let model = builder.build().expect("a model");
        for case in cases {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let pictures = case["pictures"].as_array().expect("pictures").iter();
            let pictures = pictures
                .map(|picture| Part::image_path(golden(name).join(text(picture))).expect("a picture"));
            let mut options = GenerationOptions::default();
            options.max_new_tokens = new_tokens;
            let mut chat = model.chat().options(options);
            let question = Part::text(text(&case["question"]));
            let mut answer = chat.ask(pictures.chain([question])).expect("an answer");
            let said = answer.complete().expect("a complete answer");
            let what = format!("{name}, {}, {device}", case["name"]);
            assert_eq!(said, text(&case["text"]), "{what}");
            let report = answer.report();
            assert_eq!(report.prompt_tokens as u64, case["prompt_tokens"], "{what}");
            assert_eq!(report.vision_tokens as u64, case["vision_tokens"], "{what}");
            assert_eq!(
                (report.new_tokens, report.stop),
                (new_tokens, Some(StopReason::MaxNewTokens)),
                "{what}"
            );
        }
    }
}

/// A window of 24 tokens, which every prompt outgrows.
#[test]
fn mistral_with_a_window() {
    assert_answers("mistral_window");
}
