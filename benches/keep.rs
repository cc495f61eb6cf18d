//! Picture and prompt to the first logits, dense and under a budget, with the default model.
//!
//! `cargo bench --bench keep` runs on the CPU path; `MUSTDROP_DEVICE=gpu` chooses another device. Windows are not
//! merged, so that the budgets are what is compared.

use divan::Bencher;
use mustdrop::{Llava, Part, Picture, Pruning, drop::Keep};

fn main() {
    divan::main();
}

/// 0 keeps everything.
#[divan::bench(args = [0, 192, 128, 64], sample_count = 10, sample_size = 1)]
fn first_logits(bencher: Bencher, tokens: usize) {
    let device = std::env::var("MUSTDROP_DEVICE").unwrap_or("cpu".into()).parse().expect("a device");
    let model = Llava::embedded().device(device).build().expect("the default model loads");
    let bytes = include_bytes!("../models/picture-book/sample_5.png");
    let picture = Picture::decode(bytes, "sample_5.png").expect("a picture");
    let parts = || [Part::Image(picture.clone()), Part::text("describe the picture.")];
    let chat = || match tokens {
        0 => model.chat(),
        _ => {
            let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(tokens));
            pruning.merge = Some(false);
            model.chat().pruning(pruning)
        }
    };
    // Check, then time: the budget is hit.
    let mut checked = chat();
    let answer = checked.ask(parts()).expect("an answer");
    let mean = answer.report().pruning.as_ref().map_or(0.0, |pruning| pruning.mean_vision_tokens);
    assert!((mean - tokens as f64).abs() <= 1.0, "{mean} instead of {tokens}");
    drop(answer);
    bencher.with_inputs(chat).bench_values(|mut chat| drop(chat.ask(parts()).expect("an answer")));
}
