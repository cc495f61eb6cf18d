//! A conversation about pictures.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use burn::tensor::Tensor;

use crate::{
    drop::{Pruning, Turns, prefill::PrefillFilter},
    error::{Error, Result},
    generate::{Answer, GenerationOptions, Prefilled},
    image::{Picture, Placement},
    llava::Llava,
    model::{KeyValueCache, PrunedFeatures},
    picture_cache::PictureCache,
    prompt::{Piece, PromptLayout, Role, Turn, TurnPart},
    report::{PictureReport, PruningReport, Report, Times},
};

/// A piece of what the user says: a picture or words.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Part {
    /// A picture.
    Image(Picture),
    /// Words. They are never read as special tokens.
    Text(String),
}

impl Part {
    /// A picture from a PNG, JPEG or WebP file.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`] if the file is missing, no picture, damaged, or too large.
    pub fn image_path(path: impl AsRef<Path>) -> Result<Self> {
        Picture::open(path).map(Self::Image)
    }

    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// One row of the decoder's input: what it stands for, wherever it lies in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// A text token's id.
    Text(u32),
    /// A picture's token, by picture and by place in it.
    Vision { picture: usize, token: usize },
}

/// A conversation: the turns so far, their pictures, and the decoder's cache of them.
pub struct Chat<'m> {
    pub(crate) llava: &'m Llava,
    pub(crate) turns: Vec<Turn>,
    /// Every picture shown so far.
    pictures: Vec<Shown>,
    pub(crate) cache: KeyValueCache,
    /// What the rows of the cache stand for, in order.
    pub(crate) cached: Vec<Row>,
    options: GenerationOptions,
    pruning: Option<Pruning>,
    picture_cache: Option<&'m PictureCache>,
}

/// The pictures of a question, on their way to the decoder.
#[derive(Debug, Clone, Copy, Default)]
struct Encoded {
    time: Duration,
    /// How many of them a cache had.
    cached: usize,
}

/// A picture as the decoder sees it.
#[derive(Clone)]
pub(crate) struct Shown {
    /// `[tokens, text width]`
    pub embeddings: Tensor<2>,
    /// What stage V found out, where tokens are dropped.
    pub pruned: Option<PrunedFeatures>,
    pub placement: Placement,
}

impl<'m> Chat<'m> {
    pub(crate) fn new(llava: &'m Llava) -> Self {
        Self {
            llava,
            turns: Vec::new(),
            pictures: Vec::new(),
            cache: llava.model.decoder.new_cache(),
            cached: Vec::new(),
            options: GenerationOptions::from_defaults(&llava.defaults),
            pruning: None,
            picture_cache: None,
        }
    }

    /// Replaces the rules for generating answers; at first they are the checkpoint's own.
    pub fn options(mut self, options: GenerationOptions) -> Self {
        self.options = options;
        self
    }

    /// Drops vision tokens of the pictures that are shown from now on; at first, none are.
    pub fn pruning(mut self, pruning: Pruning) -> Self {
        self.pruning = Some(pruning);
        self
    }

    /// Drops vision tokens of the pictures that are shown from now on, or none of them any more; those of earlier
    /// pictures stay as they are.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming the first value outside its range; the rules are then as before.
    pub fn set_pruning(&mut self, pruning: Option<Pruning>) -> Result<()> {
        if let Some(pruning) = &pruning {
            self.llava.check(pruning)?;
        }
        self.pruning = pruning;
        Ok(())
    }

    /// Forgets what was said and shown; the rules stay.
    pub fn clear(&mut self) {
        self.turns.clear();
        self.pictures.clear();
        self.forget();
    }

    /// Takes pictures that were encoded before from `cache`, and leaves others there.
    pub fn picture_cache(mut self, cache: &'m PictureCache) -> Self {
        self.picture_cache = Some(cache);
        self
    }

    /// The rules in force, for instance to change one of them.
    pub fn options_mut(&mut self) -> &mut GenerationOptions {
        &mut self.options
    }

    /// Asks, and returns the answer as an iterator that computes a token whenever it is advanced.
    ///
    /// The pictures are encoded and the prompt is run through the decoder before this returns; what an
    /// earlier turn left in the cache is not computed again. Dropping the answer ends it; what was said
    /// until then stays in the conversation.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if a rule is out of range, [`Error::Prompt`] if the prompt does not fit the
    /// context, [`Error::Device`] if the device fails. The conversation is then as it was before.
    pub fn ask(&mut self, parts: impl IntoIterator<Item = Part>) -> Result<Answer<'_, 'm>> {
        self.ask_after([], parts)
    }

    /// As [`ask`](Self::ask), behind turns that were taken elsewhere: instructions ([`Role::System`]), or what was asked
    /// and answered before.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn ask_after(
        &mut self,
        earlier: impl IntoIterator<Item = (Role, Vec<Part>)>,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<Answer<'_, 'm>> {
        self.options.validate()?;
        if let Some(pruning) = &self.pruning {
            self.llava.check(pruning)?;
        }
        let known = (self.turns.len(), self.pictures.len());
        let question = (Role::User, parts.into_iter().collect());
        let turns = earlier.into_iter().chain([question]);
        let prefilled = self.encode(turns).and_then(|encoded| self.prefill(encoded));
        if let Err(error) = &prefilled {
            self.turns.truncate(known.0);
            self.pictures.truncate(known.1);
            if matches!(error, Error::Device { .. }) {
                self.forget();
            }
        }
        let prefilled = prefilled?;
        Answer::start(self, prefilled, self.options.clone())
    }

    /// Asks the first question of a new conversation about one picture, seen before.
    ///
    /// What the cache holds of the picture is used again, unless questions decide what it holds.
    pub(crate) fn ask_afresh(&mut self, shown: Option<Shown>, question: &str) -> Result<Answer<'_, 'm>> {
        self.turns.clear();
        if let Some(shown) = shown {
            self.pictures = vec![shown];
            self.forget();
        }
        let (patches, depth) = self.llava.patches_and_depth();
        if self.pruning.as_ref().is_some_and(|pruning| !pruning.rules().layers(patches, depth).is_empty()) {
            self.forget();
        }
        let parts = vec![TurnPart::Image, TurnPart::Text(question.to_owned())];
        self.turns.push(Turn { role: Role::User, parts });
        let prefilled = self.prefill(Encoded::default());
        if prefilled.is_err() {
            self.turns.clear();
            self.forget();
        }
        Answer::start(self, prefilled?, self.options.clone())
    }

    fn prefill(&mut self, encoded: Encoded) -> Result<Prefilled> {
        let llava = self.llava;
        let start = Instant::now();
        let prompt = llava.tokenizer.prompt(&self.turns)?;
        self.check_ids(&prompt)?;
        let rows = self.rows(&prompt)?;
        let limit = llava.context_limit();
        if rows.len() >= limit {
            return Err(Error::Prompt(format!(
                "the prompt has {} tokens, expected fewer than the model's context of {limit}; ask a \
                 shorter question, show fewer pictures or start a new conversation",
                rows.len()
            )));
        }
        let reused = self.reuse(&rows);
        let embeddings: Vec<_> = self.pictures.iter().map(|shown| shown.embeddings.clone()).collect();
        let embeddings = llava.model.splice(&prompt, &embeddings)?.slice([reused..rows.len()]);
        let positions: Vec<u32> = (reused as u32..rows.len() as u32).collect();
        let decoder = &llava.model.decoder;
        let mut filter = self.filter(&rows, reused);
        let hidden = match &mut filter {
            Some(filter) => decoder.prefill(embeddings, &positions, &mut self.cache, filter)?,
            None => decoder.forward(embeddings, &positions, &mut self.cache),
        };
        self.cache.next_position = rows.len() as u32;
        let last = hidden.dims()[0] - 1;
        let logits = decoder.head(hidden.slice([last..last + 1]));
        // So that what the prompt took is not booked as the first token's.
        llava.compute().wait("compute the prompt")?;
        let vision_tokens = rows.iter().filter(|row| matches!(row, Row::Vision { .. })).count();
        let report = Report {
            device: llava.device().clone(),
            prompt_tokens: rows.len(),
            vision_tokens,
            reused_tokens: reused,
            cached_pictures: encoded.cached,
            new_tokens: 0,
            kv_rows_per_layer: self.cache.rows_per_layer(),
            kv_bytes: self.cache.bytes(),
            pruning: filter.map(|filter| self.pruning_report(&filter, &rows, reused)),
            stop: None,
            times: Times { encode: encoded.time, prefill: start.elapsed(), ..Times::default() },
        };
        self.cached = rows;
        Ok(Prefilled { logits, report })
    }

    /// The vocabulary of the tokenizer's file may be larger than the model's.
    fn check_ids(&self, prompt: &PromptLayout) -> Result<()> {
        let vocabulary = self.llava.config.text.vocab_size;
        let texts = prompt.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(ids) => Some(ids),
            Piece::Image(_) => None,
        });
        match texts.flatten().find(|id| **id as usize >= vocabulary) {
            None => Ok(()),
            Some(id) => Err(Error::Prompt(format!(
                "the tokenizer makes the token {id}, expected ids below the vocab_size of {vocabulary} in \
                 config.json: tokenizer.json is of another model"
            ))),
        }
    }

    /// Cuts the cache to what it has in common with `rows`, and returns how many of them that are.
    fn reuse(&mut self, rows: &[Row]) -> usize {
        if self.pruning.as_ref().is_some_and(|pruning| pruning.turns == Turns::Requery) {
            self.forget();
        }
        // The last row is always computed: its logits start the answer.
        let shared = rows.iter().zip(&self.cached).take_while(|(new, old)| new == old).count();
        let reused = shared.min(rows.len() - 1);
        let cut = &self.cached[reused..];
        let is_whole = self.cache.rows_per_layer().iter().all(|rows| *rows == self.cached.len());
        // Text is in every layer; of a picture that some layers dropped parts of, nothing can be cut off.
        if !is_whole && cut.iter().any(|row| matches!(row, Row::Vision { .. })) {
            self.forget();
            return 0;
        }
        self.cache.forget_last(cut.len(), reused as u32);
        self.cached.truncate(reused);
        reused
    }

    /// The filter for the pictures among the rows from `reused` on.
    fn filter(&self, rows: &[Row], reused: usize) -> Option<PrefillFilter> {
        let pruning = self.pruning.as_ref()?;
        let (patches, depth) = self.llava.patches_and_depth();
        let mut filter = PrefillFilter::new(pruning, patches, depth);
        for (at, row) in rows[reused..].iter().enumerate() {
            if let Row::Vision { picture, token: 0 } = row
                && let Some(pruned) = &self.pictures[*picture].pruned
            {
                filter.add_picture(at, &pruned.candidates);
            }
        }
        Some(filter)
    }

    fn pruning_report(&self, filter: &PrefillFilter, rows: &[Row], reused: usize) -> PruningReport {
        let vision = &self.llava.config.vision;
        let new = rows[reused..].iter().filter_map(|row| match row {
            Row::Vision { picture, token: 0 } => self.pictures.get(*picture),
            _ => None,
        });
        let judged = new.filter_map(|shown| Some((shown.pruned.as_ref()?, shown.placement)));
        let pictures =
            judged.zip(&filter.admitted).enumerate().map(|(number, ((pruned, placement), admitted))| {
                PictureReport::new(pruned, admitted, vision, placement, number, &filter.steps)
            });
        PruningReport::new(pictures.collect(), &self.llava.config, rows.len() - reused)
    }

    /// Takes `turns` into the conversation and encodes their pictures.
    fn encode(&mut self, turns: impl IntoIterator<Item = (Role, Vec<Part>)>) -> Result<Encoded> {
        let start = Instant::now();
        let mut cached = 0;
        for (role, parts) in turns {
            let mut turn = Turn { role, parts: Vec::with_capacity(parts.len()) };
            for part in parts {
                turn.parts.push(match part {
                    Part::Text(text) => TurnPart::Text(text),
                    Part::Image(picture) => {
                        let (shown, is_cached) = self.look(&picture)?;
                        self.pictures.push(shown);
                        cached += usize::from(is_cached);
                        TurnPart::Image
                    }
                });
            }
            self.turns.push(turn);
        }
        // Encoding is queued, not done: wait, so that its time is not booked as the decoder's.
        self.llava.compute().wait("encode the picture")?;
        Ok(Encoded { time: start.elapsed(), cached })
    }

    /// The picture as the decoder sees it, and whether the cache had it.
    fn look(&self, picture: &Picture) -> Result<(Shown, bool)> {
        let pruning = self.pruning.as_ref();
        let cache = self.picture_cache.map(|cache| (cache, cache.key(picture, self.llava, pruning)));
        if let Some(shown) = cache.and_then(|(cache, key)| cache.get(key)) {
            return Ok((shown, true));
        }
        let pixels = self.llava.preprocessor.run(picture)?;
        let model = &self.llava.model;
        let pruned = pruning.map(|pruning| model.encode_image_pruned(&pixels.values, pruning)).transpose()?;
        let shown = Shown {
            embeddings: match &pruned {
                Some(pruned) => pruned.features.clone(),
                None => model.encode_image(&pixels.values),
            },
            pruned,
            placement: pixels.placement,
        };
        if let Some((cache, key)) = cache {
            cache.put(key, &shown, self.llava.config.vision.patches());
        }
        Ok((shown, false))
    }

    /// What each row of `prompt` stands for.
    fn rows(&self, prompt: &PromptLayout) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for piece in &prompt.pieces {
            match piece {
                Piece::Text(ids) => rows.extend(ids.iter().map(|id| Row::Text(*id))),
                Piece::Image(picture) => {
                    let tokens = self.pictures.get(*picture).map_or(0, |shown| shown.embeddings.dims()[0]);
                    rows.extend((0..tokens).map(|token| Row::Vision { picture: *picture, token }));
                }
            }
        }
        if rows.is_empty() {
            return Err(Error::Prompt("the prompt is empty, expected a question or a picture".into()));
        }
        Ok(rows)
    }

    /// Empties the cache: a failed pass leaves it in an unknown state.
    #[doc(hidden)]
    pub fn forget(&mut self) {
        self.cache = self.llava.model.decoder.new_cache();
        self.cached.clear();
    }
}
