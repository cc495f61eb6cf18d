//! `mustdrop describe`: one question about one or several pictures.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{
    chat::is_named_as_picture, generation::GenerationArguments, model::ModelArguments, not_over_an_input,
    print_json, pruning::PruningArguments, write_answer, write_whole,
};
use crate::{
    Chat, Error, Event, GenerationOptions, Llava, LlavaBuilder, Part, Picture, Report, StopReason,
    checkpoint::SAMPLE, image::Allowance,
};

/// The question where none is given.
pub(super) const QUESTION: &str = "Describe the picture.";

/// What to describe, with what, and how: the arguments that the program and the example share.
#[derive(Debug, Args)]
pub struct Describe {
    /// The picture (PNG, JPEG or WebP); `-` reads it from stdin [default: a sample that ships with the program]
    picture: Option<PathBuf>,

    /// What to ask
    #[arg(default_value = QUESTION)]
    question: String,

    /// A further picture, shown after the first; may be repeated
    #[arg(long = "image", value_name = "PICTURE")]
    images: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    generation: GenerationArguments,

    #[command(flatten)]
    pruning: PruningArguments,
}

impl Describe {
    /// The model these arguments name, not yet loaded.
    pub fn builder(&self) -> LlavaBuilder {
        self.model.builder()
    }

    /// The pictures and the question.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`] if a picture cannot be read, [`Error::Argument`] if the question is blank or a rule for
    /// the answer is out of range.
    pub fn parts(&self) -> crate::Result<Vec<Part>> {
        if self.question.trim().is_empty() {
            return Err(Error::argument("QUESTION", "some words", "nothing but blanks"));
        }
        if is_named_as_picture(&self.question) && Path::new(&self.question).is_file() {
            let found = format!("{}, a file; further pictures come by --image", self.question);
            return Err(Error::argument("QUESTION", "some words", found));
        }
        let mut options = GenerationOptions::default();
        self.adjust(&mut options);
        options.validate()?;
        let from_stdin = self.picture.iter().chain(&self.images).filter(|path| *path == Path::new("-"));
        if from_stdin.count() > 1 {
            return Err(Error::argument("PICTURE", "one picture from stdin (`-`)", "several"));
        }
        let mut allowance = Allowance::default();
        let first = match &self.picture {
            None => Picture::decode(SAMPLE.1, SAMPLE.0)?,
            Some(path) => open(path, &mut allowance)?,
        };
        let mut parts = vec![Part::Image(first)];
        for path in &self.images {
            parts.push(Part::Image(open(path, &mut allowance)?));
        }
        parts.push(Part::text(&self.question));
        Ok(parts)
    }

    /// A new conversation that drops vision tokens as the arguments say.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if they contradict each other.
    pub fn chat(&self, model: &Llava) -> crate::Result<Chat> {
        Ok(match self.pruning.pruning(self.generation.seed)? {
            Some(pruning) => model.chat().pruning(pruning),
            None => model.chat(),
        })
    }

    /// Changes the model's own rules to what the arguments say.
    pub fn adjust(&self, options: &mut GenerationOptions) {
        self.generation.adjust(options);
    }
}

/// Answer a question about a picture.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mustdrop describe\n  mustdrop describe photo.jpg \"What is on the table?\" \
    --model ~/models/llava-1.5-7b-hf\n  cat photo.png | mustdrop describe - \"How many?\" --json"
)]
pub(super) struct DescribeCommand {
    #[command(flatten)]
    describe: Describe,

    /// Draw what was kept of the first picture at every stage (PNG)
    #[arg(long, value_name = "FILE")]
    overlay: Option<PathBuf>,

    /// Print one JSON object with the answer and its account instead of text
    #[arg(long)]
    json: bool,
}

impl DescribeCommand {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        // Pictures first: a wrong path is said before seconds are spent on the model.
        let parts = self.describe.parts()?;
        let pruning = self.describe.pruning.pruning(self.describe.generation.seed)?;
        let shown = match (&self.overlay, parts.first()) {
            (Some(_), _) if pruning.is_none() => {
                let found = "no option that drops vision tokens";
                return Err(Error::argument("--overlay", "--keep or thresholds beside it", found).into());
            }
            (Some(path), Some(Part::Image(picture))) => {
                let read = self.describe.picture.iter().chain(&self.describe.images);
                not_over_an_input("--overlay", path, read)?;
                Some((path, picture.clone()))
            }
            _ => None,
        };
        let builder = self.describe.builder();
        let spinner = spinner();
        spinner.set_message("loading the model");
        let model = builder.build()?;
        spinner.suspend(|| say!("device: {}, weights: {}", model.device(), model.weight_format()));
        spinner.set_message("looking at the picture");
        let mut chat = self.describe.chat(&model)?;
        self.describe.adjust(chat.options_mut());
        let mut answer = chat.ask(parts)?;
        spinner.finish_and_clear();
        if let (Some((path, picture)), Some(pruning)) = (shown, &answer.report().pruning)
            && let Some(overlay) = pruning.overlay(0, &picture)?
        {
            write_whole("--overlay", path, &overlay.to_png()?)?;
        }
        if self.json {
            #[derive(Serialize)]
            struct Output<'a> {
                answer: String,
                #[serde(flatten)]
                report: &'a Report,
            }
            let text = answer.complete()?;
            return print_json(&Output { answer: text, report: answer.report() });
        }
        for event in &mut answer {
            if let Event::Text(piece) = event? {
                write_answer(&piece)?;
            }
        }
        writeln!(io::stdout())?;
        if let Some(why) = cut_short(answer.report()) {
            say!("{why}");
        }
        say!("{}", summary(answer.report()));
        Ok(())
    }
}

/// A picture from a file, or from stdin where the path is `-`.
pub(super) fn open(path: &Path, allowance: &mut Allowance) -> crate::Result<Picture> {
    if path != Path::new("-") {
        return allowance.open(path);
    }
    let mut bytes = Vec::new();
    // One byte above the limit is enough for the picture reader to refuse it.
    let limit = crate::image::MAX_FILE_BYTES + 1;
    io::stdin().take(limit).read_to_end(&mut bytes).map_err(|error| Error::io("<stdin>", error))?;
    allowance.decode(&bytes, "<stdin>")
}

/// A line that moves while there is nothing to read yet; invisible where stderr is no terminal.
pub(super) fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// What to say of an answer that a limit ended.
pub(super) fn cut_short(report: &Report) -> Option<String> {
    let tokens = report.new_tokens;
    match report.stop? {
        StopReason::MaxNewTokens => {
            Some(format!("(cut after {tokens} tokens; --max-new-tokens allows more)"))
        }
        StopReason::ContextFull => Some("(cut: the model's context is full)".into()),
        _ => None,
    }
}

/// One line about what the answer cost.
pub(super) fn summary(report: &Report) -> String {
    let times = &report.times;
    let steps = report.decode_steps();
    let rate = match times.decode.as_secs_f64() {
        seconds if steps > 0 && seconds > 0.0 => format!(", {:.1} tokens/s", steps as f64 / seconds),
        _ => String::new(),
    };
    let judged = report.pruning.as_ref().filter(|pruning| !pruning.pictures.is_empty());
    let kept = judged.map_or_else(String::new, |pruning| {
        format!(
            " ({:.1} on average over the decoder's layers, {:.0} % of the dense FLOPs)",
            pruning.mean_vision_tokens,
            100.0 * pruning.flops / pruning.dense_flops
        )
    });
    format!(
        "prompt: {} tokens, {} of them vision{kept}; picture {:.2} s, prefill {:.2} s; answer: {} tokens{rate}",
        report.prompt_tokens,
        report.vision_tokens,
        times.encode.as_secs_f64(),
        times.prefill.as_secs_f64(),
        report.new_tokens,
    )
}
