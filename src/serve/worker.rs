//! The thread that owns the decoder: one answer after the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    conversation::{Conversation, Said},
    queue::{Pace, Place},
};
use crate::{
    Event, Llava, Part, PictureCache,
    error::{Error, Result},
    image::Allowance,
    report::Report,
};

/// A conversation that waits for its answer.
pub(super) struct Job {
    pub conversation: Conversation,
    pub arrived: Instant,
    /// Closed once nobody waits for the answer any more.
    pub events: mpsc::UnboundedSender<Progress>,
    /// Given back when the answer is done with, whoever still listens.
    pub place: Place,
}

/// What a request gets to know of its answer.
#[derive(Debug)]
pub(super) enum Progress {
    /// The prompt went through the decoder.
    Started,
    /// The next piece of the answer.
    Text(String),
    /// The answer is complete.
    Done(Box<Finished>),
    /// There will be none, or no more of it.
    Failed(Error),
}

/// A complete answer's account.
#[derive(Debug)]
pub(super) struct Finished {
    pub report: Report,
    /// The time in line.
    pub queued: Duration,
}

/// What the thread works with.
pub(super) struct Worker {
    pub model: Arc<Llava>,
    pub cache: Arc<PictureCache>,
    pub max_pixels: u64,
    pub pace: Arc<Pace>,
}

/// Answers `jobs` until nobody can send any more.
pub(super) fn run(mut worker: Worker, mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        let Job { conversation, arrived, events, place } = job;
        let start = Instant::now();
        match worker.answer(conversation, start - arrived, &events) {
            // That nobody listens is how a client leaves.
            Ok(()) => worker.pace.note(start.elapsed()),
            Err(error) => {
                drop(events.send(Progress::Failed(error)));
                worker.recover();
            }
        }
        drop(place);
    }
}

impl Worker {
    /// Where the device was lost, loads the model once more on a fresh one, for the next answer.
    fn recover(&mut self) {
        if !self.model.is_device_lost() {
            return;
        }
        self.cache.clear();
        match self.model.reload() {
            Ok(model) => self.model = Arc::new(model),
            // The next answer fails as this one did, and is followed by another attempt.
            Err(error) => tracing::error!("the device was lost, and there is no fresh one: {error}"),
        }
    }

    fn answer(
        &self,
        conversation: Conversation,
        queued: Duration,
        events: &mpsc::UnboundedSender<Progress>,
    ) -> Result<()> {
        let Conversation { turns, rules, pruning } = conversation;
        let mut allowance = Allowance::new(self.max_pixels);
        let mut shown = Vec::with_capacity(turns.len());
        for (role, said) in turns {
            let mut parts = Vec::with_capacity(said.len());
            for piece in said {
                if events.is_closed() {
                    return Ok(());
                }
                parts.push(match piece {
                    Said::Text(text) => Part::Text(text),
                    Said::Image(bytes, origin) => Part::Image(allowance.decode(&bytes, origin)?),
                });
            }
            shown.push((role, parts));
        }
        let Some((_, question)) = shown.pop().filter(|_| !events.is_closed()) else { return Ok(()) };
        let mut chat = self.model.chat().picture_cache(Arc::clone(&self.cache));
        if let Some(pruning) = pruning {
            chat = chat.pruning(pruning);
        }
        rules.adjust(chat.options_mut());
        let mut answer = chat.ask_after(shown, question)?;
        let mut is_heard = events.send(Progress::Started).is_ok();
        while is_heard && let Some(event) = answer.next() {
            if let Event::Text(piece) = event? {
                is_heard = events.send(Progress::Text(piece)).is_ok();
            }
        }
        if is_heard {
            let report = answer.report().clone();
            drop(events.send(Progress::Done(Box::new(Finished { report, queued }))));
        }
        Ok(())
    }
}
