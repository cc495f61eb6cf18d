//! A conversation's state: what was said and shown, and what the decoder's cache holds of it.

mod judged;
mod pictures;

use std::{sync::Arc, time::Instant};

use rand_chacha::ChaCha8Rng;

pub(crate) use pictures::{Encoded, Look};

use crate::{
    cancel::{self, Cancel},
    device::Meter,
    drop::{Pruning, Turns, prefill::PrefillFilter},
    error::{Error, Result},
    llava::Llava,
    model::{KeyValueCache, Logits, RowPositions},
    prompt::{Piece, PromptLayout, Role, Turn, TurnPart},
    report::{AnswerWork, Report, Times},
    shown::Shown,
};

/// One row of the decoder's input: what it stands for, wherever it lies in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// A text token's id.
    Text(u32),
    /// A picture's token, by picture and by place in it.
    Vision { picture: usize, token: usize },
}

/// The pictures among `rows`: where each begins, and its number.
fn pictures_of(rows: &[Row]) -> impl Iterator<Item = (usize, usize)> + '_ {
    rows.iter().enumerate().filter_map(|(at, row)| match row {
        Row::Vision { picture, token: 0 } => Some((at, *picture)),
        _ => None,
    })
}

/// The turns so far, their pictures, and the decoder's cache of them.
pub(crate) struct Conversation {
    pub llava: Llava,
    pub turns: Vec<Turn>,
    /// Every picture shown so far.
    pub pictures: Vec<Arc<Shown>>,
    pub cache: KeyValueCache,
    /// What the rows of the cache stand for, in order.
    pub cached: Vec<Row>,
    /// Of each picture in the cache, which of its tokens filters dropped.
    dropped: Vec<Vec<bool>>,
    /// How often the cache was emptied.
    emptied: usize,
    /// Whether the pictures of the cache leave gaps where tokens did not enter.
    leaves_gaps: bool,
    /// Where the last answer's random numbers ended, and the seed that they began with.
    pub drawn: Option<(u64, ChaCha8Rng)>,
    /// What stops it in the middle of a question or an answer.
    pub cancel: Option<Cancel>,
    /// What each question found, the last one behind.
    asked: Vec<Before>,
}

/// What a question finds.
struct Before {
    turns: usize,
    questions: usize,
    pictures: Vec<Arc<Shown>>,
    /// How many of them the cache holds.
    cached: usize,
    /// How often the cache was emptied.
    emptied: usize,
}

/// A prompt that went through the decoder.
pub(crate) struct Prefilled {
    pub logits: Logits,
    pub report: Report,
    /// Counts since then.
    pub meter: Option<Meter>,
}

impl Conversation {
    pub fn new(llava: Llava) -> Self {
        let cache = llava.model.decoder.new_cache();
        Self {
            llava,
            turns: Vec::new(),
            pictures: Vec::new(),
            cache,
            cached: Vec::new(),
            dropped: Vec::new(),
            emptied: 0,
            leaves_gaps: true,
            drawn: None,
            cancel: None,
            asked: Vec::new(),
        }
    }

    /// Forgets what was said and shown, instructions included.
    pub fn clear(&mut self) {
        self.turns.clear();
        self.pictures.clear();
        self.asked.clear();
        self.drawn = None;
        self.forget();
    }

    /// Does `work`, which asks or takes something up; if it fails, the conversation is as it was.
    pub fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let (flag, found) = (self.cancel.clone(), self.before());
        let done = cancel::during(flag.as_ref(), || work(self));
        done.inspect_err(|error| {
            self.turns.truncate(found.turns);
            self.asked.truncate(found.questions);
            // Those there were before may have been admitted anew.
            self.pictures = found.pictures;
            if matches!(error, Error::Device { .. } | Error::Cancelled) {
                self.forget();
            }
        })
    }

    /// Notes that a question is asked, which can be taken back.
    pub fn note_question(&mut self) {
        self.asked.push(self.before());
    }

    fn before(&self) -> Before {
        Before {
            turns: self.turns.len(),
            questions: self.asked.len(),
            pictures: self.pictures.clone(),
            cached: pictures_of(&self.cached).count(),
            emptied: self.emptied,
        }
    }

    /// Takes back the last question with its answer, if there is one.
    pub fn undo(&mut self) -> bool {
        let Some(found) = self.asked.pop() else { return false };
        self.turns.truncate(found.turns);
        if found.pictures.len() < self.pictures.len() {
            // Another picture may get the number of one that goes; those that stay may have looked otherwise beside it.
            self.pictures = found.pictures;
            self.forget();
        } else if (found.cached, found.emptied) != (pictures_of(&self.cached).count(), self.emptied) {
            // It decided what is held of pictures.
            self.forget();
        }
        true
    }

    /// Puts instructions in front of all that was said, in place of those there.
    pub fn instruct(&mut self, text: Option<String>) {
        let there = usize::from(self.turns.first().is_some_and(|turn| turn.role == Role::System));
        let text = text.map(|text| Turn { role: Role::System, parts: vec![TurnPart::Text(text)] });
        let put = usize::from(text.is_some());
        self.turns.splice(..there, text);
        for found in &mut self.asked {
            found.turns = found.turns.max(there) + put - there;
        }
    }

    /// Runs `token` through the decoder and returns the logits behind it.
    pub fn decode(&mut self, token: u32) -> Result<Logits> {
        let decoder = &self.llava.model.decoder;
        let position = self.cache.next_position;
        let hidden = decoder.forward(decoder.embed(&[token]), &[position], &mut self.cache);
        self.cache.next_position = position + 1;
        self.cached.push(Row::Text(token));
        cancel::check()?;
        Ok(decoder.head(hidden))
    }

    /// Runs what is new of the prompt through the decoder, dropping tokens as `pruning` says.
    pub fn prefill(&mut self, encoded: Encoded, pruning: Option<&Pruning>) -> Result<Prefilled> {
        let start = Instant::now();
        let meter = encoded.meter.or_else(|| Meter::start(self.llava.compute()));
        let prompt = match encoded.prompt {
            Some(prompt) => prompt,
            None => self.llava.tokenizer.prompt(&self.turns)?,
        };
        self.check_ids(&prompt)?;
        self.admit_anew(pruning)?;
        let rows = self.rows(&prompt)?;
        let limit = self.llava.context_limit();
        if rows.len() >= limit {
            return Err(self.llava.too_long(rows.len()));
        }
        if let Some(hint) = self.llava.tokenizer.model_max_length().filter(|hint| rows.len() > *hint) {
            tracing::warn!(
                tokens = rows.len(),
                hint,
                "longer than model_max_length in tokenizer_config.json"
            );
        }
        let positions = self.place(&prompt, limit);
        let reused = self.reuse(&rows, &positions, pruning);
        let embeddings: Vec<_> = self.pictures.iter().map(|shown| shown.embeddings.clone()).collect();
        let embeddings = self.llava.model.splice(&prompt, &embeddings)?.slice([reused..rows.len()]);
        let new_positions = positions.starting_at(reused);
        let decoder = &self.llava.model.decoder;
        let mut filter = self.filter(&rows, reused, pruning);
        if let Some(missed) = self.missed(&rows, reused) {
            filter.get_or_insert_with(|| PrefillFilter::new(&Pruning::none())).missed = Some(missed);
        }
        let hidden = match &mut filter {
            Some(filter) => decoder.prefill(embeddings, new_positions, &mut self.cache, filter)?,
            None => decoder.forward(embeddings, new_positions, &mut self.cache),
        };
        cancel::check()?;
        self.cache.next_position = positions.end();
        let last = hidden.dims()[0] - 1;
        let logits = decoder.head(hidden.slice([last..last + 1]));
        // So that what the prompt took is not booked as the first token's.
        self.llava.compute().wait("compute the prompt")?;
        cancel::check()?;
        let (prompt_work, meter) = meter.and_then(|meter| meter.lap(self.llava.compute())).unzip();
        let vision_tokens = rows.iter().filter(|row| matches!(row, Row::Vision { .. })).count();
        let pruned = filter.as_ref().filter(|_| pruning.is_some());
        let pruned = pruned.map(|filter| self.judged(filter, &rows, reused));
        let report = Report {
            device: self.llava.device().clone(),
            prompt_tokens: rows.len(),
            vision_tokens,
            dense_vision_tokens: self.pictures.iter().map(|shown| shown.shape.tokens()).sum(),
            reused_tokens: reused,
            cached_pictures: encoded.cached,
            new_tokens: 0,
            kv_rows_per_layer: self.cache.rows_per_layer(),
            kv_bytes: self.cache.bytes(),
            missed: filter.as_ref().and_then(|filter| filter.missed.as_ref()?.share),
            pruning: pruned,
            stop: None,
            times: Times { encode: encoded.time, prefill: start.elapsed(), ..Times::default() },
            work: prompt_work.map(|prompt| AnswerWork { prompt, ..AnswerWork::default() }),
        };
        self.cached = rows;
        Ok(Prefilled { logits, report, meter })
    }

    /// The positions of all rows. Pictures leave gaps where tokens did not enter, unless the prompt would then reach into the
    /// last quarter of the context: for that many pictures, what entered is numbered without gaps, and all computed anew.
    fn place(&mut self, prompt: &PromptLayout, limit: usize) -> RowPositions {
        let with_gaps = self.positions(prompt, true);
        if !with_gaps.leaves_gaps() {
            return with_gaps;
        }
        let leaves_gaps = with_gaps.end() as usize <= limit - limit / 4;
        if self.leaves_gaps != leaves_gaps {
            self.forget();
            self.leaves_gaps = leaves_gaps;
        }
        if leaves_gaps { with_gaps } else { self.positions(prompt, false) }
    }

    fn positions(&self, prompt: &PromptLayout, leaves_gaps: bool) -> RowPositions {
        let mut positions = RowPositions::default();
        for piece in &prompt.pieces {
            match piece {
                Piece::Text(ids) => positions.follow(ids.len()),
                Piece::Image(picture) => {
                    let Some(shown) = self.pictures.get(*picture) else { continue };
                    let places = shown.pruned.as_ref().and_then(|pruned| pruned.places.as_ref());
                    match places.filter(|_| leaves_gaps) {
                        Some(places) => positions.picture(places),
                        None => positions.follow(shown.embeddings.dims()[0]),
                    }
                }
            }
        }
        positions
    }

    /// Whether there is no room for another token.
    pub fn is_full(&self) -> bool {
        let used = self.cached.len().max(self.cache.next_position as usize);
        used + 1 >= self.llava.context_limit()
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
            Some(id) => {
                let problem = format!(
                    "makes the token {id}, expected ids below the vocab_size of {vocabulary} in config.json: it is of \
                     another model"
                );
                Err(Error::model(self.llava.tokenizer.path(), problem))
            }
        }
    }

    /// Cuts the cache to what it has in common with `rows`, and returns how many of them that are.
    fn reuse(&mut self, rows: &[Row], positions: &RowPositions, pruning: Option<&Pruning>) -> usize {
        if pruning.is_some_and(|pruning| pruning.turns == Turns::Requery) {
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
        self.cache.forget_last(cut.len(), positions.at(reused));
        self.cached.truncate(reused);
        reused
    }

    /// The filter for the pictures among the rows from `reused` on.
    fn filter(&self, rows: &[Row], reused: usize, pruning: Option<&Pruning>) -> Option<PrefillFilter> {
        let pruning = pruning?;
        let mut filter = PrefillFilter::new(pruning);
        for (at, picture) in pictures_of(&rows[reused..]) {
            if let Some(pruned) = &self.pictures[picture].pruned {
                filter.add_picture(at, &pruned.candidates);
            }
        }
        Some(filter)
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
    pub fn forget(&mut self) {
        self.cache = self.llava.model.decoder.new_cache();
        self.cached.clear();
        self.dropped.clear();
        self.emptied += 1;
    }
}
