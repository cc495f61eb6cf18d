//! The most precise weights that fit.

use super::{MemoryLimit, MemoryPlan, ModelShape, Workload};
use crate::{
    checkpoint::Checkpoint,
    device::DeviceInfo,
    error::{Error, Result},
    weights::{Precision, WeightFormat},
};

/// Half-precision models above this size in float32 are not held in it by [`WeightFormat::Auto`]: 2 GiB.
const FULL_PRECISION_LIMIT: u64 = 2 << 30;

/// How a checkpoint stores a model.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Whether in a 16-bit type.
    pub is_half: bool,
    /// How many numbers.
    pub parameters: u64,
}

impl Stored {
    /// What an opened checkpoint says.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self { is_half: checkpoint.is_half(), parameters: checkpoint.parameters() }
    }

    /// Whether floats are best held in 16 bits on `device`.
    fn suits_half(self, device: &DeviceInfo) -> bool {
        device.shader_f16 && self.is_half && self.parameters.saturating_mul(4) > FULL_PRECISION_LIMIT
    }
}

/// The formats that `auto` chooses from, most precise first.
///
/// Float32 is among them for checkpoints that are stored in it, for small ones, and where the device has no 16-bit
/// floats.
pub fn candidates(stored: Stored, device: &DeviceInfo) -> Vec<Precision> {
    let half = stored.suits_half(device);
    let floats =
        [(!half).then_some(Precision::from(false)), device.shader_f16.then_some(Precision::from(true))];
    let blocks = [8, 4].map(|bits| Precision { half, bits: Some(bits) });
    floats.into_iter().flatten().chain(blocks).collect()
}

/// How matrices are held where memory is no matter: `auto` is then float32, or float16 for large models stored in it.
///
/// # Errors
///
/// [`Error::Argument`] if the device cannot compute in half precision and that is asked for.
pub fn precision(format: WeightFormat, stored: Stored, device: &DeviceInfo) -> Result<Precision> {
    let half = stored.suits_half(device);
    Ok(match format {
        WeightFormat::Auto => Precision::from(half),
        WeightFormat::F32 => Precision::from(false),
        WeightFormat::F16 if !device.shader_f16 => {
            return Err(Error::argument(
                "--weights",
                format!("f32, q8 or q4, since {device} has no 16-bit floats in shaders"),
                "f16",
            ));
        }
        WeightFormat::F16 => Precision::from(true),
        WeightFormat::Q8 => Precision { half, bits: Some(8) },
        WeightFormat::Q4 => Precision { half, bits: Some(4) },
    })
}

/// How matrices are held: as `format` says, or, with `auto`, in the first of [`candidates`] whose plan fits; without
/// a limit, in the first of all.
///
/// A limit that the user did not give binds `auto` alone: who names a format may know the machine better.
///
/// # Errors
///
/// [`Error::Memory`] if nothing fits, [`Error::Argument`] if the device cannot compute in half precision and that is
/// asked for, or for a workload that the model cannot hold.
pub fn choose(
    format: WeightFormat,
    shape: &ModelShape,
    device: &DeviceInfo,
    workload: &Workload,
    limit: Option<MemoryLimit>,
) -> Result<Precision> {
    let allowed = match format {
        WeightFormat::Auto => candidates(shape.stored, device),
        format => vec![precision(format, shape.stored, device)?],
    };
    let limit = limit.filter(|limit| limit.given || format == WeightFormat::Auto);
    let mut smallest: Option<MemoryPlan> = None;
    for precision in allowed {
        let Some(limit) = limit else { return Ok(precision) };
        let plan = MemoryPlan::new(shape, precision, device, workload)?;
        if plan.total_bytes <= limit.bytes {
            return Ok(precision);
        }
        if smallest.as_ref().is_none_or(|smallest| plan.total_bytes < smallest.total_bytes) {
            smallest = Some(plan);
        }
    }
    match (limit, smallest) {
        (Some(limit), Some(plan)) => Err(Error::Memory { limit: limit.to_string(), plan: plan.to_string() }),
        // Not reached: there always is a format.
        _ => Ok(Precision::default()),
    }
}
