//! A bound on the work of one submission.
//!
//! Windows resets a GPU that is busy with one submission for two seconds, and burn submits by the number of dispatches,
//! whatever they cost. So products and attention of many rows, beside which the rest weighs nothing, are cut into pieces, and
//! what is queued is submitted before it exceeds what the device computes in a tenth of a second
//! ([`Variants::submission_flops`]), and [`MOST_FLOPS`] in any case. A piece has 64 rows at least: of a 7B model's widest
//! product that is 11.5 GFLOP, which takes a device of 6 GFLOP/s two seconds.
//!
//! A software adapter computes on the cores that the host runs on, and a host that is far ahead of it spins for room in
//! burn's queue. There the host sleeps until the work is done, every few products.

use std::{cell::Cell, time::Duration};

use burn::tensor::Tensor;

use super::{launch, tally, variants::Variants};

/// Floating-point operations of one submission, at most; those of single rows aside. A quarter of a second on a GPU that
/// computes 250 GFLOP/s.
pub const MOST_FLOPS: u64 = 64 << 30;
/// As few as a slow device is given; with less, it would wait for the host.
const LEAST_FLOPS: u64 = 1 << 30;
/// What a submission should take at most.
const LONGEST: Duration = Duration::from_millis(100);

/// Operations that a software adapter is given at once: some hundredths of a second.
const SOFTWARE_FLOPS: u64 = 64 << 20;

/// Rows that a tile of every kernel has room for: with fewer, work would grow.
const TILE_ROWS: u64 = 64;

thread_local! {
    /// Operations queued since the last submission that was asked for here.
    static QUEUED: Cell<u64> = const { Cell::new(0) };
}

/// What one submission may have on a device that took `time` for so many operations.
pub fn measured(flops: u64, time: Duration) -> u64 {
    let of_longest = flops as f64 * LONGEST.as_secs_f64() / time.as_secs_f64().max(1e-9);
    (of_longest as u64).clamp(LEAST_FLOPS, MOST_FLOPS)
}

/// How many rows, of which each costs so many operations, a dispatch may have: whole tiles, as far as even one tile is not
/// too much.
pub fn rows_at_once(flops_of_a_row: u64, variants: Variants) -> usize {
    let of_a_row = flops_of_a_row.max(1);
    let tiles = variants.most_flops() / of_a_row / TILE_ROWS;
    let rows = if tiles > 0 { tiles * TILE_ROWS } else { TILE_ROWS.min(MOST_FLOPS / of_a_row).max(1) };
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// Notes that work of so many operations is about to be queued on the adapter of `tensor`, and submits what is queued
/// before if both together are too much for one submission.
pub fn before<const D: usize>(flops: u64, tensor: &Tensor<D>, variants: Variants) {
    let most = if variants.is_software { SOFTWARE_FLOPS } else { variants.most_flops() };
    let (queued, is_due) = after(QUEUED.get(), flops, most);
    QUEUED.set(queued);
    if is_due && variants.is_software {
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

    /// Operations of a row of LLaVA-1.5-7B's products: queries, keys and values, output, gates and values, down.
    const ROW: [u64; 4] = [2 * 4_096 * 12_288, 2 * 4_096 * 4_096, 2 * 4_096 * 22_016, 2 * 11_008 * 4_096];

    fn slow(submission_flops: u64) -> Variants {
        Variants { submission_flops, ..Variants::default() }
    }

    #[test]
    fn a_submission_stays_below_the_bound() {
        for variants in [Variants::default(), slow(12 << 30), slow(1 << 30)] {
            let (mut queued, mut submissions, mut total) = (0, 0, 0);
            for of_a_row in std::iter::repeat_n(ROW, 32).flatten() {
                let at_once = rows_at_once(of_a_row, variants);
                for start in (0..640).step_by(at_once) {
                    let flops = at_once.min(640 - start) as u64 * of_a_row;
                    let (now, is_due) = after(queued, flops, variants.most_flops());
                    // A tile may be more than that by itself.
                    assert!(now <= variants.most_flops().max(TILE_ROWS * of_a_row));
                    submissions += u64::from(is_due);
                    queued = now;
                    total += flops;
                }
            }
            assert_eq!(total, 640 * 32 * ROW.iter().sum::<u64>(), "all rows");
            let largest = variants.most_flops().max(TILE_ROWS * ROW[2]);
            assert!(submissions >= total / largest, "{submissions} of {total} operations");
        }
    }

    #[test]
    fn work_is_cut_into_whole_tiles_and_small_work_is_not() {
        assert_eq!(rows_at_once(ROW[3], Variants::default()), 704);
        assert_eq!(rows_at_once(ROW[3], slow(1 << 30)), 64, "a tile, though it is more than that");
        assert!(rows_at_once(2 * 128 * 128, Variants::default()) > 1_000_000);
        assert_eq!(rows_at_once(2 << 40, Variants::default()), 1);
    }

    #[test]
    fn a_device_is_given_what_it_computes_in_a_tenth_of_a_second() {
        assert_eq!(measured(1 << 30, Duration::from_millis(50)), 2 << 30);
        assert_eq!(measured(1 << 30, Duration::from_micros(1)), MOST_FLOPS);
        assert_eq!(measured(1 << 30, Duration::from_secs(9)), LEAST_FLOPS);
    }
}
