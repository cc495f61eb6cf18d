//! What kernels cost, from their parameters alone: operations on floats, a multiplication with an addition being two, and
//! bytes of each operand once. Comparisons, ranks and copies are no operations. Windows are taken to be as many columns as
//! positions, as if no token between had been dropped.

use super::{
    coverage::CoveragePicksParams,
    decode::{AttentionJoinParams, BEST, BEST_OF, BestTokensParams, GatherRowsParams, MostLikelyParams},
    nn::{AttentionParams, NormParams, ProductParams, RotaryAppendParams},
    prefill::{CompactParams, GatherSurvivorsParams, SelectRowsParams, TextAttentionParams, TopKParams},
    quantised::{BLOCK, QuantisedParams},
    vision::{WindowMergeParams, WindowSimilarityParams},
};

/// What a run of a kernel costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Operations on floats.
    pub flops: u64,
    /// Bytes of what is read and written.
    pub bytes: u64,
}

impl Cost {
    /// So many operations, on so many words of 32 bits.
    fn new(flops: u64, words: u64) -> Self {
        Self { flops, bytes: 4 * words }
    }
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |sum, cost| sum + cost)
    }
}

/// The product of factors that may exceed 32 bits together.
fn times<const N: usize>(factors: [u32; N]) -> u64 {
    factors.iter().map(|factor| u64::from(*factor)).product()
}

impl AttentionParams {
    /// Pairs of a row and a column that it sees.
    pub fn pairs(&self) -> u64 {
        let [rows, past] = [self.rows - self.start, self.past.saturating_add(self.start)].map(u64::from);
        let most = if self.window > 0 { self.columns.min(self.window) } else { self.columns };
        // Rows that do not see as much as a row can: each one column more than the row before.
        let growing = u64::from(most).saturating_sub(past).min(rows);
        growing * past + growing * (growing + 1) / 2 + (rows - growing) * u64::from(most)
    }

    /// Columns that any of the rows sees.
    fn seen(&self) -> u64 {
        let [start, rows, columns, past] = [self.start, self.rows, self.columns, self.past].map(u64::from);
        let hidden = match self.window {
            0 => 0,
            window => (past + start + 1).saturating_sub(window.into()),
        };
        columns.min(past + rows).saturating_sub(hidden)
    }

    /// Of a score and of its share in the result: `4 head_dim` a pair and head.
    pub fn cost(&self) -> Cost {
        let rows = self.rows - self.start;
        let queries = times([rows, self.heads, self.head_dim]);
        let keys = self.seen() * times([self.key_heads, self.head_dim]);
        let flops = 4 * self.pairs() * times([self.heads, self.head_dim]);
        Cost::new(flops, 2 * queries + 2 * keys + times([rows, self.heads]))
    }
}

impl AttentionJoinParams {
    /// A multiplication and an addition for each part of a component.
    pub fn cost(&self) -> Cost {
        let (lines, head_dim) = (times([self.rows, self.heads]), u64::from(self.head_dim));
        let parts = lines * u64::from(self.tiles);
        Cost::new(2 * parts * head_dim, parts * (head_dim + 2) + lines * (head_dim + 1))
    }
}

impl NormParams {
    /// The mean square, and two multiplications.
    pub fn rms_norm_cost(&self) -> Cost {
        self.cost(4)
    }

    /// The mean, the variance, and then a difference, a product, and a product with a sum.
    pub fn layer_norm_cost(&self) -> Cost {
        let bias = Cost::new(0, self.width.into());
        self.cost(8) + bias
    }

    fn cost(&self, flops: u64) -> Cost {
        let values = times([self.rows, self.width]);
        Cost::new(flops * values, 2 * values + u64::from(self.width))
    }
}

impl ProductParams {
    /// Two operations a weight and row. `bits` are those of a weight: 4, 8 (with 32 bits of ranges for each block of 32), 16
    /// or 32.
    pub fn cost(&self, bits: u32) -> Cost {
        let rows = self.rows - self.start;
        let weights = times([self.inputs, self.outputs]);
        let ranges = if bits <= 8 { weights / BLOCK as u64 } else { 0 };
        let results = times([rows, self.outputs]) >> self.is_gated;
        let others = u64::from(self.has_residual) * results + u64::from(self.has_bias * self.outputs);
        let words = times([rows, self.inputs]) + weights * u64::from(bits) / 32 + ranges + results + others;
        Cost::new(2 * u64::from(rows) * weights, words)
    }
}

impl RotaryAppendParams {
    /// Two multiplications and an addition for each component of a query or key.
    pub fn cost(&self) -> Cost {
        let turned = times([self.rows, self.heads + self.key_heads, self.head_dim]);
        let values = times([self.rows, self.key_heads, self.head_dim]);
        Cost::new(3 * turned, 2 * (turned + values) + times([self.rows, self.head_dim]))
    }
}

impl QuantisedParams {
    /// A multiplication and an addition for each weight of the rows asked for.
    pub fn rows_cost(&self) -> Cost {
        let values = times([self.rows, self.inputs]);
        let words = values * u64::from(self.bits) / 32 + values / BLOCK as u64 + u64::from(self.rows);
        Cost::new(2 * values, words + values)
    }
}

impl TextAttentionParams {
    /// A score for each pair of a text token and a vision token and head, and the sum of the heads' weights.
    pub fn cost(&self) -> Cost {
        let pairs = times([self.rows, self.columns]);
        let flops = pairs * (2 * u64::from(self.head_dim) + 1) * u64::from(self.heads);
        let queries = times([self.rows, self.heads, self.head_dim]) + times([self.rows, self.heads]);
        let keys = times([self.columns, self.key_heads, self.head_dim]);
        Cost::new(flops, queries + keys + pairs * u64::from(self.shares))
    }
}

impl SelectRowsParams {
    /// The sums of the heads' shares, and of the rows.
    pub fn cost(&self) -> Cost {
        let weights = times([self.shares, self.rows, self.tokens]);
        Cost::new(weights + times([self.rows, self.tokens]), weights + 4 * u64::from(self.tokens) + 2)
    }
}

impl GatherSurvivorsParams {
    /// Copies.
    pub fn cost(&self) -> Cost {
        let width = u64::from(self.first) + u64::from(self.second) + u64::from(self.third);
        Cost::new(0, u64::from(self.rows) * (1 + 2 * width))
    }
}

impl TopKParams {
    /// Ranks.
    pub fn cost(&self) -> Cost {
        Cost::new(0, 3 * u64::from(self.count))
    }
}

impl CompactParams {
    /// Copies.
    pub fn cost(&self) -> Cost {
        Cost::new(0, 2 * u64::from(self.count) + 2 * u64::from(self.kept))
    }
}

impl GatherRowsParams {
    /// Copies.
    pub fn cost(&self) -> Cost {
        Cost::new(0, u64::from(self.rows) + 2 * times([self.rows, self.width]))
    }
}

impl MostLikelyParams {
    /// A difference, a product, a power and a sum for each logit.
    pub fn cost(&self) -> Cost {
        Cost::new(4 * u64::from(self.count), u64::from(self.count) + 4)
    }
}

impl BestTokensParams {
    /// Ranks.
    pub fn cost(&self) -> Cost {
        let groups = u64::from(self.count).div_ceil(BEST_OF as u64);
        Cost::new(0, u64::from(self.count << self.is_paired) + 2 * groups * BEST as u64)
    }
}

impl WindowMergeParams {
    /// A sum and a division, as if each place were taken.
    pub fn cost(&self) -> Cost {
        let results = times([self.tokens, self.width]);
        let read = times([self.tokens, self.members, self.width]);
        Cost::new(read + results, times([self.tokens, self.members]) + read + results)
    }
}

impl WindowSimilarityParams {
    /// The products of each pair of a window's patches, and of each patch with itself.
    pub fn cost(&self) -> Cost {
        let windows = self.windows() * self.windows();
        let dots: u64 = (0..windows)
            .map(|window| {
                let patches = self.rows(window).len() as u64;
                patches * (patches + 1) / 2
            })
            .sum();
        let values = times([self.grid, self.grid, self.width]);
        Cost::new(2 * dots * u64::from(self.width), values + windows as u64)
    }
}

impl CoveragePicksParams {
    /// A difference and a sum for each pair; none where the last pick is found.
    pub fn cost(&self) -> Cost {
        let tokens = u64::from(self.tokens);
        let pairs = if self.round == self.picks { 0 } else { tokens * tokens };
        Cost::new(2 * pairs, pairs + 5 * tokens)
    }
}
