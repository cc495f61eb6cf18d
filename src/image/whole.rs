//! Whether a file has all of its picture. Decoders fill up what is missing, which then is a picture of something else.

use std::borrow::Cow;

use image::ImageFormat;

use super::container::{JpegSegments, PNG_SIGNATURE, Segment, marker, png_chunks};

/// What a file's end says about the picture.
pub(super) enum Ending<'a> {
    /// It is there, in these bytes, to which a missing end may have been added.
    Whole(Cow<'a, [u8]>),
    /// Of a JPEG with a single scan, which does not end in these bytes, but may have all its numbers there.
    Open(&'a [u8]),
    /// It is not.
    Cut,
}

/// A JPEG file that ends with one scan, and something made up behind what it has of it.
///
/// Numbers that are missing are read from there: two such files make the same picture only if none is missing.
pub(super) struct Completed {
    bytes: Vec<u8>,
    start: usize,
}

impl Completed {
    const TAIL: usize = 64;
    /// What makes two different pictures of what is missing.
    const FILLINGS: [u8; 2] = [0x55, 0x9A];

    pub fn new(scan: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(scan.len() + Self::TAIL + 2);
        bytes.extend_from_slice(scan);
        bytes.resize(scan.len() + Self::TAIL, 0);
        bytes.extend_from_slice(&[0xFF, marker::END]);
        Self { bytes, start: scan.len() }
    }

    /// The file with one filling or the other.
    pub fn filled(&mut self, number: usize) -> &[u8] {
        let filling = Self::FILLINGS[number % Self::FILLINGS.len()];
        self.bytes[self.start..self.start + Self::TAIL].fill(filling);
        &self.bytes
    }
}

/// Looks at the end of a file.
pub(super) fn ending(format: ImageFormat, bytes: &[u8]) -> Ending<'_> {
    match format {
        ImageFormat::Jpeg => jpeg(bytes),
        ImageFormat::Png => Ending::Whole(png(bytes)),
        ImageFormat::WebP => webp(bytes),
        _ => Ending::Whole(bytes.into()),
    }
}

fn jpeg(bytes: &[u8]) -> Ending<'_> {
    let (mut is_progressive, mut scans, mut components) = (false, 0, None);
    let mut is_interleaved = false;
    for Segment { marker, payload } in JpegSegments::new(bytes) {
        match marker {
            marker::END if scans > 0 => return Ending::Whole(bytes.into()),
            marker::END => return Ending::Cut,
            marker::SCAN => {
                scans += 1;
                is_interleaved = payload.first().copied() == components;
            }
            _ if marker::FRAMES.contains(&marker) => {
                is_progressive |= marker::PROGRESSIVE.contains(&marker);
                components = payload.get(5).copied();
            }
            _ => {}
        }
    }
    // Whole scans may be missing without a trace, unless there is but one.
    if is_progressive || scans != 1 || !is_interleaved {
        return Ending::Cut;
    }
    // Zeros are what a transfer leaves where it has not been yet; one of them may belong to the byte before it.
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let is_stuffed = bytes[..length].ends_with(&[0xFF]) && length < bytes.len();
    Ending::Open(match bytes[..length].strip_suffix(&[0xFF]) {
        Some(before) if !is_stuffed => before,
        _ => &bytes[..length + usize::from(is_stuffed)],
    })
}

/// A WebP file is as long as it says. Its decoder insists on profiles and descriptions that are announced, of which none
/// changes the pixels: what they say is read elsewhere.
fn webp(bytes: &[u8]) -> Ending<'_> {
    /// Where the flags are, in files that begin with them.
    const FLAGS: usize = 20;
    const PROFILE_EXIF_XMP: u8 = 0x20 | 0x08 | 0x04;
    let length = bytes.get(4..).and_then(|rest| rest.first_chunk()).map(|length| u32::from_le_bytes(*length));
    if length.is_none_or(|length| u64::from(length) + 8 > bytes.len() as u64) {
        return Ending::Cut;
    }
    let mut bytes = Cow::Borrowed(bytes);
    if bytes.get(12..16) == Some(b"VP8X")
        && bytes.get(FLAGS).is_some_and(|flags| flags & PROFILE_EXIF_XMP != 0)
    {
        bytes.to_mut()[FLAGS] &= !PROFILE_EXIF_XMP;
    }
    Ending::Whole(bytes)
}

/// A PNG with its end, and with its data as one chunk, if they are missing or cut. Whether the data are all there, their decoder
/// finds out.
fn png(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut whole = PNG_SIGNATURE.to_vec();
    let mut data = Vec::new();
    for chunk in png_chunks(bytes) {
        match &chunk.kind {
            b"IEND" if chunk.is_whole => return bytes.into(),
            b"IEND" => break,
            // Damage is not for this to hide.
            b"IDAT" if chunk.is_whole && !chunk.is_sound() => return bytes.into(),
            b"IDAT" => data.extend_from_slice(chunk.data),
            // What is cut in the middle is no end that was forgotten.
            _ if !chunk.is_whole => return bytes.into(),
            _ if data.is_empty() => whole.extend_from_slice(chunk.whole),
            _ => {}
        }
    }
    for (kind, data) in [(b"IDAT", data.as_slice()), (b"IEND", &[])] {
        whole.extend_from_slice(&(data.len() as u32).to_be_bytes());
        let start = whole.len();
        whole.extend_from_slice(kind);
        whole.extend_from_slice(data);
        let checksum = crc32fast::hash(&whole[start..]);
        whole.extend_from_slice(&checksum.to_be_bytes());
    }
    whole.into()
}
