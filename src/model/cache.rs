//! Keys and values of the tokens seen so far.

use burn::tensor::{Device, Tensor, kind::Basic};

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
            return Rotary { table: rope.tensor(positions, device), first: 0, window: None };
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
        Rotary { table, first, window: None }
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
    /// Where the rows are, if a window asks for that.
    window: Option<Window>,
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
    /// far back as a window says.
    ///
    /// # Shapes
    ///
    /// `projected`: `[rows, (heads + 2 key_heads) * head_dim]`, queries, keys and values of a row behind each other
    pub fn attend(
        &mut self,
        projected: &Tensor<2>,
        rotary: &Rotary,
        heads: Heads,
        variants: Variants,
    ) -> Attended {
        let (past, rows) = (self.rows, projected.dims()[0]);
        self.rows += rows;
        let window = rotary.window.as_ref().map(|new| self.widened(past, new));
        let [mut keys, mut values] = self.take(past, heads, &projected.device());
        let query = rotary_append(projected, rotary, heads, past, &mut keys, &mut values);
        let mixed = attention(&query, &keys, &values, self.rows, past, window.as_ref(), variants);
        // Read before the next row is appended, and then given up.
        let attended = Attended { mixed, query, keys: keys.clone(), past, window: window.clone() };
        self.storage = Some([keys, values]);
        self.window = window;
        attended
    }

    /// The window held with the positions of new rows behind the first `past`.
    fn widened(&mut self, past: usize, new: &Window) -> Window {
        let (end, device) = (self.rows, new.positions.device());
        let empty = |capacity| integers(vec![0; capacity], [capacity], &device);
        let mut positions = with_room(self.window.take().map(|held| held.positions), past, end, empty);
        let new_positions = new.positions.clone();
        positions.inplace(|held| held.slice_assign([past..end], new_positions));
        Window { tokens: new.tokens, positions }
    }

    /// Keys and values with room for all rows, of which the first `past` are those held.
    fn take(&mut self, past: usize, heads: Heads, device: &Device) -> [Tensor<3>; 2] {
        let empty = |capacity| Tensor::empty([capacity, heads.keys, heads.dim], device);
        let held = self.storage.take().map_or([None, None], |held| held.map(Some));
        held.map(|held| with_room(held, past, self.rows, empty))
    }

    /// Keeps the first `past` rows, and of those behind them the ones with the given indices.
    pub fn keep(&mut self, past: usize, index: &[u32]) {
        let Some(storage) = self.storage.take() else { return };
        let rows: Vec<u32> = (0..past as u32).chain(index.iter().map(|row| past as u32 + row)).collect();
        let count = rows.len();
        let [_, heads, width] = storage[0].dims();
        let index = integers(rows, [count], &storage[0].device());
        if let Some(window) = &mut self.window {
            window.keep(index.clone());
        }
        self.storage = Some(storage.map(|held| {
            let capacity = held.dims()[0];
            gather_rows(&held.reshape([capacity, heads * width]), &index).reshape([count, heads, width])
        }));
        self.rows = count;
    }
}

/// What is held, if there is room for so many rows; else its first `past` rows in more room, which `empty` makes.
fn with_room<const D: usize, K: Basic>(
    held: Option<Tensor<D, K>>,
    past: usize,
    rows: usize,
    empty: impl Fn(usize) -> Tensor<D, K>,
) -> Tensor<D, K> {
    let room = || empty(rows.next_multiple_of(CHUNK));
    match held {
        Some(held) if held.dims()[0] >= rows => held,
        Some(held) if past > 0 => room().slice_assign([0..past], held.slice([0..past])),
        _ => room(),
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
    /// How far rows look back, and the positions of all that are held.
    pub window: Option<Window>,
}
