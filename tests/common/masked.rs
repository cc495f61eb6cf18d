//! A Llama decoder in f64 that computes every row in every layer, as a dense model does: what was dropped or evicted is
//! only hidden from the rows that look at it later. It shares no code with the program but the configuration.

use std::{collections::HashMap, ops::Range};

use mustdrop::{
    config::TextConfig,
    drop::{Positions, Pruning, prefill::FilterStep},
};
use rayon::prelude::*;

/// Where the rows of a pass are layer by layer: alive, and at which position.
pub struct Pass {
    /// For each layer, the rows of the pass that it computes, ascending.
    alive: Vec<Vec<usize>>,
    /// For each layer, each row's position.
    positions: Vec<Vec<u32>>,
    /// The layers whose caches are cut to the last survivors in the end.
    evicted: Range<usize>,
}

impl Pass {
    /// A pass of `rows` rows from position `first` on that drops nothing.
    pub fn dense(layers: usize, rows: usize, first: usize) -> Self {
        Self::at(layers, (first as u32..).take(rows).collect())
    }

    /// A pass of rows at these positions that drops nothing.
    pub fn at(layers: usize, positions: Vec<u32>) -> Self {
        Self {
            alive: vec![(0..positions.len()).collect(); layers],
            positions: vec![positions; layers],
            evicted: 0..0,
        }
    }

    /// Drops what goes on no longer behind `layer`: all rows but these, as numbered among all rows.
    pub fn drop_behind(&mut self, layer: usize, alive: &[usize]) {
        self.alive[layer + 1..].fill(alive.to_vec());
    }

    /// Cuts caches as stage D does: of the layers from the first filter's to the last one's.
    pub fn evict(&mut self, layers: Range<usize>) {
        self.evicted = layers;
    }

    /// What filters of the program did with a pass.
    pub fn filtered(layers: usize, rows: usize, first: usize, steps: &[FilterStep], rules: &Pruning) -> Self {
        let mut pass = Self::dense(layers, rows, first);
        let mut alive: Vec<usize> = (0..rows).collect();
        for step in steps {
            alive = step.rows.iter().map(|row| alive[*row as usize]).collect();
            pass.drop_behind(step.layer, &alive);
            if rules.positions == Positions::Compact {
                // The authors' code numbers survivors from the first row's position on.
                for positions in &mut pass.positions[step.layer + 1..] {
                    for (place, row) in alive.iter().enumerate() {
                        positions[*row] = (first + place) as u32;
                    }
                }
            }
        }
        if let (true, Some(first), Some(last)) = (rules.evict, steps.first(), steps.last()) {
            pass.evict(first.layer..last.layer + 1);
        }
        pass
    }
}

/// A row's key and value, of all heads.
struct Column {
    key: Vec<f64>,
    value: Vec<f64>,
    position: u32,
    is_hidden: bool,
}

/// The decoder, and all it has seen.
pub struct MaskedDecoder {
    config: TextConfig,
    weights: HashMap<String, Vec<f64>>,
    layers: Vec<Vec<Column>>,
}

impl MaskedDecoder {
    /// A decoder of these tensors, which are asked for by the names that the program has for them.
    pub fn new(config: &TextConfig, tensor: impl Fn(&str) -> Vec<f32>) -> Self {
        const LAYER: [&str; 9] = [
            "input_layernorm",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "post_attention_layernorm",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        ];
        let layers = (0..config.num_hidden_layers)
            .flat_map(|layer| LAYER.map(|part| format!("language_model.layers.{layer}.{part}.weight")));
        let others = ["language_model.embed_tokens.weight", "language_model.norm.weight", "lm_head.weight"];
        let weights = layers.chain(others.map(str::to_owned)).map(|name| {
            let values = tensor(&name).into_iter().map(f64::from).collect();
            (name, values)
        });
        let layers = (0..config.num_hidden_layers).map(|_| Vec::new()).collect();
        Self { config: config.clone(), weights: weights.collect(), layers }
    }

    /// The embedding of a text token.
    pub fn embed(&self, id: u32) -> Vec<f64> {
        let width = self.config.hidden_size;
        self.weights["language_model.embed_tokens.weight"][id as usize * width..][..width].to_vec()
    }

    /// Runs the rows of a pass through all layers, and returns the logits behind the last.
    pub fn forward(&mut self, rows: Vec<Vec<f64>>, pass: &Pass) -> Vec<f64> {
        let mut x = rows;
        for layer in 0..self.layers.len() {
            let weight =
                |part: &str| &self.weights[&format!("language_model.layers.{layer}.{part}.weight")][..];
            let projected: Vec<[Vec<f64>; 3]> = x
                .par_iter()
                .zip(&pass.positions[layer])
                .map(|(row, position)| {
                    let normed = self.norm(row, weight("input_layernorm"));
                    let [query, key, value] = ["q_proj", "k_proj", "v_proj"]
                        .map(|part| product(weight(&format!("self_attn.{part}")), &normed));
                    [self.rotated(query, *position), self.rotated(key, *position), value]
                })
                .collect();
            let mut columns = std::mem::take(&mut self.layers[layer]);
            let past = columns.len();
            columns.extend(projected.iter().enumerate().map(|(row, [_, key, value])| Column {
                key: key.clone(),
                value: value.clone(),
                position: pass.positions[layer][row],
                is_hidden: pass.alive[layer].binary_search(&row).is_err(),
            }));
            x = x
                .par_iter()
                .enumerate()
                .map(|(row, before)| {
                    let position = pass.positions[layer][row];
                    let slides = self.config.sliding_layers.get(layer).copied().unwrap_or(false);
                    let is_near = |column: &Column| match self.config.sliding_window.filter(|_| slides) {
                        None => true,
                        Some(window) => position - column.position < window as u32,
                    };
                    let seen: Vec<&Column> = columns[..=past + row]
                        .iter()
                        .filter(|column| !column.is_hidden && is_near(column))
                        .collect();
                    if seen.is_empty() {
                        return before.clone();
                    }
                    let mixed = self.attention(&projected[row][0], &seen);
                    let x = sum(before, &product(weight("self_attn.o_proj"), &mixed));
                    let normed = self.norm(&x, weight("post_attention_layernorm"));
                    let gate = product(weight("mlp.gate_proj"), &normed);
                    let up = product(weight("mlp.up_proj"), &normed);
                    let gated: Vec<f64> =
                        gate.iter().zip(&up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
                    sum(&x, &product(weight("mlp.down_proj"), &gated))
                })
                .collect();
            if pass.evicted.contains(&layer) {
                let survivors = pass.alive.last().expect("a layer");
                for (row, column) in columns[past..].iter_mut().enumerate() {
                    column.is_hidden |= survivors.binary_search(&row).is_err();
                }
            }
            self.layers[layer] = columns;
        }
        let last = self.norm(x.last().expect("a row"), &self.weights["language_model.norm.weight"]);
        product(&self.weights["lm_head.weight"], &last)
    }

    /// Columns of each layer that are not hidden.
    pub fn rows_per_layer(&self) -> Vec<usize> {
        self.layers.iter().map(|columns| columns.iter().filter(|column| !column.is_hidden).count()).collect()
    }

    /// Forgets the last rows.
    pub fn forget_last(&mut self, rows: usize) {
        for columns in &mut self.layers {
            columns.truncate(columns.len() - rows);
        }
    }

    fn attention(&self, query: &[f64], seen: &[&Column]) -> Vec<f64> {
        let (dim, group) =
            (self.config.head_dim, self.config.num_attention_heads / self.config.num_key_value_heads);
        let heads = query.chunks_exact(dim).enumerate().flat_map(|(head, query)| {
            let own = head / group * dim..(head / group + 1) * dim;
            let scores: Vec<f64> = seen
                .iter()
                .map(|column| dot(query, &column.key[own.clone()]) / (dim as f64).sqrt())
                .collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let total: f64 = weights.iter().sum();
            own.map(|component| {
                let weighted =
                    weights.iter().zip(seen).map(|(weight, column)| weight * column.value[component]);
                weighted.sum::<f64>() / total
            })
            .collect::<Vec<_>>()
        });
        heads.collect()
    }

    /// Each head turned by the position, its halves being the parts of complex numbers.
    fn rotated(&self, x: Vec<f64>, position: u32) -> Vec<f64> {
        let half = self.config.head_dim / 2;
        let heads = x.chunks_exact(2 * half).flat_map(|head| {
            (0..2 * half).map(move |i| {
                let pair = i % half;
                let exponent = -(pair as f64) / half as f64;
                let angle = f64::from(position) * self.config.rope_theta.powf(exponent);
                let other = if i < half { -head[pair + half] } else { head[pair] };
                head[i] * angle.cos() + other * angle.sin()
            })
        });
        heads.collect()
    }

    fn norm(&self, x: &[f64], weight: &[f64]) -> Vec<f64> {
        let mean = dot(x, x) / x.len() as f64;
        let scale = 1.0 / (mean + self.config.rms_norm_eps).sqrt();
        x.iter().zip(weight).map(|(x, weight)| x * scale * weight).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// `weight` has a row of `x.len()` numbers for each output.
fn product(weight: &[f64], x: &[f64]) -> Vec<f64> {
    weight.chunks_exact(x.len()).map(|row| dot(row, x)).collect()
}
