//! Ctrl-C: the end of the program, or of an answer.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether Ctrl-C is caught rather than ending the program.
static CAUGHT: AtomicBool = AtomicBool::new(false);
/// Whether it was pressed since.
static HAPPENED: AtomicBool = AtomicBool::new(false);

/// Ctrl-C, caught as long as this lives.
#[derive(Debug)]
pub(super) struct Interrupts(());

impl Interrupts {
    /// Catches Ctrl-C from now on.
    pub(super) fn caught() -> Self {
        CAUGHT.store(true, Ordering::SeqCst);
        Self(())
    }

    /// Forgets that it was pressed.
    pub(super) fn clear(&self) {
        HAPPENED.store(false, Ordering::SeqCst);
    }

    /// Whether it was pressed.
    pub(super) fn happened(&self) -> bool {
        HAPPENED.load(Ordering::SeqCst)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        CAUGHT.store(false, Ordering::SeqCst);
    }
}

/// What Ctrl-C does.
pub(super) fn handle() {
    // Whoever presses it twice does not want to wait until the first is noticed.
    let is_first = CAUGHT.load(Ordering::SeqCst) && !HAPPENED.swap(true, Ordering::SeqCst);
    if !is_first {
        // Files appear by renaming, whole or not at all, so the process may simply end.
        std::process::exit(130);
    }
}
