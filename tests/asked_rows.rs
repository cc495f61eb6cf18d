//! Which rows are asked what of a picture matters: all text behind it, also where another picture follows.

use std::ops::Range;

use crate::common::{both, noise, tensor};
use mustdrop::{
    Pruning,
    drop::{
        missed::{Earlier, Missed},
        prefill::{Candidates, PrefillFilter, Scores},
    },
    kernel,
    oracle::prefill::{DualAttentionParams, dual_attention},
};

const HEADS: usize = 4;
const KEY_HEADS: usize = 2;
const HEAD_DIM: usize = 8;

/// What each token of `picture` receives of the rows in `asked`, by the mean over heads: the sum and the maximum over rows.
fn received(
    query: &[f32],
    key: &[f32],
    log_sum: &[f32],
    picture: Range<usize>,
    asked: &[usize],
) -> [Vec<f32>; 2] {
    let weight = |row: usize, column: usize| {
        let of_head = |head: usize| {
            let query = &query[(row * HEADS + head) * HEAD_DIM..][..HEAD_DIM];
            let key = &key[(column * KEY_HEADS + head / (HEADS / KEY_HEADS)) * HEAD_DIM..][..HEAD_DIM];
            let score: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
            (score / (HEAD_DIM as f64).sqrt() - f64::from(log_sum[row * HEADS + head])).exp()
        };
        (0..HEADS).map(of_head).sum::<f64>() / HEADS as f64
    };
    let sum = |column: usize| asked.iter().map(|row| weight(*row, column)).sum::<f64>() as f32;
    let max = |column: usize| asked.iter().map(|row| weight(*row, column)).fold(0.0, f64::max) as f32;
    [picture.clone().map(sum).collect(), picture.map(max).collect()]
}

#[test]
fn text_between_two_pictures_counts_for_the_first() {
    // Text of 3, 10 tokens of a picture, text of 5 or none, 7 tokens of another, text of 4.
    for between in [5, 0, 1] {
        let first = 3..13;
        let second = 13 + between..20 + between;
        let rows = second.end + 4;
        let (query, key) = (noise(1, rows * HEADS * HEAD_DIM), noise(2, rows * KEY_HEADS * HEAD_DIM));
        let log_sum: Vec<f32> = noise(3, rows * HEADS).iter().map(|x| x + 3.0).collect();
        let pruning = Pruning::mustdrop();
        for device in both() {
            let mut filter = PrefillFilter::new(&pruning);
            for picture in [&first, &second] {
                let is_key = (0..picture.len() as u32).map(|token| u32::from(token == 2)).collect();
                filter.add_picture(
                    picture.start,
                    &Candidates {
                        is_key: kernel::integers(is_key, [picture.len()], &device),
                        layers: vec![1],
                        sizes: Some(vec![4]),
                        rows: None,
                        score: None,
                        standing: None,
                    },
                );
            }
            let query_there = tensor(&query, [rows, HEADS, HEAD_DIM], &device);
            let keys_there = tensor(&key, [rows, KEY_HEADS, HEAD_DIM], &device);
            let log_sum_there = tensor(&log_sum, [rows, HEADS], &device);
            let scores = Scores {
                query: &query_there,
                keys: &keys_there,
                log_sum: &log_sum_there,
                past: 0,
                window: None,
            };
            let survivors = filter.survivors(1, scores).expect("chosen").expect("text follows");
            assert_eq!(survivors.count, rows - 10 - 7 + 4 + 4);
            filter.finish().expect("read back");
            let step = &filter.steps[0];
            let tail: Vec<usize> = (second.end..rows).collect();
            let both_texts: Vec<usize> = (first.end..second.start).chain(second.end..rows).collect();
            for (number, (picture, asked)) in
                [(first.clone(), both_texts), (second.clone(), tail)].into_iter().enumerate()
            {
                let [sum, max] = received(&query, &key, &log_sum, picture.clone(), &asked);
                let params = DualAttentionParams {
                    tokens: picture.len() as u32,
                    global_threshold: pruning.global_threshold,
                    individual_threshold: pruning.individual_threshold,
                };
                let (mut importance, mut stays) = (vec![0.0; picture.len()], vec![0; picture.len()]);
                dual_attention(&params, &sum, &max, &vec![0; picture.len()], &mut importance, &mut stays);
                for (found, expected) in step.importance[number].iter().zip(&importance) {
                    assert!(
                        (found - expected).abs() < 1e-4 * expected.abs(),
                        "{device:?}, picture {number}: {found}, {expected}"
                    );
                }
                // The key token, and the three that matter most besides.
                let mut order: Vec<usize> = (0..picture.len()).filter(|token| *token != 2).collect();
                order.sort_by(|a, b| importance[*b].total_cmp(&importance[*a]));
                let mut expected = [&[2], &order[..3]].concat();
                expected.sort_unstable();
                assert_eq!(step.kept[number], expected);
            }
        }
    }
}

#[test]
fn a_later_question_is_told_how_much_it_attends_to_what_was_dropped() {
    // Text of 2, 9 tokens of a picture, text of 4, 6 tokens of another, text of 3 in the cache; then the question's rows.
    let pictures = [2..11, 15..21];
    let dropped: [Vec<bool>; 2] = [(0..9).map(|token| token % 3 != 0).collect(), vec![false; 6]];
    let past = 24;
    for rows in [1, 5, 9] {
        let (query, key) =
            (noise(4, rows * HEADS * HEAD_DIM), noise(5, (past + rows) * KEY_HEADS * HEAD_DIM));
        let log_sum: Vec<f32> = noise(6, rows * HEADS).iter().map(|x| x + 3.0).collect();
        let asked: Vec<usize> = (0..rows).collect();
        let sums =
            pictures.clone().map(|picture| received(&query, &key, &log_sum, picture, &asked)[0].clone());
        let all: f32 = sums.iter().flatten().sum();
        let missed: f32 =
            sums[0].iter().zip(&dropped[0]).filter(|(_, gone)| **gone).map(|(sum, _)| sum).sum();
        for device in both() {
            let mut filter = PrefillFilter::new(&Pruning::none());
            let earlier = pictures.iter().zip(&dropped);
            let earlier = earlier
                .map(|(picture, dropped)| Earlier { start: picture.start, dropped: dropped.clone() })
                .collect();
            filter.missed = Some(Missed::new(3, earlier));
            let query = tensor(&query, [rows, HEADS, HEAD_DIM], &device);
            let keys = tensor(&key, [past + rows, KEY_HEADS, HEAD_DIM], &device);
            let log_sum = tensor(&log_sum, [rows, HEADS], &device);
            let scores = Scores { query: &query, keys: &keys, log_sum: &log_sum, past, window: None };
            for layer in 0..6 {
                assert!(!filter.is_due(layer), "nothing is dropped");
                filter.look_back(layer, &scores);
            }
            filter.finish().expect("read back");
            let share = filter.missed.and_then(|missed| missed.share).expect("a share");
            let expected = f64::from(missed / all);
            assert!((share.attention - expected).abs() < 1e-4, "{device:?}: {share:?} for {expected}");
            assert_eq!(share.tokens, 6.0 / 15.0);
        }
    }
}
