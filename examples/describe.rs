//! Describe a picture: load a model, ask, stream the answer.
//!
//! `cargo run --release --example describe -- photo.jpg "What is this?" --model llava-1.5-7b-hf`

use std::io::{Write, stdout};

use clap::Parser;
use mustdrop::{Event, cli};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    describe: cli::Describe,
}

fn main() -> std::process::ExitCode {
    cli::run(|| {
        let arguments = Arguments::parse().describe;
        let parts = arguments.parts()?; // pictures, then the question
        let model = arguments.builder().build()?; // Llava::builder("folder").device(..).build()
        cli::say!("device: {}", model.device());

        let mut chat = arguments.chat(&model)?;
        arguments.adjust(chat.options_mut());
        let mut answer = chat.ask(parts)?;
        for event in &mut answer {
            if let Event::Text(piece) = event? {
                cli::write_answer(&piece)?;
            }
        }
        writeln!(stdout())?;
        let report = answer.report();
        cli::say!("{} vision tokens, first token after {:.2?}", report.vision_tokens, report.first_token());
        Ok(())
    })
}
