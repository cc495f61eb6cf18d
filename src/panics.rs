//! The last net below libraries that panic on files from strangers.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// Whether a panic of this thread is about to become an error.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, which is a library's: a panic in it is the error `otherwise`, and nothing is printed about it.
///
/// What is known to panic is refused before; what `work` changes is not used again, or does not matter.
pub(crate) fn caught<T>(otherwise: &str, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_CAUGHT.get() {
                before(info);
            }
        }));
    });
    let is_nested = IS_CAUGHT.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(is_nested);
    outcome.unwrap_or_else(|_| Err(otherwise.to_owned()))
}
