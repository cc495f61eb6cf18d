//! After VisionZip (Yang et al., arXiv 2412.04467): dominant tokens as they are, the rest as a few means.

use burn::tensor::Tensor;

use super::{Entry, Keep, Policy, TowerTokens, at_once, highest};
use crate::{drop::token_map::Group, error::Result, kernel, tiling::PictureShape};

/// The paper's shares at 64 tokens: 54 dominant ones and 10 means.
const MEANS_OF_64: usize = 10;

/// The tokens that `[CLS]` attends to most, and means of the others around evenly spaced ones.
///
/// Unlike the authors' code, which compares the tower's keys and adds the mean of what joins a token to it, this
/// compares features by their cosine and takes the plain mean of the group.
#[derive(Debug)]
pub(super) struct VisionZip {
    pub keep: Option<Keep>,
}

impl Policy for VisionZip {
    fn sizes(&self, picture: &PictureShape, tokens: usize, _depth: usize) -> Result<Option<Vec<usize>>> {
        at_once(self.keep, picture, tokens)
    }

    fn enter(&self, tower: &TowerTokens<'_>, count: usize) -> Result<Entry> {
        const STEP: &str = "choose the dominant tokens";
        let [tokens, _] = tower.features.dims();
        let device = tower.features.device();
        let means = if count < tokens { (count * MEANS_OF_64 + 32) / 64 } else { 0 };
        let none = kernel::integers(vec![0; tokens], [tokens], &device);
        let dominant = kernel::prefill::top_k(&(tower.class_attention)(), &none, count - means);
        let dominant = kernel::read_integers(dominant, STEP)?;
        let (kept, rest): (Vec<u32>, Vec<u32>) =
            (0..tokens as u32).partition(|token| dominant[*token as usize] == 1);
        let mut groups: Vec<Group> = kept.into_iter().map(Group::single).collect();
        if means == 0 {
            return Ok(Entry::Means(groups));
        }

        let centres: Vec<u32> = (0..means).map(|i| rest[i * rest.len() / means]).collect();
        let rows = |index: &[u32]| {
            let index = kernel::integers(index.to_vec(), [index.len()], &device);
            normalised(kernel::decode::gather_rows(&tower.features, &index))
        };
        let similarity = rows(&rest).matmul(rows(&centres).transpose());
        let similarity = kernel::read_numbers(similarity.reshape([rest.len() * means]), STEP)?;
        let mut around: Vec<Group> = centres.iter().copied().map(Group::single).collect();
        for (token, similarity) in rest.iter().zip(similarity.chunks_exact(means)) {
            if centres.binary_search(token).is_err() {
                around[highest(similarity)].members.push(*token);
            }
        }
        groups.append(&mut around);
        Ok(Entry::Means(groups))
    }
}

/// Rows of length 1.
fn normalised(rows: Tensor<2>) -> Tensor<2> {
    let length = (rows.clone() * rows.clone()).sum_dim(1).sqrt().clamp_min(1e-12);
    rows / length
}
