//! Where this program keeps what it can always make again.

use std::{env, path::PathBuf};

/// `$MUSTDROP_CACHE`, or `mustdrop` in the user's folder for caches; `None` where neither is known.
pub fn path() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("MUSTDROP_CACHE").or_else(|| {
        let home = || folder("HOME").map(|home| home.join(".cache"));
        let caches = folder("XDG_CACHE_HOME").or_else(|| folder("LOCALAPPDATA")).or_else(home)?;
        Some(caches.join("mustdrop"))
    })
}
