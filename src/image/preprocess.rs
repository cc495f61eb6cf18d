//! What a model sees of a picture: a square of normalised pixels, and where it lies in the picture.

use std::{fmt, str::FromStr};

use super::{
    decode::Picture,
    resize::{Axis, Canvas, resample},
};
use crate::error::{Error, Result};

/// How a picture that is not square becomes square.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fit {
    /// Resize the short side, cut off what the long side has too much (transformers' default).
    #[default]
    Crop,
    /// Fill the short sides up with the mean colour, then resize (the original LLaVA's).
    Pad,
}

impl FromStr for Fit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "crop" => Ok(Self::Crop),
            "pad" => Ok(Self::Pad),
            _ => Err(Error::argument("--fit", "crop or pad", text)),
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crop => "crop",
            Self::Pad => "pad",
        })
    }
}

/// The size a picture is resized to, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resize {
    /// The short side gets this length and the long one keeps the proportion.
    ShortestEdge(usize),
    /// Both sides are given.
    Exact {
        /// Rows.
        height: usize,
        /// Pixels in a row.
        width: usize,
    },
}

/// The steps from a picture to pixel values (`CLIPImageProcessor` in transformers).
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessor {
    /// The size to resize to.
    pub resize: Resize,
    /// Height and width of the middle that is cut out after resizing.
    pub crop: Option<(usize, usize)>,
    /// Factor from 8-bit levels to numbers.
    pub rescale: f32,
    /// Mean of each channel, subtracted.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, divided by.
    pub std: [f32; 3],
    /// What happens to pictures that are not square.
    pub fit: Fit,
}

impl Preprocessor {
    /// CLIP ViT-L/14 at 336 pixels.
    pub const CLIP: Self = Self {
        resize: Resize::ShortestEdge(336),
        crop: Some((336, 336)),
        rescale: 1.0 / 255.0,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        fit: Fit::Crop,
    };
}

impl Default for Preprocessor {
    /// [`Preprocessor::CLIP`]
    fn default() -> Self {
        Self::CLIP
    }
}

/// Pixel values of one picture, as the vision tower takes them.
#[derive(Debug, Clone)]
pub struct Pixels {
    /// `[3, side, side]`, row-major.
    pub values: Vec<f32>,
    /// Side of the square.
    pub side: usize,
    /// Where the square lies in the picture.
    pub placement: Placement,
}

/// Where the model's square lies in the picture: square pixel `x` begins at picture pixel `left + x * step_x`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Placement {
    /// Left edge of the square in picture pixels; negative where padding was added.
    pub left: f64,
    /// Top edge of the square in picture pixels; negative where padding was added.
    pub top: f64,
    /// Picture pixels per square pixel, across.
    pub step_x: f64,
    /// Picture pixels per square pixel, down.
    pub step_y: f64,
}

impl Placement {
    /// Left, top, right and bottom edge of a part of the square, in pixels of the picture.
    pub(crate) fn pixels(&self, [left, top, right, bottom]: [f64; 4]) -> [f64; 4] {
        let (x, y) = (|x: f64| self.left + x * self.step_x, |y: f64| self.top + y * self.step_y);
        [x(left), y(top), x(right), y(bottom)]
    }
}

impl Preprocessor {
    /// Makes the square of pixel values: fit, resize, crop, `(level * rescale - mean) / std`.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`] if the outcome is not square, or the cut-out is larger than the resized picture.
    pub fn run(&self, picture: &Picture) -> Result<Pixels> {
        let canvas = canvas(picture, self.fit, self.mean);
        let (width, height) = self.resized(canvas.width, canvas.height);
        let (crop_height, crop_width) = self.crop.unwrap_or((height, width));
        if crop_height != crop_width || crop_height > height || crop_width > width {
            return Err(Error::picture(
                "preprocessing",
                format!(
                    "expected a square within {width} x {height} pixels, found {crop_width} x {crop_height}"
                ),
            ));
        }
        let columns = Axis { full: width, start: (width - crop_width) / 2, count: crop_width };
        let rows = Axis { full: height, start: (height - crop_height) / 2, count: crop_height };
        let levels = resample(&canvas, columns, rows);

        let values = self.normalised(&levels);
        let (step_x, step_y) = (canvas.width as f64 / width as f64, canvas.height as f64 / height as f64);
        let placement = Placement {
            left: columns.start as f64 * step_x - canvas.left as f64,
            top: rows.start as f64 * step_y - canvas.top as f64,
            step_x,
            step_y,
        };
        Ok(Pixels { values, side: crop_width, placement })
    }

    /// `(level * rescale - mean) / std` of every channel: `[height, width, 3]` to `[3, height, width]`.
    pub(super) fn normalised(&self, levels: &[u8]) -> Vec<f32> {
        let channel = |channel: usize| {
            let normalise =
                move |level: &u8| (f32::from(*level) * self.rescale - self.mean[channel]) / self.std[channel];
            levels.iter().skip(channel).step_by(3).map(normalise)
        };
        (0..3).flat_map(channel).collect()
    }

    /// Width and height after resizing.
    fn resized(&self, width: usize, height: usize) -> (usize, usize) {
        // The reference truncates, and so does integer division; sides have at most 16 bits.
        match self.resize {
            Resize::Exact { height, width } => (width, height),
            Resize::ShortestEdge(edge) if width <= height => (edge, edge * height / width),
            Resize::ShortestEdge(edge) => (edge * width / height, edge),
        }
    }
}

/// `picture` as what is to be resized: bare, or in the middle of a square of the mean colour.
pub(super) fn canvas(picture: &Picture, fit: Fit, mean: [f32; 3]) -> Canvas<'_> {
    let (width, height) = match fit {
        Fit::Crop => (picture.width(), picture.height()),
        Fit::Pad => [picture.width().max(picture.height()); 2].into(),
    };
    Canvas {
        rgb: picture.rgb(),
        pixels: picture.width(),
        left: (width - picture.width()) / 2,
        top: (height - picture.height()) / 2,
        width,
        height,
        fill: mean.map(|mean| (mean * 255.0) as u8),
    }
}
