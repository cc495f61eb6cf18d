//! `mustdrop prompt`: what a model is given for a question, without its weights.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use super::{
    describe::{QUESTION, open},
    model::locate,
    print_json, with_visible_controls,
};
use crate::{
    Error,
    checkpoint::ModelFiles,
    config::ModelConfig,
    image::Allowance,
    prompt::{Piece, Role, Turn, TurnPart},
    tiling::PictureShape,
    tokenizer::Tokenizer,
};

/// What picture files are called, for a path that names none.
const PICTURE_ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// Show the prompt that a model is given: its text, its tokens, and where pictures stand; no weight is read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mustdrop prompt photo.jpg \"What is on the table?\" --model ~/models/llava-1.5-7b-hf\n  \
    mustdrop prompt \"Who are you?\" --system \"You are terse.\" --json\n  mustdrop prompt photo.jpg \"How many?\" --ids"
)]
pub(super) struct PromptCommand {
    /// Pictures, and the question behind them [default question: Describe the picture.]
    #[arg(value_name = "PICTURE... QUESTION")]
    said: Vec<String>,

    /// What the model is told before anybody asks
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// A folder with a LLaVA checkpoint, or the name of one in the hub's cache [default: the model inside the program]
    #[arg(long, value_name = "DIR|NAME", env = "MUSTDROP_MODEL")]
    model: Option<PathBuf>,

    /// Print one JSON object: text, ids, tokens, pictures
    #[arg(long)]
    json: bool,

    /// Print the ids alone, in one line
    #[arg(long, conflicts_with = "json")]
    ids: bool,
}

/// A prompt as the model is given it.
#[derive(Serialize)]
struct Prompt {
    /// The file that the chat template is from.
    template: String,
    /// What the template makes of the turns, a picture being one token.
    text: String,
    /// Every token, a picture's repeated.
    ids: Vec<u32>,
    /// How each is spelled in the vocabulary.
    tokens: Vec<String>,
    pictures: Vec<Place>,
}

/// Where a picture stands.
#[derive(Serialize)]
struct Place {
    picture: String,
    /// The place of its first token, counted from 0.
    first: usize,
    /// How many they are, before any is dropped.
    tokens: usize,
}

impl PromptCommand {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let files = match &self.model {
            None => ModelFiles::embedded()?,
            Some(model) => ModelFiles::folder(locate(model, true)?)?,
        };
        let config = ModelConfig::from_files(&files)?;
        let tokenizer = Tokenizer::from_files(&files, config.image_token)?.without_videos(config.video_token);
        let prompt = self.prompt(&tokenizer, &config)?;
        if self.json {
            return print_json(&prompt);
        }
        if self.ids {
            let ids: Vec<String> = prompt.ids.iter().map(u32::to_string).collect();
            return Ok(writeln!(io::stdout(), "{}", ids.join(" "))?);
        }
        Ok(prompt.write(&mut io::stdout().lock())?)
    }

    fn prompt(&self, tokenizer: &Tokenizer, config: &ModelConfig) -> crate::Result<Prompt> {
        let (pictures, question) = self.split();
        if question.trim().is_empty() {
            return Err(Error::argument("QUESTION", "some words", "nothing but blanks"));
        }
        let mut allowance = Allowance::default();
        let alone = pictures.len() == 1;
        let shape = |picture: &String| -> crate::Result<PictureShape> {
            Ok(config.picture_shape(open(Path::new(picture), &mut allowance)?.size(), alone))
        };
        let shapes: Vec<PictureShape> = pictures.iter().map(shape).collect::<crate::Result<_>>()?;
        let mut parts = vec![TurnPart::Image; pictures.len()];
        parts.push(TurnPart::Text(question.to_owned()));
        let system = self
            .system
            .iter()
            .map(|text| Turn { role: Role::System, parts: vec![TurnPart::Text(text.clone())] });
        let turns: Vec<Turn> = system.chain([Turn { role: Role::User, parts }]).collect();
        let rendered = tokenizer.render(&turns)?;
        let layout = tokenizer.layout(&turns, &rendered)?;

        let (mut ids, mut places) = (Vec::new(), Vec::new());
        for piece in layout.pieces {
            match piece {
                Piece::Text(text) => ids.extend(text),
                Piece::Image(number) => {
                    let picture = pictures.get(number).cloned().unwrap_or_default();
                    let tokens = shapes.get(number).map_or(0, PictureShape::tokens);
                    places.push(Place { picture, first: ids.len(), tokens });
                    ids.extend(std::iter::repeat_n(tokenizer.image_token(), tokens));
                }
            }
        }
        let tokens = ids.iter().map(|id| tokenizer.token(*id).unwrap_or_default()).collect();
        let template = tokenizer.template().display().to_string();
        Ok(Prompt { template, text: rendered.text, ids, tokens, pictures: places })
    }

    /// The pictures and the question: the last word, unless it is a file or is called like a picture.
    fn split(&self) -> (&[String], &str) {
        let is_picture = |word: &str| {
            let ending = Path::new(word).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            word == "-"
                || Path::new(word).is_file()
                || PICTURE_ENDINGS.contains(&ending.to_lowercase().as_str())
        };
        match self.said.split_last() {
            Some((question, pictures)) if !is_picture(question) => (pictures, question),
            _ => (&self.said, QUESTION),
        }
    }
}

impl Prompt {
    /// For people: white space is visible, and a picture is one line.
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", visible(&self.text))?;
        writeln!(out, "\n{:>6} {:>7}  token", "place", "id")?;
        let mut at = 0;
        let mut pictures = self.pictures.iter().peekable();
        while let (Some(id), Some(token)) = (self.ids.get(at), self.tokens.get(at)) {
            match pictures.next_if(|place| place.first == at && place.tokens > 0) {
                Some(Place { picture, tokens, .. }) => {
                    writeln!(
                        out,
                        "{at:>6} {id:>7}  {} x {tokens}, to {}: {picture}",
                        visible(token),
                        at + tokens - 1
                    )?;
                    at += tokens;
                }
                None => {
                    writeln!(out, "{at:>6} {id:>7}  {}", visible(token))?;
                    at += 1;
                }
            }
        }
        writeln!(out, "\n{} tokens; chat template: {}", self.ids.len(), self.template)
    }
}

/// A text with signs for blanks and line ends, and for what else would not be seen.
fn visible(text: &str) -> String {
    with_visible_controls(&text.replace(' ', "·").replace('\t', "⇥")).replace('\n', "⏎\n")
}
