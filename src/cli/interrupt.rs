//! Ctrl-C: the end of the program, or of an answer.

use std::sync::{
    LazyLock,
    atomic::{AtomicBool, Ordering},
};

use crate::Cancel;

/// Whether Ctrl-C is caught rather than ending the program.
static CAUGHT: AtomicBool = AtomicBool::new(false);
/// Raised when it is pressed while it is caught.
static PRESSED: LazyLock<Cancel> = LazyLock::new(Cancel::new);

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
        PRESSED.reset();
    }

    /// What it raises.
    pub(super) fn flag(&self) -> Cancel {
        PRESSED.clone()
    }

    /// Whether it was pressed.
    pub(super) fn happened(&self) -> bool {
        PRESSED.is_cancelled()
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
    let is_first = CAUGHT.load(Ordering::SeqCst) && !PRESSED.is_cancelled();
    if is_first {
        PRESSED.cancel();
    } else {
        // Files appear by renaming, whole or not at all, so the process may simply end.
        std::process::exit(130);
    }
}
