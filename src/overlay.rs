//! A picture of what was kept: one panel a stage.

mod tiles;

use font8x8::UnicodeFonts;

use crate::{
    error::Result,
    image::Picture,
    report::{PictureReport, PruningReport},
};

/// Pixels of a patch's side.
const PATCH: usize = 16;
/// Pixels of a character's side.
const CHARACTER: usize = 8;
/// Pixels around panels and between lines.
const MARGIN: usize = 8;
/// Pixels of a line of text, and of the three above the panels.
const LINE: usize = CHARACTER + MARGIN;
const HEADER: usize = 3 * LINE;

type Colour = [u8; 3];
const BACKGROUND: Colour = [24, 24, 27];
const TEXT: Colour = [228, 228, 231];
const MERGED: Colour = [52, 211, 153];
const KEY: Colour = [250, 204, 21];
const DROPPED: Colour = [150; 3];
const FIRST_PICK: Colour = [125, 211, 252];
const LAST_PICK: Colour = [234, 88, 12];

impl PruningReport {
    /// Draws what became of a picture's patches: merged windows, picks in their order and key tokens in the vision tower, what
    /// each filter of the prefill dropped (the earlier, the darker), and what the caches hold for decoding.
    ///
    /// Of a picture in tiles, one row of panels shows what became of its base, and one what became of its detail, both on the picture
    /// as it is.
    ///
    /// `number` counts the pictures of the question from 0; `picture` must be the one that was shown. `None` if
    /// there is no such picture in this report.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`](crate::Error::Picture) if the drawing would be too large.
    pub fn overlay(&self, number: usize, picture: &Picture) -> Result<Option<Picture>> {
        let draw = |report: &PictureReport| match report.tiles.len() {
            1 => draw(picture, report),
            _ => tiles::draw(picture, report),
        };
        self.pictures.get(number).map(draw).transpose()
    }
}

fn draw(picture: &Picture, report: &PictureReport) -> Result<Picture> {
    let panel = report.grid * PATCH;
    let mut canvas = Canvas::new(3 * (panel + MARGIN) + MARGIN, panel + HEADER + 2 * MARGIN);
    let captions = captions(report, report.grid * report.grid);
    let life = lifetimes(report);
    let (has_merged, has_picks) = (!report.merged_windows.is_empty(), !report.picks.is_empty());
    for (stage, caption) in captions.iter().enumerate() {
        let left = MARGIN + stage * (panel + MARGIN);
        canvas.caption(left, caption);
        let top = HEADER + MARGIN;
        for (patch, life) in life.iter().enumerate() {
            let (x, y) = (patch % report.grid * PATCH, patch / report.grid * PATCH);
            let brightness = brightness(stage, *life, report.kept.len());
            canvas.patch(picture, report, (x, y), (left, top), brightness);
        }
        if stage == 0 {
            for (number, token) in report.picks.iter().enumerate() {
                if let Some(patches) = report.tokens.get(*token) {
                    let colour = pick_colour(number, report.picks.len());
                    canvas.outline(report, patches, (left, top), 0, colour);
                }
            }
            // Means of what is alike, or of a grid, are no merged windows.
            for tokens in report.tokens.iter().filter(|patches| has_merged && patches.len() > 1) {
                canvas.outline(report, tokens, (left, top), usize::from(has_picks), MERGED);
            }
        }
        for token in &report.key_tokens {
            if let Some(patches) = report.tokens.get(*token) {
                canvas.outline(report, patches, (left, top), 2, KEY);
            }
        }
    }
    canvas.legend(report, life.iter().any(|life| *life != Some(report.kept.len())));
    Picture::from_rgb8(canvas.width, canvas.height, canvas.rgb)
}

/// What stands above the panel of each stage.
fn captions(report: &PictureReport, patches: usize) -> [[String; 2]; 3] {
    let last = report.kept.last().map_or(report.tokens.len(), |kept| kept.tokens.len());
    let filters: Vec<String> =
        report.kept.iter().map(|kept| format!("{}:{}", kept.layer, kept.tokens.len())).collect();
    let prefill = match filters.is_empty() {
        true => "no filter".to_owned(),
        false => format!("kept behind layer {}", filters.join(" ")),
    };
    [
        ["1 VISION".to_owned(), format!("{patches} patches, {} tokens enter", report.tokens.len())],
        ["2 PREFILL".to_owned(), prefill],
        ["3 DECODE".to_owned(), format!("{last} tokens kept")],
    ]
}

/// How bright a patch is in the panel of a stage, whose token survived so many of all filters.
fn brightness(stage: usize, life: Option<usize>, filters: usize) -> f64 {
    match (stage, life) {
        // Entered and stayed, or is not judged yet.
        (_, Some(survived)) if survived == filters => 1.0,
        (0, Some(_)) => 1.0,
        (1, Some(survived)) => 0.15 + 0.45 * survived as f64 / filters as f64,
        _ => 0.12,
    }
}

/// The colour of a pick among so many.
fn pick_colour(number: usize, picks: usize) -> Colour {
    between(FIRST_PICK, LAST_PICK, number as f64 / picks.saturating_sub(1).max(1) as f64)
}

/// The colour at a share of the way from one to another.
fn between(from: Colour, to: Colour, share: f64) -> Colour {
    std::array::from_fn(|i| (f64::from(from[i]) * (1.0 - share) + f64::from(to[i]) * share).round() as u8)
}

/// For each patch, how many filters its token survived; `None` if it did not enter the decoder.
fn lifetimes(report: &PictureReport) -> Vec<Option<usize>> {
    let mut life = vec![None; report.grid * report.grid * report.tiles.len()];
    for (token, patches) in report.tokens.iter().enumerate() {
        let survived =
            report.kept.iter().take_while(|kept| kept.tokens.binary_search(&token).is_ok()).count();
        for patch in patches {
            // Where tokens are interpolated, several share a patch.
            let life = &mut life[*patch as usize];
            *life = (*life).max(Some(survived));
        }
    }
    life
}

struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, rgb: BACKGROUND.repeat(width * height) }
    }

    fn set(&mut self, x: usize, y: usize, colour: Colour) {
        if x < self.width && y < self.height {
            let at = 3 * (y * self.width + x);
            self.rgb[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Draws the patch at `(x, y)` of the panel at `(left, top)`, from the picture, darkened.
    fn patch(
        &mut self,
        picture: &Picture,
        report: &PictureReport,
        (x, y): (usize, usize),
        (left, top): (usize, usize),
        brightness: f64,
    ) {
        let placement = &report.placement;
        // Pixels of the model's square for one pixel of the panel.
        let scale = report.side as f64 / (report.grid * PATCH) as f64;
        for (dx, dy) in (0..PATCH * PATCH).map(|i| (i % PATCH, i / PATCH)) {
            let column = placement.left + ((x + dx) as f64 + 0.5) * scale * placement.step_x;
            let row = placement.top + ((y + dy) as f64 + 0.5) * scale * placement.step_y;
            let colour = pixel(picture, column, row).unwrap_or([90; 3]);
            let colour = colour.map(|level| (f64::from(level) * brightness) as u8);
            self.set(left + x + dx, top + y + dy, colour);
        }
    }

    /// Frames the patches of one token if they form a rectangle, `inset` pixels inside their outer edges.
    fn outline(
        &mut self,
        report: &PictureReport,
        patches: &[u32],
        (left, top): (usize, usize),
        inset: usize,
        colour: Colour,
    ) {
        let columns = patches.iter().map(|patch| *patch as usize % report.grid);
        let rows = patches.iter().map(|patch| *patch as usize / report.grid);
        let (Some(x0), Some(x1)) = (columns.clone().min(), columns.max()) else { return };
        let (Some(y0), Some(y1)) = (rows.clone().min(), rows.max()) else { return };
        if (x1 + 1 - x0) * (y1 + 1 - y0) != patches.len() {
            return; // patches here and there, such as a mean of what is alike
        }
        let (x0, x1) = (left + x0 * PATCH + inset, left + (x1 + 1) * PATCH - 1 - inset);
        let (y0, y1) = (top + y0 * PATCH + inset, top + (y1 + 1) * PATCH - 1 - inset);
        self.frame([x0, y0, x1, y1], colour);
    }

    /// Writes what stands above a panel in the first two lines.
    fn caption(&mut self, left: usize, caption: &[String; 2]) {
        for (line, text) in caption.iter().enumerate() {
            self.text(left, MARGIN + line * LINE, text, TEXT);
        }
    }

    /// Writes what colours mean, as far as they are there, in the third line.
    fn legend(&mut self, report: &PictureReport, has_dropped: bool) {
        let has_picks = !report.picks.is_empty();
        let entries = [
            ("merged window", MERGED, !report.merged_windows.is_empty()),
            ("first pick", FIRST_PICK, has_picks),
            ("last pick", LAST_PICK, has_picks),
            ("key token", KEY, !report.key_tokens.is_empty()),
            ("dark: dropped", DROPPED, has_dropped),
        ];
        let mut x = MARGIN;
        for (text, colour, _) in entries.into_iter().filter(|(.., is_there)| *is_there) {
            x = self.text(x, MARGIN + 2 * LINE, text, colour) + 2 * MARGIN;
        }
    }

    /// Frames a rectangle, edges included.
    fn frame(&mut self, [x0, y0, x1, y1]: [usize; 4], colour: Colour) {
        for x in x0..=x1 {
            self.set(x, y0, colour);
            self.set(x, y1, colour);
        }
        for y in y0..=y1 {
            self.set(x0, y, colour);
            self.set(x1, y, colour);
        }
    }

    /// Writes `text` and returns where it ends.
    fn text(&mut self, left: usize, top: usize, text: &str, colour: Colour) -> usize {
        let mut x = left;
        for glyph in text.chars().filter_map(|character| font8x8::BASIC_FONTS.get(character)) {
            for (dy, bits) in glyph.into_iter().enumerate() {
                for dx in (0..CHARACTER).filter(|dx| bits >> dx & 1 == 1) {
                    self.set(x + dx, top + dy, colour);
                }
            }
            x += CHARACTER;
        }
        x
    }
}

/// The colour at a place of the picture; `None` outside of it.
fn pixel(picture: &Picture, column: f64, row: f64) -> Option<Colour> {
    if column < 0.0 || row < 0.0 || column as usize >= picture.width() {
        return None;
    }
    let at = 3 * (row as usize * picture.width() + column as usize);
    picture.rgb().get(at..at + 3)?.try_into().ok()
}
