//! What one decode step does, by count.

use serde::Serialize;

use crate::{
    device::Compute,
    kernel::tally::{self, Tally},
    model::{Decoder, KeyValueCache},
};

/// A decode step in counts, which no machine's speed distorts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepCount {
    /// Runs of this crate's kernels; appending to the caches comes on top, twice a layer.
    pub dispatches: u64,
    /// Submissions to the device's queue.
    pub submissions: u64,
    /// Transfers back to the host.
    pub read_backs: u64,
    /// Bytes of those.
    pub read_back_bytes: u64,
    /// Bytes of the kernels' inputs.
    pub bytes_read: u64,
    /// Bytes of the decoder's weights and of the keys and values that the step attends to.
    pub weights_and_cache_bytes: u64,
    /// `bytes_read` over `weights_and_cache_bytes`.
    pub bytes_ratio: f64,
}

/// Counts from its start.
pub struct Counter {
    before: Tally,
    submissions: Option<u64>,
}

impl Counter {
    pub fn start(compute: &Compute) -> Self {
        let submissions = compute.submissions();
        Self { before: tally::so_far(), submissions }
    }

    /// What was done since; `None` on the CPU path, which has neither kernels nor submissions.
    pub fn finish(self, compute: &Compute, decoder: &Decoder, cache: &KeyValueCache) -> Option<StepCount> {
        let Tally { dispatches, bytes_read, read_backs, read_back_bytes } = tally::so_far() - self.before;
        // The later question is a submission itself.
        let submissions = compute.submissions()?.checked_sub(self.submissions?)?.saturating_sub(1);
        let weights_and_cache_bytes = decoder.step_bytes() + cache.bytes();
        let bytes_ratio = bytes_read as f64 / weights_and_cache_bytes.max(1) as f64;
        Some(StepCount {
            dispatches,
            submissions,
            read_backs,
            read_back_bytes,
            bytes_read,
            weights_and_cache_bytes,
            bytes_ratio,
        })
    }
}
