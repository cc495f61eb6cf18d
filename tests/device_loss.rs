//! An adapter that goes away in the middle of the work.

use mustdrop::{DeviceSelect, Error, Llava, Part};

const QUESTION: &str = "what is in the picture?";

fn ask(model: &Llava) -> mustdrop::Result<String> {
    let picture = Part::image_path("models/picture-book/sample_1.png")?;
    let mut chat = model.chat();
    chat.options_mut().max_new_tokens = 4;
    chat.ask([picture, Part::text(QUESTION)])?.complete()
}

#[test]
fn a_lost_device_is_an_error_and_the_next_request_runs_on_a_fresh_one() {
    let model = Llava::embedded().device(DeviceSelect::Gpu).build().expect("a model on the adapter");
    assert!(!model.is_device_lost());
    let expected = ask(&model).expect("an answer");

    model.compute().lose();
    let error = ask(&model).expect_err("the device is gone");
    assert!(matches!(error, Error::Device { .. }), "{error}");
    assert_eq!(error.exit_code(), 4);
    assert!(model.is_device_lost());

    let later = Llava::embedded().device(DeviceSelect::Gpu).build().expect("a device that is there");
    assert!(!later.is_device_lost(), "a later start gets another device than the lost one");
    assert!(model.is_device_lost(), "and the lost one stays lost");

    let model = model.reload().expect("a fresh device");
    assert!(!model.is_device_lost());
    assert_eq!(ask(&model).expect("an answer"), expected);
}
