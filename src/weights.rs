//! In which precision weights are held.

use std::{fmt, str::FromStr};

use crate::{
    checkpoint::Checkpoint,
    device::DeviceInfo,
    error::{Error, Result},
};

/// Models above this size in float32 are held in half precision by [`WeightFormat::Auto`]: 2 GiB.
const FULL_PRECISION_LIMIT: u64 = 2 << 30;

/// How matrices are held on the device; norms, biases and everything computed stay float32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightFormat {
    /// `F16` for half-precision checkpoints that would take more than 2 GiB as float32, if the device
    /// computes in half precision; `F32` otherwise.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
}

impl FromStr for WeightFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            _ => Err(Error::argument("--weights", "auto, f32 or f16", text)),
        }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

impl WeightFormat {
    /// Whether matrices are held in half precision.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if half precision is asked for and the device cannot compute in it.
    pub(crate) fn is_half(self, checkpoint: &Checkpoint, device: &DeviceInfo) -> Result<bool> {
        match self {
            Self::F32 => Ok(false),
            Self::F16 if !device.shader_f16 => Err(Error::argument(
                "--weights",
                format!("f32, since {device} has no 16-bit floats in shaders"),
                "f16",
            )),
            Self::F16 => Ok(true),
            Self::Auto => {
                let as_float32 = checkpoint.parameters().saturating_mul(4);
                Ok(device.shader_f16 && checkpoint.is_half() && as_float32 > FULL_PRECISION_LIMIT)
            }
        }
    }
}
