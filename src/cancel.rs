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
/// It is looked at before every token and before every layer of the tower and of the decoder, on the CPU also within
/// large products; what an adapter has been given until then, it finishes. Clones are the same flag.
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

/// What this thread is at.
#[derive(Default)]
struct Work {
    flag: Option<Cancel>,
    /// Whether a layer found the flag raised, and was left out: lowering it does not bring the layer back.
    is_stopped: bool,
}

thread_local! {
    /// Layers need not hand the flag on to each other.
    static CURRENT: RefCell<Work> = RefCell::default();
}

/// Works with `flag` being looked at.
pub(crate) fn during<T>(flag: Option<&Cancel>, work: impl FnOnce() -> T) -> T {
    struct Before(Work);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.replace(std::mem::take(&mut self.0));
        }
    }
    let _before = Before(CURRENT.replace(Work { flag: flag.cloned(), is_stopped: false }));
    work()
}

/// Whether the work is to end. A layer that finds so computes nothing, and what comes out of the pass means nothing.
pub(crate) fn is_due() -> bool {
    CURRENT.with_borrow_mut(|work| {
        work.is_stopped |= work.flag.as_ref().is_some_and(Cancel::is_cancelled);
        work.is_stopped
    })
}

/// Ends the work if it is to end.
pub(crate) fn check() -> Result<()> {
    if is_due() { Err(Error::Cancelled) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_left_something_out_ends_even_if_the_flag_is_lowered() {
        let flag = Cancel::new();
        during(Some(&flag), || {
            assert!(check().is_ok());
            flag.cancel();
            assert!(is_due());
            flag.reset();
            assert!(matches!(check(), Err(Error::Cancelled)));
            during(None, || assert!(check().is_ok(), "other work in between is not concerned"));
            assert!(is_due());
        });
        assert!(!is_due());
        during(Some(&flag), || assert!(check().is_ok(), "nor is what comes later"));
    }
}
