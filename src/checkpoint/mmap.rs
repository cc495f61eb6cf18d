//! Files mapped into memory. The crate's other unsafe code is at the program's own start (`cli::environment`) and in the CPU
//! path's matrices (`cpu::matrix`, `cpu::mapped`).
//!
//! A mapping is unsafe because another process may change or cut the file while it is borrowed. Why that is
//! borne here, as in every program that maps model files (safetensors, candle, llama.cpp):
//!
//! - The map is read-only, and only whole regular files are mapped.
//! - What decides about control flow and sizes (the header) is copied out and checked once; afterwards the
//!   bytes are only ever read as numbers, for which every bit pattern is a value. A file changed under the
//!   program gives wrong weights, as it would have a moment earlier.
//! - A file cut short gives SIGBUS on access to the lost pages: the program ends, no memory is corrupted. [`Mapping`] says
//!   before a tensor is read whether the file still is as long as it was, so that this takes a cut in that very moment. A
//!   file that is replaced by another (renamed over it, as downloads are) stays mapped as it was.
#![allow(unsafe_code)]

use std::{fs::File, io, ops::Range, path::Path};

use memmap2::{Mmap, MmapOptions};

use super::files::open_regular;
use crate::error::{Error, Result};

/// A file in memory, held open.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: Mmap,
    file: File,
}

impl Mapping {
    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The mapping alone.
    pub fn into_map(self) -> Mmap {
        self.map
    }

    /// Whether nobody has cut the file meanwhile; else what there is to say about it.
    pub fn check_length(&self) -> Result<(), String> {
        match self.file.metadata() {
            Ok(found) if found.len() < self.map.len() as u64 => Err(format!(
                "the file had {} bytes when it was opened and has {} now: somebody writes to it; load the model again \
                 when it is whole",
                self.map.len(),
                found.len()
            )),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("cannot be read any more: {error}")),
        }
    }

    /// Lets the system take back the memory behind `range`.
    pub fn release(&self, range: Range<usize>) {
        release(&self.map, range);
    }
}

/// Maps a file; `None` if there is none.
pub(crate) fn map(path: &Path) -> Result<Option<Mapping>> {
    let Some((file, length)) = open_regular(path)? else { return Ok(None) };
    if length == 0 {
        return Err(Error::model(path, "the file is empty; download it again"));
    }
    // SAFETY: as the module's documentation argues.
    let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(path, source))?;
    Ok(Some(Mapping { map, file }))
}

/// Maps `length` bytes of a file that this process wrote, from `start` on; what it writes behind them is not in the map.
pub(crate) fn map_part(file: &File, start: u64, length: usize) -> io::Result<Mmap> {
    // SAFETY: as the module's documentation argues.
    unsafe { MmapOptions::new().offset(start).len(length).map(file) }
}

/// Lets the system take back the memory behind `range`; reading it again reads the file again.
///
/// Only advice: where it is not understood, the pages go when memory runs short.
#[cfg(unix)]
pub(crate) fn release(map: &Mmap, range: Range<usize>) {
    // SAFETY: `DontNeed` forgets pages of the file that were read, which come back as the file has them: the borrowed
    // bytes keep their values, under the same condition on the file as above.
    let advised =
        unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
    if let Err(error) = advised {
        tracing::debug!(%error, "mapped memory not released");
    }
}

/// There is no such advice on this system.
#[cfg(not(unix))]
pub(crate) fn release(_map: &Mmap, _range: Range<usize>) {}
