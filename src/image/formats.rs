//! Files that are no picture of ours, by name.

/// How a file begins, what it is then called, and what to do about it.
const KINDS: [(&[u8], &str, &str); 23] = [
    (b"GIF8", "a GIF picture", CONVERT),
    (b"II*\0", "a TIFF picture", CONVERT),
    (b"MM\0*", "a TIFF picture", CONVERT),
    (b"II+\0", "a TIFF picture", CONVERT),
    (b"MM\0+", "a TIFF picture", CONVERT),
    (b"%PDF-", "a PDF document", "save the page as a picture"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture", CONVERT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture", CONVERT),
    (b"\xff\x0a", "a JPEG XL picture", CONVERT),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", CONVERT),
    (b"8BPS", "a Photoshop document", CONVERT),
    (b"\0\0\x01\0", "an icon (ICO)", CONVERT),
    (b"\0\0\x02\0", "an icon (ICO)", CONVERT),
    (b"DDS ", "a DDS texture", CONVERT),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture", CONVERT),
    (b"#?RADIANCE", "a Radiance HDR picture", CONVERT),
    (b"#?RGBE", "a Radiance HDR picture", CONVERT),
    (b"qoif", "a QOI picture", CONVERT),
    (b"PK\x03\x04", "a ZIP archive (or an office document)", "unpack the picture"),
    (b"PK\x05\x06", "a ZIP archive", "unpack the picture"),
    (b"\x1f\x8b", "a gzip archive", "unpack the picture"),
    (b"\x1a\x45\xdf\xa3", "a WebM or Matroska video", FRAME),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
];

const CONVERT: &str = "save it as PNG or JPEG";
const HEIC: &str = "convert it, as with `heif-convert photo.heic photo.jpg` or `sips -s format jpeg photo.heic --out photo.jpg`, or have the \
    phone take \"most compatible\" pictures";
const AVIF: &str = "convert it, as with `avifdec picture.avif picture.png`";
const FRAME: &str = "save one of its frames as PNG or JPEG";

/// How many bytes are looked at.
const LOOKED_AT: usize = 4096;

/// What bytes that are no picture of ours look like, and what to do about it where that is known.
pub(super) fn what_else(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(LOOKED_AT)];
    if start.is_empty() {
        return "an empty file".into();
    }
    let known = || {
        KINDS.iter().find(|(magic, ..)| start.starts_with(magic)).map(|(_, kind, advice)| (*kind, *advice))
    };
    match media(start).or_else(|| text(start)).or_else(|| by_look(start)).or_else(known) {
        Some((kind, advice)) => format!("{kind}, which is not supported; {advice}"),
        None if is_text(start) => "text".into(),
        None => "something else".into(),
    }
}

/// Formats whose beginning a text could have, too, or that have their name elsewhere.
fn by_look(start: &[u8]) -> Option<(&'static str, &'static str)> {
    // A number or a comment follows, not a sentence.
    let is_pnm = matches!(start, [b'P', b'1'..=b'6', blank, ..] if blank.is_ascii_whitespace())
        && start[2..].trim_ascii_start().first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'#');
    match start {
        _ if is_pnm => Some(("a PNM picture", CONVERT)),
        [b'B', b'M', ..] if !is_text(start) => Some(("a BMP picture", CONVERT)),
        [b'm', b'o', b'o', b'v', ..] | [_, _, _, _, b'm', b'o', b'o', b'v', ..] => Some(("a video", FRAME)),
        _ => None,
    }
}

/// Pictures and videos in ISO's container, by their brands.
fn media(start: &[u8]) -> Option<(&'static str, &'static str)> {
    let length = u32::from_be_bytes(*start.first_chunk()?) as usize;
    if start.get(4..8)? != b"ftyp" {
        return None;
    }
    let brands = start.get(8..length.min(start.len()))?;
    // The main brand, a version, and those that the file is compatible with.
    let has = |names: &[&[u8]]| {
        brands.chunks_exact(4).enumerate().any(|(at, brand)| at != 1 && names.contains(&brand))
    };
    Some(match () {
        () if has(&[b"avif", b"avis"]) => ("an AVIF picture", AVIF),
        () if has(&[b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"]) => {
            ("a HEIC picture", HEIC)
        }
        () if has(&[b"jp2 "]) => ("a JPEG 2000 picture", CONVERT),
        () if has(&[b"qt  "]) => ("a QuickTime video", FRAME),
        () => ("an MP4 video", FRAME),
    })
}

/// Texts that mean a picture, or a page that a download brought instead of one.
fn text(start: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = match start {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ if is_text(start) => String::from_utf8_lossy(start).into_owned(),
        _ => return None,
    };
    let text = text.trim_start_matches('\u{feff}').trim_start().to_lowercase();
    if !text.starts_with('<') {
        return None;
    }
    let first = |names: [&str; 2]| names.iter().filter_map(|name| text.find(name)).min();
    match (first(["<!doctype html", "<html"]), first(["<svg", ":svg"])) {
        (None, Some(_)) => Some(("an SVG drawing", "save it as PNG")),
        (Some(page), svg) if svg.is_none_or(|svg| page < svg) => {
            Some(("a web page", "look at what the address answers, and download the picture itself"))
        }
        (Some(_), _) => Some(("an SVG drawing", "save it as PNG")),
        (None, None) => None,
    }
}

fn utf16(bytes: &[u8], number: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = bytes.as_chunks().0.iter().map(|pair| number(*pair)).collect();
    String::from_utf16_lossy(&units)
}

/// Whether bytes are UTF-8, but for a last character that is cut, without control characters but blanks and line ends; or UTF-16
/// with a mark.
fn is_text(start: &[u8]) -> bool {
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        return true;
    }
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !valid.is_empty() && !valid.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}'))
}
