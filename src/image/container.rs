//! The pieces that JPEG, PNG and WebP files consist of, walked without believing any length.

/// What PNG files begin with.
pub(super) const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// JPEG's markers: end of image, start of scan, starts of frames, and the application segment of EXIF and XMP.
pub(super) mod marker {
    pub const END: u8 = 0xD9;
    pub const SCAN: u8 = 0xDA;
    /// Of all sorts of frames: C4, C8 and CC are tables.
    pub const FRAMES: [u8; 13] =
        [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF];
    pub const PROGRESSIVE: [u8; 4] = [0xC2, 0xC6, 0xCA, 0xCE];
    pub const APP1: u8 = 0xE1;
}

/// A JPEG file's segments, in order; the walk ends behind the last whole one.
pub(super) struct JpegSegments<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// One of them: its marker, and what its length covers.
pub(super) struct Segment<'a> {
    pub marker: u8,
    pub payload: &'a [u8],
}

impl<'a> JpegSegments<'a> {
    /// Starts behind the start of image.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2 }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte
    }

    /// The next marker that does not belong to a scan's numbers: neither a stuffed 0 nor a restart.
    fn marker(&mut self) -> Option<u8> {
        loop {
            while self.byte()? != 0xFF {}
            let mut marker = self.byte()?;
            while marker == 0xFF {
                marker = self.byte()?;
            }
            if !matches!(marker, 0 | 1 | 0xD0..=0xD7) {
                return Some(marker);
            }
        }
    }
}

impl<'a> Iterator for JpegSegments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let marker = self.marker()?;
        if marker == marker::END {
            self.at = self.bytes.len();
            return Some(Segment { marker, payload: &[] });
        }
        let length = u16::from_be_bytes([self.byte()?, self.byte()?]);
        let end = self.at + usize::from(length).checked_sub(2)?;
        let payload = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(Segment { marker, payload })
    }
}

/// A chunk of a PNG file, perhaps cut short.
pub(super) struct PngChunk<'a> {
    pub kind: [u8; 4],
    pub data: &'a [u8],
    /// Length, kind, data and checksum.
    pub whole: &'a [u8],
    /// Whether all of it is there.
    pub is_whole: bool,
}

impl PngChunk<'_> {
    /// Whether the checksum is that of kind and data.
    pub fn is_sound(&self) -> bool {
        let Some((body, checksum)) = self.whole.split_last_chunk() else { return false };
        body.get(4..).is_some_and(|body| crc32fast::hash(body) == u32::from_be_bytes(*checksum))
    }
}

/// A PNG file's chunks up to its end, the last one perhaps cut short.
pub(super) fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = PngChunk<'_>> {
    let mut rest = bytes.get(PNG_SIGNATURE.len()..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let kind: [u8; 4] = *rest.get(4..)?.first_chunk()?;
        let data = &rest[8..rest.len().min(length.saturating_add(8))];
        let end = length.saturating_add(12);
        let is_whole = end <= rest.len();
        let (whole, after) = rest.split_at(end.min(rest.len()));
        rest = if &kind == b"IEND" { &[] } else { after };
        Some(PngChunk { kind, data, whole, is_whole })
    })
}

/// A WebP file's chunks: their kinds and what they hold.
pub(super) fn webp_chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes.get(12..).unwrap_or_default();
    std::iter::from_fn(move || {
        let kind: [u8; 4] = *rest.first_chunk()?;
        let length = u32::from_le_bytes(*rest.get(4..)?.first_chunk()?) as usize;
        let data = rest.get(8..length.checked_add(8)?)?;
        rest = rest.get(8 + length + length % 2..).unwrap_or_default();
        Some((kind, data))
    })
}
