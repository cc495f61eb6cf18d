//! The decoder: Llama (arXiv 2302.13971) with grouped-query attention.

use burn::tensor::{Device, Tensor, TensorData};

use super::{
    attention::{CausalMask, attention},
    cache::{KeyValueCache, LayerCache},
    linear::{Linear, RowTable},
    loader::Loader,
    norm::RmsNorm,
    rope::Rope,
};
use crate::{
    config::{Activation, TextConfig},
    device::Compute,
    drop::{
        decode::evictions,
        prefill::{PrefillFilter, Survivors},
    },
    error::{Error, Result},
    kernel,
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
}

impl Decoder {
    /// Loads the decoder, layer by layer. With `tied`, the embedding serves as head too.
    pub fn load(loader: &Loader, config: &TextConfig, tied: bool) -> Result<Self> {
        const NAME: &str = "language_model";
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let embedding = loader.rows(&format!("{NAME}.embed_tokens"), vocabulary, width)?;
        let head =
            if tied { embedding.tied() } else { loader.linear("lm_head", width, vocabulary, false)? };
        loader.settle()?;
        Ok(Self {
            embedding,
            layers: (0..config.num_hidden_layers)
                .map(|i| DecoderLayer::load(loader, &format!("{NAME}.layers.{i}"), config))
                .collect::<Result<_>>()?,
            norm: loader.rms_norm(&format!("{NAME}.norm"), width, config.rms_norm_eps)?,
            head,
            rope: Rope::new(config),
        })
    }

    /// A decoder of this shape with random weights made on the device, for measuring, in the given precision.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if the device fails.
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
    pub fn forward(&self, x: Tensor<2>, positions: &[u32], cache: &mut KeyValueCache) -> Tensor<2> {
        let mut pass = Pass::new(&self.rope, positions, &x.device());
        let mut x = x;
        for (layer, cache) in self.layers.iter().zip(&mut cache.layers) {
            let attended = layer.attend(&x, &mut pass, cache);
            x = layer.finish(x, attended.output);
        }
        self.norm.forward(x)
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
    /// [`Error::Device`] if the device fails.
    pub fn prefill(
        &self,
        x: Tensor<2>,
        positions: &[u32],
        cache: &mut KeyValueCache,
        filter: &mut PrefillFilter,
    ) -> Result<Tensor<2>> {
        let past: Vec<usize> = cache.rows_per_layer();
        let mut pass = Pass::new(&self.rope, positions, &x.device());
        let mut x = x;
        for (index, (layer, cache)) in self.layers.iter().zip(&mut cache.layers).enumerate() {
            let mut attended = layer.attend(&x, &mut pass, cache);
            if filter.is_due(index)
                && let Some(survivors) = filter.survivors(index, &attended.query, &attended.keys)?
            {
                // What is dropped needs neither the output projection nor the MLP of this layer any more.
                attended.output = kernel::decode::gather_rows(&attended.output, &survivors.rows);
                x = kernel::decode::gather_rows(&x, &survivors.rows);
                pass = pass.of(&self.rope, &survivors);
            }
            x = layer.finish(x, attended.output);
        }
        filter.finish()?;
        if filter.evicts() {
            for (layer, rows) in evictions(&filter.steps) {
                cache.layers[layer].keep(past[layer], &rows);
            }
        }
        Ok(self.norm.forward(x))
    }

    /// The head's logits for one row, `[1, width]`, read back to the host.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if the device failed in this pass, or the logits are not finite.
    pub fn logits(&self, row: Tensor<2>) -> Result<Vec<f32>> {
        const STEP: &str = "read the logits";
        let data = self.head.forward(row).try_into_data().map_err(|error| Error::device(STEP, error))?;
        let logits = data.try_to_vec::<f32>().map_err(|error| Error::device(STEP, format!("{error:?}")))?;
        match logits.iter().position(|logit| !logit.is_finite()) {
            None => Ok(logits),
            Some(token) => Err(Error::device(
                STEP,
                format!(
                    "the logit of token {token} is {}, expected a finite number; the weights are damaged, or \
                     overflow in half precision (try `--weights f32`, or `--device cpu` to compare)",
                    logits[token]
                ),
            )),
        }
    }
}

/// One pre-norm transformer layer.
#[derive(Debug, Clone)]
struct DecoderLayer {
    input_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    post_attention_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
    heads: usize,
    key_heads: usize,
    head_dim: usize,
}

impl DecoderLayer {
    fn load(loader: &Loader, name: &str, config: &TextConfig) -> Result<Self> {
        let (width, inner, eps) = (config.hidden_size, config.intermediate_size, config.rms_norm_eps);
        let (heads, key_heads, head_dim) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let projection = |part: &str, inputs, outputs| {
            loader.linear(&format!("{name}.self_attn.{part}"), inputs, outputs, config.attention_bias)
        };
        let mlp = |part: &str, inputs, outputs| {
            loader.linear(&format!("{name}.mlp.{part}"), inputs, outputs, config.mlp_bias)
        };
        let layer = Self {
            input_norm: loader.rms_norm(&format!("{name}.input_layernorm"), width, eps)?,
            query: projection("q_proj", width, config.query_size())?,
            key: projection("k_proj", width, config.key_value_size())?,
            value: projection("v_proj", width, config.key_value_size())?,
            out: projection("o_proj", config.query_size(), width)?,
            post_attention_norm: loader.rms_norm(&format!("{name}.post_attention_layernorm"), width, eps)?,
            gate: mlp("gate_proj", width, inner)?,
            up: mlp("up_proj", width, inner)?,
            down: mlp("down_proj", inner, width)?,
            activation: config.hidden_act,
            heads,
            key_heads,
            head_dim,
        };
        loader.settle()?;
        Ok(layer)
    }

    /// Attention of the rows `x` to the cache and to themselves, before the output projection.
    fn attend(&self, x: &Tensor<2>, pass: &mut Pass, cache: &mut LayerCache) -> Attended {
        let normed = self.input_norm.forward(x.clone());
        let rows = normed.dims()[0];
        let split = |projection: &Linear, heads: usize| {
            projection.forward(normed.clone()).reshape([rows, heads, self.head_dim])
        };
        let query = kernel::nn::rotary(split(&self.query, self.heads), &pass.rotary);
        let key = kernel::nn::rotary(split(&self.key, self.key_heads), &pass.rotary);
        let mask = pass.mask(cache.len());
        let (keys, values) = cache.extend(key, split(&self.value, self.key_heads));
        Attended { output: attention(query.clone(), keys.clone(), values, mask.as_ref()), query, keys }
    }

    /// The rest of the layer, row by row: output projection, residuals, MLP.
    fn finish(&self, x: Tensor<2>, attended: Tensor<2>) -> Tensor<2> {
        let x = x + self.out.forward(attended);
        let normed = self.post_attention_norm.forward(x.clone());
        let gate = self.activation.forward(self.gate.forward(normed.clone()));
        x + self.down.forward(gate * self.up.forward(normed))
    }
}

/// What a layer's attention leaves for the rest of the layer, and for the filter.
struct Attended {
    /// `[rows, heads * head_dim]`
    output: Tensor<2>,
    /// Rotated queries, `[rows, heads, head_dim]`.
    query: Tensor<3>,
    /// All keys of the cache, `[columns, key_heads, head_dim]`.
    keys: Tensor<3>,
}

/// What the layers share while the same rows pass through them.
struct Pass {
    rows: usize,
    first_position: u32,
    /// Sines and cosines of the rows' positions.
    rotary: Tensor<2>,
    mask: Option<CausalMask>,
    device: Device,
}

impl Pass {
    fn new(rope: &Rope, positions: &[u32], device: &Device) -> Self {
        let table = rope.table(positions);
        let shape = [positions.len(), table.len() / positions.len().max(1)];
        let rotary = Tensor::from_data(TensorData::new(table, shape), device);
        let first_position = positions.first().copied().unwrap_or(0);
        Self { rows: positions.len(), first_position, rotary, mask: None, device: device.clone() }
    }

    /// The rest of the pass, for the survivors of a filter.
    fn of(&self, rope: &Rope, survivors: &Survivors) -> Self {
        if survivors.renumber {
            let positions: Vec<u32> = (self.first_position..).take(survivors.count).collect();
            return Self::new(rope, &positions, &self.device);
        }
        Self {
            rows: survivors.count,
            first_position: self.first_position,
            rotary: kernel::decode::gather_rows(&self.rotary, &survivors.rows),
            mask: None,
            device: self.device.clone(),
        }
    }

    /// The causal mask behind `past` cached rows, of which layers hold different numbers once some were dropped;
    /// none for a single row, which sees everything.
    fn mask(&mut self, past: usize) -> Option<CausalMask> {
        let mask =
            self.mask.take().unwrap_or_else(|| CausalMask::new(self.rows, past, &self.device)).behind(past);
        self.mask = Some(mask.clone());
        (self.rows > 1).then_some(mask)
    }
}
