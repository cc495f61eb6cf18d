//! Which of several kernels for the same work a device runs.

use super::submission::MOST_FLOPS;

/// Choices among kernels and formats for the same work; `calibrate` makes those among kernels for an adapter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Variants {
    /// Whether attention of many rows is by tiles in workgroup memory, rather than a few rows a thread.
    pub attention: bool,
    /// Where products of many rows unpack their weights.
    pub unpack: Unpack,
    /// Whether the CPU path holds quantised weights in an adapter's blocks, to be compared with it, rather than in those it
    /// multiplies fast.
    #[serde(skip)]
    pub planes: bool,
    /// Whether the adapter is a program on the host's own cores.
    #[serde(skip)]
    pub is_software: bool,
    /// Floating-point operations that the adapter is given at once; 0 where nobody measured.
    pub submission_flops: u64,
}

impl Variants {
    /// Floating-point operations of one submission, at most.
    pub fn most_flops(&self) -> u64 {
        if self.submission_flops == 0 { MOST_FLOPS } else { self.submission_flops }
    }
}

/// Where a product of many rows unpacks its weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpack {
    /// Each thread its own, into registers: `product_registers`.
    #[default]
    Registers,
    /// A workgroup a tile, into its memory: `product_tile`.
    Tile,
}

impl Unpack {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Registers, Self::Tile];
}
