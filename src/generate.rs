//! The decode loop, as an iterator of events.

use std::time::Instant;

use crate::{
    chat::{Chat, Row},
    config::GenerationDefaults,
    error::{Error, Result},
    model::{Candidates, Logits},
    prompt::{Role, Turn, TurnPart},
    report::{Report, StopReason},
    sample::{Needs, Sampler, Sampling},
    tokenizer::{StopStrings, TextStream},
};

/// Tokens an answer may have where neither the caller nor the checkpoint says.
const DEFAULT_NEW_TOKENS: usize = 512;

/// Rules for one answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GenerationOptions {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The most tokens an answer may have.
    pub max_new_tokens: usize,
    /// Texts at which the answer ends; they are not part of it.
    pub stop: Vec<String>,
}

impl Default for GenerationOptions {
    /// Greedy, up to 512 tokens.
    fn default() -> Self {
        Self { sampling: Sampling::default(), max_new_tokens: DEFAULT_NEW_TOKENS, stop: Vec::new() }
    }
}

impl GenerationOptions {
    /// What a checkpoint's `generation_config.json` asks for.
    pub(crate) fn from_defaults(defaults: &GenerationDefaults) -> Self {
        let mut sampling = Sampling::default();
        if let Some(penalty) = defaults.repetition_penalty {
            sampling.repetition_penalty = penalty;
        }
        if defaults.do_sample {
            sampling.temperature = defaults.temperature.unwrap_or(1.0);
            sampling.top_k = defaults.top_k.filter(|k| *k > 0);
            // As with `top_k`, 0 means that nothing is cut off.
            sampling.top_p = defaults.top_p.filter(|p| *p > 0.0);
        }
        Self {
            sampling,
            max_new_tokens: defaults.max_new_tokens.unwrap_or(DEFAULT_NEW_TOKENS),
            stop: Vec::new(),
        }
    }

    /// Checks that every value lies in its range.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming the first value outside its range.
    pub fn validate(&self) -> Result<()> {
        self.sampling.validate()?;
        if self.max_new_tokens == 0 {
            return Err(Error::argument("max_new_tokens", "a whole number from 1 up", "0"));
        }
        StopStrings::new(&self.stop).map(drop)
    }
}

/// What happens while an answer is made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The next piece of text; never empty.
    Text(String),
    /// The answer is complete. The last event.
    Done(StopReason),
}

/// A prompt that went through the decoder.
pub(crate) struct Prefilled {
    pub logits: Logits,
    pub report: Report,
}

/// An answer in the making: an iterator of [`Event`]s that computes one token at a time.
///
/// It ends after [`Event::Done`] or an error. Dropping it keeps what was said in the conversation.
pub struct Answer<'c, 'm> {
    chat: &'c mut Chat<'m>,
    sampler: Sampler,
    stream: TextStream<'m>,
    stop_strings: StopStrings,
    max_new_tokens: usize,
    next: Next,
    report: Report,
    text: String,
    state: State,
}

/// Where the next token comes from.
enum Next {
    /// These logits.
    Sample(Box<Logits>),
    /// A step of the decoder behind this token, whose text was already handed out.
    Decode(u32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Everything is said but the last event.
    Ending(StopReason),
    Ended,
}

impl<'c, 'm> Answer<'c, 'm> {
    pub(crate) fn start(
        chat: &'c mut Chat<'m>,
        prefilled: Prefilled,
        options: GenerationOptions,
    ) -> Result<Self> {
        let prompt = chat.cached.iter().filter_map(|row| match row {
            Row::Text(id) => Some(*id),
            Row::Vision { .. } => None,
        });
        let sampler = Sampler::new(options.sampling, prompt);
        Ok(Self {
            stream: chat.llava.tokenizer.stream(),
            stop_strings: StopStrings::new(&options.stop)?,
            chat,
            sampler,
            max_new_tokens: options.max_new_tokens,
            next: Next::Sample(Box::new(prefilled.logits)),
            report: prefilled.report,
            text: String::new(),
            state: State::Running,
        })
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The account so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Runs to the end and returns the whole text.
    ///
    /// # Errors
    ///
    /// The first error of the iteration.
    pub fn complete(&mut self) -> Result<String> {
        self.try_for_each(|event| event.map(drop))?;
        Ok(self.text.clone())
    }

    /// Produces one token and returns the text that became certain with it.
    fn step(&mut self) -> Result<String> {
        let start = Instant::now();
        let logits = match &self.next {
            Next::Sample(logits) => logits.as_ref().clone(),
            Next::Decode(token) => self.decode(*token)?,
        };
        let token = self.choose(&logits)?;
        self.report.times.decode += start.elapsed();
        let chat = &*self.chat;
        if chat.llava.defaults.eos_token_ids.contains(&token) {
            return self.end(StopReason::StopToken);
        }
        self.report.new_tokens += 1;
        self.next = Next::Decode(token);
        let piece = self.stream.push(token)?.unwrap_or_default();
        let (certain, stopped) = self.stop_strings.push(&piece);
        if stopped {
            self.state = State::Ending(StopReason::StopString);
            return Ok(certain);
        }
        if self.report.new_tokens == self.max_new_tokens {
            return Ok(certain + &self.end(StopReason::MaxNewTokens)?);
        }
        if self.chat.cached.len() + 1 >= self.chat.llava.context_limit() {
            return Ok(certain + &self.end(StopReason::ContextFull)?);
        }
        Ok(certain)
    }

    /// Chooses the next token where the logits are, and reads back no more of them than that needs.
    fn choose(&mut self, logits: &Logits) -> Result<u32> {
        if logits.is_on_adapter() {
            match self.sampler.needs() {
                Needs::MostLikely => {
                    let candidates = [(logits.most_likely()?, 0.0)];
                    if let Some(token) = self.sampler.next_among(&candidates, 1.0) {
                        return Ok(token);
                    }
                }
                Needs::Candidates { temperature } => {
                    let Candidates { tokens, mass } = logits.candidates(temperature)?;
                    if let Some(token) = self.sampler.next_among(&tokens, mass) {
                        return Ok(token);
                    }
                }
                Needs::All => {}
            }
        }
        Ok(self.sampler.next(logits.read()?))
    }

    /// Runs `token` through the decoder and returns the logits behind it.
    fn decode(&mut self, token: u32) -> Result<Logits> {
        let chat = &mut *self.chat;
        let decoder = &chat.llava.model.decoder;
        let position = chat.cache.next_position;
        let hidden = decoder.forward(decoder.embed(&[token]), &[position], &mut chat.cache);
        chat.cache.next_position = position + 1;
        chat.cached.push(Row::Text(token));
        self.report.kv_rows_per_layer = chat.cache.rows_per_layer();
        self.report.kv_bytes = chat.cache.bytes();
        Ok(decoder.head(hidden))
    }

    /// Ends the answer and returns the text that was held back.
    fn end(&mut self, reason: StopReason) -> Result<String> {
        let rest = self.stream.finish()?.unwrap_or_default();
        let (mut text, stopped) = self.stop_strings.push(&rest);
        if stopped {
            self.state = State::Ending(StopReason::StopString);
        } else {
            text += &self.stop_strings.finish();
            self.state = State::Ending(reason);
        }
        Ok(text)
    }
}

impl Iterator for Answer<'_, '_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.state {
                State::Ended => return None,
                State::Ending(reason) => {
                    self.state = State::Ended;
                    self.report.stop = Some(reason);
                    return Some(Ok(Event::Done(reason)));
                }
                State::Running => match self.step() {
                    Ok(text) if text.is_empty() => {}
                    Ok(text) => {
                        self.text += &text;
                        return Some(Ok(Event::Text(text)));
                    }
                    Err(error) => {
                        self.state = State::Ended;
                        self.chat.forget();
                        return Some(Err(error));
                    }
                },
            }
        }
    }
}

impl Drop for Answer<'_, '_> {
    fn drop(&mut self) {
        let said = TurnPart::Text(std::mem::take(&mut self.text));
        self.chat.turns.push(Turn { role: Role::Assistant, parts: vec![said] });
    }
}
