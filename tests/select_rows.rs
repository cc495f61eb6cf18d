//! The kernel that chooses the rows that go on behind a layer, against its oracle.

use crate::common::{adapter, noise, tensor, values};
use burn::tensor::{Int, Tensor};
use mustdrop::{
    kernel,
    oracle::{
        self,
        prefill::{SelectRowsParams, UNKNOWN},
    },
};

/// Tokens on both sides of a workgroup, and of LLaVA's 576 patches.
const LENGTHS: [usize; 7] = [1, 63, 255, 256, 257, 576, 577];

fn integers(x: Tensor<1, Int>) -> Vec<u32> {
    x.into_data().try_to_vec().expect("whole numbers")
}

/// A picture of so many tokens behind `start` rows of text, judged by the sum of one row's attention.
fn params(tokens: usize, start: u32) -> SelectRowsParams {
    SelectRowsParams {
        tokens: tokens as u32,
        rows: 1,
        shares: 1,
        heads: 1,
        kept: UNKNOWN,
        is_dual: 0,
        global_threshold: 0.0,
        individual_threshold: 0.0,
        start,
        end: 0,
        all: start + tokens as u32,
        header: 0,
        previous: UNKNOWN,
    }
}

/// What a filter sees of one picture: attention by shares of heads, rows and tokens, and the key token set.
fn seen(shares: usize, rows: usize, tokens: usize) -> (Vec<f32>, Vec<u32>) {
    // Few different weights: ties everywhere.
    let weights = noise(8, shares * rows * tokens).iter().map(|x| ((x + 1.0) * 4.0).floor() / 64.0).collect();
    (weights, (0..tokens as u32).map(|j| u32::from(j % 13 == 5)).collect())
}

#[test]
fn select_rows_of_one_picture() {
    let device = adapter();
    for tokens in LENGTHS {
        for (kept, is_dual, g, a) in [
            (Some(tokens / 9), 1, 0.001, 0.05),
            (Some(tokens), 0, 0.0, 0.0),
            (Some(0), 1, 0.01, 0.05),
            (Some(tokens / 2), 0, 0.0, 0.0),
            (None, 1, 0.0017, 0.05),
            (None, 1, 10.0, 10.0),
            (None, 1, 0.0, 0.5),
        ] {
            let (shares, rows, start, behind) = (4, 7, 35, 9);
            let (weights, is_key) = seen(shares, rows, tokens);
            let params = SelectRowsParams {
                rows: rows as u32,
                shares: shares as u32,
                heads: 8,
                kept: kept.map_or(UNKNOWN, |kept| kept as u32),
                is_dual,
                global_threshold: g,
                individual_threshold: a,
                all: start + tokens as u32 + behind,
                header: 3,
                ..params(tokens, start)
            };
            let all = params.all as usize;
            let (mut going_on, mut report) = (vec![0; all], vec![0.0; 3 + 2 + 2 * tokens]);
            let mut kept_is_key = vec![0; tokens];
            oracle::prefill::select_rows(
                &params,
                &weights,
                &is_key,
                &mut going_on,
                &mut report,
                &mut kept_is_key,
            );
            let stayed = report[3] as usize;
            assert_eq!(report[4] as usize, stayed + (start + behind) as usize, "text stays");
            assert!(kept.is_none_or(|kept| kept == stayed), "{stayed} of {kept:?}");

            let found_report = tensor(&vec![0.0; report.len()], [report.len()], &adapter());
            let selected = kernel::prefill::select_rows(
                &params,
                &tensor(&weights, [shares, rows, tokens], &adapter()),
                &kernel::integers(is_key, [tokens], &device),
                None,
                all,
                &found_report,
            );
            let selected = selected.expect("on an adapter");
            let what = format!("{params:?}");
            let rows_going_on = report[4] as usize;
            assert_eq!(integers(selected.rows)[..rows_going_on], going_on[..rows_going_on], "{what}");
            assert_eq!(integers(selected.is_key)[..stayed], kept_is_key[..stayed], "{what}");
            let found = values(found_report);
            assert_eq!(found[..5 + stayed], report[..5 + stayed], "{what}");
            let importance = 5 + tokens;
            for (found, expected) in found[importance..].iter().zip(&report[importance..]) {
                let tolerance = 64.0 * f32::EPSILON * expected.max(1.0);
                assert!((found - expected).abs() <= tolerance, "{what}: {found} for {expected}");
            }
        }
    }
}

#[test]
fn select_rows_keeps_no_more_than_there_is_room_for() {
    let device = adapter();
    let (tokens, kept) = (300, 20);
    let params = SelectRowsParams { kept: kept as u32, all: 2 + tokens as u32 + 1, ..params(tokens, 2) };
    // What a model with damaged weights computes.
    let selected = kernel::prefill::select_rows(
        &params,
        &tensor(&vec![f32::NAN; tokens], [1, 1, tokens], &adapter()),
        &kernel::integers(vec![0; tokens], [tokens], &device),
        None,
        2 + kept + 1,
        &tensor(&vec![0.0; 2 + 2 * tokens], [2 + 2 * tokens], &adapter()),
    );
    let rows = integers(selected.expect("on an adapter").rows);
    assert!(rows.iter().copied().eq((0..2 + kept as u32).chain([2 + tokens as u32])), "{rows:?}");
}

#[test]
fn select_rows_of_several_pictures() {
    let device = adapter();
    // First row of each picture, and its tokens: text lies before, between and behind them.
    let pictures = [(4u32, 70usize), (80, 64), (144, 300)];
    let all = 460u32;
    let (mut going_on, mut report) = (vec![0; all as usize], vec![0.0; 3 * 2 + 2 * (70 + 64 + 300)]);
    let found_report = tensor(&report, [report.len()], &adapter());
    let (mut found_rows, mut end, mut header, mut previous) = (None, 0, 0, UNKNOWN);
    for (number, (start, tokens)) in pictures.into_iter().enumerate() {
        let (weights, is_key) = seen(2, 3, tokens);
        let params = SelectRowsParams {
            rows: 3,
            shares: 2,
            heads: 4,
            is_dual: 1,
            global_threshold: 0.017,
            individual_threshold: 0.05,
            end,
            all: if number == 2 { all } else { start + tokens as u32 },
            header,
            previous,
            ..params(tokens, start)
        };
        let mut kept_is_key = vec![0; tokens];
        oracle::prefill::select_rows(
            &params,
            &weights,
            &is_key,
            &mut going_on,
            &mut report,
            &mut kept_is_key,
        );
        let selected = kernel::prefill::select_rows(
            &params,
            &tensor(&weights, [2, 3, tokens], &adapter()),
            &kernel::integers(is_key, [tokens], &device),
            found_rows.take(),
            all as usize,
            &found_report,
        );
        found_rows = Some(selected.expect("on an adapter").rows);
        end = start + tokens as u32;
        previous = header;
        header += (2 + 2 * tokens) as u32;
    }
    let count = report[previous as usize + 1] as usize;
    let found = integers(found_rows.expect("rows"));
    assert_eq!(found[..count], going_on[..count]);
    assert!(found[..count].is_sorted() && count < all as usize && found[count - 1] == all - 1);
    assert_eq!(values(found_report)[previous as usize + 1] as usize, count);
}
