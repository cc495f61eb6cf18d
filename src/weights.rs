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
    /// The decoder's matrices in blocks of 8-bit numbers, 9 bits a weight; the others as `Auto` would.
    Q8,
    /// The decoder's matrices in blocks of 4-bit numbers, 5 bits a weight; the others as `Auto` would.
    Q4,
}

/// How matrices are held, once device and checkpoint are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Precision {
    /// Whether floats have 16 bits.
    pub half: bool,
    /// Bits of a number in the decoder's matrices, where those are quantised.
    pub bits: Option<u32>,
}

impl From<bool> for Precision {
    /// Floats alone, of 16 bits if `half`.
    fn from(half: bool) -> Self {
        Self { half, bits: None }
    }
}

impl Precision {
    /// The format that this is.
    pub fn format(self) -> WeightFormat {
        match (self.bits, self.half) {
            (Some(4), _) => WeightFormat::Q4,
            (Some(_), _) => WeightFormat::Q8,
            (None, true) => WeightFormat::F16,
            (None, false) => WeightFormat::F32,
        }
    }
}

impl FromStr for WeightFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "q8" => Ok(Self::Q8),
            "q4" => Ok(Self::Q4),
            _ => Err(Error::argument("--weights", "auto, f32, f16, q8 or q4", text)),
        }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        })
    }
}

impl WeightFormat {
    /// How matrices are held.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if half precision is asked for and the device cannot compute in it.
    pub(crate) fn resolve(self, checkpoint: &Checkpoint, device: &DeviceInfo) -> Result<Precision> {
        let as_float32 = checkpoint.parameters().saturating_mul(4);
        let half = device.shader_f16 && checkpoint.is_half() && as_float32 > FULL_PRECISION_LIMIT;
        Ok(match self {
            Self::F32 => Precision { half: false, bits: None },
            Self::F16 if !device.shader_f16 => {
                return Err(Error::argument(
                    "--weights",
                    format!("f32, q8 or q4, since {device} has no 16-bit floats in shaders"),
                    "f16",
                ));
            }
            Self::F16 => Precision { half: true, bits: None },
            Self::Auto => Precision { half, bits: None },
            Self::Q8 => Precision { half, bits: Some(8) },
            Self::Q4 => Precision { half, bits: Some(4) },
        })
    }
}
