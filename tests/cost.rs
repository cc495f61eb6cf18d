//! What kernels cost, by their parameters, against sums done by hand for LLaVA-1.5-7B: 32 layers of width 4,096, 32 heads of
//! 128, an MLP of 11,008, 585 rows of a prompt with a picture in it.

use crate::common::attention_params;
use mustdrop::oracle::{
    cost::Cost,
    coverage::CoveragePicksParams,
    decode::{AttentionJoinParams, BestTokensParams, GatherRowsParams, MostLikelyParams},
    nn::{AttentionParams, NormParams, ProductParams, RotaryAppendParams},
    prefill::{CompactParams, GatherSurvivorsParams, SelectRowsParams, TextAttentionParams, TopKParams},
    quantised::QuantisedParams,
    vision::{WindowMergeParams, WindowSimilarityParams},
};

const ROWS: u32 = 585;
const WIDTH: u32 = 4_096;
const INNER: u32 = 11_008;

fn product(rows: u32, inputs: u32, outputs: u32, is_gated: u32, has_residual: u32) -> ProductParams {
    ProductParams {
        start: 0,
        rows,
        inputs,
        outputs,
        first: 0,
        columns: outputs >> is_gated,
        has_bias: 0,
        has_residual,
        activation: 0,
        is_gated,
        eps: 0.0,
    }
}

#[test]
fn products() {
    // 2 · 585 · 4,096 · 12,288. Words: 585 · 4,096 of x, 585 · 12,288 of y, 4,096 · 12,288 weights in blocks of 32.
    let qkv = product(ROWS, WIDTH, 3 * WIDTH, 0, 0);
    let activations = 4 * (2_396_160 + 7_188_480);
    assert_eq!(qkv.cost(4), Cost { flops: 58_888_028_160, bytes: activations + 31_457_280 });
    assert_eq!(qkv.cost(8).bytes, activations + 56_623_104);
    assert_eq!(qkv.cost(16).bytes, activations + 100_663_296);
    assert_eq!(qkv.cost(32).bytes, activations + 201_326_592);
    // 2 · 585 · 4,096 · 4,096; x, y and residual are as large as each other.
    let out = product(ROWS, WIDTH, WIDTH, 0, 1);
    assert_eq!(out.cost(4), Cost { flops: 19_629_342_720, bytes: 3 * 4 * 2_396_160 + 10_485_760 });
    // 2 · 585 · 4,096 · 22,016; of each pair one is written.
    let gate_and_up = product(ROWS, WIDTH, 2 * INNER, 1, 0);
    let bytes = 4 * (2_396_160 + 6_439_680) + 56_360_960;
    assert_eq!(gate_and_up.cost(4), Cost { flops: 105_507_717_120, bytes });
    let down = product(ROWS, INNER, WIDTH, 0, 1);
    let bytes = 4 * (6_439_680 + 2 * 2_396_160) + 28_180_480;
    assert_eq!(down.cost(4), Cost { flops: 52_753_858_560, bytes });
    // A part of the rows costs a part of the operations, and all weights.
    let half = ProductParams { start: 300, ..qkv };
    assert_eq!(half.cost(4), product(285, WIDTH, 3 * WIDTH, 0, 0).cost(4));
    let biased = ProductParams { has_bias: 1, ..qkv };
    assert_eq!(biased.cost(4).bytes - qkv.cost(4).bytes, 4 * 12_288);
}

#[test]
fn attention_and_what_belongs_to_it() {
    // 585 · 586 / 2 pairs, 4 · 128 operations in 32 heads. Four matrices of 585 · 4,096, and 585 · 32 logarithms.
    let prefill = attention_params((585, 585, 0), (32, 32, 128));
    assert_eq!(prefill.pairs(), 171_405);
    assert_eq!(prefill.cost(), Cost { flops: 2_808_299_520, bytes: 4 * (4 * 2_396_160 + 18_720) });
    // A step behind 619 rows: 620 pairs, and 620 · 4,096 keys, and as many values.
    let step = attention_params((1, 620, 619), (32, 32, 128));
    assert_eq!(step.cost(), Cost { flops: 10_158_080, bytes: 4 * (2 * 4_096 + 2 * 2_539_520 + 32) });
    // Ten rows that all see everything, and heads that share keys.
    let all = attention_params((10, 20, 20), (8, 2, 64));
    assert_eq!(all.cost(), Cost { flops: 4 * 200 * 512, bytes: 4 * (2 * 5_120 + 2 * 2_560 + 80) });
    // The second piece of a prompt: rows 512 to 584 see 513 to 585 columns; 73 of them, 549 on average.
    let piece = AttentionParams { start: 512, ..prefill };
    assert_eq!(piece.pairs(), 73 * 549);
    assert_eq!(piece.cost(), Cost { flops: 656_621_568, bytes: 4 * (2 * 299_008 + 2 * 2_396_160 + 2_336) });
    // A window of 100: 1 to 99 columns, and then 100 each; of the piece, all rows see 100, from column 413 on.
    let near = AttentionParams { window: 100, ..prefill };
    assert_eq!(near.pairs(), 4_950 + 486 * 100);
    let piece = AttentionParams { window: 100, ..piece };
    assert_eq!(piece.pairs(), 7_300);
    assert_eq!(piece.cost(), Cost { flops: 119_603_200, bytes: 4 * (2 * 299_008 + 2 * 172 * 4_096 + 2_336) });
    let step = AttentionParams { window: 100, ..step };
    assert_eq!(step.cost(), Cost { flops: 1_638_400, bytes: 4 * (2 * 4_096 + 2 * 409_600 + 32) });
    // Behind 18 of 20 columns: 19 pairs, and then 20 each.
    assert_eq!(attention_params((5, 20, 18), (1, 1, 4)).pairs(), 19 + 4 * 20);

    let join = AttentionJoinParams { rows: 1, heads: 32, head_dim: 128, tiles: 10 };
    assert_eq!(join.cost(), Cost { flops: 81_920, bytes: 4 * (320 * 130 + 32 * 129) });
    // Queries and keys are turned, values copied; an angle for each component.
    let rotary =
        RotaryAppendParams { rows: ROWS, heads: 32, key_heads: 32, head_dim: 128, past: 0, first: 0 };
    assert_eq!(rotary.cost(), Cost { flops: 14_376_960, bytes: 4 * (6 * 2_396_160 + 74_880) });
    let norm = NormParams { rows: ROWS, width: WIDTH, eps: 1e-5 };
    assert_eq!(norm.rms_norm_cost(), Cost { flops: 9_584_640, bytes: 4 * (2 * 2_396_160 + 4_096) });
    assert_eq!(norm.layer_norm_cost(), Cost { flops: 19_169_280, bytes: 4 * (2 * 2_396_160 + 2 * 4_096) });
}

#[test]
fn a_layer_of_a_prefill_and_of_a_step() {
    let layer = |rows: u32, columns: usize| -> Cost {
        let past = columns - rows as usize;
        let norm = NormParams { rows, width: WIDTH, eps: 1e-5 }.rms_norm_cost();
        let rotary = RotaryAppendParams { rows, heads: 32, key_heads: 32, head_dim: 128, past: 0, first: 0 };
        [
            norm,
            product(rows, WIDTH, 3 * WIDTH, 0, 0).cost(4),
            rotary.cost(),
            attention_params((rows as usize, columns, past), (32, 32, 128)).cost(),
            product(rows, WIDTH, WIDTH, 0, 1).cost(4),
            norm,
            product(rows, WIDTH, 2 * INNER, 1, 0).cost(4),
            product(rows, INNER, WIDTH, 0, 1).cost(4),
        ]
        .into_iter()
        .sum()
    };
    let dense = layer(585, 585);
    assert_eq!(dense.flops / 100_000_000, 2_396, "239.6 GFLOP");
    let dropped = layer(99, 99);
    assert_eq!(dropped.flops / 100_000_000, 401, "40.1 GFLOP");
    let step = layer(1, 620);
    assert_eq!(step.flops / 10_000_000, 41, "0.41 GFLOP");
    assert_eq!(step.bytes / 1_000_000, 147, "147 MB");
}

#[test]
fn filters() {
    // 9 text tokens, 576 of a picture: 5,184 pairs in 32 heads, of which four shares of eight are written.
    let text = TextAttentionParams {
        rows: 9,
        asked: 576,
        first: 0,
        columns: 576,
        heads: 32,
        key_heads: 32,
        head_dim: 128,
        scale: 1.0,
        shares: 4,
        own: 576,
        window: 0,
    };
    let bytes = 4 * (9 * 4_096 + 9 * 32 + 576 * 4_096 + 4 * 5_184);
    assert_eq!(text.cost(), Cost { flops: 5_184 * 257 * 32, bytes });
    let select = SelectRowsParams {
        tokens: 576,
        rows: 9,
        shares: 4,
        heads: 32,
        kept: 64,
        is_dual: 1,
        global_threshold: 0.1,
        individual_threshold: 0.1,
        start: 0,
        end: 0,
        all: 585,
        header: 0,
        previous: u32::MAX,
    };
    assert_eq!(select.cost(), Cost { flops: 5 * 5_184, bytes: 4 * (4 * 5_184 + 4 * 576 + 2) });
    // 73 rows of the residual stream, of attention, and of angles.
    let gather = GatherSurvivorsParams { rows: 73, first: WIDTH, second: WIDTH, third: 128 };
    assert_eq!(gather.cost(), Cost { flops: 0, bytes: 4 * 73 * (1 + 2 * 8_320) });
    assert_eq!(TopKParams { count: 576, k: 64 }.cost(), Cost { flops: 0, bytes: 4 * 3 * 576 });
    let compact = CompactParams { count: 576, kept: 64, offset: 0 };
    assert_eq!(compact.cost(), Cost { flops: 0, bytes: 4 * 1_280 });
}

#[test]
fn the_tower_and_the_next_token() {
    // 144 windows of 4 patches: 6 pairs and 4 patches with themselves, 1,024 wide.
    let windows = WindowSimilarityParams { grid: 24, window: 2, first: 1, width: 1_024 };
    assert_eq!(windows.cost(), Cost { flops: 2 * 1_440 * 1_024, bytes: 4 * (576 * 1_024 + 144) });
    let merge = WindowMergeParams { tokens: 300, members: 4, width: 1_024 };
    assert_eq!(merge.cost(), Cost { flops: 5 * 307_200, bytes: 4 * (1_200 + 5 * 307_200) });
    let rows = GatherRowsParams { rows: 64, width: WIDTH };
    assert_eq!(rows.cost(), Cost { flops: 0, bytes: 4 * (64 + 2 * 262_144) });
    // A row of 4,096 weights of 4 bits: 512 words, 128 of ranges, an index; 4,096 floats.
    let embedding = QuantisedParams { rows: 1, inputs: WIDTH, outputs: 32_064, bits: 4 };
    assert_eq!(embedding.rows_cost(), Cost { flops: 8_192, bytes: 4 * (512 + 128 + 1 + 4_096) });
    let likely = MostLikelyParams { count: 32_064, sharpness: 1.0 };
    assert_eq!(likely.cost(), Cost { flops: 128_256, bytes: 4 * 32_068 });
    // 126 groups of 256 leave 64 pairs each.
    let best = BestTokensParams { count: 32_064, is_paired: 0 };
    assert_eq!(best.cost(), Cost { flops: 0, bytes: 4 * (32_064 + 126 * 128) });
    let again = BestTokensParams { count: 8_064, is_paired: 1 };
    assert_eq!(again.cost(), Cost { flops: 0, bytes: 4 * (2 * 8_064 + 32 * 128) });
}

#[test]
fn coverage() {
    // 576² pairs: a difference and a sum each. The likeness of each pair, and five numbers a token.
    let round = CoveragePicksParams { tokens: 576, round: 3, picks: 76 };
    assert_eq!(round.cost(), Cost { flops: 663_552, bytes: 4 * (331_776 + 2_880) });
    let last = CoveragePicksParams { round: 76, ..round };
    assert_eq!(last.cost(), Cost { flops: 0, bytes: 4 * 2_880 });
    // To keep 64 of 576 tokens of 1,024 numbers: likeness, and 76 rounds; beside a dense prefill of 7.6 TFLOP.
    let likeness = product(576, 1_024, 576, 0, 0).cost(32).flops;
    let all = likeness + 76 * round.cost().flops;
    assert_eq!(all, 679_477_248 + 50_429_952);
    assert!((all as f64) < 0.01 * 0.1 * 7.6e12, "a tenth of a percent of a prefill");
}
