//! What a device was asked to do, counted where it is asked: for reports and benches, which judge work by counts where times
//! mislead. Tests compare the counts with those of a library in front of the driver.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    sync::{LazyLock, Mutex, PoisonError},
};

use burn::tensor::Device;
use burn_cubecl::CubeDevice;

use super::Kernel;
use crate::oracle::cost::Cost;

/// Work queued by one thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Runs of this crate's kernels.
    pub dispatches: u64,
    /// Kernels that the device had to build before it could run them: none where an earlier question did.
    pub pipelines: u64,
    /// Floating-point operations of kernels, a multiplication with an addition being two (the paper's count, which is that
    /// of [`PruningReport`](crate::report::PruningReport), pairs them).
    pub flops: u64,
    /// Bytes of what kernels read and write, each operand counted once a run; not memory that is held.
    pub bytes: u64,
    /// Transfers to the device: inputs, and parameters of kernels where it does not hold the same ones already.
    pub host_writes: u64,
    /// Bytes of those.
    pub host_write_bytes: u64,
    /// Transfers from the device back to the host.
    pub read_backs: u64,
    /// Bytes of those.
    pub read_back_bytes: u64,
    /// Waits and read-backs, to which wgpu gives a submission's number beside that of what they submit.
    #[serde(skip)]
    pub empty_submissions: u64,
}

impl Tally {
    /// Each count by itself, of both.
    fn each(self, other: Self, count: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            dispatches: count(self.dispatches, other.dispatches),
            pipelines: count(self.pipelines, other.pipelines),
            flops: count(self.flops, other.flops),
            bytes: count(self.bytes, other.bytes),
            host_writes: count(self.host_writes, other.host_writes),
            host_write_bytes: count(self.host_write_bytes, other.host_write_bytes),
            read_backs: count(self.read_backs, other.read_backs),
            read_back_bytes: count(self.read_back_bytes, other.read_back_bytes),
            empty_submissions: count(self.empty_submissions, other.empty_submissions),
        }
    }
}

impl std::ops::Sub for Tally {
    type Output = Self;

    /// What was added since `before`.
    fn sub(self, before: Self) -> Self {
        self.each(before, u64::saturating_sub)
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = self.each(other, u64::saturating_add);
    }
}

/// Parameters that burn keeps on a device for a thread's kernels, the longest unused making room for new ones.
const UNIFORMS: usize = 512;

/// The parameters that one device holds, each with when it was used last.
#[derive(Default)]
struct Uniforms {
    held: HashMap<Vec<u64>, u64>,
    clock: u64,
}

impl Uniforms {
    /// Whether `words` have to be brought to the device, which holds them from then on.
    fn is_new(&mut self, words: &[u64]) -> bool {
        self.clock += 1;
        if let Some(used) = self.held.get_mut(words) {
            *used = self.clock;
            return false;
        }
        if self.held.len() >= UNIFORMS {
            let oldest = self.held.iter().min_by_key(|(_, used)| **used).map(|(words, _)| words.clone());
            oldest.map(|words| self.held.remove(&words));
        }
        self.held.insert(words.to_vec(), self.clock);
        true
    }
}

thread_local! {
    static TALLY: Cell<Tally> = Cell::default();
    /// Whether the last that was asked for is a transfer to the device, which waits to be submitted.
    static IS_WRITTEN: Cell<bool> = const { Cell::new(false) };
    static HELD: RefCell<HashMap<CubeDevice, Uniforms>> = RefCell::new(HashMap::new());
}

/// All that this thread has queued so far.
pub fn so_far() -> Tally {
    TALLY.get()
}

fn add(more: Tally) {
    let mut tally = TALLY.get();
    tally += more;
    TALLY.set(tally);
}

/// Counts a run of `kernel`, which costs so much, with these parameters.
pub(super) fn note(kernel: &Kernel, device: &CubeDevice, cost: Cost, params: &[u64]) {
    let is_new = HELD.with_borrow_mut(|held| held.entry(device.clone()).or_default().is_new(params));
    add(Tally {
        dispatches: 1,
        pipelines: u64::from(is_built_for(kernel, device)),
        flops: cost.flops,
        bytes: cost.bytes,
        ..Tally::default()
    });
    if is_new {
        note_write(size_of_val(params) as u64);
    }
    IS_WRITTEN.set(false);
}

/// Whether a device has to build a kernel, which it has from then on, whoever runs it.
fn is_built_for(kernel: &Kernel, device: &CubeDevice) -> bool {
    static BUILT: LazyLock<Mutex<HashMap<CubeDevice, HashSet<super::launch::Identity>>>> =
        LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(device.clone()).or_default().insert(kernel.identity())
}

/// Counts a transfer of so many bytes to the device.
pub(super) fn note_write(bytes: u64) {
    add(Tally { host_writes: 1, host_write_bytes: bytes, ..Tally::default() });
    IS_WRITTEN.set(true);
}

/// Counts a transfer of so many bytes to the host.
pub(super) fn note_read_back(bytes: u64) {
    add(Tally { read_backs: 1, read_back_bytes: bytes, empty_submissions: 1, ..Tally::default() });
    IS_WRITTEN.set(false);
}

/// Waits until a device has done all that was queued.
///
/// # Errors
///
/// burn's, if the device failed.
pub fn wait(device: &Device) -> std::result::Result<(), impl std::fmt::Display> {
    // burn submits what is queued first, and then waits for it with a request that brings only pending transfers along.
    add(Tally { empty_submissions: u64::from(!IS_WRITTEN.replace(false)), ..Tally::default() });
    device.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_brought_once_until_others_push_them_out() {
        let mut uniforms = Uniforms::default();
        assert!(uniforms.is_new(&[1, 2]));
        assert!(!uniforms.is_new(&[1, 2]));
        // One more than fits, with the first used in between.
        (0..UNIFORMS as u64 - 1).for_each(|word| assert!(uniforms.is_new(&[word])));
        assert!(!uniforms.is_new(&[1, 2]));
        assert!(uniforms.is_new(&[7, 7, 7]), "takes the place of the longest unused");
        assert!(!uniforms.is_new(&[1, 2]));
        assert!(uniforms.is_new(&[0]), "which was this");
    }
}
