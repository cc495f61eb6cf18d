//! Reading a header from front to back, every length checked against what is left before it is used.

use crate::checkpoint::quoted;

/// The rest of a header.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// A reader of the bytes ahead, which leaves this one where it is.
    pub fn rest(&self) -> Self {
        Self::new(self.bytes.get(self.at..).unwrap_or_default())
    }

    /// The next `count` bytes; `what` is for messages.
    pub fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count);
        let Some((taken, end)) = end.and_then(|end| Some((self.bytes.get(self.at..end)?, end))) else {
            return Err(self.short(what, count));
        };
        self.at = end;
        Ok(taken)
    }

    pub fn array<const BYTES: usize>(&mut self, what: &str) -> Result<[u8; BYTES], String> {
        let taken = self.take(BYTES, what)?;
        taken.try_into().map_err(|_| self.short(what, BYTES))
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of items, of which each takes at least `item_bytes`: never more than there is room for.
    pub fn count(&mut self, item_bytes: usize, what: &str) -> Result<usize, String> {
        let count = self.u64(what)?;
        let room = (self.bytes.len() - self.at) / item_bytes.max(1);
        usize::try_from(count).ok().filter(|count| *count <= room).ok_or_else(|| {
            format!("damaged or cut short: {what}: expected at most {room}, for which there is room, found {count}; \
                 download it again")
        })
    }

    /// A length and as many bytes of UTF-8.
    pub fn text(&mut self, what: &str) -> Result<&'a str, String> {
        let length = self.count(1, &format!("length of {what}"))?;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| {
            format!("damaged: {what}: expected UTF-8, found {}", quoted(&String::from_utf8_lossy(bytes)))
        })
    }

    fn short(&self, what: &str, count: usize) -> String {
        format!(
            "cut short: {what}: expected {count} bytes from byte {} on, found {}; download it again",
            self.at,
            self.bytes.len() - self.at,
        )
    }
}
