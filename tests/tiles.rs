//! Dropping tokens in every family: of pictures in tiles, each with its newlines, and of pictures that are one square.

use mustdrop::{
    DeviceSelect, Pruning,
    config::Shape,
    drop::{Admit, Keep, PolicyName, Preset},
    report::{PictureReport, decoder_flops},
};

use crate::common::{
    DEVICES,
    families::{SQUARE, TILED, ask, keep, load},
};

/// A budget for each way to choose, and the paper's thresholds.
fn ways() -> Vec<Pruning> {
    let mut by_class = keep(14);
    by_class.admit = Admit::Class;
    let mut merging = keep(14);
    merging.merge = Some(true);
    merging.similarity_threshold = -1.0;
    let mut reference = Pruning::reference().preset(Preset::Retain64);
    reference.similarity_threshold = 0.2;
    let others = [PolicyName::Random, PolicyName::Pool, PolicyName::VisionZip, PolicyName::CoverageMeans];
    let others = others.map(|policy| Pruning::policy(policy).keep(Keep::Tokens(14)));
    let fastv = Pruning::policy(PolicyName::FastV).keep(Keep::Share(0.8));
    let paper = Pruning::mustdrop().preset(Preset::Retain64);
    [keep(14), by_class, merging, reference, fastv, paper].into_iter().chain(others).collect()
}

/// Asserts that newlines stand behind tokens of their own row alone, among those that entered and behind every filter.
///
/// One newline at most may be missing, where a budget ends, and one more behind each filter; where means enter, more. Rows cannot be told where windows were merged, or detail shrunk:
/// there, only that there is a token at all.
fn assert_newlines(picture: &PictureReport, what: &str) {
    let all: Vec<usize> = (0..picture.tokens.len()).collect();
    let across = picture
        .tiles
        .iter()
        .skip(1)
        .filter(|tile| tile.placement.top == picture.tiles[1].placement.top)
        .count();
    let row = |token: usize| {
        let place = picture.places[token]?;
        (place.tile > 0).then(|| (place.tile - 1) / across * picture.grid + place.row)
    };
    let is_ranked = !picture.picks.is_empty() || !picture.class_attention.is_empty();
    let has_rows =
        is_ranked && picture.tiles.len() > 1 && picture.tokens.iter().all(|patches| patches.len() < 2);
    let sets = std::iter::once(&all).chain(picture.kept.iter().map(|kept| &kept.tokens));
    for (filters, set) in sets.enumerate() {
        let mut rows: Vec<usize> = Vec::new();
        let mut missing = 0;
        for (index, token) in set.iter().enumerate() {
            if picture.places[*token].is_none() {
                let before =
                    index.checked_sub(1).map(|before| set[before]).expect("a token in front of a newline");
                assert!(picture.places[before].is_some(), "{what}: a newline behind a newline");
                assert_eq!(row(before).is_some(), picture.tiles.len() > 1, "{what}: the base has no newline");
                rows.dedup();
                missing += rows.len().saturating_sub(1);
                rows.clear();
            } else {
                rows.extend(row(*token));
            }
        }
        rows.dedup();
        missing += rows.len();
        assert!(!has_rows || missing <= 1 + filters, "{what}: {missing} rows without a newline");
    }
}

#[test]
fn nothing_dropped_is_the_dense_answer() {
    for device in &DEVICES {
        for name in SQUARE.iter().chain(&TILED) {
            let model = load(name, device);
            for pictures in [&["wide.png"][..], &["photo.jpg"], &["wide.png", "tall.png"]] {
                let (dense, report) = ask(&model, name, pictures, None, 8);
                assert_eq!(report.vision_tokens, report.dense_vision_tokens);
                let all = Pruning::mustdrop().keep(Keep::Share(1.0));
                for rules in [Pruning::none(), Pruning::policy(PolicyName::None), all] {
                    let (found, report) = ask(&model, name, pictures, Some(rules), 8);
                    assert_eq!(found, dense, "{name} on {device}, {pictures:?}");
                    let pruning = report.pruning.expect("an account");
                    assert_eq!(pruning.flops, pruning.dense_flops);
                    assert!(pruning.vision_tokens_per_layer.iter().all(|n| *n == report.dense_vision_tokens));
                }
            }
        }
    }
}

#[test]
fn any_budget_is_kept_newlines_included() {
    for name in TILED {
        let model = load(name, &DeviceSelect::Cpu);
        for picture in ["wide.png", "photo.jpg", "square.png"] {
            let most = ask(&model, name, &[picture], None, 1).1.dense_vision_tokens;
            for budget in 1..=most {
                let (_, report) = ask(&model, name, &[picture], Some(keep(budget)), 1);
                let pruning = report.pruning.expect("an account");
                let what = format!("{name}, {picture}, {budget} of {most}");
                assert!((pruning.mean_vision_tokens - budget as f64).abs() < 1.0, "{what}: {pruning:?}");
                assert_newlines(&pruning.pictures[0], &what);
                assert_eq!(pruning.pictures[0].tokens.len(), report.vision_tokens, "{what}");
            }
            // What lets all in at once hits a budget to the token.
            for policy in
                [PolicyName::Random, PolicyName::VisionZip, PolicyName::Coverage, PolicyName::CoverageMeans]
            {
                for budget in [1, 2, 7, 20, most - 1, most] {
                    let rules = Pruning::policy(policy).keep(Keep::Tokens(budget));
                    let (_, report) = ask(&model, name, &[picture], Some(rules), 1);
                    let what = format!("{name}, {picture}, {policy}, {budget} of {most}");
                    assert_eq!(report.vision_tokens, budget, "{what}");
                    assert_newlines(&report.pruning.expect("an account").pictures[0], &what);
                }
            }
        }
        // More than there are is all; more than any picture has is an error.
        let most = ask(&model, name, &["photo.jpg"], None, 1).1.dense_vision_tokens;
        let (_, report) = ask(&model, name, &["photo.jpg"], Some(keep(most + 1)), 1);
        assert_eq!(report.vision_tokens, most);
        assert!(model.check(&keep(100_000)).is_err());
    }
}

#[test]
fn both_paths_keep_the_same_tokens() {
    for name in SQUARE.iter().chain(&TILED) {
        let models = DEVICES.each_ref().map(|device| load(name, device));
        let all = [&["tall.png", "wide.png"][..], &["photo.jpg"], &["wide.png"]];
        for pictures in all.into_iter().take(if TILED.contains(name) { 3 } else { 1 }) {
            for (number, rules) in ways().into_iter().enumerate() {
                let [cpu, gpu] = models.each_ref().map(|model| {
                    let (said, report) = ask(model, name, pictures, Some(rules.clone()), 6);
                    (said, report.pruning.expect("an account"), report.kv_rows_per_layer)
                });
                let what = format!("{name}, {pictures:?}, way {number}");
                assert_eq!((&cpu.0, &cpu.2), (&gpu.0, &gpu.2), "{what}");
                for (cpu, gpu) in cpu.1.pictures.iter().zip(&gpu.1.pictures) {
                    assert_eq!((&cpu.tokens, &cpu.key_tokens), (&gpu.tokens, &gpu.key_tokens), "{what}");
                    assert_eq!(cpu.merged_windows, gpu.merged_windows, "{what}");
                    let kept = |picture: &PictureReport| -> Vec<Vec<usize>> {
                        picture.kept.iter().map(|kept| kept.tokens.clone()).collect()
                    };
                    assert_eq!(kept(cpu), kept(gpu), "{what}");
                    assert_newlines(cpu, &what);
                }
            }
        }
    }
}

#[test]
fn pictures_in_another_order_are_admitted_alike() {
    for name in SQUARE.iter().chain(&TILED) {
        let model = load(name, &DeviceSelect::Cpu);
        for rules in ways() {
            let admitted = |pictures: &[&str]| -> Vec<_> {
                let pruning =
                    ask(&model, name, pictures, Some(rules.clone()), 1).1.pruning.expect("an account");
                pruning
                    .pictures
                    .into_iter()
                    .map(|picture| (picture.tokens, picture.key_tokens, picture.picks))
                    .collect()
            };
            let mut turned = admitted(&["tall.png", "wide.png"]);
            turned.reverse();
            assert_eq!(admitted(&["wide.png", "tall.png"]), turned, "{name}, {rules:?}");
        }
    }
}

#[test]
fn every_stage_works_in_every_family_tile_by_tile() {
    let tiled = [(TILED[0], "wide.png"), (TILED[1], "square.png"), (TILED[2], "tall.png")];
    for (name, picture) in SQUARE.map(|name| (name, "wide.png")).into_iter().chain(tiled) {
        let model = load(name, &DeviceSelect::Cpu);
        // Bounds above the mean of a picture's tokens, so that some are below.
        let mut rules = Pruning::mustdrop().thresholds(0.07, 0.07);
        let dense = ask(&model, name, &[picture], None, 1).1;
        rules.merge = Some(false);
        let (_, report) = ask(&model, name, &[picture], Some(rules.clone()), 1);
        let seen = &report.pruning.as_ref().expect("an account").pictures[0];
        // Key tokens: the paper's share of what each tile shows.
        for tile in 0..seen.tiles.len() {
            let is_here = |token: usize| seen.places[token].is_some_and(|place| place.tile == tile);
            let tokens = (0..seen.tokens.len()).filter(|token| is_here(*token)).count();
            let keys = seen.key_tokens.iter().filter(|key| is_here(**key)).count();
            assert_eq!(keys, (0.08 * tokens as f64).ceil() as usize, "{name}, tile {tile}");
        }
        assert_eq!(seen.tokens.len(), dense.vision_tokens, "all enter");
        let last = seen.kept.last().expect("a filter");
        assert!(last.tokens.len() < seen.tokens.len(), "{name}: the filter drops tokens");
        let text = dense.prompt_tokens - dense.vision_tokens;
        assert!(report.kv_rows_per_layer.contains(&(text + last.tokens.len())), "{name}: caches are cut");

        rules.merge = Some(true);
        rules.similarity_threshold = -1.0;
        let (_, report) = ask(&model, name, &[picture], Some(rules), 1);
        let merged = &report.pruning.as_ref().expect("an account").pictures[0];
        let windows = seen.grid.div_ceil(3).pow(2);
        assert!(merged.tiles.iter().all(|tile| tile.tokens == windows), "{name}: every window of every tile");
        assert!(merged.tokens.len() < seen.tokens.len(), "{name}: fewer enter");
        assert_newlines(merged, name);
    }
}

#[test]
fn budgets_are_kept_where_all_windows_are_merged() {
    for name in TILED {
        let model = load(name, &DeviceSelect::Cpu);
        for picture in ["wide.png", "tall.png", "square.png"] {
            let most = ask(&model, name, &[picture], None, 1).1.dense_vision_tokens;
            for budget in (1..=most).step_by(3) {
                let mut rules = keep(budget);
                rules.merge = Some(true);
                rules.similarity_threshold = -1.0;
                let (_, report) = ask(&model, name, &[picture], Some(rules), 1);
                let mean = report.pruning.expect("an account").mean_vision_tokens;
                assert!((mean - budget as f64).abs() < 1.0, "{name}, {picture}, {budget} of {most}: {mean}");
            }
        }
    }
}

/// The paper's row of LLaVA-NeXT: of 2,880 tokens 320 are left, and with them 11.5 % of the operations of the prefill.
#[test]
fn a_seven_billion_decoder_saves_what_the_paper_says() {
    let config = Shape::NextVicuna7b.config().expect("known");
    let picture = config.largest_picture();
    // The published count has no newlines.
    assert_eq!(picture.content(), 2_880);
    let layers = config.text.num_hidden_layers;
    let share = |text: usize| {
        let of = |tokens: usize| decoder_flops(&config, &vec![tokens; layers], text);
        of(320) / of(2_880)
    };
    // By hand, a layer: 4 n 4096^2 + 2 n^2 4096 + 3 n 4096 11008.
    let by_hand = |n: f64| 4.0 * n * 4096.0 * 4096.0 + 2.0 * n * n * 4096.0 + 3.0 * n * 4096.0 * 11_008.0;
    assert!((share(0) - by_hand(320.0) / by_hand(2_880.0)).abs() < 1e-12);
    assert!((share(0) - 0.1008).abs() < 1e-4, "{}", share(0));
    // A question of some 50 tokens makes it the published 11.5 %.
    assert!((share(50) - 0.115).abs() < 1e-3, "{}", share(50));

    // A budget has the same operations, and a cache of a ninth.
    let rules = keep(320).rules();
    let sizes = rules.sizes(&picture, picture.budgeted(), layers).expect("a plan").expect("sizes");
    let filter = rules.layers(&picture, layers)[0];
    let entered = sizes[0] * (filter + 1) + sizes[1] * (layers - filter - 1);
    assert!(entered.abs_diff(320 * layers) <= layers / 2, "{sizes:?}");
}
