//! The features of a picture's tiles as the tokens that the decoder is given.

use burn::tensor::Tensor;

use super::LlavaModel;
use crate::{
    error::{Error, Result},
    kernel::{decode::gather_rows, from_host, integers},
    tiling::{Cell, Kind, PictureShape},
};

/// What a token is made of: rows of features, and the share of each; of none, it is `image_newline`.
pub type Sources = Vec<(u32, f32)>;

impl LlavaModel {
    /// The decoder embeddings of a picture of this shape, `[tokens, text width]`, from the pixels of its squares.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if there is no `image_newline` though the shape has one.
    pub fn encode_picture(&self, tiles: &[&[f32]], shape: &PictureShape) -> Result<Tensor<2>> {
        let mut features = self.vision.features_of(tiles);
        if shape.is_square() {
            return Ok(self.projector.forward(features.remove(0)));
        }
        let tokens: Vec<Sources> = shape.cells().into_iter().map(sources).collect();
        self.pack(&Tensor::cat(features, 0), &tokens)
    }

    /// The decoder embeddings of tokens, `[tokens, text width]`, from the features of all tiles, `[rows, width]`: only what
    /// they are made of is projected.
    ///
    /// # Errors
    ///
    /// As [`encode_picture`](Self::encode_picture).
    pub fn pack(&self, features: &Tensor<2>, tokens: &[Sources]) -> Result<Tensor<2>> {
        let missing = || Error::model("image_newline", "expected this tensor in the checkpoint, found none");
        let newline = self.newline.clone().ok_or_else(missing)?;
        let mut used: Vec<u32> = tokens.iter().flatten().map(|(row, _)| *row).collect();
        used.sort_unstable();
        used.dedup();
        let features = rows_of(features, &used);
        let table = Tensor::cat(vec![self.projector.forward(features), newline.unsqueeze()], 0);
        let last = used.len() as u32;
        let place =
            |(row, share): &(u32, f32)| (used.binary_search(row).map_or(last, |row| row as u32), *share);
        let placed = tokens.iter().map(|token| match token.as_slice() {
            [] => vec![(last, 1.0)],
            sources => sources.iter().map(place).collect(),
        });
        Ok(mixed(&table, &placed.collect::<Vec<_>>()))
    }
}

/// What a cell is made of, where every patch is a row.
pub(super) fn sources(cell: Cell) -> Sources {
    match cell.kind {
        Kind::Patches(shares) => shares,
        Kind::Newline => Vec::new(),
    }
}

/// These rows of `x`, which is no copy if they are all.
pub(super) fn rows_of(x: &Tensor<2>, rows: &[u32]) -> Tensor<2> {
    if rows.len() == x.dims()[0] && rows.iter().enumerate().all(|(index, row)| index == *row as usize) {
        return x.clone();
    }
    gather_rows(x, &integers(rows.to_vec(), [rows.len()], &x.device()))
}

/// For each token the sum of its shares of rows of `x`.
pub(super) fn mixed(x: &Tensor<2>, tokens: &[Sources]) -> Tensor<2> {
    let most = tokens.iter().map(Vec::len).max().unwrap_or(0);
    let part = |number: usize| -> Tensor<2> {
        let rows: Vec<u32> =
            tokens.iter().map(|token| token.get(number).map_or(0, |(row, _)| *row)).collect();
        rows_of(x, &rows)
    };
    if most <= 1 {
        return part(0);
    }
    let weighted = |number: usize| {
        let shares = tokens.iter().map(|token| token.get(number).map_or(0.0, |(_, share)| *share));
        part(number) * from_host(shares.collect(), [tokens.len(), 1], &x.device())
    };
    (1..most).map(weighted).fold(weighted(0), |sum, part| sum + part)
}
