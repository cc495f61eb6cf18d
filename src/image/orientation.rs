//! Which way up a picture is: EXIF's and XMP's orientation, wherever a file has it, read as Pillow's `exif_transpose` reads it.

use image::{ImageFormat, metadata::Orientation};

use super::container::{JpegSegments, marker, png_chunks, webp_chunks};

/// EXIF's tag of that name.
const TAG: u16 = 0x0112;
/// What JPEG and some PNG and WebP files put before a block.
const EXIF_PREFIX: &[u8] = b"Exif\0\0";
const XMP_PREFIX: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// A WebP file's flag that it has a block of EXIF.
const WEBP_EXIF_FLAG: u8 = 8;
/// The most that all compressed texts of a file may become.
const TEXT_LIMIT_BYTES: usize = 4 << 20;
/// Keys of PNG's texts that hold EXIF in hexadecimal digits, EXIF as it is, and XMP.
const PROFILE_KEY: &[u8] = b"Raw profile type exif";
const EXIF_KEY: &[u8] = b"exif";
const XMP_KEY: &[u8] = b"XML:com.adobe.xmp";
const KEYS: [&[u8]; 3] = [PROFILE_KEY, EXIF_KEY, XMP_KEY];

/// How the picture in `bytes` has to be turned; not at all where it does not say, or not properly.
pub(super) fn orientation(format: ImageFormat, bytes: &[u8]) -> Orientation {
    let Blocks { exif, xmp } = match format {
        ImageFormat::Jpeg => jpeg(bytes),
        ImageFormat::Png => png(bytes),
        ImageFormat::WebP => webp(bytes),
        _ => Blocks::default(),
    };
    let exif = exif.map_or(Found::Nothing, |exif| of_exif(exif.strip_prefix(EXIF_PREFIX).unwrap_or(&exif)));
    let value = match exif {
        Found::Value(value) => Some(value),
        Found::Nothing => xmp.and_then(|xmp| of_xmp(&xmp)),
        Found::Unreadable => None,
    };
    value
        .and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?))
        .unwrap_or(Orientation::NoTransforms)
}

/// What a file says of itself.
#[derive(Default)]
struct Blocks {
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
}

/// What a block of EXIF says.
enum Found {
    /// No orientation.
    Nothing,
    /// One, in range or not.
    Value(u64),
    /// One that is no number, or no block at all.
    Unreadable,
}

fn jpeg(bytes: &[u8]) -> Blocks {
    let mut blocks = Blocks::default();
    for segment in JpegSegments::new(bytes).take_while(|segment| segment.marker != marker::SCAN) {
        if segment.marker != marker::APP1 {
            continue;
        }
        if let Some(part) = segment.payload.strip_prefix(EXIF_PREFIX) {
            // A block may be cut into several.
            blocks.exif.get_or_insert_default().extend_from_slice(part);
        } else if let Some(xmp) = segment.payload.strip_prefix(XMP_PREFIX) {
            blocks.xmp = Some(xmp.to_vec());
        }
    }
    blocks
}

fn png(bytes: &[u8]) -> Blocks {
    let (mut blocks, mut profile, mut room) = (Blocks::default(), None, TEXT_LIMIT_BYTES);
    for chunk in png_chunks(bytes).filter(|chunk| chunk.is_whole) {
        if &chunk.kind == b"eXIf" {
            blocks.exif = Some(chunk.data.to_vec());
            continue;
        }
        match png_text(&chunk.kind, chunk.data, &mut room) {
            Some((key, text)) if key == PROFILE_KEY => profile = of_profile(&text),
            Some((key, text)) if key == EXIF_KEY && &chunk.kind == b"tEXt" => profile = Some(text),
            Some((key, text)) if key == XMP_KEY => blocks.xmp = Some(text),
            _ => {}
        }
    }
    blocks.exif = blocks.exif.or(profile);
    blocks
}

/// Key and text of a chunk of text, if the key is one of ours; `room` is what compressed texts may still take.
fn png_text<'a>(kind: &[u8; 4], data: &'a [u8], room: &mut usize) -> Option<(&'a [u8], Vec<u8>)> {
    let split = |data: &'a [u8]| {
        let end = data.iter().position(|byte| *byte == 0)?;
        Some((&data[..end], &data[end + 1..]))
    };
    let mut inflate = |data: &[u8]| {
        let text = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(data, *room).ok();
        // One that does not fit has cost as much.
        *room -= text.as_ref().map_or(*room, Vec::len).min(*room);
        text
    };
    let is_text = [*b"tEXt", *b"zTXt", *b"iTXt"].contains(kind);
    let (key, rest) = split(data).filter(|(key, _)| is_text && KEYS.contains(key))?;
    match kind {
        b"tEXt" => Some((key, rest.to_vec())),
        b"zTXt" => Some((key, inflate(rest.get(1..)?)?)),
        _ => {
            let is_compressed = *rest.first()? == 1;
            let (_language, rest) = split(rest.get(2..)?)?;
            let (_translated_key, text) = split(rest)?;
            Some((key, if is_compressed { inflate(text)? } else { text.to_vec() }))
        }
    }
}

/// A block in ImageMagick's profiles: name and length on lines of their own, then hexadecimal digits.
fn of_profile(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let digits: Vec<u8> =
        text.split('\n').skip(3).flat_map(str::bytes).filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

fn webp(bytes: &[u8]) -> Blocks {
    let mut blocks = Blocks::default();
    let mut has_exif = false;
    for (kind, data) in webp_chunks(bytes) {
        match &kind {
            b"VP8X" => has_exif = data.first().is_some_and(|flags| flags & WEBP_EXIF_FLAG != 0),
            b"EXIF" if has_exif && blocks.exif.is_none() => blocks.exif = Some(data.to_vec()),
            b"XMP " => blocks.xmp = blocks.xmp.or(Some(data.to_vec())),
            _ => {}
        }
    }
    blocks
}

/// The orientation among the tags of a TIFF file's first directory.
fn of_exif(block: &[u8]) -> Found {
    let is_little = match block.first_chunk() {
        Some(b"II*\0" | b"II\0*") => true,
        Some(b"MM\0*" | b"MM*\0") => false,
        _ => return Found::Unreadable,
    };
    let number = |bytes: &[u8]| {
        let next = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if is_little { bytes.iter().rev().fold(0, next) } else { bytes.iter().fold(0, next) }
    };
    let offset = number(block.get(4..8).unwrap_or_default()) as usize;
    let Some(directory) = block.get(offset..).filter(|directory| directory.len() >= 2) else {
        return Found::Unreadable;
    };
    for entry in directory[2..].chunks_exact(12).take(number(&directory[..2]) as usize) {
        let (tag, kind, count) = (number(&entry[..2]), number(&entry[2..4]), number(&entry[4..8]));
        let Some(bytes) = bytes_of(kind) else { continue };
        let value = match count.saturating_mul(bytes as u64) {
            0..=4 => Some(&entry[8..]),
            size => {
                let start = number(&entry[8..]) as usize;
                let end = start.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
                match block.get(start..end) {
                    Some(value) => Some(value),
                    // What comes behind a value that is not there is not read either, unless it could not be anywhere.
                    None if size <= block.len() as u64 => return Found::Nothing,
                    None => None,
                }
            }
        };
        if tag != u64::from(TAG) || count == 0 {
            continue;
        }
        return match value.and_then(|value| integer(kind, value.get(..bytes)?, &number)) {
            Some(value) => Found::Value(value),
            None => Found::Unreadable,
        };
    }
    Found::Nothing
}

/// How long a value of a type is; unknown types are not looked at.
fn bytes_of(kind: u64) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16 => Some(8),
        _ => None,
    }
}

/// The value of a number; bytes and texts are none.
fn integer(kind: u64, value: &[u8], number: &impl Fn(&[u8]) -> u64) -> Option<u64> {
    let whole = |value: f64| (value.fract() == 0.0 && value >= 0.0).then_some(value as u64);
    match kind {
        3 | 4 | 6 | 8 | 9 | 13 | 16 => Some(number(value)),
        5 | 10 => whole(number(&value[..4]) as f64 / number(&value[4..]) as f64),
        11 => whole(f64::from(f32::from_bits(number(value) as u32))),
        12 => whole(f64::from_bits(number(value))),
        _ => None,
    }
}

/// The digit behind `tiff:Orientation="` or `tiff:Orientation>`.
fn of_xmp(xmp: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut places = xmp.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    places.find_map(|(at, _)| {
        let rest = &xmp[at + NAME.len()..];
        let digit = rest.strip_prefix(b"=\"").or(rest.strip_prefix(b">"))?.first()?;
        digit.is_ascii_digit().then(|| u64::from(digit - b'0'))
    })
}
