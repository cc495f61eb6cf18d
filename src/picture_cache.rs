//! Pictures that were encoded before, so that a conversation that shows one again need not look at it anew.

use std::{
    collections::VecDeque,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{drop::Pruning, image::Picture, llava::Llava, shown::Shown, tiling::PictureShape};

/// Bytes of an entry for each patch, beside its embeddings and features: flags, scores and lists of patches.
const BYTES_PER_PATCH: u64 = 64;

/// The decoder's view of pictures, kept in the device's memory up to a number of bytes; the least recently used goes first.
///
/// A picture is found again if its pixels, the preprocessing, the weights, the device and the rules for dropping tokens
/// are all the same. Pixels are compared by a hash of 128 bits whose key is drawn anew for each cache, so nobody can
/// make two pictures that pass for one another.
pub struct PictureCache {
    limit_bytes: u64,
    hashers: [RandomState; 2],
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// The least recently used first.
    entries: VecDeque<Entry>,
    bytes: u64,
}

struct Entry {
    key: Key,
    shown: Shown,
    bytes: u64,
}

/// What a picture in the cache is known by.
pub(crate) type Key = [u64; 2];

impl PictureCache {
    /// A cache of at most `limit_bytes`; with 0 it holds nothing.
    pub fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, hashers: [RandomState::new(), RandomState::new()], held: Mutex::default() }
    }

    /// Bytes of what it holds.
    pub fn bytes(&self) -> u64 {
        self.held().bytes
    }

    /// Pictures it holds.
    pub fn pictures(&self) -> usize {
        self.held().entries.len()
    }

    /// Forgets them all.
    pub fn clear(&self) {
        *self.held() = Held::default();
    }

    /// What `picture` would be known by.
    pub(crate) fn key(
        &self,
        picture: &Picture,
        shape: &PictureShape,
        llava: &Llava,
        pruning: Option<&Pruning>,
    ) -> Key {
        // Of these small values every field counts, and `Debug` leaves none out.
        let (preprocessor, weights, device) = (&llava.preprocessor, llava.weight_format(), llava.device());
        let rules = format!("{preprocessor:?} {shape:?} {weights:?} {device:?} {pruning:?}");
        let size = (picture.width(), picture.height());
        self.hashers
            .each_ref()
            .map(|hasher| hasher.hash_one((picture.rgb(), size, llava.fingerprint(), &rules)))
    }

    /// The picture that `key` stands for, which becomes the most recently used.
    pub(crate) fn get(&self, key: Key) -> Option<Shown> {
        let mut held = self.held();
        let at = held.entries.iter().position(|entry| entry.key == key)?;
        let entry = held.entries.remove(at)?;
        let shown = entry.shown.clone();
        held.entries.push_back(entry);
        Some(shown)
    }

    /// Keeps a picture, if there is room for it at all.
    pub(crate) fn put(&self, key: Key, shown: &Shown) {
        let bytes = shown.bytes() + shown.shape.patches() as u64 * BYTES_PER_PATCH;
        if bytes > self.limit_bytes {
            return;
        }
        let mut held = self.held();
        while held.bytes + bytes > self.limit_bytes
            && let Some(oldest) = held.entries.pop_front()
        {
            held.bytes -= oldest.bytes;
        }
        held.bytes += bytes;
        held.entries.push_back(Entry { key, shown: shown.clone(), bytes });
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing in here is left half done where a thread could panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PictureCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held();
        f.debug_struct("PictureCache")
            .field("limit_bytes", &self.limit_bytes)
            .field("bytes", &held.bytes)
            .field("pictures", &held.entries.len())
            .finish_non_exhaustive()
    }
}
