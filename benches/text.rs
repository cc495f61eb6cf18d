//! Tokens a second of a Llama from a GGUF file, beside the peers of `benches/peers`: prefill of 640 tokens, then decoding.
//!
//! `cargo bench --bench text -- FILE.gguf [DEVICE] [WEIGHTS]` prints one line of JSON; CPU path and float32 by default.

use std::time::Instant;

use mustdrop::{DeviceSelect, TextModel, WeightFormat};

const PROMPT: usize = 640;
const STEPS: usize = 32;
const RUNS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let file = arguments.next().ok_or("expected the path of a GGUF file")?;
    let device: DeviceSelect = arguments.next().as_deref().unwrap_or("cpu").parse()?;
    let weights: WeightFormat = arguments.next().as_deref().unwrap_or("f32").parse()?;
    let model = TextModel::builder(file).device(device).weights(weights).build()?;
    // Which tokens they are changes nothing that is computed.
    let vocabulary = model.config().vocab_size as u32;
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|index| index * 37 % (vocabulary - 100) + 50).collect();

    let prefill = fastest(|| model.logits(&prompt).map(drop))?;
    let first = fastest(|| model.generate(&prompt, 1).map(drop))?;
    let mut generated = 0;
    let all = fastest(|| {
        generated = model.generate(&prompt, 1 + STEPS)?.len();
        Ok(())
    })?;
    let steps =
        generated.checked_sub(1).filter(|steps| *steps > 0).ok_or("the model ended its text at once")?;
    let line = serde_json::json!({
        "device": model.device().to_string(),
        "weights": model.weight_format().to_string(),
        "prompt": PROMPT,
        "steps": steps,
        "prefill_per_second": PROMPT as f64 / prefill,
        "decode_per_second": steps as f64 / (all - first),
    });
    println!("{line}");
    Ok(())
}

/// Seconds of the fastest of a few runs, after one that is not counted.
fn fastest(mut run: impl FnMut() -> mustdrop::Result<()>) -> mustdrop::Result<f64> {
    run()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(fastest)
}
