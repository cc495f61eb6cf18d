//! Text to token ids and back, with the user's words kept apart from the model's special tokens.

mod check;
mod files;
mod gguf;
mod guard;
mod library;
mod stop;
mod stream;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use crate::{
    checkpoint::ModelFiles,
    error::{Error, Result},
    prompt::{ChatTemplate, PromptLayout, Role, SpecialTokens, Turn, TurnPart},
};
use files::TokenizerFiles;
use guard::{Guard, Spelled, Spellings};
use tokenizers::AddedToken;

pub(crate) use gguf::from_gguf;
pub(crate) use library::Library;
pub use stop::StopStrings;
pub use stream::TextStream;

/// A model's tokenizer and chat template.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Arc<Vocabulary>,
    spellings: Spellings,
    /// Made when somebody first spells a special token.
    guard: OnceLock<Result<Guard, String>>,
    template: ChatTemplate,
    bos: String,
    image_token: u32,
    /// The token that stands for a video, which no prompt may have.
    video_token: Option<u32>,
    model_max_length: Option<usize>,
}

/// The tokenizer as its files have it, and where they are.
#[derive(Debug)]
struct Vocabulary {
    library: Library,
    path: PathBuf,
}

impl Vocabulary {
    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.library.decode(ids).map_err(|problem| Error::model(&self.path, problem))
    }
}

/// A prompt before pictures take their places in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What the chat template makes of the turns.
    pub text: String,
    /// Its tokens, a picture being one.
    pub ids: Vec<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, `tokenizer_config.json` and the chat template.
    ///
    /// `image_token` is the id that stands for a picture in the prompt.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if a file is missing or invalid, or `image_token` is not one of the added tokens.
    pub fn from_files(files: &ModelFiles, image_token: u32) -> Result<Self> {
        let read = TokenizerFiles::read(files)?;
        let added = read.library.added();
        let Some((_, image)) = added.iter().find(|(id, _)| *id == image_token) else {
            return Err(Error::model(
                read.path,
                format!(
                    "expected an added token with the id {image_token}, which config.json names as image_token_index, found none"
                ),
            ));
        };
        let tokens = SpecialTokens {
            bos: read.named("bos_token"),
            eos: read.named("eos_token"),
            pad: read.named("pad_token"),
            unk: read.named("unk_token"),
            image: image.content.clone(),
        };
        // What the configuration names is special, whatever the tokenizer's file says of it.
        let named = read.named_tokens();
        let is_special = |id: u32, token: &AddedToken| {
            token.special || id == image_token || named.contains(&token.content)
        };
        let special =
            added.into_iter().filter(|(id, token)| is_special(*id, token)).map(|(id, token)| (token, id));
        let spellings = Spellings::new(&read.library, special.collect());
        Ok(Self {
            bos: tokens.bos.clone(),
            template: ChatTemplate::from_files(files, tokens)?,
            spellings,
            guard: OnceLock::new(),
            image_token,
            video_token: None,
            model_max_length: read.model_max_length(),
            vocabulary: Arc::new(Vocabulary { library: read.library, path: read.path }),
        })
    }

    /// The prompt for the answer that follows `turns`.
    ///
    /// Nothing that was said, by the user or by the model, is read as a special token or as a picture.
    ///
    /// # Errors
    ///
    /// As [`render`](Self::render), and [`Error::Prompt`] if the chat template writes not one place for each picture.
    pub fn prompt(&self, turns: &[Turn]) -> Result<PromptLayout> {
        self.layout(turns, &self.render(turns)?)
    }

    /// Where pictures stand among the tokens that were rendered of `turns`.
    ///
    /// # Errors
    ///
    /// [`Error::Prompt`] if the chat template writes not one place for each picture.
    pub fn layout(&self, turns: &[Turn], rendered: &Rendered) -> Result<PromptLayout> {
        self.refuse_videos(turns, rendered)?;
        let layout = PromptLayout::from_ids(&rendered.ids, self.image_token);
        let pictures =
            turns.iter().flat_map(|turn| &turn.parts).filter(|part| **part == TurnPart::Image).count();
        if layout.images() != pictures {
            return Err(Error::Prompt(format!(
                "expected the chat template to write {pictures} places for pictures, found {}; it may take pictures only \
                 in the first turn, or one a turn",
                layout.images()
            )));
        }
        Ok(layout)
    }

    /// Refuses prompts with this token, which stands for a video, and questions that spell it.
    pub fn without_videos(self, video_token: Option<u32>) -> Self {
        Self { video_token, ..self }
    }

    fn refuse_videos(&self, turns: &[Turn], rendered: &Rendered) -> Result<()> {
        let Some(video) = self.video_token else { return Ok(()) };
        let spelling = self.token(video).unwrap_or_else(|| "<video>".to_owned());
        let asks_for_one = |part: &TurnPart| matches!(part, TurnPart::Text(text) if text.contains(&spelling));
        let asked = turns.iter().filter(|turn| turn.role == Role::User).flat_map(|turn| &turn.parts);
        if rendered.ids.contains(&video) || asked.into_iter().any(asks_for_one) {
            let problem = "videos are not supported; ask about pictures, such as frames of the video";
            return Err(Error::Prompt(format!("{spelling}: {problem}")));
        }
        Ok(())
    }

    /// What the chat template makes of `turns`, and the tokens of that.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the chat template refuses the turns, [`Error::Model`] if it or the tokenizer fails, and
    /// [`Error::Prompt`] if somebody spells a special token that this tokenizer cannot keep apart.
    pub fn render(&self, turns: &[Turn]) -> Result<Rendered> {
        let failed = |problem: String| Error::model(&self.vocabulary.path, problem);
        let library = &self.vocabulary.library;
        let texts = turns.iter().flat_map(|turn| &turn.parts).filter_map(|part| match part {
            TurnPart::Text(text) => Some(self.spellings.spelled_in(text, library)),
            TurnPart::Image => None,
        });
        let spelled = texts.max().unwrap_or(Spelled::Nothing);
        // The template may bring the frame's token itself.
        let has_frame = |text: &str| !self.bos.is_empty() && text.starts_with(&self.bos);
        let guard = || self.guard.get_or_init(|| Guard::new(library, &self.spellings)).as_ref();
        let guard = match spelled {
            Spelled::Nothing => None,
            // Where a part cannot be kept apart, hardly ever does anything complete it.
            Spelled::Part => guard().ok(),
            Spelled::Whole => Some(guard().map_err(|problem| Error::Prompt(problem.clone()))?),
        };
        let Some(guard) = guard else {
            let text = self.template.render(turns)?;
            let ids = library.encode(&text, !has_frame(&text)).map_err(failed)?;
            return Ok(Rendered { text, ids });
        };
        let marked: Vec<Turn> = turns.iter().map(|turn| self.marked(turn)).collect();
        let text = self.template.render(&marked)?;
        let ids = guard.encode(&text, &self.spellings, !has_frame(&text)).map_err(failed)?;
        Ok(Rendered { text: guard::without_marks(&text), ids })
    }

    fn marked(&self, turn: &Turn) -> Turn {
        let part = |part: &TurnPart| match part {
            TurnPart::Image => TurnPart::Image,
            TurnPart::Text(text) => TurnPart::Text(self.spellings.mark(text)),
        };
        Turn { role: turn.role, parts: turn.parts.iter().map(part).collect() }
    }

    /// The file that the tokenizer is from.
    pub fn path(&self) -> &Path {
        &self.vocabulary.path
    }

    /// The file that the chat template is from.
    pub fn template(&self) -> &Path {
        self.template.origin()
    }

    /// How a token is spelled in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.vocabulary.library.token(id)
    }

    /// The token that stands for a picture.
    pub fn image_token(&self) -> u32 {
        self.image_token
    }

    /// The text of an answer's tokens, special tokens left out.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if the tokenizer cannot decode them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.vocabulary.decode(ids)
    }

    /// Starts to decode an answer token by token.
    pub fn stream(&self) -> TextStream {
        TextStream::new(Arc::clone(&self.vocabulary))
    }

    /// The longest sequence that `tokenizer_config.json` speaks of, in tokens: a hint, which the model need not know of.
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }
}
