//! Stage P: tokens that text pays little attention to are dropped behind some layers of the first pass.

use burn::tensor::Tensor;

use super::{Positions, Pruning};
use crate::{error::Result, kernel};

/// The rows that go on behind a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivors {
    /// Indices among the rows that entered the layer, ascending.
    pub rows: Vec<u32>,
    /// Their rotary positions from the next layer on.
    pub positions: Vec<u32>,
}

/// The vision tokens of one picture that are still there.
#[derive(Debug, Clone)]
struct Picture {
    /// Its first row among the current rows.
    start: usize,
    /// 1 for members of the key token set, one value a token.
    is_key: Vec<u32>,
    /// With a budget: how many stay behind each filter.
    sizes: Option<Vec<usize>>,
}

/// What one filter did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterStep {
    /// The layer behind which it worked.
    pub layer: usize,
    /// For each picture, the tokens that stayed among those alive before, ascending.
    pub kept: Vec<Vec<usize>>,
    /// All rows that stayed, among those alive before.
    pub rows: Vec<u32>,
}

/// The dual-attention filter of one prefill.
#[derive(Debug)]
pub struct PrefillFilter {
    layers: Vec<usize>,
    global_threshold: f32,
    individual_threshold: f32,
    renumber: bool,
    pictures: Vec<Picture>,
    /// What was done so far.
    pub steps: Vec<FilterStep>,
}

impl PrefillFilter {
    /// A filter for a pass without pictures so far, for a decoder of `decoder_layers` layers.
    pub fn new(pruning: &Pruning, decoder_layers: usize) -> Self {
        Self {
            layers: if pruning.filter { pruning.layers(decoder_layers) } else { Vec::new() },
            global_threshold: pruning.global_threshold,
            individual_threshold: pruning.individual_threshold,
            renumber: pruning.positions == Positions::Compact,
            pictures: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Adds the next picture: its first row in the pass, its key token set (1 or 0 a token), and with a budget
    /// how many tokens stay behind each filter.
    pub fn add_picture(&mut self, start: usize, is_key: Vec<u32>, sizes: Option<Vec<usize>>) {
        self.pictures.push(Picture { start, is_key, sizes });
    }

    /// Whether rows may be dropped behind `layer`.
    pub fn is_due(&self, layer: usize) -> bool {
        self.layers.contains(&layer) && !self.pictures.is_empty()
    }

    /// Decides what goes on behind `layer`; `None` where no text follows the last picture.
    ///
    /// # Shapes
    ///
    /// - `query`: `[rows, heads, head_dim]` of the pass's rows, rotated
    /// - `keys`: `[past + rows, key_heads, head_dim]`: all that the layer's cache holds
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn survivors(
        &mut self,
        layer: usize,
        query: &Tensor<3>,
        keys: &Tensor<3>,
        positions: &[u32],
    ) -> Result<Option<Survivors>> {
        let (rows, past) = (positions.len(), keys.dims()[0] - positions.len());
        let text = self.pictures.last().map_or(rows, |last| last.start + last.is_key.len());
        if text >= rows {
            return Ok(None);
        }
        let query = query.clone().slice([text..rows]);
        let log_sum = kernel::prefill::log_sum_exp(&query, keys, past + text);
        let mut stays = vec![true; rows];
        let mut step = FilterStep { layer, ..FilterStep::default() };
        for picture in &self.pictures {
            let tokens = picture.is_key.len();
            let kept =
                if tokens == 0 { Vec::new() } else { self.filter(picture, &query, keys, &log_sum, past)? };
            stays[picture.start..picture.start + tokens].fill(false);
            for token in &kept {
                stays[picture.start + token] = true;
            }
            step.kept.push(kept);
        }
        let mut start_shift = 0;
        for (picture, kept) in self.pictures.iter_mut().zip(&step.kept) {
            let dropped = picture.is_key.len() - kept.len();
            picture.start -= start_shift;
            picture.is_key = kept.iter().map(|token| picture.is_key[*token]).collect();
            start_shift += dropped;
        }
        let survivors: Vec<u32> = (0..rows as u32).filter(|row| stays[*row as usize]).collect();
        let first = positions[0];
        let positions = match self.renumber {
            true => (first..).take(survivors.len()).collect(),
            false => survivors.iter().map(|row| positions[*row as usize]).collect(),
        };
        step.rows.clone_from(&survivors);
        self.steps.push(step);
        Ok(Some(Survivors { rows: survivors, positions }))
    }

    /// The tokens of one picture that stay: one small read-back.
    fn filter(
        &self,
        picture: &Picture,
        query: &Tensor<3>,
        keys: &Tensor<3>,
        log_sum: &Tensor<2>,
        past: usize,
    ) -> Result<Vec<usize>> {
        let tokens = picture.is_key.len();
        let (sum, max) = kernel::prefill::text_attention(query, keys, log_sum, past + picture.start, tokens);
        let is_key = kernel::integers(picture.is_key.clone(), [tokens], &query.device());
        let (importance, keep) = kernel::prefill::dual_attention(
            &sum,
            &max,
            &is_key,
            self.global_threshold,
            self.individual_threshold,
        );
        const STEP: &str = "filter the vision tokens";
        if let Some(size) = picture.sizes.as_ref().and_then(|sizes| sizes.get(self.steps.len())) {
            let place = kernel::read_integers(kernel::prefill::rank(&importance, &is_key), STEP)?;
            return Ok((0..tokens).filter(|token| (place[*token] as usize) < *size).collect());
        }
        let keep = kernel::read_integers(keep, STEP)?;
        Ok((0..tokens).filter(|token| keep[*token] == 1).collect())
    }
}
