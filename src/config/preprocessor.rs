//! How pictures become pixel values: `processor_config.json`, where it has an `image_processor`, or `preprocessor_config.json`.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::{ModelConfig, family::pinpoints, fields, fields::Fields, limits};
use crate::{
    checkpoint::ModelFiles,
    error::Result,
    image::{Fit, Preprocessor, Resize},
    tiling::{AnyResolution, Tiling},
};

/// Side of the square picture where the file does not say: `CLIPImageProcessor`'s.
const CLIP_SIDE: usize = 224;
/// Pillow's number for bicubic interpolation.
const BICUBIC: usize = 3;

/// What processors do where the file does not say.
#[derive(Clone, Copy)]
struct Family {
    center_crop: bool,
    mean: [f32; 3],
    std: [f32; 3],
}

const CLIP: Preprocessor = Preprocessor::CLIP;
const CLIP_FAMILY: Family = Family { center_crop: true, mean: CLIP.mean, std: CLIP.std };
const SIGLIP_FAMILY: Family = Family { center_crop: false, mean: [0.5; 3], std: [0.5; 3] };

/// The image processors, by what they do to a picture.
const PROCESSORS: [(&str, Family); 10] = [
    ("CLIPImageProcessor", CLIP_FAMILY),
    ("CLIPImageProcessorFast", CLIP_FAMILY),
    ("CLIPImageProcessorPil", CLIP_FAMILY),
    ("CLIPFeatureExtractor", CLIP_FAMILY),
    ("LlavaImageProcessor", CLIP_FAMILY),
    ("LlavaImageProcessorFast", CLIP_FAMILY),
    ("LlavaImageProcessorPil", CLIP_FAMILY),
    ("SiglipImageProcessor", SIGLIP_FAMILY),
    ("SiglipImageProcessorFast", SIGLIP_FAMILY),
    ("SiglipImageProcessorPil", SIGLIP_FAMILY),
];

/// The image processors that cut pictures into tiles.
const TILING_PROCESSORS: [(&str, Family); 6] = [
    ("LlavaNextImageProcessor", CLIP_FAMILY),
    ("LlavaNextImageProcessorFast", CLIP_FAMILY),
    ("LlavaNextImageProcessorPil", CLIP_FAMILY),
    ("LlavaOnevisionImageProcessor", CLIP_FAMILY),
    ("LlavaOnevisionImageProcessorFast", CLIP_FAMILY),
    ("LlavaOnevisionImageProcessorPil", CLIP_FAMILY),
];

/// Reads how the model wants its pictures; CLIP's way at the tower's size if no file says.
///
/// Where both files do, transformers takes what is within `processor_config.json`: it writes that alone, and leaves a
/// `preprocessor_config.json` of an older version as it is.
///
/// # Errors
/// [`Error::Model`](crate::error::Error::Model) naming a field whose value is malformed or not supported, or
/// if the outcome is not the `image_size` square that the vision tower takes.
pub fn preprocessor(files: &ModelFiles, model: &ModelConfig) -> Result<Preprocessor> {
    let side = model.vision.image_size;
    let mut found = None;
    for (name, member) in
        [("processor_config.json", Some("image_processor")), ("preprocessor_config.json", None)]
    {
        let Some(json) = files.read(name)? else { continue };
        let path = files.path(name);
        let value = fields::parse(&json, &path)?;
        let mut config = Fields::of_file(&value, &path)?;
        if let Some(member) = member {
            if !config.has(member) {
                continue;
            }
            config = config.object(member)?;
        }
        match found {
            None => {
                found = Some(match &model.tiling {
                    Tiling::Square => read(&config, side)?,
                    Tiling::AnyResolution(rules) => read_tiling(&config, rules, side)?,
                });
            }
            Some(_) => check_unused(&config)?,
        }
    }
    let (resize, crop) = match model.tiling {
        Tiling::Square => (Resize::ShortestEdge(side), Some((side, side))),
        Tiling::AnyResolution(_) => (Resize::Exact { height: side, width: side }, None),
    };
    Ok(found.unwrap_or(Preprocessor { resize, crop, ..Preprocessor::default() }))
}

/// Of a file that another outranks only this is looked at: one that contradicts itself is damaged, and so may be the folder.
fn check_unused(config: &Fields) -> Result<()> {
    let family = config.choice("image_processor_type", CLIP_FAMILY, &PROCESSORS);
    let is_cut = family.and_then(|family| config.flag("do_center_crop", family.center_crop));
    match (is_cut, read_resize(config), read_crop(config)) {
        (Ok(true), Ok(resize), Ok((height, width))) => check_cut(config, &resize, height.max(width)),
        _ => Ok(()),
    }
}

/// How a model that looks at one square wants it.
fn read(config: &Fields, side: usize) -> Result<Preprocessor> {
    let family = config.choice("image_processor_type", CLIP_FAMILY, &PROCESSORS)?;
    let preprocessor = Preprocessor {
        resize: read_resize(config)?,
        crop: if config.flag("do_center_crop", family.center_crop)? {
            Some(read_crop(config)?)
        } else {
            None
        },
        fit: read_fit(config)?,
        ..read_levels(config, family)?
    };
    check_outcome(config, &preprocessor, side)?;
    Ok(preprocessor)
}

/// How a model that looks at tiles wants a whole picture, squeezed; tiles are cut out of what is resized otherwise.
fn read_tiling(config: &Fields, rules: &AnyResolution, side: usize) -> Result<Preprocessor> {
    let family = config.choice("image_processor_type", CLIP_FAMILY, &TILING_PROCESSORS)?;
    // A cut of the middle changes nothing in squares of its own size.
    let size = match read_resize(config)? {
        Resize::ShortestEdge(edge) => (edge, edge),
        Resize::Exact { height, width } => (height, width),
    };
    for (name, size) in [("size", size), ("crop_size", read_crop(config)?)] {
        if config.has(name) && size != (side, side) {
            let expected = format!("{side} x {side} pixels, as vision_config.image_size has it");
            return Err(config.unexpected(name, expected));
        }
    }
    if pinpoints(config, side)?.is_some_and(|pinpoints| pinpoints != rules.pinpoints) {
        return Err(config.unexpected("image_grid_pinpoints", "those of config.json"));
    }
    let resize = Resize::Exact { height: side, width: side };
    Ok(Preprocessor { resize, crop: None, fit: Fit::Crop, ..read_levels(config, family)? })
}

/// What becomes of levels, whatever the picture's size; the rest by default.
fn read_levels(config: &Fields, family: Family) -> Result<Preprocessor> {
    config.count("resample", BICUBIC, BICUBIC..=BICUBIC)?;
    if !config.flag("do_resize", true)? {
        return Err(config.unexpected("do_resize", "true"));
    }
    let (mean, std) = if config.flag("do_normalize", true)? {
        (
            read_channels(config, "image_mean", family.mean, -1e3..=1e3)?,
            read_channels(config, "image_std", family.std, 1e-6..=1e3)?,
        )
    } else {
        ([0.0; 3], [1.0; 3])
    };
    let rescale = match config.flag("do_rescale", true)? {
        true => config.number("rescale_factor", 1.0 / 255.0, 1e-6..=1e3)? as f32,
        false => 1.0,
    };
    Ok(Preprocessor { rescale, mean, std, ..Preprocessor::default() })
}

fn read_resize(config: &Fields) -> Result<Resize> {
    let Some(Value::Object(_)) = config.get("size") else {
        return Ok(Resize::ShortestEdge(config.count("size", CLIP_SIDE, 1..=limits::IMAGE_SIDE)?));
    };
    let size = config.object("size")?;
    if let Some(edge) = size.optional_count("shortest_edge", 1..=limits::IMAGE_SIDE)? {
        return Ok(Resize::ShortestEdge(edge));
    }
    match read_height_and_width(&size)? {
        Some((height, width)) => Ok(Resize::Exact { height, width }),
        None => Err(config.unexpected("size", "a number, a shortest_edge, or a height and a width")),
    }
}

fn read_crop(config: &Fields) -> Result<(usize, usize)> {
    let Some(Value::Object(_)) = config.get("crop_size") else {
        let side = config.count("crop_size", CLIP_SIDE, 1..=limits::IMAGE_SIDE)?;
        return Ok((side, side));
    };
    read_height_and_width(&config.object("crop_size")?)?
        .ok_or_else(|| config.unexpected("crop_size", "a number, or a height and a width"))
}

fn read_height_and_width(size: &Fields) -> Result<Option<(usize, usize)>> {
    let height = size.optional_count("height", 1..=limits::IMAGE_SIDE)?;
    let width = size.optional_count("width", 1..=limits::IMAGE_SIDE)?;
    Ok(height.zip(width))
}

fn read_fit(config: &Fields) -> Result<Fit> {
    let ratios = [("", Fit::Crop), ("square", Fit::Crop), ("pad", Fit::Pad)];
    let fit = config.choice("image_aspect_ratio", Fit::Crop, &ratios)?;
    Ok(if config.flag("do_pad", false)? { Fit::Pad } else { fit })
}

/// One number for all three channels, or three.
fn read_channels(
    config: &Fields,
    name: &str,
    default: [f32; 3],
    range: RangeInclusive<f64>,
) -> Result<[f32; 3]> {
    let channel = |value: &Value| value.as_f64().filter(|number| range.contains(number));
    let channels = match config.get(name) {
        None => return Ok(default),
        Some(Value::Array(values)) => match values.as_slice() {
            [red, green, blue] => [channel(red), channel(green), channel(blue)],
            _ => [None; 3],
        },
        Some(value) => [channel(value); 3],
    };
    match channels {
        [Some(red), Some(green), Some(blue)] => Ok([red as f32, green as f32, blue as f32]),
        _ => {
            let expected = format!("three numbers from {:e} to {:e}", range.start(), range.end());
            Err(config.unexpected(name, expected))
        }
    }
}

/// A square is cut out of what is at least as large.
fn check_cut(config: &Fields, resize: &Resize, side: usize) -> Result<()> {
    let least = match *resize {
        Resize::ShortestEdge(edge) => edge,
        Resize::Exact { height, width } => height.min(width),
    };
    if least >= side {
        return Ok(());
    }
    let found = if config.has("size") { "found" } else { "found none, which means" };
    let problem =
        format!("expected at least {side} pixels, of which crop_size cuts {side} out, {found} {least}");
    Err(config.problem("size", problem))
}

/// Whatever a picture's shape, the outcome must be the square that the vision tower takes, cut out of what it is resized to.
fn check_outcome(config: &Fields, preprocessor: &Preprocessor, side: usize) -> Result<()> {
    if preprocessor.crop == Some((side, side)) {
        check_cut(config, &preprocessor.resize, side)?;
    }
    let (name, outcome) = match (preprocessor.crop, &preprocessor.resize, &preprocessor.fit) {
        (Some(crop), ..) => ("crop_size", Some(crop)),
        (None, Resize::Exact { height, width }, _) => ("size", Some((*height, *width))),
        (None, Resize::ShortestEdge(edge), Fit::Pad) => ("size", Some((*edge, *edge))),
        (None, Resize::ShortestEdge(_), Fit::Crop) => ("do_center_crop", None),
    };
    if outcome == Some((side, side)) {
        return Ok(());
    }
    let found = outcome.map_or("one of any shape".to_owned(), |(height, width)| format!("{width}x{height}"));
    Err(config.problem(
        name,
        format!(
            "expected a picture of {side}x{side} pixels, as vision_config.image_size has it, found {found}"
        ),
    ))
}
