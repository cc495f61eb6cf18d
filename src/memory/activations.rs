//! What computing takes beside the weights, from shapes alone.

use super::plan::{FLOAT, ModelShape, Rows};
use crate::{kernel::prefill::SHARES, model::cache, tiling::PictureShape};

/// Sizes of the vision tower's activations, in numbers.
pub(super) struct Tower {
    states: usize,
    mlp: usize,
    attention: usize,
    largest: usize,
}

impl Tower {
    pub fn new(shape: &ModelShape, picture: &PictureShape) -> Self {
        let vision = &shape.config.vision;
        let rows = vision.patches() + vision.kind.classes();
        let (width, inner) = (vision.hidden_size, vision.intermediate_size);
        let at_once = picture.tiles().min(vision.squares_at_once());
        // The current state, those of features, and the one that class attention sees.
        let states = shape.config.feature_states().len() + 2;
        let asking = if vision.kind.classes() > 0 { vision.kind.classes() } else { rows };
        let judged = SHARES * asking * rows;
        Self {
            // And of tiles seen before, the features and what class attention sees.
            states: states * at_once * rows * width + 2 * (picture.tiles() - at_once) * rows * width,
            mlp: at_once * vision.inner_numbers(),
            // Queries, keys and values, as they are and, on the CPU path, apart. Scores are never in memory, but for those of
            // a tower without class token, whose patches all judge each other once.
            attention: (at_once * rows * 8 * width).max(judged),
            largest: (at_once * rows * inner.max(3 * width)).max(judged),
        }
    }

    pub fn bytes(&self) -> u64 {
        ((self.states + self.mlp.max(self.attention)) * FLOAT) as u64
    }

    pub fn largest(&self) -> u64 {
        (self.largest * FLOAT) as u64
    }
}

/// Sizes of what makes tokens of the features of tiles, in numbers; none for a picture that is one square.
pub(super) struct Packing {
    features: usize,
    projected: usize,
    /// Those of the largest tensor.
    largest: usize,
}

impl Packing {
    pub fn new(shape: &ModelShape, picture: &PictureShape, is_pruned: bool) -> Self {
        if picture.is_square() {
            return Self { features: 0, projected: 0, largest: 0 };
        }
        let (vision, width) = (&shape.config.vision, shape.config.text.hidden_size);
        // Where tokens are interpolated, all patches are projected that they lie between.
        let shown = picture.detail.as_ref().map_or(0, |detail| detail.rows.len() * detail.columns.len());
        let rows = picture.patches_of_tile() + shown;
        let feature_width = vision.hidden_size * shape.config.feature_states().len();
        let parts = if picture.is_shrunk() { 3 } else { 1 };
        Self {
            // Of each tile, and of all together; what is projected; and what class attention sees.
            features: (2 * picture.patches() + rows) * feature_width
                + usize::from(is_pruned) * picture.patches() * vision.hidden_size,
            // Between the two matrices, behind them, with the newline, and gathered.
            projected: 3 * rows * width + parts * picture.tokens() * width,
            largest: (rows * width).max(picture.patches() * feature_width),
        }
    }

    pub fn bytes(&self) -> u64 {
        ((self.features + self.projected) * FLOAT) as u64
    }

    pub fn largest(&self) -> u64 {
        (self.largest * FLOAT) as u64
    }
}

/// Sizes of the decoder's activations, in numbers.
pub(super) struct Decoder {
    mlp: usize,
    attention: usize,
    logits: usize,
    largest: usize,
    /// Width of the keys of a row.
    key_width: usize,
}

impl Decoder {
    pub fn new(shape: &ModelShape, picture: &PictureShape, rows: &Rows) -> Self {
        let text = &shape.config.text;
        let (width, inner) = (text.hidden_size, text.intermediate_size);
        // What a filter sees: the attention of the text to the picture.
        let patches = picture.budgeted();
        let text_rows = rows.dense.saturating_sub(patches);
        let judged = if rows.prefill.iter().all(|layer| *layer == rows.dense) {
            0
        } else {
            SHARES * text_rows * patches
        };
        let rows = rows.prefill.first().copied().unwrap_or(0);
        let features = picture.tokens() * width;
        Self {
            // Gates and what they let through, and, on the CPU path, their products; the picture's features stay for later
            // turns.
            mlp: features + rows * (3 * width + 3 * inner),
            attention: features
                + rows * (3 * width + 3 * text.query_size() + 4 * text.key_value_size())
                + judged,
            logits: 2 * text.vocab_size,
            largest: (rows * inner.max(text.query_size() + 2 * text.key_value_size()))
                .max(text.vocab_size)
                .max(judged),
            key_width: text.key_value_size(),
        }
    }

    pub fn bytes(&self) -> u64 {
        (self.mlp.max(self.attention).max(self.logits) * FLOAT) as u64
    }

    pub fn largest(&self) -> u64 {
        (self.largest * FLOAT) as u64
    }

    /// The keys, or the values, of one layer that holds `rows` rows.
    pub fn storage(&self, rows: usize) -> u64 {
        (rows.next_multiple_of(cache::CHUNK) * self.key_width * FLOAT) as u64
    }
}
