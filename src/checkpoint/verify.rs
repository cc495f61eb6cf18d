//! Whether the stored tensors are exactly those that the configuration calls for.

use std::collections::HashSet;

use super::{Checkpoint, Location, names::is_harmless, quoted};
use crate::error::{Error, Result};

/// Everything that does not fit, by kind.
#[derive(Default)]
struct Misfits {
    missing: Vec<String>,
    unused: Vec<String>,
    misshaped: Vec<String>,
    mistyped: Vec<String>,
}

impl Checkpoint {
    /// Checks that every `expected` tensor (canonical name and shape) is stored, and nothing else.
    ///
    /// Tensors known to be harmless (saved constants, CLIP's unused end) and those that `ignored` accepts by
    /// canonical name may be there too.
    ///
    /// # Errors
    /// One [`Error::Model`] that lists all missing, unused and mis-shaped tensors and those of a wrong type.
    pub fn verify(
        &self,
        expected: impl IntoIterator<Item = (String, Vec<usize>)>,
        ignored: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let mut misfits = Misfits::default();
        let mut wanted = HashSet::new();
        for (name, shape) in expected {
            match self.tensors.get(&name) {
                None => {
                    let promise = self.promised.get(&name);
                    let promise = promise.map(|file| format!(" (the index puts it into {})", quoted(file)));
                    misfits.missing.push(format!("{name} {shape:?}{}", promise.unwrap_or_default()));
                }
                Some(found) if found.shape != shape => {
                    misfits.misshaped.push(format!("{name}: expected {shape:?}, found {:?}", found.shape));
                }
                Some(Location { dtype: Err(found), .. }) => {
                    misfits.mistyped.push(format!("{name}: expected F32, F16 or BF16, found {found}"));
                }
                Some(_) => {}
            }
            wanted.insert(name);
        }
        for (name, found) in &self.tensors {
            if !wanted.contains(name) && !is_harmless(name) && !ignored(name) {
                misfits.unused.push(format!("{} {:?}", quoted(&found.stored_name), found.shape));
            }
        }
        match misfits.describe() {
            Some(problem) => Err(Error::model(&self.root, problem)),
            None => Ok(()),
        }
    }
}

impl Misfits {
    fn describe(&self) -> Option<String> {
        let kinds = [
            ("missing", &self.missing),
            ("unused", &self.unused),
            ("mis-shaped", &self.misshaped),
            ("of a wrong type", &self.mistyped),
        ];
        let found: Vec<_> = kinds.into_iter().filter(|(_, names)| !names.is_empty()).collect();
        if found.is_empty() {
            return None;
        }
        let counts: Vec<_> = found.iter().map(|(kind, names)| format!("{} {kind}", names.len())).collect();
        let lists: Vec<_> =
            found.iter().map(|(kind, names)| format!("\n{kind}:\n  {}", names.join("\n  "))).collect();
        Some(format!(
            "the tensors do not fit the configuration: {}; the files may be of different models or downloads{}",
            counts.join(", "),
            lists.concat(),
        ))
    }
}
