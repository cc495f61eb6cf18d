//! A bound on the work of one submission.
//!
//! Windows resets a GPU that is busy with one submission for two seconds, and burn submits by the number of dispatches,
//! whatever they cost. So products are cut into pieces of at most [`MOST_FLOPS`], and what is queued is submitted
//! before it exceeds that: a quarter of a second on a GPU that multiplies at 250 GFLOP/s.
//!
//! A software adapter computes on the cores that the host runs on, and a host that is far ahead of it spins for room in
//! burn's queue. There the host sleeps until the work is done, every few products.

use std::cell::Cell;

use burn::tensor::Tensor;

use super::{launch, tally};

/// Floating-point operations of one submission, at most; those of single rows aside.
pub const MOST_FLOPS: u64 = 64 << 30;

/// Operations that a software adapter is given at once: some hundredths of a second.
const SOFTWARE_FLOPS: u64 = 64 << 20;

thread_local! {
    /// Operations queued since the last submission that was asked for here.
    static QUEUED: Cell<u64> = const { Cell::new(0) };
}

/// How many rows of a product a submission may have.
pub fn rows_at_once(inputs: usize, outputs: usize) -> usize {
    let of_a_row = flops(1, inputs, outputs).max(1);
    usize::try_from(MOST_FLOPS / of_a_row).unwrap_or(usize::MAX).max(1)
}

/// The operations of a product.
pub fn flops(rows: usize, inputs: usize, outputs: usize) -> u64 {
    2 * (rows as u64).saturating_mul(inputs as u64).saturating_mul(outputs as u64)
}

/// Notes that work of so many operations is about to be queued on the adapter of `tensor`, and submits what is queued
/// before if both together are too much for one submission.
pub fn before(flops: u64, tensor: &Tensor<2>, is_software: bool) {
    let most = if is_software { SOFTWARE_FLOPS } else { MOST_FLOPS };
    let (queued, is_due) = after(QUEUED.get(), flops, most);
    QUEUED.set(queued);
    if is_due && is_software {
        // That the device failed shows where results are read.
        let _ = tally::wait(&tensor.device());
    } else if is_due {
        launch::submit(tensor);
    }
}

/// Notes that all that was queued is done: a result was read.
pub fn is_done() {
    QUEUED.set(0);
}

/// What is queued after adding `flops`, and whether what was queued before has to be submitted first, to stay at `most`.
fn after(queued: u64, flops: u64, most: u64) -> (u64, bool) {
    match queued.saturating_add(flops) {
        sum if sum <= most => (sum, false),
        _ => (flops, queued > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_stays_below_the_bound() {
        let (mut queued, mut submissions) = (0, 0);
        // LLaVA-1.5-7B's layers with 640 rows: q, k, v, o, then the MLP.
        let layer = [(4096, 4096); 4].into_iter().chain([(4096, 11_008), (4096, 11_008), (11_008, 4096)]);
        let all: Vec<u64> = std::iter::repeat_n(layer, 32)
            .flatten()
            .map(|(inputs, outputs)| flops(640.min(rows_at_once(inputs, outputs)), inputs, outputs))
            .collect();
        for flops in &all {
            let (now, is_due) = after(queued, *flops, MOST_FLOPS);
            assert!(now <= MOST_FLOPS);
            submissions += u64::from(is_due);
            queued = now;
        }
        let total: u64 = all.iter().sum();
        assert!(submissions >= total / MOST_FLOPS, "{submissions} submissions of {total} operations");
    }

    #[test]
    fn a_large_product_is_cut_by_rows_and_a_small_one_is_not() {
        assert_eq!(rows_at_once(11_008, 4096), 762);
        assert!(rows_at_once(128, 128) > 1_000_000);
        assert_eq!(rows_at_once(1 << 20, 1 << 20), 1);
    }
}
