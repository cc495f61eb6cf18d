//! In which precision weights are held.

use std::{fmt, str::FromStr};

use crate::{
    error::{Error, Result},
    quantise::Blocks,
};

/// How matrices are held on the device; norms, biases and everything computed stay float32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WeightFormat {
    /// The most precise format whose [plan](crate::memory::MemoryPlan) fits the memory there is. `F32` is left out for
    /// half-precision checkpoints that would take more than 2 GiB in it, if the device computes in half precision.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Blocks of 8-bit numbers, 9 bits a weight; matrices whose inputs are no multiple of 32 as floats. The CPU path holds
    /// matrices of a multiple of 256 inputs and of 16 outputs as Q8_0, of 8.5 bits.
    Q8,
    /// The decoder's matrices in blocks of 4-bit numbers, 5 bits a weight; the others as with `Q8`. The CPU path holds those
    /// as Q4_K, which has 4.5 bits and takes 6 where it is multiplied; the blocks themselves stay on disk where the
    /// [weight cache](crate::weight_cache) keeps them, else in memory beside that.
    Q4,
}

/// How matrices are held, once device and checkpoint are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Precision {
    /// Whether floats have 16 bits.
    pub half: bool,
    /// Bits of a number in the decoder's matrices, where matrices are quantised.
    pub bits: Option<u32>,
}

impl From<bool> for Precision {
    /// Floats alone, of 16 bits if `half`.
    fn from(half: bool) -> Self {
        Self { half, bits: None }
    }
}

impl Precision {
    /// Bits of a number in a matrix of that canonical name and so many inputs; `None` where it is held as floats.
    ///
    /// The vision tower and the projector have a twentieth of the weights, and errors there reach every token: 8 bits.
    pub fn bits_of(self, name: &str, inputs: usize) -> Option<u32> {
        let is_of_decoder = name.starts_with("language_model.") || name.starts_with("lm_head.");
        let bits = self.bits.filter(|_| Blocks::fit(inputs))?;
        Some(if is_of_decoder { bits } else { 8 })
    }

    /// Bytes of so many numbers of matrices that are held as floats.
    pub fn float_bytes(self, numbers: usize) -> u64 {
        (numbers * if self.half { 2 } else { 4 }) as u64
    }

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
