//! What every kernel computes, in plain Rust: the specification.
//!
//! Each function bears the name of its shader, or of what several shaders compute in different ways (`product`,
//! `attention`); it takes the same parameter struct, and sums in f64. A kernel, and the
//! [CPU path's implementation](crate::cpu), is right when it agrees with its oracle up to the rounding that follows from
//! f32 and the sizes.

pub mod cost;
pub mod coverage;
pub mod decode;
pub mod nn;
pub mod prefill;
pub mod quantised;
pub mod vision;

/// How a kernel's parameters lie in memory: what the shader's `Params` must equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterLayout {
    /// Names and byte offsets, in order.
    pub fields: Vec<(&'static str, usize)>,
    /// Bytes of the whole.
    pub size: usize,
}

/// The parameter layout of the oracle called `name`; `None` if there is no such oracle.
pub fn parameter_layout(name: &str) -> Option<ParameterLayout> {
    macro_rules! layout {
        ($params:ty { $($field:ident),* }) => {
            ParameterLayout {
                fields: vec![$((stringify!($field), std::mem::offset_of!($params, $field))),*],
                size: size_of::<$params>(),
            }
        };
    }
    Some(match name {
        "attention" | "attention_rows" | "attention_split" => {
            layout!(nn::AttentionParams {
                start,
                rows,
                columns,
                heads,
                key_heads,
                head_dim,
                past,
                scale,
                is_packed,
                window
            })
        }
        "attention_join" => layout!(decode::AttentionJoinParams { rows, heads, head_dim, tiles }),
        "best_tokens" => layout!(decode::BestTokensParams { count, is_paired }),
        "compact" => layout!(prefill::CompactParams { count, kept, offset }),
        "coverage_picks" => layout!(coverage::CoveragePicksParams { tokens, round, picks }),
        "float_vector" | "product_registers" | "product_tile" | "quantised_vector" => {
            layout!(nn::ProductParams {
                start,
                rows,
                inputs,
                outputs,
                first,
                columns,
                has_bias,
                has_residual,
                activation,
                is_gated,
                eps
            })
        }
        "gather_rows" => layout!(decode::GatherRowsParams { rows, width }),
        "gather_survivors" => layout!(prefill::GatherSurvivorsParams { rows, first, second, third }),
        "most_likely" => layout!(decode::MostLikelyParams { count, sharpness }),
        "quantised_rows" => {
            layout!(quantised::QuantisedParams { rows, inputs, outputs, bits })
        }
        "layer_norm" | "rms_norm" => layout!(nn::NormParams { rows, width, eps }),
        "rotary_append" => layout!(nn::RotaryAppendParams { rows, heads, key_heads, head_dim, past, first }),
        "select_rows" => layout!(prefill::SelectRowsParams {
            tokens,
            rows,
            shares,
            heads,
            kept,
            is_dual,
            global_threshold,
            individual_threshold,
            start,
            end,
            all,
            header,
            previous
        }),
        "text_attention" => layout!(prefill::TextAttentionParams {
            rows,
            asked,
            first,
            columns,
            heads,
            key_heads,
            head_dim,
            scale,
            shares,
            own,
            window
        }),
        "top_k" => layout!(prefill::TopKParams { count, k }),
        "window_merge" => layout!(vision::WindowMergeParams { tokens, members, width }),
        "window_similarity" => layout!(vision::WindowSimilarityParams { grid, window, first, width }),
        _ => return None,
    })
}
