//! What terminals are sent for a picture.
//!
//! Our own, but for the palette of sixels: `viuer` asks the terminal what it can, and waits for an answer without end; and one of
//! its dependencies has a licence that programs of ours cannot take in.

use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use icy_sixel::SixelImage;
use image::{ImageBuffer, Rgb, RgbImage, imageops};

use crate::Picture;

/// The most rows that a picture takes; as for columns, wide ones take the terminal's.
const MOST_ROWS: f64 = 20.0;
/// A cell of a terminal is about twice as high as wide.
const CELL_ASPECT: f64 = 2.0;
/// What a cell of a terminal with sixels is taken for, in pixels.
const CELL_PIXELS: [u32; 2] = [10, 20];
/// The most pixels of a side that a terminal is sent.
const MOST_PIXELS: usize = 1024;
/// The most characters of a chunk in kitty's protocol.
const CHUNK: usize = 4096;

/// Room for a picture in a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cells {
    columns: u32,
    rows: u32,
}

impl Cells {
    /// For a picture of so many pixels, so that all of it is seen above what is written next.
    pub fn within(width: usize, height: usize, columns: u16, rows: u16) -> Self {
        let most_rows = MOST_ROWS.min(f64::from(rows) - 4.0).max(1.0);
        let fitting = most_rows * CELL_ASPECT * width as f64 / height as f64;
        let columns = fitting.min(f64::from(columns)).max(1.0).floor();
        let rows = columns / CELL_ASPECT * height as f64 / width as f64;
        Self { columns: columns as u32, rows: rows.round().clamp(1.0, most_rows) as u32 }
    }
}

/// kitty's graphics protocol: the picture as a PNG in chunks, and no answer wanted.
///
/// <https://sw.kovidgoyal.net/kitty/graphics-protocol/>
pub(super) fn kitty(picture: &Picture, Cells { columns, rows }: Cells) -> Option<String> {
    let data = BASE64_STANDARD.encode(png(picture)?);
    let mut text = String::new();
    let mut control = format!("a=T,f=100,q=2,c={columns},r={rows},");
    let mut rest = data.as_str();
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(rest.len().min(CHUNK));
        let more = u8::from(!behind.is_empty());
        let _ = write!(text, "\x1b_G{control}m={more};{chunk}\x1b\\");
        control.clear();
        rest = behind;
    }
    Some(text + "\r\n")
}

/// iTerm2's inline images: a PNG in one piece.
///
/// <https://iterm2.com/documentation-images.html>
pub(super) fn iterm2(picture: &Picture, Cells { columns, rows }: Cells) -> Option<String> {
    let png = png(picture)?;
    let (size, data) = (png.len(), BASE64_STANDARD.encode(png));
    Some(format!("\x1b]1337;File=inline=1;size={size};width={columns};height={rows}:{data}\x07\r\n"))
}

/// DEC's sixels, in at most 256 colours.
pub(super) fn sixel(picture: &Picture, Cells { columns, rows }: Cells) -> Option<String> {
    let [width, height] = [columns * CELL_PIXELS[0], rows * CELL_PIXELS[1]];
    let small = resized(picture, width, height)?;
    let rgba = small.pixels().flat_map(|Rgb([r, g, b])| [*r, *g, *b, u8::MAX]).collect();
    let text = SixelImage::from_rgba(rgba, width as usize, height as usize).encode().ok()?;
    Some(text + "\r\n")
}

/// Lower half blocks, each two pixels: the upper in the colour of the ground.
pub(super) fn half_blocks(
    picture: &Picture,
    Cells { columns, rows }: Cells,
    has_all_colours: bool,
) -> Option<String> {
    let small = resized(picture, columns, 2 * rows)?;
    let colour = |Rgb([r, g, b]): Rgb<u8>| match has_all_colours {
        true => format!("2;{r};{g};{b}"),
        false => format!("5;{}", of_256(r, g, b)),
    };
    let mut text = String::new();
    for row in 0..rows {
        for column in 0..columns {
            let [upper, lower] = [2 * row, 2 * row + 1].map(|y| colour(*small.get_pixel(column, y)));
            let _ = write!(text, "\x1b[48;{upper}m\x1b[38;{lower}m\u{2584}");
        }
        text += "\x1b[0m\r\n";
    }
    Some(text)
}

/// The nearest of a terminal's 256 colours: of its cube of 6 x 6 x 6, or its greys.
fn of_256(r: u8, g: u8, b: u8) -> u8 {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let distance =
        |a: [u8; 3]| -> u32 { a.iter().zip([r, g, b]).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum() };
    let level = |value: u8| (0..6).min_by_key(|level| LEVELS[*level].abs_diff(value)).unwrap_or(0);
    let [r6, g6, b6] = [r, g, b].map(level);
    let cube = [LEVELS[r6], LEVELS[g6], LEVELS[b6]];
    let mean = (u32::from(r) + u32::from(g) + u32::from(b)) / 3;
    let grey = (mean.saturating_sub(3) / 10).min(23) as u8;
    match distance([8 + 10 * grey; 3]) < distance(cube) {
        true => 232 + grey,
        false => (16 + 36 * r6 + 6 * g6 + b6) as u8,
    }
}

/// The picture as a PNG, no larger than a terminal needs.
fn png(picture: &Picture) -> Option<Vec<u8>> {
    let longer = picture.width().max(picture.height());
    if longer <= MOST_PIXELS {
        return picture.to_png().ok();
    }
    let side = |side: usize| (side * MOST_PIXELS / longer).max(1);
    let (width, height) = (side(picture.width()), side(picture.height()));
    let small = resized(picture, width as u32, height as u32)?;
    Picture::from_rgb8(width, height, small.into_raw()).and_then(|small| small.to_png()).ok()
}

fn resized(picture: &Picture, width: u32, height: u32) -> Option<RgbImage> {
    let view =
        ImageBuffer::<Rgb<u8>, _>::from_raw(picture.width() as u32, picture.height() as u32, picture.rgb())?;
    Some(imageops::resize(&view, width, height, imageops::FilterType::Triangle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_keep_their_shape_within_the_screen() {
        for (size, screen, cells) in [
            ((640, 480), (80, 24), (53, 20)),
            ((4000, 10), (80, 24), (80, 1)),
            ((10, 4000), (80, 24), (1, 20)),
            ((640, 480), (30, 24), (30, 11)),
            ((640, 480), (80, 2), (2, 1)),
            ((1, 1), (80, 24), (40, 20)),
        ] {
            let found = Cells::within(size.0, size.1, screen.0, screen.1);
            assert_eq!((found.columns, found.rows), cells, "{size:?} on {screen:?}");
        }
    }

    #[test]
    fn colours_of_256_are_the_nearest() {
        for (colour, number) in [
            ((0, 0, 0), 16),
            ((255, 255, 255), 231),
            ((255, 0, 0), 196),
            ((95, 135, 175), 67),
            ((8, 8, 8), 232),
            ((128, 128, 128), 244),
            ((238, 238, 238), 255),
        ] {
            assert_eq!(of_256(colour.0, colour.1, colour.2), number, "{colour:?}");
        }
    }

    #[test]
    fn the_thinnest_pictures_can_be_sent() -> crate::Result<()> {
        let picture = Picture::from_rgb8(5000, 1, vec![0; 15_000])?;
        let cells = Cells::within(5000, 1, 80, 24);
        assert!(kitty(&picture, cells).is_some() && sixel(&picture, cells).is_some());
        let blocks = half_blocks(&picture, cells, true).unwrap_or_default();
        assert_eq!(blocks.matches('\u{2584}').count(), 80);
        Ok(())
    }
}
