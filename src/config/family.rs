//! The kinds of LLaVA, as data: what each fills in where `config.json` leaves a field out.

use serde_json::Value;

use super::{FeatureSelect, VisionConfig, fields::Fields, limits, text, vision};
use crate::{
    error::Result,
    tiling::{AnyResolution, Size, Tiling},
};

/// What a `model_type` means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    /// The decoder where `text_config` does not name one.
    pub text: text::Family,
    /// The vision tower where there is no `vision_config`.
    pub vision: &'static VisionConfig,
    /// `vision_feature_layer`
    pub feature_layer: i64,
    /// `vision_feature_select_strategy`
    pub feature_select: FeatureSelect,
    /// The token that stands for a picture.
    pub image_token: usize,
    /// The token that stands for a video, which is refused.
    pub video_token: Option<usize>,
    pictures: Pictures,
}

/// How pictures become tiles.
#[derive(Debug, Clone, Copy)]
enum Pictures {
    Square,
    /// By resolutions of so many tiles, and whether several pictures are squares, and detail may be shrunk.
    Tiled {
        tiles: &'static [[usize; 2]],
        several_are_squares: bool,
        shrinks: bool,
    },
}

/// Heights and widths of LLaVA-NeXT's resolutions, in tiles.
const NEXT_TILES: [[usize; 2]; 5] = [[1, 2], [2, 1], [2, 2], [3, 1], [1, 3]];

/// LLaVA-OneVision's: 1 to 6 tiles each way.
const ONE_VISION_TILES: [[usize; 2]; 36] = {
    let mut tiles = [[0; 2]; 36];
    let mut i = 0;
    while i < 36 {
        tiles[i] = [i / 6 + 1, i % 6 + 1];
        i += 1;
    }
    tiles
};

/// LLaVA 1.5 and what is built like it.
const LLAVA: Family = Family {
    text: text::Family::Llama,
    vision: &vision::LLAVA_DEFAULTS,
    feature_layer: -2,
    feature_select: FeatureSelect::Default,
    image_token: 32_000,
    video_token: None,
    pictures: Pictures::Square,
};

/// LLaVA-NeXT (LLaVA 1.6).
const NEXT: Family = Family {
    pictures: Pictures::Tiled { tiles: &NEXT_TILES, several_are_squares: false, shrinks: false },
    ..LLAVA
};

/// LLaVA-OneVision.
const ONE_VISION: Family = Family {
    text: text::Family::Qwen2,
    vision: &vision::ONE_VISION_DEFAULTS,
    feature_layer: -1,
    feature_select: FeatureSelect::Full,
    image_token: 151_646,
    video_token: Some(151_647),
    pictures: Pictures::Tiled { tiles: &ONE_VISION_TILES, several_are_squares: true, shrinks: true },
};

/// The kinds, by their `model_type`.
pub(super) const FAMILIES: [(&str, Family); 3] =
    [("llava", LLAVA), ("llava_next", NEXT), ("llava_onevision", ONE_VISION)];

impl Family {
    /// How a model of this kind, whose tower takes squares of `side` pixels, looks at pictures.
    pub fn tiling(&self, config: &Fields, side: usize) -> Result<Tiling> {
        let Pictures::Tiled { tiles, several_are_squares, shrinks } = self.pictures else {
            return Ok(Tiling::Square);
        };
        let by_default =
            || tiles.iter().map(|[rows, columns]| Size { height: rows * side, width: columns * side });
        Ok(Tiling::AnyResolution(AnyResolution {
            pinpoints: pinpoints(config, side)?.unwrap_or_else(|| by_default().collect()),
            most_tiles: if shrinks { Some(most_tiles(config)?) } else { None },
            several_are_squares,
        }))
    }
}

/// `image_grid_pinpoints`, if they are there: heights and widths, whole tiles of `side` pixels.
pub(super) fn pinpoints(config: &Fields, side: usize) -> Result<Option<Vec<Size>>> {
    let name = "image_grid_pinpoints";
    let Some(value) = config.get(name) else { return Ok(None) };
    let in_tiles = |value: &Value| {
        let pixels = usize::try_from(value.as_u64()?).ok()?;
        Some(pixels).filter(|pixels| *pixels > 0 && pixels.is_multiple_of(side))
    };
    let size = |value: &Value| match value.as_array()?.as_slice() {
        [height, width] => {
            let size = Size { height: in_tiles(height)?, width: in_tiles(width)? };
            let pixels = size.height.checked_mul(size.width)?;
            Some(size).filter(|_| pixels <= limits::DETAIL_PIXELS && pixels / (side * side) <= limits::TILES)
        }
        _ => None,
    };
    let sizes = value.as_array().filter(|sizes| (1..=limits::PINPOINTS).contains(&sizes.len()));
    let sizes = sizes.and_then(|sizes| sizes.iter().map(size).collect());
    sizes.map(Some).ok_or_else(|| {
        let expected = format!(
            "1 to {} pairs of height and width, multiples of the {side} pixels of vision_config.image_size, of at most \
             {} squares and {} pixels each",
            limits::PINPOINTS,
            limits::TILES,
            limits::DETAIL_PIXELS
        );
        config.unexpected(name, expected)
    })
}

/// The number in `anyres_max_9`.
fn most_tiles(config: &Fields) -> Result<usize> {
    let name = "vision_aspect_ratio";
    let Some(value) = config.get(name) else { return Ok(9) };
    let number = value.as_str().and_then(|text| text.strip_prefix("anyres_max_")?.parse().ok());
    number
        .filter(|tiles| (1..=limits::TILES).contains(tiles))
        .ok_or_else(|| config.unexpected(name, format!("\"anyres_max_N\", N from 1 to {}", limits::TILES)))
}
