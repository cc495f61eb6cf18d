//! A writer of GGUF files, true or lying ones, and the tiny model's decoder as such a file.

use super::tiny::{TEXT_WIDTH, Tiny, VOCABULARY};

/// Numbers of value types in the format.
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const F32: u32 = 6;
pub const TEXT: u32 = 8;
pub const ARRAY: u32 = 9;

/// A file to be written. Whatever is `None` is computed.
pub struct GgufFile {
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub pair_count: Option<u64>,
    /// Key, type and the value's bytes.
    pub pairs: Vec<(String, u32, Vec<u8>)>,
    pub tensors: Vec<GgufTensor>,
    /// Where data is aligned to; not written into the metadata.
    pub alignment: usize,
}

pub struct GgufTensor {
    pub name: String,
    /// Innermost first, as the file has them.
    pub dimensions: Vec<u64>,
    pub kind: u32,
    pub offset: Option<u64>,
    pub data: Vec<u8>,
}

impl GgufFile {
    pub fn new() -> Self {
        Self {
            version: 3,
            tensor_count: None,
            pair_count: None,
            pairs: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
        }
    }

    /// A Llama's metadata, for tensors that are not there yet.
    pub fn llama(width: u32, inner: u32, heads: u32, key_heads: u32, vocabulary: u32) -> Self {
        let mut file = Self::new();
        file.text("general.architecture", "llama");
        let sizes = [
            ("block_count", 2),
            ("embedding_length", width),
            ("feed_forward_length", inner),
            ("attention.head_count", heads),
            ("attention.head_count_kv", key_heads),
            ("context_length", 64),
            ("vocab_size", vocabulary),
        ];
        for (key, size) in sizes {
            file.u32(&format!("llama.{key}"), size);
        }
        file.f32("llama.attention.layer_norm_rms_epsilon", 1e-6);
        file.f32("llama.rope.freq_base", 10_000.0);
        file
    }

    /// The decoder of a tiny LLaVA, in float32. Without `head`, the embedding is the head.
    pub fn of_tiny(tiny: &Tiny, head: bool) -> Self {
        let mut file = Self::llama(TEXT_WIDTH as u32, 32, 4, 2, VOCABULARY as u32);
        for (name, shape, values) in &tiny.tensors {
            let Some(name) = name.strip_prefix("language_model.") else { continue };
            let name = [
                ("model.embed_tokens.", "token_embd."),
                ("model.layers.", "blk."),
                ("model.norm.", "output_norm."),
                ("lm_head.", "output."),
                ("self_attn.q_proj", "attn_q"),
                ("self_attn.k_proj", "attn_k"),
                ("self_attn.v_proj", "attn_v"),
                ("self_attn.o_proj", "attn_output"),
                ("mlp.gate_proj", "ffn_gate"),
                ("mlp.up_proj", "ffn_up"),
                ("mlp.down_proj", "ffn_down"),
                ("post_attention_layernorm", "ffn_norm"),
                ("input_layernorm", "attn_norm"),
            ]
            .iter()
            .fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
            if name == "output.weight" && !head {
                continue;
            }
            let permuted = match name.split('.').nth(2) {
                Some("attn_q" | "attn_k") => interleave(values, 6, shape.get(1).copied().unwrap_or(1)),
                _ => values.clone(),
            };
            let dimensions = shape.iter().rev().map(|size| *size as u64).collect();
            file.tensor(&name, dimensions, 0, bytemuck::cast_slice(&permuted).to_vec());
        }
        file
    }

    pub fn u32(&mut self, key: &str, value: u32) {
        self.pairs.push((key.into(), U32, value.to_le_bytes().into()));
    }

    pub fn f32(&mut self, key: &str, value: f32) {
        self.pairs.push((key.into(), F32, value.to_le_bytes().into()));
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.pairs.push((key.into(), TEXT, text(value)));
    }

    pub fn texts(&mut self, key: &str, values: &[&str]) {
        let bytes = values.iter().flat_map(|value| text(value)).collect();
        self.array(key, TEXT, values.len() as u64, bytes);
    }

    /// An array of `count` values of a type.
    pub fn array(&mut self, key: &str, kind: u32, count: u64, values: Vec<u8>) {
        let bytes = [kind.to_le_bytes().as_slice(), &count.to_le_bytes(), &values].concat();
        self.pairs.push((key.into(), ARRAY, bytes));
    }

    /// Replaces a pair's value, and type.
    pub fn set(&mut self, key: &str, kind: u32, value: impl Into<Vec<u8>>) {
        self.pairs.retain(|pair| pair.0 != key);
        self.pairs.push((key.into(), kind, value.into()));
    }

    pub fn tensor(&mut self, name: &str, dimensions: Vec<u64>, kind: u32, data: Vec<u8>) {
        self.tensors.push(GgufTensor { name: name.into(), dimensions, kind, offset: None, data });
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.pair_count.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.pairs {
            bytes.extend(text(key));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            data.resize(data.len().next_multiple_of(self.alignment), 0);
            bytes.extend(text(&tensor.name));
            bytes.extend((tensor.dimensions.len() as u32).to_le_bytes());
            tensor.dimensions.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
        }
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend(data);
        bytes
    }
}

/// A length and the text.
fn text(value: &str) -> Vec<u8> {
    [(value.len() as u64).to_le_bytes().as_slice(), value.as_bytes()].concat()
}

/// llama.cpp's order of a query or key matrix's rows: in each head, a row of the first half and one of the second
/// in turns.
fn interleave(values: &[f32], head: usize, width: usize) -> Vec<f32> {
    let row = |index: usize| &values[index * width..][..width];
    (0..values.len() / width)
        .flat_map(|index| {
            let (first, place) = (index / head * head, index % head);
            row(first + place % 2 * (head / 2) + place / 2)
        })
        .copied()
        .collect()
}
