//! Stopping in the middle of the work.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::error::{Error, Result};

/// A flag that another thread raises to stop a question or its answer ([`Chat::cancel`](crate::Chat::cancel)).
///
/// It is looked at before every layer of the tower and of the decoder. Clones are the same flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is down.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag: what looks at it ends with [`Error::Cancelled`], also what begins later.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Lowers it again.
    pub fn reset(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Whether it is raised.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

thread_local! {
    /// The flag of the work that this thread is at: layers need not hand it on to each other.
    static CURRENT: RefCell<Option<Cancel>> = const { RefCell::new(None) };
}

/// Works with `flag` being looked at.
pub(crate) fn during<T>(flag: Option<&Cancel>, work: impl FnOnce() -> T) -> T {
    struct Before(Option<Cancel>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.replace(self.0.take());
        }
    }
    let _before = Before(CURRENT.replace(flag.cloned()));
    work()
}

/// Whether the work is to end. A layer that finds so computes nothing, and what comes out of the pass means nothing.
pub(crate) fn is_due() -> bool {
    CURRENT.with_borrow(|flag| flag.as_ref().is_some_and(Cancel::is_cancelled))
}

/// Ends the work if it is to end.
pub(crate) fn check() -> Result<()> {
    if is_due() { Err(Error::Cancelled) } else { Ok(()) }
}
