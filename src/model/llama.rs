//! The decoder: Llama (arXiv 2302.13971) with grouped-query attention, and what Mistral and Qwen2 change in it.

use burn::tensor::{Device, Tensor};

use super::{
    cache::{Attended, KeyValueCache, LayerCache},
    linear::{Linear, RowTable},
    loader::{Loader, Order},
    logits::Logits,
    norm::RmsNorm,
    positions::RowPositions,
    rope::Rope,
};
use crate::{
    cancel,
    config::{Activation, TextConfig},
    device::Compute,
    drop::{
        decode::evictions,
        prefill::{PrefillFilter, Scores},
    },
    error::Result,
    kernel::{
        attention::{Heads, Rotary, Window},
        decode::gather_rows,
        integers,
        prefill::gather_survivors,
        product::Around,
        variants::Variants,
    },
    weights::Precision,
};

/// A decoder-only transformer and its head.
#[derive(Debug, Clone)]
pub struct Decoder {
    embedding: RowTable,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    head: Linear,
    rope: Rope,
    /// Positions that a row looks back at, its own included; `None` lets it see all.
    window: Option<u32>,
}

impl Decoder {
    /// Loads the decoder, layer by layer. With `tied`, the embedding serves as head too.
    pub fn load(loader: &Loader, config: &TextConfig, tied: bool) -> Result<Self> {
        const NAME: &str = "language_model";
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let embedding = loader.rows(&format!("{NAME}.embed_tokens"), vocabulary, width)?;
        let head = if tied {
            embedding.tied(loader.variants())
        } else {
            loader.linear("lm_head", width, vocabulary, false)?
        };
        loader.settle()?;
        Ok(Self {
            embedding,
            layers: (0..config.num_hidden_layers)
                .map(|i| DecoderLayer::load(loader, &format!("{NAME}.layers.{i}"), config, i))
                .collect::<Result<_>>()?,
            norm: loader.rms_norm(&format!("{NAME}.norm"), width, config.rms_norm_eps)?,
            head,
            rope: Rope::new(config),
            window: config.window(),
        })
    }

    /// A decoder of this shape with random weights made on the device, for measuring, in the given precision.
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn synthetic(
        config: &TextConfig,
        compute: &Compute,
        precision: impl Into<Precision>,
    ) -> Result<Self> {
        Self::load(&Loader::synthetic(compute, precision.into()), config, false)
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Bytes of the weights that a decode step reads: all but the embedding, of which it reads one row.
    pub fn step_bytes(&self) -> u64 {
        self.head.bytes() + self.layers.iter().map(DecoderLayer::bytes).sum::<u64>()
    }

    /// An empty cache for this decoder.
    pub fn new_cache(&self) -> KeyValueCache {
        KeyValueCache::new(self.layers.len())
    }

    /// Embeddings of text tokens, `[ids.len(), width]`.
    pub fn embed(&self, ids: &[u32]) -> Tensor<2> {
        self.embedding.gather(ids)
    }

    /// Runs all layers over new rows, and appends their keys and values to `cache`.
    ///
    /// A row attends to every cached row and to the new rows up to itself.
    ///
    /// # Shapes
    ///
    /// `x`: `[rows, width]`, `positions`: one a row; result: `[rows, width]`, after the final norm.
    pub fn forward(
        &self,
        x: Tensor<2>,
        positions: impl Into<RowPositions>,
        cache: &mut KeyValueCache,
    ) -> Tensor<2> {
        let positions = positions.into();
        let rotary = match positions.known() {
            None => self.rotary(&positions, &x.device()),
            Some(positions) => Rotary {
                window: self.window(positions, &x.device()),
                ..cache.rotary(&self.rope, positions, &x.device())
            },
        };
        let mut x = x;
        for (layer, cache) in self.layers.iter().zip(&mut cache.layers) {
            if cancel::is_due() {
                break;
            }
            let attended = layer.attend(&x, &rotary, cache);
            x = layer.finish(x, &attended.mixed.output);
        }
        self.norm.forward(&x)
    }

    /// As [`forward`](Self::forward), but rows that `filter` drops behind a layer do not go on, and in the end
    /// the caches are cut to the survivors if its policy evicts.
    ///
    /// # Shapes
    ///
    /// Result: `[survivors, width]`; the last row always survives.
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn prefill(
        &self,
        x: Tensor<2>,
        positions: impl Into<RowPositions>,
        cache: &mut KeyValueCache,
        filter: &mut PrefillFilter,
    ) -> Result<Tensor<2>> {
        let positions = positions.into();
        let past: Vec<usize> = cache.rows_per_layer();
        let first_position = positions.at(0);
        let mut rotary = self.rotary(&positions, &x.device());
        let mut x = x;
        for (index, (layer, cache)) in self.layers.iter().zip(&mut cache.layers).enumerate() {
            cancel::check()?;
            let Attended { mixed, query, keys, past, window } = layer.attend(&x, &rotary, cache);
            let mut output = mixed.output;
            let (log_sum, window) = (&mixed.log_sum, window.as_ref());
            let scores = Scores { query: &query, keys: &keys, log_sum, past, window };
            filter.look_back(index, &scores);
            if filter.is_due(index)
                && let Some(survivors) = filter.survivors(index, scores)?
            {
                // What is dropped needs neither the output projection nor the MLP of this layer any more.
                let matrices = [&x, &output, &rotary.table];
                let [hidden, mixed, table] = gather_survivors(matrices, &survivors.rows, survivors.count);
                (x, output) = (hidden, mixed);
                rotary = match survivors.renumber {
                    true => {
                        let positions: Vec<u32> = (first_position..).take(survivors.count).collect();
                        self.rotary(&positions.as_slice().into(), &x.device())
                    }
                    false => {
                        let mut window = rotary.window;
                        if let Some(window) = &mut window {
                            window.keep(survivors.rows.slice([0..survivors.count]));
                        }
                        Rotary { table, first: 0, window }
                    }
                };
            }
            x = layer.finish(x, &output);
        }
        filter.finish()?;
        if filter.evicts() {
            for (layer, rows) in evictions(&filter.steps) {
                cache.layers[layer].keep(past[layer], &rows);
            }
        }
        Ok(self.norm.forward(&x))
    }

    /// What tells a pass's rows where they are.
    fn rotary(&self, positions: &RowPositions, device: &Device) -> Rotary {
        let (positions, index) = positions.and_index(device);
        let (mut table, mut window) = (self.rope.tensor(&positions, device), self.window(&positions, device));
        if let Some(index) = index {
            table = gather_rows(&table, &index);
            if let Some(window) = &mut window {
                window.keep(index);
            }
        }
        Rotary { table, first: 0, window }
    }

    /// How far rows at these positions look back, if not at all.
    fn window(&self, positions: &[u32], device: &Device) -> Option<Window> {
        let tokens = self.window?;
        Some(Window { tokens, positions: integers(positions.to_vec(), [positions.len()], device) })
    }

    /// The head's logits, row after row, `[rows, width]`, as long as they stay on the device.
    pub fn head(&self, rows: Tensor<2>) -> Logits {
        Logits::new(self.head.forward(&rows))
    }

    /// The head's logits, row after row, read back to the host.
    ///
    /// # Shapes
    ///
    /// `rows`: `[rows, width]`
    ///
    /// # Errors
    ///
    /// As [`Logits::read`].
    pub fn logits(&self, rows: Tensor<2>) -> Result<Vec<f32>> {
        self.head(rows).read()
    }
}

/// One pre-norm transformer layer.
#[derive(Debug, Clone)]
struct DecoderLayer {
    input_norm: RmsNorm,
    /// Queries, keys and values.
    projections: Linear,
    out: Linear,
    post_attention_norm: RmsNorm,
    /// Gates, and what they let through.
    gate_and_up: Linear,
    down: Linear,
    activation: Activation,
    heads: Heads,
    /// Whether rows look back only as far as the decoder's window.
    slides: bool,
    variants: Variants,
}

impl DecoderLayer {
    fn load(loader: &Loader, name: &str, config: &TextConfig, index: usize) -> Result<Self> {
        let (width, inner, eps) = (config.hidden_size, config.intermediate_size, config.rms_norm_eps);
        let attention = |part: &str| format!("{name}.self_attn.{part}");
        let mlp = |part: &str| format!("{name}.mlp.{part}");
        let (queries, keys) = (config.query_size(), config.key_value_size());
        let projections = [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)];
        let projections = projections.map(|(part, outputs)| (attention(part), outputs));
        let gate_and_up = ["gate_proj", "up_proj"].map(|part| (mlp(part), inner));
        let layer = Self {
            input_norm: loader.rms_norm(&format!("{name}.input_layernorm"), width, eps)?,
            projections: loader.joined(&projections, width, config.attention_bias, Order::Behind)?,
            out: loader.linear(&attention("o_proj"), queries, width, config.attention_output_bias)?,
            post_attention_norm: loader.rms_norm(&format!("{name}.post_attention_layernorm"), width, eps)?,
            gate_and_up: loader.joined(&gate_and_up, width, config.mlp_bias, Order::InTurns)?,
            down: loader.linear(&mlp("down_proj"), inner, width, config.mlp_bias)?,
            activation: config.hidden_act,
            heads: Heads {
                queries: config.num_attention_heads,
                keys: config.num_key_value_heads,
                dim: config.head_dim,
            },
            slides: config.sliding_layers.get(index).copied().unwrap_or(false),
            variants: loader.variants(),
        };
        loader.settle()?;
        Ok(layer)
    }

    /// Bytes of the matrices.
    fn bytes(&self) -> u64 {
        let Self { projections, out, gate_and_up, down, .. } = self;
        [projections, out, gate_and_up, down].into_iter().map(Linear::bytes).sum()
    }

    /// Attention of the rows `x` to the cache and to themselves, before the output projection.
    fn attend(&self, x: &Tensor<2>, rotary: &Rotary, cache: &mut LayerCache) -> Attended {
        let around = Around { norm: self.input_norm.before(), ..Around::default() };
        let projected = self.projections.forward_within(x, &around);
        if self.slides || rotary.window.is_none() {
            return cache.attend(&projected, rotary, self.heads, self.variants);
        }
        let unbounded = Rotary { window: None, ..rotary.clone() };
        cache.attend(&projected, &unbounded, self.heads, self.variants)
    }

    /// The rest of the layer, row by row: output projection, residuals, MLP.
    fn finish(&self, x: Tensor<2>, mixed: &Tensor<2>) -> Tensor<2> {
        let x = self.out.forward_within(mixed, &Around { residual: Some(&x), ..Around::default() });
        let gated = self.gate_and_up.forward_within(
            &x,
            &Around {
                norm: self.post_attention_norm.before(),
                activation: Some(self.activation),
                is_gated: true,
                ..Around::default()
            },
        );
        self.down.forward_within(&gated, &Around { residual: Some(&x), ..Around::default() })
    }
}
