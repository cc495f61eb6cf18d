//! What a device was asked to do, for reports.

use serde::Serialize;

use super::Compute;
use crate::kernel::tally::{self, Tally};

/// What an adapter was asked to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Work {
    /// What was queued.
    #[serde(flatten)]
    pub tally: Tally,
    /// Submissions to the device's queue, those of other threads included.
    pub submissions: u64,
}

/// Counts from its start. To ask for the number of submissions is a submission itself, which is not counted.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    before: Tally,
    submissions: u64,
}

impl Meter {
    /// Starts to count what this thread does; `None` on the CPU path, which has neither kernels nor submissions.
    pub fn start(compute: &Compute) -> Option<Self> {
        let submissions = compute.submissions()?;
        Some(Self { before: tally::so_far(), submissions })
    }

    /// What was done since the start, all of it on this thread, and a meter that starts now.
    pub fn lap(self, compute: &Compute) -> Option<(Work, Self)> {
        let tally = tally::so_far() - self.before;
        let next = Self::start(compute)?;
        Some((Work { tally, submissions: next.since(self, tally)? }, next))
    }

    /// Submissions since the start, given what was done on whatever threads.
    pub fn submissions(self, done: Tally, compute: &Compute) -> Option<u64> {
        Self::start(compute)?.since(self, done)
    }

    /// Submissions between two starts, without those that submitted nothing and the later question.
    fn since(self, before: Self, done: Tally) -> Option<u64> {
        Some(self.submissions.checked_sub(before.submissions)?.saturating_sub(1 + done.empty_submissions))
    }
}
