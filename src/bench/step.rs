//! What one decode step does, by count.

use serde::Serialize;

use crate::{
    device::{Compute, Meter, Work},
    model::{Decoder, KeyValueCache},
};

/// A decode step in counts, which no machine's speed distorts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepCount {
    /// What the device was asked to do.
    #[serde(flatten)]
    pub work: Work,
    /// Bytes of the decoder's weights and of the keys and values that the step attends to.
    pub weights_and_cache_bytes: u64,
    /// Bytes of the kernels' operands over `weights_and_cache_bytes`.
    pub bytes_ratio: f64,
}

impl StepCount {
    /// What was done since `meter` started.
    pub(super) fn new(
        meter: Meter,
        compute: &Compute,
        decoder: &Decoder,
        cache: &KeyValueCache,
    ) -> Option<Self> {
        let (work, _) = meter.lap(compute)?;
        let weights_and_cache_bytes = decoder.step_bytes() + cache.bytes();
        let bytes_ratio = work.tally.bytes as f64 / weights_and_cache_bytes.max(1) as f64;
        Some(Self { work, weights_and_cache_bytes, bytes_ratio })
    }
}
