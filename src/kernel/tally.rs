//! What kernels were asked to do, counted: for benches, which judge work by counts where times mislead.

use std::cell::Cell;

/// Work queued by one thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Runs of this crate's kernels.
    pub dispatches: u64,
    /// Bytes of their inputs, each counted once a run.
    pub bytes_read: u64,
    /// Transfers from the device back to the host.
    pub read_backs: u64,
    /// Bytes of those.
    pub read_back_bytes: u64,
}

impl std::ops::Sub for Tally {
    type Output = Self;

    /// What was added since `before`.
    fn sub(self, before: Self) -> Self {
        Self {
            dispatches: self.dispatches - before.dispatches,
            bytes_read: self.bytes_read - before.bytes_read,
            read_backs: self.read_backs - before.read_backs,
            read_back_bytes: self.read_back_bytes - before.read_back_bytes,
        }
    }
}

thread_local! {
    static TALLY: Cell<Tally> = const {
        Cell::new(Tally { dispatches: 0, bytes_read: 0, read_backs: 0, read_back_bytes: 0 })
    };
}

/// All that this thread has queued so far.
pub fn so_far() -> Tally {
    TALLY.get()
}

/// Counts a run of a kernel that reads so many bytes.
pub(super) fn note(bytes_read: u64) {
    let tally = TALLY.get();
    let dispatches = tally.dispatches + 1;
    TALLY.set(Tally { dispatches, bytes_read: tally.bytes_read + bytes_read, ..tally });
}

/// Counts a transfer of so many bytes to the host.
pub(super) fn note_read_back(bytes: u64) {
    let tally = TALLY.get();
    let (read_backs, read_back_bytes) = (tally.read_backs + 1, tally.read_back_bytes + bytes);
    TALLY.set(Tally { read_backs, read_back_bytes, ..tally });
}
