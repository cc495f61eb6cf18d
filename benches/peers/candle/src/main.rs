//! Tokens a second of a GGUF file's Llama in candle on the CPU, unpacked to float32: prefill of 640 tokens, then decoding.
//!
//! cargo run --release -- FILE.gguf

use std::{collections::HashMap, fs::File, time::Instant};

use anyhow::Context;
use candle_core::{DType, Device, Tensor, quantized::gguf_file};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama};

const PROMPT: usize = 640;
const STEPS: usize = 32;
const RUNS: usize = 3;

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("expected the path of a GGUF file")?;
    let device = Device::Cpu;
    let mut file = File::open(path)?;
    let content = gguf_file::Content::read(&mut file)?;
    let number = |name: &str| -> anyhow::Result<usize> {
        Ok(content.metadata.get(name).with_context(|| name.to_owned())?.to_u32()? as usize)
    };
    let heads = number("llama.attention.head_count")?;
    let key_heads = number("llama.attention.head_count_kv")?;
    let mut tensors = HashMap::new();
    for name in content.tensor_infos.keys() {
        let mut tensor = content.tensor(&mut file, name, &device)?.dequantize(&device)?;
        // llama.cpp interleaves the two halves of every head that the rotation pairs.
        if name.ends_with("attn_q.weight") {
            tensor = uninterleave(&tensor, heads)?;
        } else if name.ends_with("attn_k.weight") {
            tensor = uninterleave(&tensor, key_heads)?;
        }
        tensors.insert(hub_name(name), tensor);
    }
    let vocabulary = tensors["model.embed_tokens.weight"].dim(0)?;
    let config = Config {
        hidden_size: number("llama.embedding_length")?,
        intermediate_size: number("llama.feed_forward_length")?,
        vocab_size: vocabulary,
        num_hidden_layers: number("llama.block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: key_heads,
        use_flash_attn: false,
        rms_norm_eps: 1e-5,
        rope_theta: content.metadata["llama.rope.freq_base"].to_f32()?,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: 2048,
        tie_word_embeddings: true,
    };
    let model = Llama::load(VarBuilder::from_tensors(tensors, DType::F32, &device), &config)?;
    let prompt: Vec<u32> =
        (0..PROMPT as u32).map(|index| index * 37 % (vocabulary as u32 - 100) + 50).collect();
    let answer = |steps: usize| -> anyhow::Result<()> {
        let mut cache = Cache::new(true, DType::F32, &config, &device)?;
        let mut logits =
            model.forward(&Tensor::new(prompt.as_slice(), &device)?.unsqueeze(0)?, 0, &mut cache)?;
        for step in 0..steps {
            let token = logits.argmax(candle_core::D::Minus1)?.reshape((1, 1))?;
            logits = model.forward(&token, PROMPT + step, &mut cache)?;
        }
        logits.to_vec2::<f32>()?;
        Ok(())
    };
    let prefill = fastest(|| answer(0))?;
    let decode = fastest(|| answer(STEPS))? - prefill;
    let line = serde_json::json!({
        "peer": "candle 0.11.0",
        "weights": "f32",
        "prefill_per_second": PROMPT as f64 / prefill,
        "decode_per_second": STEPS as f64 / decode,
    });
    println!("{line}");
    Ok(())
}

/// Rows `(0, 2, 4, …, 1, 3, 5, …)` of every head.
fn uninterleave(weight: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (rows, columns) = weight.dims2()?;
    weight.reshape((heads, rows / heads / 2, 2, columns))?.transpose(1, 2)?.reshape((rows, columns))
}

/// The hub's name of a tensor.
fn hub_name(name: &str) -> String {
    let parts = [
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("blk", "model.layers"),
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ];
    let rename = |part: &str| parts.iter().find(|(gguf, _)| *gguf == part).map_or(part, |(_, hub)| hub).to_owned();
    name.split('.').map(rename).collect::<Vec<_>>().join(".")
}

/// Seconds of the fastest of a few runs, after one that is not counted.
fn fastest(run: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    run()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(fastest)
}
