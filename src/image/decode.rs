//! Pictures from PNG, JPEG and WebP files, upright and in RGB.

use std::{
    fmt, fs,
    io::{Cursor, Read},
    path::Path,
    sync::Arc,
};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits, RgbImage,
    codecs::png::PngEncoder,
};

use super::{
    formats::what_else,
    orientation::orientation,
    whole::{Completed, Ending, ending},
};
use crate::{
    error::{Error, Result},
    panics,
    tiling::Size,
};

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// The most pixels a picture may have; said by the file's header, checked before any pixel is decoded.
pub const MAX_PIXELS: u64 = 100_000_000;
/// The most pixels that the pictures of a question may have together.
pub const MAX_PIXELS_TOGETHER: u64 = 2 * MAX_PIXELS;
/// The most pixels a side of a picture may have.
pub const MAX_SIDE: u32 = 65_535;
/// Memory that decoding may take: the largest picture with four 16-bit channels, and some room.
const MAX_DECODER_BYTES: u64 = 1 << 30;

/// What is said of a decoder's panic.
const PANICKED: &str = "damaged: its decoder breaks down over it; save it anew with another program";
/// The formats that are read.
const SUPPORTED: [ImageFormat; 3] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];
/// What to do about a file that is no picture of ours.
const FORMATS: &str = "expected a PNG, JPEG or WebP picture";

/// A decoded picture: 8-bit RGB, the way up that its maker meant.
#[derive(Clone)]
pub struct Picture {
    width: usize,
    height: usize,
    /// Shared by clones.
    rgb: Arc<Vec<u8>>,
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} x {})", self.width, self.height)
    }
}

impl Picture {
    /// Reads a PNG, JPEG or WebP file.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`] if the file is missing, no picture, damaged, or too large.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_within(path, MAX_PIXELS)
    }

    /// As [`open`](Self::open), for a picture of at most `max_pixels` pixels (and [`MAX_PIXELS`]).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_within(path: impl AsRef<Path>, max_pixels: u64) -> Result<Self> {
        let path = path.as_ref();
        Self::decode_within(&Self::bytes_of(path)?, path.display().to_string(), max_pixels)
    }

    /// The bytes of a picture's file, as far as they are not too many; [`decode`](Self::decode) refuses more.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`] if the file is missing, no regular file, or cannot be read.
    pub fn bytes_of(path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let failed = |problem: String| Error::picture(origin.clone(), problem);
        let found = fs::metadata(path)
            .map_err(|error| failed(format!("cannot be read: {error}{}", advice(&origin, &error))))?;
        if !found.is_file() {
            let kind = if found.is_dir() {
                "a directory"
            } else {
                "no regular file; `-` reads a picture from stdin"
            };
            return Err(failed(format!("{FORMATS}, found {kind}")));
        }
        let mut bytes = Vec::new();
        // One byte above the limit is enough for `decode` to refuse it.
        fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| failed(format!("cannot be read: {error}")))?;
        Ok(bytes)
    }

    /// Decodes the bytes of a PNG, JPEG or WebP file.
    ///
    /// The EXIF orientation is applied, transparency is dropped (as transformers drops it: the colours below
    /// it show), and greys and palettes become RGB. `origin` names the bytes in messages.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`] if they are no picture, damaged, or larger than [`MAX_PIXELS`].
    pub fn decode(bytes: &[u8], origin: impl Into<String>) -> Result<Self> {
        Self::decode_within(bytes, origin, MAX_PIXELS)
    }

    /// As [`decode`](Self::decode), for a picture of at most `max_pixels` pixels (and [`MAX_PIXELS`]).
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn decode_within(bytes: &[u8], origin: impl Into<String>, max_pixels: u64) -> Result<Self> {
        let max_pixels = max_pixels.min(MAX_PIXELS);
        let origin = origin.into();
        let failed = |problem: String| Error::picture(origin.clone(), problem);
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(failed(format!(
                "expected at most {MAX_FILE_BYTES} bytes, found more; shrink the picture"
            )));
        }
        let reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|error| failed(format!("cannot be read: {error}")))?;
        let Some(format) = reader.format().filter(|format| SUPPORTED.contains(format)) else {
            return Err(failed(format!("{FORMATS}, found {}", what_else(bytes))));
        };
        let decode =
            |bytes: &[u8]| panics::caught(PANICKED, || pixels(format, bytes, max_pixels)).map_err(failed);
        let image = match ending(format, bytes) {
            Ending::Whole(bytes) => decode(&bytes)?,
            Ending::Cut => {
                // Of a file that has not even a size, that is the better thing to say.
                decode(bytes)?;
                return Err(failed(cut_short("the end of the picture is missing")));
            }
            Ending::Open(scan) => {
                let mut completed = Completed::new(scan);
                let one = decode(completed.filled(0))?;
                let other = decode(completed.filled(1))?;
                let row_bytes = one.width() as usize * 3;
                let rows = one.as_raw().chunks(row_bytes).zip(other.as_raw().chunks(row_bytes));
                let same = rows.take_while(|(one, other)| one == other).count();
                if same < one.height() as usize {
                    let missing = 100.0 * (1.0 - same as f64 / f64::from(one.height()));
                    return Err(failed(cut_short(&format!(
                        "about {missing:.0} % of the picture are missing"
                    ))));
                }
                one
            }
        };
        // Eight bits first: a picture of 16 bits with four channels is three times as large.
        let mut image = DynamicImage::from(image);
        image.apply_orientation(orientation(format, bytes));
        let image = image.into_rgb8();
        let (width, height) = image.dimensions();
        Self::from_rgb8(width as usize, height as usize, image.into_raw())
    }

    /// A picture from its pixels, row by row, three bytes each.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`] if a side is 0 or too long, or the bytes are not `3 * width * height`.
    pub fn from_rgb8(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3));
        if width.min(height) == 0 || width.max(height) > MAX_SIDE as usize || expected != Some(rgb.len()) {
            return Err(Error::picture(
                "picture",
                format!(
                    "expected sides from 1 to {MAX_SIDE} and 3 bytes a pixel, found {width} x {height} pixels in {} bytes",
                    rgb.len()
                ),
            ));
        }
        Ok(Self { width, height, rgb: Arc::new(rgb) })
    }

    /// The picture as the bytes of a PNG file.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`] if the encoder fails.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(&self.rgb, self.width as u32, self.height as u32, ExtendedColorType::Rgb8)
            .map_err(|error| Error::picture("picture", format!("cannot be written as PNG: {error}")))?;
        Ok(bytes)
    }

    /// Height and width.
    pub(crate) fn size(&self) -> Size {
        Size { height: self.height(), width: self.width() }
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The pixels, row by row, three bytes each.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

/// What to do about a path that names nothing.
fn advice(path: &str, error: &std::io::Error) -> &'static str {
    let is_address = ["http://", "https://", "ftp://"].iter().any(|scheme| path.starts_with(scheme));
    match error.kind() {
        _ if is_address => "; pictures are read from files: download it first, as with `curl -O`",
        _ if path.starts_with("file://") => "; give the path alone, without file://",
        _ if path.starts_with("~/") => {
            "; write the home folder out: the shell replaces ~ at the start of an unquoted word alone"
        }
        _ if path.starts_with("data:") => "; pictures are read from files: save it as one",
        std::io::ErrorKind::NotFound if path.contains(char::is_whitespace) || path.ends_with('?') => {
            "; if this is a question: the picture comes before it"
        }
        _ => "",
    }
}

/// The pixels as a file has them, not yet turned; or what is wrong.
fn pixels(format: ImageFormat, bytes: &[u8], max_pixels: u64) -> Result<RgbImage, String> {
    let unreadable = |error: image::ImageError| format!("{FORMATS}, found one that cannot be read: {error}");
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > max_pixels {
        let why =
            if max_pixels < MAX_PIXELS { " (what is left beside other pictures, or allowed)" } else { "" };
        return Err(format!(
            "expected at most {max_pixels} pixels{why} and {MAX_SIDE} on a side, found {width} x {height}; shrink the picture"
        ));
    }
    Ok(DynamicImage::from_decoder(decoder).map_err(unreadable)?.into_rgb8())
}

fn cut_short(what: &str) -> String {
    format!("cut short: {what}; download or copy it again")
}
