//! What the three stages decide: the facts of the paper and of the specification, for any sizes.

use mustdrop::{
    Pruning,
    drop::{
        Admit, Keep, RowOrder,
        budget::schedule,
        decode::evictions,
        prefill::FilterStep,
        token_map::member_table,
        vision::{MergePlan, key_tokens},
    },
    oracle::vision::{ABSENT, WindowSimilarityParams},
};
use proptest::prelude::*;

fn grid(grid: u32) -> WindowSimilarityParams {
    WindowSimilarityParams { grid, window: 3, first: 1, width: 8 }
}

fn plan(similarity: &[f32], side: u32, order: RowOrder) -> MergePlan {
    let mut pruning = Pruning::mustdrop();
    pruning.order = order;
    MergePlan::new(similarity, &grid(side), &pruning, 0)
}

#[test]
fn a_constant_picture_has_64_tokens_and_6_of_them_are_key() {
    let plan = plan(&[1.0; 64], 24, RowOrder::Raster);
    assert_eq!((plan.windows.len(), plan.tokens.len()), (64, 64));
    assert_eq!(key_tokens(0.08, plan.tokens.len()), 6);
}

#[test]
fn a_picture_without_alike_windows_stays_dense_with_47_key_tokens() {
    let plan = plan(&[0.799_999; 64], 24, RowOrder::Similarity);
    assert!(plan.windows.is_empty());
    assert_eq!(plan.tokens.len(), 576);
    assert_eq!(plan.tokens.patches, (0..576).map(|patch| vec![patch]).collect::<Vec<_>>());
    assert_eq!((key_tokens(0.08, 576), key_tokens(0.08, 328), key_tokens(0.08, 100)), (47, 27, 8));
}

#[test]
fn merged_windows_go_first_by_similarity_or_stay_where_they_were() {
    let mut similarity = [0.0; 4];
    (similarity[1], similarity[2]) = (0.9, 0.95);
    let by_similarity = plan(&similarity, 6, RowOrder::Similarity);
    assert_eq!(by_similarity.windows, [2, 1]);
    assert_eq!(by_similarity.tokens.patches[0], [18, 19, 20, 24, 25, 26, 30, 31, 32]);
    assert_eq!(by_similarity.tokens.patches[1], [3, 4, 5, 9, 10, 11, 15, 16, 17]);
    assert_eq!(by_similarity.tokens.patches[2..5], [[0], [1], [2]]);

    let raster = plan(&similarity, 6, RowOrder::Raster);
    assert_eq!(raster.tokens.patches[2..5], [vec![2], vec![6], vec![7]]);
    // Window 1's central patch is 10: between 8 and 12.
    assert_eq!(raster.tokens.patches[5..8], [vec![8], vec![3, 4, 5, 9, 10, 11, 15, 16, 17], vec![12]]);
}

#[test]
fn a_budget_merges_the_most_similar_windows_as_far_as_it_asks() {
    let similarity: Vec<f32> = (0..64).map(|window| 0.9 + window as f32 / 1000.0).collect();
    let left = |least| {
        let plan = MergePlan::new(&similarity, &grid(24), &Pruning::mustdrop(), least);
        assert!(plan.windows.iter().rev().eq((64 - plan.windows.len()..64).collect::<Vec<_>>().iter()));
        plan.tokens.len()
    };
    assert_eq!((left(0), left(64), left(65), left(192), left(575), left(576)), (64, 64, 72, 192, 576, 576));
}

#[test]
fn equal_windows_keep_their_order() {
    assert_eq!(plan(&[0.9, 0.95, 0.9, 0.95], 6, RowOrder::Similarity).windows, [1, 3, 0, 2]);
}

#[test]
fn the_default_pruning_layers_follow_the_decoders_depth() {
    let layers = |depth| Pruning::mustdrop().layers(depth);
    assert_eq!(layers(32), [2, 6, 10, 14]);
    assert_eq!(layers(40), [3, 8, 13, 18]);
    assert_eq!(layers(12), [1, 2, 4, 5]);
    assert_eq!(layers(4), [0, 1, 2]);
    assert!(layers(1).is_empty());
}

#[test]
fn a_budget_is_a_number_or_a_share() {
    assert_eq!("64".parse::<Keep>().expect("tokens"), Keep::Tokens(64));
    assert_eq!("12.5%".parse::<Keep>().expect("a share").tokens(576).expect("in range"), 72);
    for text in ["7%", "12.5%", "0.01%", "100%", "64"] {
        assert_eq!(text.parse::<Keep>().expect("a budget").to_string(), text);
    }
    assert_eq!("0.01%".parse::<Keep>().expect("a share").tokens(576).expect("at least one"), 1);
    for text in ["0", "-1", "0%", "101%", "NaN%", "", "%", "many"] {
        assert!(text.parse::<Keep>().expect_err(text).to_string().contains("--keep"));
    }
    assert!(Keep::Tokens(577).tokens(576).expect_err("too many").to_string().contains("1 to 576"));
}

/// The mean over all layers of the tokens they compute.
fn mean(sizes: &[usize], layers: usize, pruning_layers: &[usize]) -> f64 {
    let alive = |layer: usize| sizes[pruning_layers.iter().filter(|pruning| **pruning < layer).count()];
    (0..layers).map(alive).sum::<usize>() as f64 / layers as f64
}

#[test]
fn the_published_layers_are_counted_as_the_specification_counts_them() {
    let sizes = [576, 300, 200, 100, 50];
    let expected = (3 * 576 + 4 * 300 + 4 * 200 + 4 * 100 + 17 * 50) as f64 / 32.0;
    assert_eq!(mean(&sizes, 32, &[2, 6, 10, 14]), expected);
}

#[test]
fn a_late_filter_still_has_something_to_drop() {
    let sizes = schedule(64, 576, 576, 32, &[16], Admit::Class);
    assert_eq!(sizes, [87, 38]);
    assert_eq!(
        schedule(64, 576, 576, 32, &[], Admit::Class),
        [64],
        "without filters, as many enter as the budget says"
    );
    assert_eq!(
        schedule(64, 576, 576, 32, &[2, 6, 10, 14], Admit::Class)[0],
        341,
        "half of the whole for three layers of 32"
    );
}

proptest! {
    #[test]
    fn any_filters_hit_a_budget_and_drop(
        budget in 8usize..=300,
        depth in 4usize..60,
        chosen in prop::collection::btree_set(0usize..58, 0..5),
        admit in prop::sample::select(Admit::ALL),
    ) {
        let layers: Vec<usize> = chosen.into_iter().filter(|layer| layer + 1 < depth).collect();
        let sizes = schedule(budget, 576, 576, depth, &layers, admit);
        prop_assert_eq!(sizes.len(), layers.len() + 1);
        prop_assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "{sizes:?}");
        let mean = mean(&sizes, depth, &layers);
        prop_assert!((mean - budget as f64).abs() <= 1.0, "{sizes:?} is {mean} on average");
        let first = layers.first().map_or(1.0, |layer| (layer + 1) as f64 / depth as f64);
        if budget as f64 * (1.0 / first.sqrt() - 1.0) >= 1.0 {
            prop_assert!(sizes.last() < sizes.first(), "{sizes:?}: the filters are on");
        }
    }

    #[test]
    fn a_budget_is_hit_within_one_token(
        budget in 1usize..=576,
        tokens in 1usize..=576,
        depth in 1usize..60,
        admit in prop::sample::select(Admit::ALL),
    ) {
        let mut rules = Pruning::mustdrop().keep(Keep::Tokens(budget));
        rules.admit = admit;
        let layers = rules.layers(depth);
        let sizes = schedule(budget, 576, tokens, depth, &layers, admit);
        prop_assert_eq!(sizes.len(), layers.len() + 1);
        prop_assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "{sizes:?}");
        prop_assert!(sizes[0] <= tokens && sizes.iter().all(|size| *size > 0));
        let mean = mean(&sizes, depth, &layers);
        prop_assert!((mean - budget.min(tokens) as f64).abs() <= 1.0, "{sizes:?} is {mean} on average");
    }

    #[test]
    fn every_patch_is_in_exactly_one_token(side in 1u32..30, seed in any::<u64>(), raster in any::<bool>()) {
        let windows = grid(side).windows().pow(2);
        let similarity: Vec<f32> = (0..windows as u64)
            .map(|i| (seed.wrapping_mul(i * 2 + 1) >> 40) as f32 / (1u64 << 24) as f32 + 0.5)
            .collect();
        let order = if raster { RowOrder::Raster } else { RowOrder::Similarity };
        let plan = plan(&similarity, side, order);
        let mut patches: Vec<u32> = plan.tokens.patches.iter().flatten().copied().collect();
        patches.sort_unstable();
        prop_assert!(patches.into_iter().eq(0..side * side));
        prop_assert!(plan.windows.windows(2).all(|pair| similarity[pair[0]] >= similarity[pair[1]]));
        let (table, places) = member_table(1, plan.tokens.patches.iter().map(Vec::as_slice));
        prop_assert_eq!(table.len(), places * (plan.tokens.len() + 1));
        let mut rows: Vec<u32> = table.into_iter().filter(|row| *row != ABSENT).collect();
        rows.sort_unstable();
        prop_assert!(rows.into_iter().eq(0..side * side + 1), "every row goes into one mean");
    }

    #[test]
    fn evicted_caches_hold_the_survivors_of_all_filters(keeps in prop::collection::vec(any::<u64>(), 1..5)) {
        // Filters behind layers 2, 5, 8, ... of a pass of 40 rows.
        let mut alive: Vec<u32> = (0..40).collect();
        let mut entering = vec![alive.clone()];
        let mut steps = Vec::new();
        for (index, keep) in keeps.iter().enumerate() {
            let rows: Vec<u32> = (0..alive.len() as u32).filter(|row| *row == 0 || keep >> row & 1 == 1).collect();
            alive = rows.iter().map(|row| alive[*row as usize]).collect();
            entering.push(alive.clone());
            steps.push(FilterStep { layer: 2 + 3 * index, rows, ..FilterStep::default() });
        }
        let evictions = evictions(&steps);
        let last = 2 + 3 * (keeps.len() - 1);
        prop_assert!(evictions.iter().map(|(layer, _)| *layer).eq(2..=last));
        for (layer, rows) in evictions {
            let filters_before = steps.iter().filter(|step| step.layer < layer).count();
            let held = &entering[filters_before];
            let staying: Vec<u32> = rows.iter().map(|row| held[*row as usize]).collect();
            prop_assert_eq!(&staying, &alive, "layer {}", layer);
        }
    }
}

#[test]
fn without_a_filter_nothing_is_evicted() {
    assert!(evictions(&[]).is_empty());
}
