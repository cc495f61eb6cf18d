//! The decode loop, as an iterator of events.

use std::time::Instant;

use crate::{
    cancel::{self, Cancel},
    conversation::{Conversation, Prefilled, Row},
    device::Meter,
    error::{Error, Result},
    generation::GenerationOptions,
    kernel::tally,
    model::{Candidates, Logits},
    prompt::{Role, Turn, TurnPart},
    report::{Report, StopReason},
    sample::{Needs, Sampler},
    tokenizer::{StopStrings, TextStream},
};

/// What happens while an answer is made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The next piece of text; never empty.
    Text(String),
    /// The answer is complete. The last event.
    Done(StopReason),
}

/// An answer in the making: an iterator of [`Event`]s that computes one token at a time.
///
/// A text comes as soon as it is certain, which may take several tokens: of a character that has only begun, or of what
/// may become a stop string, nothing is said yet. It ends after [`Event::Done`] or an error. Dropping it keeps what was
/// said in the conversation.
pub struct Answer<'c> {
    conversation: &'c mut Conversation,
    seed: u64,
    sampler: Sampler,
    stream: TextStream,
    stop_strings: StopStrings,
    max_new_tokens: usize,
    next: Next,
    /// Counts from the first logits on.
    meter: Option<Meter>,
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

impl<'c> Answer<'c> {
    pub(crate) fn start(
        conversation: &'c mut Conversation,
        prefilled: Prefilled,
        options: GenerationOptions,
    ) -> Result<Self> {
        // Where a picture stands, the prompt has the token that stands for one.
        let image_token = conversation.llava.tokenizer.image_token();
        let prompt = conversation.cached.iter().map(|row| match row {
            Row::Text(id) => *id,
            Row::Vision { .. } => image_token,
        });
        let seed = options.sampling.seed;
        let mut sampler = Sampler::new(options.sampling, prompt);
        if let Some((_, generator)) = conversation.drawn.take().filter(|(drawn, _)| *drawn == seed) {
            sampler.resume(generator);
        }
        Ok(Self {
            stream: conversation.llava.tokenizer.stream(),
            stop_strings: StopStrings::new(&options.stop)?,
            conversation,
            seed,
            sampler,
            max_new_tokens: options.max_new_tokens,
            next: Next::Sample(Box::new(prefilled.logits)),
            meter: prefilled.meter,
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

    /// As [`step`](Self::step), with its share of the work in the report.
    fn counted_step(&mut self) -> Result<String> {
        // Answers may change threads between two tokens, and counts are a thread's.
        let before = tally::so_far();
        let text = self.step();
        if let Some(work) = &mut self.report.work {
            work.decode.tally += tally::so_far() - before;
        }
        text
    }

    /// Produces one token and returns the text that became certain with it.
    fn step(&mut self) -> Result<String> {
        let start = Instant::now();
        let logits = match &self.next {
            Next::Sample(logits) => logits.as_ref().clone(),
            Next::Decode(token) => {
                let flag = self.conversation.cancel.clone();
                let logits = cancel::during(flag.as_ref(), || self.conversation.decode(*token))?;
                self.report.kv_rows_per_layer = self.conversation.cache.rows_per_layer();
                self.report.kv_bytes = self.conversation.cache.bytes();
                logits
            }
        };
        let token = self.choose(&logits)?;
        self.report.times.decode += start.elapsed();
        if self.conversation.llava.defaults.eos_token_ids.contains(&token) {
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
        if self.conversation.is_full() {
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

impl Iterator for Answer<'_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let flag = self.conversation.cancel.as_ref();
            if self.state == State::Running && flag.is_some_and(Cancel::is_cancelled) {
                // Between two tokens the cache is whole, and serves the next question.
                self.state = State::Ended;
                return Some(Err(Error::Cancelled));
            }
            match self.state {
                State::Ended => return None,
                State::Ending(reason) => {
                    self.state = State::Ended;
                    self.report.stop = Some(reason);
                    if let (Some(work), Some(meter)) = (&mut self.report.work, self.meter.take()) {
                        let compute = self.conversation.llava.compute();
                        let submissions = meter.submissions(work.decode.tally, compute);
                        work.decode.submissions = submissions.unwrap_or_default();
                    }
                    return Some(Ok(Event::Done(reason)));
                }
                State::Running => match self.counted_step() {
                    Ok(text) if text.is_empty() => {}
                    Ok(text) => {
                        self.text += &text;
                        return Some(Ok(Event::Text(text)));
                    }
                    Err(error) => {
                        self.state = State::Ended;
                        self.conversation.forget();
                        return Some(Err(error));
                    }
                },
            }
        }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.conversation.drawn = Some((self.seed, self.sampler.generator()));
        let said = TurnPart::Text(std::mem::take(&mut self.text));
        self.conversation.turns.push(Turn { role: Role::Assistant, parts: vec![said] });
    }
}
