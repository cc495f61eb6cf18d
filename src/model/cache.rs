//! Keys and values of the tokens seen so far.

use burn::tensor::{Device, Int, Tensor};

use crate::kernel::{
    attention::{Heads, Mixed, Rotary, Window, attention, rotary_append},
    decode::gather_rows,
    integers,
    product::FEW_ROWS,
    variants::Variants,
};

use super::rope::Rope;

/// Rows a cache grows by when it is full.
pub(crate) const CHUNK: usize = 256;

/// Keys and values of every decoder layer, and the position the next token gets.
///
/// A layer's rows and the rotary positions are separate matters: rows may be dropped, layer by layer,
/// while every surviving row was rotated by the position it had when it was written.
///
/// On an adapter rows are appended in place, which a second holder would see: there is no `Clone`.
#[derive(Debug)]
pub struct KeyValueCache {
    pub(super) layers: Vec<LayerCache>,
    /// The rotary position of the next token.
    pub(crate) next_position: u32,
    /// Angles of the positions of the next few rows, so that a step need not bring its own to the device.
    ahead: Option<Ahead>,
}

/// Angles of [`AHEAD`] positions in a row.
#[derive(Debug)]
struct Ahead {
    position: u32,
    table: Tensor<2>,
}

/// Positions whose angles are made at once.
const AHEAD: u32 = 256;

impl KeyValueCache {
    /// An empty cache for a decoder of `layers` layers.
    pub fn new(layers: usize) -> Self {
        Self { layers: (0..layers).map(|_| LayerCache::default()).collect(), next_position: 0, ahead: None }
    }

    /// The angles of these positions; of few in a row, with those that probably follow.
    pub(super) fn rotary(&mut self, rope: &Rope, positions: &[u32], device: &Device) -> Rotary {
        let is_row = positions.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
        let (Some(&position), true) = (positions.first(), is_row && positions.len() <= FEW_ROWS) else {
            return Rotary { table: rope.tensor(positions, device), first: 0, positions: None };
        };
        let end = position.saturating_add(positions.len() as u32);
        let ahead = match self.ahead.take() {
            Some(ahead) if ahead.position <= position && end <= ahead.position + AHEAD => ahead,
            _ => {
                let positions: Vec<u32> = (position..position.saturating_add(AHEAD)).collect();
                Ahead { position, table: rope.tensor(&positions, device) }
            }
        };
        let (table, first) = (ahead.table.clone(), (position - ahead.position) as usize);
        self.ahead = Some(ahead);
        Rotary { table, first, positions: None }
    }

    /// Rows held by each layer.
    pub fn rows_per_layer(&self) -> Vec<usize> {
        self.layers.iter().map(LayerCache::len).collect()
    }

    /// Bytes of the rows held, over all layers; preallocated room not counted.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(LayerCache::bytes).sum()
    }

    /// Forgets the last `rows` rows of every layer, and every position from `next_position` on.
    pub fn forget_last(&mut self, rows: usize, next_position: u32) {
        for layer in &mut self.layers {
            layer.rows = layer.rows.saturating_sub(rows);
        }
        self.next_position = next_position;
    }
}

/// Keys and values of one layer.
#[derive(Debug, Default)]
pub struct LayerCache {
    /// Keys and values, `[rows or more, key_heads, head_dim]` each.
    storage: Option<[Tensor<3>; 2]>,
    /// Positions of the rows, `[rows or more]`, where a window asks for them.
    positions: Option<Tensor<1, Int>>,
    rows: usize,
}

impl LayerCache {
    /// Rows held.
    pub fn len(&self) -> usize {
        self.rows
    }

    fn bytes(&self) -> u64 {
        self.storage.as_ref().map_or(0, |[keys, _]| {
            let [_, heads, width] = keys.dims();
            2 * (self.rows * heads * width * keys.dtype().size()) as u64
        })
    }

    /// Appends the keys and values of new rows, and lets their queries look at all that is held, each up to itself, and as
    /// far back as `window` says.
    ///
    /// # Shapes
    ///
    /// `projected`: `[rows, (heads + 2 key_heads) * head_dim]`, queries, keys and values of a row behind each other
    pub fn attend(
        &mut self,
        projected: &Tensor<2>,
        rotary: &Rotary,
        heads: Heads,
        window: Option<u32>,
        variants: Variants,
    ) -> Attended {
        let (past, rows) = (self.rows, projected.dims()[0]);
        self.rows += rows;
        let positions = rotary.positions.as_ref().map(|new| self.with_positions(past, new));
        let seen = window.zip(positions.as_ref()).map(|(tokens, positions)| Window { tokens, positions });
        let [mut keys, mut values] = self.take(past, heads, &projected.device());
        let query = rotary_append(projected, rotary, heads, past, &mut keys, &mut values);
        let mixed = attention(&query, &keys, &values, self.rows, past, seen, variants);
        // Read before the next row is appended, and then given up.
        let attended = Attended { mixed, query, keys: keys.clone(), past, positions: positions.clone() };
        self.storage = Some([keys, values]);
        self.positions = positions;
        attended
    }

    /// The positions held with those of new rows behind them, written where there is room.
    fn with_positions(&mut self, past: usize, new: &Tensor<1, Int>) -> Tensor<1, Int> {
        let mut positions = match self.positions.take() {
            Some(held) if held.dims()[0] >= self.rows => held,
            held => {
                let capacity = self.rows.next_multiple_of(CHUNK);
                let grown = integers(vec![0; capacity], [capacity], &new.device());
                match held.filter(|_| past > 0) {
                    Some(held) => grown.slice_assign([0..past], held.slice([0..past])),
                    None => grown,
                }
            }
        };
        let new = new.clone();
        positions.inplace(|held| held.slice_assign([past..self.rows], new));
        positions
    }

    /// Keys and values with room for all rows, of which the first `past` are those held.
    fn take(&mut self, past: usize, heads: Heads, device: &Device) -> [Tensor<3>; 2] {
        let shape = [self.rows.next_multiple_of(CHUNK), heads.keys, heads.dim];
        match self.storage.take() {
            Some(held) if held[0].dims()[0] >= self.rows => held,
            held => {
                let [keys, values] = held.map_or([None, None], |held| held.map(Some));
                [keys, values].map(|old| {
                    let grown = Tensor::empty(shape, device);
                    match old.filter(|_| past > 0) {
                        Some(old) => grown.slice_assign([0..past], old.slice([0..past])),
                        None => grown,
                    }
                })
            }
        }
    }

    /// Keeps the first `past` rows, and of those behind them the ones with the given indices.
    pub fn keep(&mut self, past: usize, index: &[u32]) {
        let Some(storage) = self.storage.take() else { return };
        let rows: Vec<u32> = (0..past as u32).chain(index.iter().map(|row| past as u32 + row)).collect();
        let count = rows.len();
        let [_, heads, width] = storage[0].dims();
        let index = integers(rows, [count], &storage[0].device());
        self.positions = self.positions.take().map(|held| held.select(0, index.clone()));
        self.storage = Some(storage.map(|held| {
            let capacity = held.dims()[0];
            gather_rows(&held.reshape([capacity, heads * width]), &index).reshape([count, heads, width])
        }));
        self.rows = count;
    }
}

/// What a layer's attention leaves for the rest of the layer, and for the filter.
#[derive(Debug)]
pub struct Attended {
    pub mixed: Mixed,
    /// Rotated queries, `[rows, heads, head_dim]`.
    pub query: Tensor<3>,
    /// `[past + rows or more, key_heads, head_dim]`
    pub keys: Tensor<3>,
    /// Rows that the cache held before.
    pub past: usize,
    /// Positions of all rows, where a window asks for them.
    pub positions: Option<Tensor<1, Int>>,
}
