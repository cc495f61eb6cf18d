//! `mustdrop plan`: what a model would need, before anything is loaded.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::{model::locate, named::named, print_json, pruning::PruningArguments};
use crate::{
    DeviceInfo, DeviceSelect, Error, WeightFormat,
    checkpoint::{Checkpoint, ModelFiles},
    config::{ModelConfig, Shape},
    device,
    image::MAX_SIDE,
    memory::{self, MemoryLimit, MemoryPlan, MemorySize, ModelShape, Workload},
    tiling::Size,
};

/// Show what memory a model needs with each precision of its weights, and what fits; no weight is read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mustdrop plan --synthetic llava-1.5-7b --memory 6GB --keep 64\n  mustdrop plan --synthetic llava-v1.6-mistral-7b --picture 1280x720 --keep 320\n  mustdrop plan --model ~/models/llava-1.5-7b-hf --weights q4 --json"
)]
pub struct Plan {
    /// A folder with a LLaVA checkpoint, or the name of one in the hub's cache [default: the model inside the program]
    #[arg(long, value_name = "DIR|NAME", env = "MUSTDROP_MODEL", conflicts_with = "synthetic")]
    model: Option<PathBuf>,

    /// A model without its files, in place of --model: llava-1.5-7b, llava-v1.6-mistral-7b, llava-onevision-qwen2-0.5b and others
    #[arg(long, value_name = "NAME")]
    synthetic: Option<Shape>,

    /// auto, gpu, cpu, an adapter's number or a part of its name (see `mustdrop devices`)
    #[arg(long, default_value_t, env = "MUSTDROP_DEVICE")]
    device: DeviceSelect,

    /// Precision of the weights: f32, f16, q8 or q4; auto shows all of them, and which it would take
    #[arg(long, default_value_t, value_parser = named::<WeightFormat>(["auto", "f32", "f16", "q8", "q4"]), hide_possible_values = true)]
    weights: WeightFormat,

    /// The most memory the model may need, such as 6GB [default: what the device has]
    #[arg(long, value_name = "SIZE")]
    memory: Option<MemorySize>,

    /// Size of the picture in pixels, such as 1280x720, for models that see it in tiles [default: one of the most tokens]
    #[arg(long, value_name = "WxH", value_parser = size)]
    picture: Option<Size>,

    /// Tokens of prompt and answer together, the picture's before dropping included [default: the picture's and 256]
    #[arg(long, value_name = "N")]
    context: Option<usize>,

    /// Print one JSON object, in bytes
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pruning: PruningArguments,
}

/// A picture's size as it is written: width, `x`, height.
fn size(text: &str) -> crate::Result<Size> {
    let most = MAX_SIDE as usize;
    let side = |text: &str| text.parse().ok().filter(|side| (1..=most).contains(side));
    let size = text.split_once(['x', 'X']).and_then(|(width, height)| Some((side(width)?, side(height)?)));
    let expected = || format!("width x height, each from 1 to {most}, such as 1280x720");
    let (width, height) = size.ok_or_else(|| Error::argument("--picture", expected(), text))?;
    Ok(Size { height, width })
}

/// Everything the command found out.
#[derive(Serialize)]
struct Output {
    model: String,
    device: DeviceInfo,
    /// Tokens of the picture, before any is dropped, and the squares that the tower sees of it.
    picture_tokens: usize,
    tiles: usize,
    context: usize,
    limit: Option<MemoryLimit>,
    /// What `--weights` comes to; `None` if nothing fits.
    takes: Option<WeightFormat>,
    plans: Vec<Judged>,
}

/// A plan, and whether there is room for it.
#[derive(Serialize)]
struct Judged {
    #[serde(flatten)]
    plan: MemoryPlan,
    /// Whether the limit leaves room; `None` without one.
    fits_memory: Option<bool>,
    /// Whether the adapter can bind the largest tensor.
    fits_adapter: bool,
}

impl Plan {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (model, shape) = self.shape()?;
        let device = device::find(&self.device)?;
        let limit = MemoryLimit::new(self.memory, &device);
        let pruning = self.pruning.pruning(0)?;
        let workload = Workload { picture: self.picture, context: self.context, pruning };
        let formats = match self.weights {
            WeightFormat::Auto => {
                let all = [WeightFormat::F32, WeightFormat::F16, WeightFormat::Q8, WeightFormat::Q4];
                all.into_iter().filter(|format| *format != WeightFormat::F16 || device.shader_f16).collect()
            }
            format => vec![format],
        };
        let judged = formats.into_iter().map(|format| {
            let precision = memory::precision(format, shape.stored, &device)?;
            let plan = MemoryPlan::new(&shape, precision, &device, &workload)?;
            Ok(Judged {
                fits_memory: limit.map(|limit| plan.total_bytes <= limit.bytes),
                fits_adapter: plan.largest_tensor_bytes <= device.max_binding_bytes,
                plan,
            })
        });
        let plans = judged.collect::<crate::Result<Vec<_>>>()?;
        let takes = match memory::choose(self.weights, &shape, &device, &workload, limit) {
            Ok(precision) => Some(precision.format()),
            Err(Error::Memory { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let context = workload.rows(&shape)?;
        let picture = workload.shape(&shape);
        let (picture_tokens, tiles) = (picture.tokens(), picture.tiles());
        let output = Output { model, device, picture_tokens, tiles, context, limit, takes, plans };
        if self.json {
            return print_json(&output);
        }
        Ok(write!(io::stdout(), "{}", output.describe())?)
    }

    /// The model's name and shape.
    fn shape(&self) -> crate::Result<(String, ModelShape)> {
        if let Some(shape) = self.synthetic {
            return Ok((shape.to_string(), ModelShape::of_config(shape.config()?)?));
        }
        let files = match &self.model {
            None => ModelFiles::embedded()?,
            // Planning is no reason to fetch gigabytes.
            Some(model) => ModelFiles::folder(locate(model, true)?)?,
        };
        let config = ModelConfig::from_files(&files)?;
        let shape = ModelShape::of_checkpoint(&Checkpoint::open(&files)?, &config)?;
        Ok((files.root().display().to_string(), shape))
    }
}

impl Output {
    fn describe(&self) -> String {
        let limit = self.limit.map_or("unknown; give it with --memory".to_owned(), |limit| limit.to_string());
        let takes = match self.takes {
            Some(format) => format!("{format} is what it takes"),
            None => "nothing fits".to_owned(),
        };
        let mut text = format!(
            "{}, {} tokens, {} of them the picture's\ndevice: {}\nmemory: {limit}; {takes}\n\n{}\n",
            self.model,
            self.context,
            self.picture_tokens,
            self.device,
            self.table()
        );
        if let Some(refused) = self.plans.iter().find(|judged| !judged.fits_adapter) {
            let [tensor, most] =
                [refused.plan.largest_tensor_bytes, self.device.max_binding_bytes].map(MemorySize);
            text += &format!(
                "a tensor of {tensor} is more than the {most} the adapter binds: shorten --context\n"
            );
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        let header = [
            "", "weights", "tower", "cache", "if dense", "evicted", "prefill", "loading", "pools", "peak",
            "fits",
        ];
        table.load_preset(ASCII_MARKDOWN).set_header(header);
        for Judged { plan, fits_memory, fits_adapter } in &self.plans {
            let sizes = [
                plan.weights_bytes,
                plan.vision_bytes,
                plan.cache_bytes,
                plan.dense_cache_bytes,
                plan.evicted_cache_bytes,
                plan.prefill_bytes,
                plan.loading_bytes,
                plan.pool_bytes,
                plan.total_bytes,
            ];
            let fits = match (fits_adapter, fits_memory) {
                (false, _) | (_, Some(false)) => "no",
                (true, Some(true)) => "yes",
                (true, None) => "-",
            };
            let sizes = sizes.map(|bytes| MemorySize(bytes).to_string());
            table.add_row([vec![plan.weights.to_string()], sizes.into(), vec![fits.to_owned()]].concat());
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_written_width_first() {
        let size = |text: &str| size(text).map(|size| (size.width, size.height)).ok();
        assert_eq!(size("1280x720"), Some((1280, 720)));
        for wrong in ["", "x", "1280", "1280x0", "0x1", "70000x1", "-1x1", "1x1x1", "a x b"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
