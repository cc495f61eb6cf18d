//! Whether a file has all of its picture. Decoders fill up what is missing, which then is a picture of something else.

use std::borrow::Cow;

use image::ImageFormat;

use super::container::{JpegSegments, PNG_SIGNATURE, marker, png_chunks};

/// Ends of a file that would make two different pictures of what is missing.
const TAILS: [[u8; 64]; 2] = [[0x55; 64], [0x9A; 64]];
const END_OF_JPEG: [u8; 2] = [0xFF, marker::END];

/// What a file's end says about the picture.
pub(super) enum Ending<'a> {
    /// It is there, in these bytes, to which a missing end may have been added.
    Whole(Cow<'a, [u8]>),
    /// It is there if these bytes make the same picture: a scan does not end, but may have all its numbers.
    Open([Vec<u8>; 2]),
    /// It is not.
    Cut,
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
    let (mut is_progressive, mut has_scan) = (false, false);
    for segment in JpegSegments::new(bytes) {
        match segment.marker {
            marker::END if has_scan => return Ending::Whole(bytes.into()),
            marker::END => return Ending::Cut,
            marker::SCAN => has_scan = true,
            other => is_progressive |= marker::PROGRESSIVE.contains(&other),
        }
    }
    // Scans of a progressive picture may be missing without a trace.
    if !has_scan || is_progressive {
        return Ending::Cut;
    }
    // Zeros are what a transfer leaves where it has not been yet.
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let bytes = bytes[..length].strip_suffix(&[0xFF]).unwrap_or(&bytes[..length]);
    Ending::Open(TAILS.map(|tail| [bytes, &tail, &END_OF_JPEG].concat()))
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
