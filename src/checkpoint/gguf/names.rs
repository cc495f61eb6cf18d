//! llama.cpp's names of a Llama's tensors, and this program's.

const PARTS: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The canonical name of the tensor stored as `stored`, if a Llama has one of that name.
pub(super) fn canonical(stored: &str) -> Option<String> {
    let whole = match stored {
        "token_embd.weight" => "language_model.embed_tokens.weight",
        "output_norm.weight" => "language_model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => return in_layer(stored),
    };
    Some(whole.to_owned())
}

fn in_layer(stored: &str) -> Option<String> {
    let (layer, rest) = stored.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = rest.split_once('.')?;
    let is_layer = !layer.is_empty() && layer.bytes().all(|digit| digit.is_ascii_digit());
    let (_, part) = PARTS.iter().find(|(name, _)| *name == part)?;
    (is_layer && matches!(kind, "weight" | "bias"))
        .then(|| format!("language_model.layers.{layer}.{part}.{kind}"))
}

/// Whether the rows of a tensor are those of queries or keys, which llama.cpp stores in another order.
pub(super) fn is_rotary(canonical: &str) -> bool {
    canonical.contains(".self_attn.q_proj.") || canonical.contains(".self_attn.k_proj.")
}
