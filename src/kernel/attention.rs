//! Attention, and the caches that it reads.

use burn::tensor::{DType, Int, Tensor};
use burn_wgpu::CubeTensor;

use super::{
    Kernel, MAX_GROUPS, from_host, host,
    host::Values,
    host_integers, is_on_adapter,
    launch::{Launch, from_adapter, integers_on_adapter, on_adapter, shader},
    product::FEW_ROWS,
    submission,
    variants::Variants,
};
use crate::{
    cpu,
    oracle::{
        decode::AttentionJoinParams,
        nn::{AttentionParams, RotaryAppendParams, RotaryParams},
    },
};

/// `shaders/nn/attention.wgsl`
pub const ATTENTION: Kernel = shader!("nn", "attention", [8, 16, 1], "attention");
/// `shaders/nn/attention_rows.wgsl`
pub const ATTENTION_ROWS: Kernel = shader!("nn", "attention_rows", [8, 1, 1], "attention");
/// `shaders/decode/attention_split.wgsl`
pub const ATTENTION_SPLIT: Kernel = shader!("decode", "attention_split", [128, 1, 1], "attention");
/// `shaders/decode/attention_join.wgsl`
pub const ATTENTION_JOIN: Kernel = shader!("decode", "attention_join", [64, 1, 1]);
/// `shaders/nn/rotary_append.wgsl`
pub const ROTARY_APPEND: Kernel = shader!("nn", "rotary_append", [64, 1, 1]);

/// Components of a head that [`ATTENTION`] takes at most.
const WIDEST_OF_TILES: usize = 128;
/// Components of a head that [`ATTENTION_SPLIT`] takes at most.
const WIDEST_OF_SPLITS: usize = 256;
/// Columns of a workgroup of [`ATTENTION_SPLIT`].
const SPLIT: u32 = 64;

/// How far rows look back (Mistral's sliding window), and where they are.
#[derive(Debug, Clone)]
pub struct Window {
    /// Positions that a row sees, its own included.
    pub tokens: u32,
    /// Of rows, ascending, `[rows or more]`: between those that are held, others may have been dropped.
    pub positions: Tensor<1, Int>,
}

impl Window {
    /// The positions in host memory.
    pub(super) fn positions(window: Option<&Self>) -> Option<Values<u32>> {
        window.map(|window| host_integers(&window.positions))
    }

    /// Keeps the positions of these rows.
    pub fn keep(&mut self, rows: Tensor<1, Int>) {
        self.positions.inplace(|all| all.select(0, rows));
    }

    /// What shaders take for a window's length.
    pub(super) fn tokens(window: Option<&Self>) -> u32 {
        window.map_or(0, |window| window.tokens)
    }

    /// The positions on an adapter.
    pub(super) fn on_adapter(window: Option<&Self>) -> Option<CubeTensor> {
        window.and_then(|window| integers_on_adapter(&window.positions))
    }
}

/// What attention leaves behind.
#[derive(Debug)]
pub struct Mixed {
    /// `[rows, heads * head_dim]`
    pub output: Tensor<2>,
    /// The logarithms of the rows' softmax denominators, `[rows, heads]`.
    pub log_sum: Tensor<2>,
}

/// Cosines, then sines, of the angles of some positions.
#[derive(Debug, Clone)]
pub struct Rotary {
    /// `[first + rows or more, head_dim]`
    pub table: Tensor<2>,
    /// The table's row of a pass's first row.
    pub first: usize,
    /// How far a pass's rows look back, and the positions themselves.
    pub window: Option<Window>,
}

/// Heads of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Of a query.
    pub queries: usize,
    /// Of a key and of a value, dividing `queries`; consecutive query heads share one (grouped-query attention, arXiv
    /// 2305.13245).
    pub keys: usize,
    /// Components of each.
    pub dim: usize,
}

/// `softmax(Q Kᵀ / sqrt(head_dim)) V` over the first `columns` rows of keys and values, of which row `i` sees columns 0 to
/// `past + i`, as far back as `window` says; see [`oracle::attention`](crate::oracle::nn::attention).
///
/// # Shapes
///
/// - `query`: `[rows, heads, head_dim]`
/// - `key`, `value`: `[columns or more, key_heads, head_dim]`
pub fn attention(
    query: &Tensor<3>,
    key: &Tensor<3>,
    value: &Tensor<3>,
    columns: usize,
    past: usize,
    window: Option<&Window>,
    variants: Variants,
) -> Mixed {
    let ([rows, heads, head_dim], [_, key_heads, _]) = (query.dims(), key.dims());
    let is_known = window.is_none_or(|window| window.positions.dims()[0] >= columns);
    assert!(is_known, "a window looks at the position of each column");
    let of_a_row = Heads { queries: heads, keys: key_heads, dim: head_dim };
    let params = AttentionParams { window: Window::tokens(window), ..params(rows, columns, past, of_a_row) };
    if is_on_adapter(query) {
        // Heads of components that are no multiple of 4, which no usual model has, with zeros behind them, which change no
        // score.
        let [padded, key, value] = [query, key, value].map(with_even_heads);
        let even = padded.dims()[2];
        let params = AttentionParams { head_dim: even as u32, ..params };
        if let Some(Mixed { output, log_sum }) = launch(&params, [&padded, &key, &value], window, variants) {
            let output = if even == head_dim {
                output
            } else {
                let heads_of_rows = output.reshape([rows, heads, even]).narrow(2, 0, head_dim);
                heads_of_rows.reshape([rows, heads * head_dim])
            };
            return Mixed { output, log_sum };
        }
    }
    let (mut mixed, mut log_sum) = (vec![0.0; rows * heads * head_dim], vec![0.0; rows * heads]);
    let device = query.device();
    let (query, key, value) = (host(query), host(key), host(value));
    let positions = Window::positions(window);
    let positions = positions.as_deref().unwrap_or_default();
    let attention = if rows == 1 { cpu::attention::cached_attention } else { cpu::attention::attention };
    attention(&params, &query, &key, &value, positions, &mut mixed, &mut log_sum);
    Mixed {
        output: from_host(mixed, [rows, heads * head_dim], &device),
        log_sum: from_host(log_sum, [rows, heads], &device),
    }
}

/// Attention of every row to every row, as in a vision tower, from `[rows, 3 * heads * head_dim]`: queries, keys and
/// values of a row behind each other.
pub fn packed_attention(projected: &Tensor<2>, heads: usize, variants: Variants) -> Tensor<2> {
    let [rows, width] = projected.dims();
    let heads = Heads { queries: heads, keys: heads, dim: width / 3 / heads };
    let params = AttentionParams { is_packed: 1, ..params(rows, rows, rows, heads) };
    if heads.dim.is_multiple_of(4)
        && let Some(mixed) = launch(&params, [projected; 3], None, variants)
    {
        return mixed.output;
    }
    let part = |number: usize| {
        let part = projected.clone().narrow(1, number * width / 3, width / 3);
        part.reshape([rows, heads.queries, heads.dim])
    };
    attention(&part(0), &part(1), &part(2), rows, rows, None, variants).output
}

/// The logarithms of the rows' softmax denominators alone, `[rows, heads]`, over all keys.
pub fn log_sum_exp(query: &Tensor<3>, key: &Tensor<3>, variants: Variants) -> Tensor<2> {
    let ([rows, heads, head_dim], [columns, key_heads, _]) = (query.dims(), key.dims());
    if is_on_adapter(query) {
        return attention(query, key, key, columns, columns, None, variants).log_sum;
    }
    let params = params(rows, columns, columns, Heads { queries: heads, keys: key_heads, dim: head_dim });
    let mut log_sum = vec![0.0; rows * heads];
    cpu::attention::log_sum_exp(&params, &host(query), &host(key), &[], &mut log_sum);
    from_host(log_sum, [rows, heads], &query.device())
}

fn params(rows: usize, columns: usize, past: usize, heads: Heads) -> AttentionParams {
    AttentionParams {
        start: 0,
        rows: rows as u32,
        columns: columns as u32,
        heads: heads.queries as u32,
        key_heads: heads.keys as u32,
        head_dim: heads.dim as u32,
        past: past as u32,
        scale: super::scale(heads.dim),
        is_packed: 0,
        window: 0,
    }
}

/// Attention on an adapter, a submission's worth of rows at a time; `None` on the CPU path.
fn launch<const D: usize>(
    params: &AttentionParams,
    operands: [&Tensor<D>; 3],
    window: Option<&Window>,
    variants: Variants,
) -> Option<Mixed> {
    let (rows, heads, head_dim) = (params.rows as usize, params.heads as usize, params.head_dim as usize);
    let [Some(query), Some(key), Some(value)] = operands.map(on_adapter) else { return None };
    let positions = Window::on_adapter(window);
    let key_heads = params.key_heads as usize;
    let (asked, held) = match params.is_packed {
        0 => (rows * heads * head_dim, params.columns as usize * key_heads * head_dim),
        _ => [rows * (heads + 2 * key_heads) * head_dim; 2].into(),
    };
    let bind = |kernel: Kernel| {
        let launch = Launch::new(kernel).floats(query.clone(), asked);
        let launch = match params.is_packed {
            0 => launch.floats(key.clone(), held).floats(value.clone(), held),
            _ => launch.somewhere(key.clone()).somewhere(value.clone()),
        };
        launch.optional(positions.as_ref(), &query, params.columns as usize)
    };
    if rows <= FEW_ROWS && head_dim <= WIDEST_OF_SPLITS && !variants.is_software {
        return Some(split(params, bind(ATTENTION_SPLIT)));
    }
    let (kernel, rows_of_a_group) = if variants.attention && head_dim <= WIDEST_OF_TILES {
        (ATTENTION, ATTENTION.workgroup[1])
    } else {
        // Four rows of wide heads would be more than a thread can hold.
        let own_rows = if rows == 1 || head_dim > WIDEST_OF_TILES { 1 } else { 4 };
        let kernel = ATTENTION_ROWS.with("QUADS", params.head_dim / 4).with("ROWS", own_rows);
        (kernel, own_rows * kernel.workgroup[0])
    };
    let (mixed, log_sum) = ([rows, heads * head_dim], [rows, heads]);
    let most_of_a_row = 4 * u64::from(params.columns) * (heads * head_dim) as u64;
    let at_once = submission::rows_at_once(most_of_a_row, variants);
    let mut written: Option<[CubeTensor; 2]> = None;
    for start in (0..rows).step_by(at_once) {
        let end = rows.min(start + at_once);
        let params = AttentionParams { start: start as u32, rows: end as u32, ..*params };
        let cost = params.cost();
        submission::before(cost.flops, operands[0], variants);
        let launch = match written.take() {
            None => bind(kernel).output(mixed, DType::F32).output(log_sum, DType::F32),
            Some([sums, totals]) => bind(kernel).inout(sums, rows * mixed[1]).inout(totals, rows * heads),
        };
        let groups = [((end - start) as u32).div_ceil(rows_of_a_group), params.heads, 1];
        written = launch.run(groups, &params, cost).try_into().ok();
    }
    written.map(|[output, log_sum]| Mixed { output: from_adapter(output), log_sum: from_adapter(log_sum) })
}

/// Attention of few rows, from what [`ATTENTION_SPLIT`] is bound to: by parts of the columns, and then joined.
fn split(params: &AttentionParams, bound: Launch) -> Mixed {
    let (rows, heads, head_dim) = (params.rows as usize, params.heads as usize, params.head_dim as usize);
    let groups = [params.columns.div_ceil(SPLIT), params.heads, params.rows];
    let tiles = groups[0] as usize;
    let launch = bound.output([rows, heads, tiles, head_dim], DType::F32);
    let mut parts = launch.output([rows, heads, tiles, 2], DType::F32).run(groups, params, params.cost());
    let (sums, totals) = (parts.remove(0), parts.remove(0));
    let params = AttentionJoinParams {
        rows: params.rows,
        heads: params.heads,
        head_dim: params.head_dim,
        tiles: groups[0],
    };
    let launch = Launch::new(ATTENTION_JOIN).floats(sums, rows * heads * tiles * head_dim);
    let launch = launch.floats(totals, rows * heads * tiles * 2);
    let launch = launch.output([rows, heads * head_dim], DType::F32).output([rows, heads], DType::F32);
    let groups = ((rows * heads * head_dim / 4) as u32).div_ceil(ATTENTION_JOIN.workgroup[0]);
    let mut joined = launch.run([groups, 1, 1], &params, params.cost());
    let output = from_adapter(joined.remove(0));
    Mixed { output, log_sum: from_adapter(joined.remove(0)) }
}

/// The same with zeros behind each head up to a multiple of 4 components.
pub(super) fn with_even_heads(x: &Tensor<3>) -> Tensor<3> {
    let [rows, heads, head_dim] = x.dims();
    match head_dim.next_multiple_of(4) - head_dim {
        0 => x.clone(),
        missing => Tensor::cat(vec![x.clone(), Tensor::zeros([rows, heads, missing], &x.device())], 2),
    }
}

/// Rotates queries and keys of new rows by their positions, and appends keys and values to a cache of `past` rows with room
/// for them; see [`oracle::rotary_append`](crate::oracle::nn::rotary_append). On an adapter the cache is written in place,
/// and nobody else may hold its tensors.
///
/// # Shapes
///
/// - `projected`: `[rows, (heads + 2 key_heads) * head_dim]`, queries, keys and values of a row behind each other
/// - `keys`, `values`: `[past + rows or more, key_heads, head_dim]`
/// - result: `[rows, heads, head_dim]`, the rotated queries
///
/// # Panics
///
/// If the shapes disagree, or there are more rows than a dispatch has workgroups.
pub fn rotary_append(
    projected: &Tensor<2>,
    rotary: &Rotary,
    heads: Heads,
    past: usize,
    keys: &mut Tensor<3>,
    values: &mut Tensor<3>,
) -> Tensor<3> {
    let [rows, width] = projected.dims();
    let Heads { queries, keys: key_heads, dim } = heads;
    assert_eq!(width, (queries + 2 * key_heads) * dim, "queries, keys and values of a row");
    let Rotary { table, first, .. } = rotary;
    assert_eq!(table.dims()[1], dim, "a rotary table has a number for each component");
    assert!(table.dims()[0] >= first + rows, "the rotary table has one row a token");
    assert!(rows <= MAX_GROUPS as usize, "at most {MAX_GROUPS} tokens in one pass");
    let end = past + rows;
    if let (Some(projected), Some(table), Some(keys), Some(values)) =
        (on_adapter(projected), on_adapter(table), on_adapter(keys), on_adapter(values))
    {
        let params = RotaryAppendParams {
            rows: rows as u32,
            heads: queries as u32,
            key_heads: key_heads as u32,
            head_dim: dim as u32,
            past: past as u32,
            first: *first as u32,
        };
        let launch = Launch::new(ROTARY_APPEND).floats(projected, rows * width);
        let launch = launch.floats(table, (first + rows) * dim);
        let held = end * key_heads * dim;
        let launch = launch.inout(keys, held).inout(values, held).output([rows, queries, dim], DType::F32);
        let groups = ((width / 2) as u32).div_ceil(ROTARY_APPEND.workgroup[0]);
        return from_adapter(launch.run([groups, params.rows, 1], &params, params.cost()).remove(2));
    }
    let device = projected.device();
    let table = host(table);
    let table = &table[first * dim..];
    let part = |first: usize, heads: usize| {
        projected.clone().narrow(1, first * dim, heads * dim).reshape([rows, heads, dim])
    };
    let rotate = |x: Tensor<3>, heads: usize| {
        let params = RotaryParams { tokens: rows as u32, heads: heads as u32, head_dim: dim as u32 };
        let mut rotated = vec![0.0; rows * heads * dim];
        cpu::nn::rotary(&params, &host(&x), table, &mut rotated);
        from_host(rotated, [rows, heads, dim], &device)
    };
    // Held by nobody else, tensors of the CPU path are written in place.
    let append = |held: &mut Tensor<3>, new: Tensor<3>| {
        held.inplace(|held| held.slice_assign([past..end, 0..key_heads, 0..dim], new));
    };
    append(keys, rotate(part(queries, key_heads), key_heads));
    append(values, part(queries + key_heads, key_heads));
    rotate(part(0, queries), queries)
}
