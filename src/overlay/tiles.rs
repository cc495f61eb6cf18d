//! The overlay of a picture in tiles: on the picture as it is, base and detail below each other.

use super::{
    CHARACTER, Canvas, Colour, HEADER, KEY, LINE, MARGIN, MERGED, TEXT, brightness, captions, lifetimes,
    pick_colour, pixel,
};
use crate::{
    error::Result,
    image::Picture,
    report::{PictureReport, TokenPlace},
};

/// Pixels of a panel's longer side.
const LONGER_SIDE: f64 = 480.0;
/// Characters that a caption may need.
const CAPTION: usize = 48;

/// Both rows of panels: what they show, and which tiles belong to them.
const ROWS: [&str; 2] = ["BASE: the whole picture, squeezed", "DETAIL: tiles"];

pub(super) fn draw(picture: &Picture, report: &PictureReport) -> Result<Picture> {
    let scale = LONGER_SIDE / picture.width().max(picture.height()) as f64;
    let side = |pixels: usize| ((pixels as f64 * scale).round() as usize).max(1);
    let (width, height) = (side(picture.width()), side(picture.height()));
    // Wide enough for its caption.
    let column = width.max(CAPTION * CHARACTER) + MARGIN;
    let row_height = LINE + height + MARGIN;
    let mut canvas = Canvas::new(3 * column + MARGIN, HEADER + MARGIN + 2 * row_height);
    let newlines = report.tokens.iter().filter(|patches| patches.is_empty()).count();
    let mut captions = captions(report, report.grid * report.grid * report.tiles.len());
    captions[0][1] += &format!(", {newlines} newlines");
    let life = lifetimes(report);
    // What every pixel of a panel shows, by row of panels.
    let pixels: Vec<(f64, f64)> = (0..width * height)
        .map(|i| (((i % width) as f64 + 0.5) / scale, ((i / width) as f64 + 0.5) / scale))
        .collect();
    let patches = [false, true].map(|is_detail| -> Vec<Option<usize>> {
        pixels.iter().map(|at| patch_at(report, is_detail, *at)).collect()
    });
    let (has_merged, has_picks) = (!report.merged_windows.is_empty(), !report.picks.is_empty());
    for (stage, caption) in captions.iter().enumerate() {
        let left = MARGIN + stage * column;
        canvas.caption(left, caption);
        for (row, title) in ROWS.iter().enumerate() {
            let top = HEADER + MARGIN + row * row_height + LINE;
            canvas.text(left, top - LINE, title, TEXT);
            for (i, (at, patch)) in pixels.iter().zip(&patches[row]).enumerate() {
                let brightness = brightness(stage, patch.and_then(|patch| life[patch]), report.kept.len());
                let colour = pixel(picture, at.0, at.1).unwrap_or([90; 3]);
                let colour = colour.map(|level| (f64::from(level) * brightness) as u8);
                canvas.set(left + i % width, top + i / width, colour);
            }
            let panel = Panel { left, top, width, height, scale, is_detail: row == 1 };
            if stage == 0 {
                for (number, token) in report.picks.iter().enumerate() {
                    panel.frame(
                        &mut canvas,
                        report.places.get(*token),
                        0,
                        pick_colour(number, report.picks.len()),
                    );
                }
                let merged = report.places.iter().zip(&report.tokens);
                for (place, _) in merged.filter(|(_, patches)| has_merged && patches.len() > 1) {
                    panel.frame(&mut canvas, Some(place), usize::from(has_picks), MERGED);
                }
            }
            for token in &report.key_tokens {
                panel.frame(&mut canvas, report.places.get(*token), 2, KEY);
            }
        }
    }
    canvas.legend(report, report.tokens.len() < report.dense_tokens || !report.kept.is_empty());
    Picture::from_rgb8(canvas.width, canvas.height, canvas.rgb)
}

/// The patch, counted over all tiles, of the base or of the detail that shows a place of the picture.
fn patch_at(report: &PictureReport, is_detail: bool, (x, y): (f64, f64)) -> Option<usize> {
    let (grid, side) = (report.grid, report.side as f64);
    let tiles = report.tiles.iter().enumerate().filter(|(tile, _)| (*tile > 0) == is_detail);
    tiles.into_iter().find_map(|(tile, seen)| {
        let [column, row] = [
            (x - seen.placement.left) / seen.placement.step_x,
            (y - seen.placement.top) / seen.placement.step_y,
        ]
        .map(|pixels| pixels / side * grid as f64);
        let is_inside = [column, row].iter().all(|place| (0.0..grid as f64).contains(place));
        is_inside.then(|| (tile * grid + row as usize) * grid + column as usize)
    })
}

/// The picture once, of a stage.
struct Panel {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    scale: f64,
    is_detail: bool,
}

impl Panel {
    /// Frames a token that this panel shows, `inset` pixels inside its outer edges.
    fn frame(&self, canvas: &mut Canvas, place: Option<&Option<TokenPlace>>, inset: usize, colour: Colour) {
        let place = place.copied().flatten().filter(|place| (place.tile > 0) == self.is_detail);
        let Some(TokenPlace { pixels: all, .. }) = place else { return };
        let place = |pixels: f64, most: usize| ((pixels * self.scale).round().max(0.0) as usize).min(most);
        let (x0, y0) = (place(all[0], self.width) + inset, place(all[1], self.height) + inset);
        let (x1, y1) = (place(all[2], self.width), place(all[3], self.height));
        let (x1, y1) = (x1.saturating_sub(1 + inset), y1.saturating_sub(1 + inset));
        if x0 < x1 && y0 < y1 {
            canvas.frame([self.left + x0, self.top + y0, self.left + x1, self.top + y1], colour);
        }
    }
}
