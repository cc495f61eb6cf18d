//! What every policy must do, whatever it chooses by.

use std::collections::BTreeSet;

use crate::common;
use crate::common::tiny::{IMAGE_TOKEN, SIDE, Tiny};
use crate::common::{DEVICES, MODEL, ON_ADAPTER, repository};
use mustdrop::{
    DeviceSelect, Error, Part, Pruning,
    drop::{Admit, Keep, PolicyName, Preset, Stage, prefill::PrefillFilter, vision::key_tokens},
    prompt::PromptLayout,
    report::PruningReport,
    tiling::PictureShape,
};

/// The account of one question about a sample picture, and what each cache holds beside text and survivors.
fn ask(policy: PolicyName, keep: Option<usize>, seed: u64, name: &str) -> (PruningReport, Vec<i64>) {
    let mut pruning = Pruning::policy(policy);
    pruning.keep = keep.map(Keep::Tokens);
    pruning.seed = seed;
    ask_under(pruning, name)
}

/// As [`ask`], under any rules.
fn ask_under(pruning: Pruning, name: &str) -> (PruningReport, Vec<i64>) {
    let picture = Part::image_path(repository("models/picture-book").join(name)).expect("a sample picture");
    let mut chat = MODEL.chat().pruning(pruning);
    let answer = chat.ask([picture, Part::text("what is in the picture?")]).expect("an answer");
    let report = answer.report();
    let pruned = report.pruning.clone().expect("a policy was named");
    let [picture] = pruned.pictures.as_slice() else { panic!("expected one picture") };
    let left = picture.kept.last().map_or(picture.tokens.len(), |kept| kept.tokens.len());
    let text = report.prompt_tokens - report.vision_tokens;
    let others = report.kv_rows_per_layer.iter().map(|rows| *rows as i64 - (text + left) as i64).collect();
    (pruned, others)
}

#[test]
fn budgets_are_hit_and_text_stays() {
    for policy in PolicyName::ALL.iter().copied().filter(|policy| *policy != PolicyName::None) {
        for tokens in [64, 128, 192] {
            let (pruned, others) = ask(policy, Some(tokens), 0, "sample_2.png");
            let mean = pruned.mean_vision_tokens;
            assert!((mean - tokens as f64).abs() <= 1.0, "{policy}: {mean} instead of {tokens}");
            assert!(pruned.flops < pruned.dense_flops, "{policy}");
            assert!(others.iter().all(|rows| *rows >= 0), "{policy}: {others:?}");
            assert_eq!(others.last(), Some(&0), "{policy}: all text and all survivors");
        }
    }
}

#[test]
fn a_budget_is_hit_whichever_stages_are_switched_off() {
    use Stage::{Evict, Filter, Merge};
    for (admit, filters) in [(Admit::Class, 4), (Admit::Coverage, 1)] {
        for stages in [&[][..], &[Merge], &[Filter], &[Evict], &[Merge, Filter], &[Merge, Filter, Evict]] {
            let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(64));
            (pruning.admit, pruning.merge) = (admit, Some(true));
            let (pruned, others) = ask_under(pruning.without(stages), "sample_5.png");
            let mean = pruned.mean_vision_tokens;
            assert!((mean - 64.0).abs() <= 1.0, "{admit} without {stages:?}: {pruned:?}");
            assert_ne!(pruned.pictures[0].merged_windows.is_empty(), !stages.contains(&Merge));
            let is_filtered = !stages.contains(&Filter);
            assert_eq!(pruned.pictures[0].kept.len(), if is_filtered { filters } else { 0 });
            let early = others.iter().sum::<i64>();
            // By class, the layers before the first filter hold what was filtered behind them; by coverage, as well.
            assert_eq!(early > 0, is_filtered, "{admit} without {stages:?}: {others:?}");
        }
    }
    // With everything kept in the tower and nothing filtered, [CLS] alone chooses.
    let (all, _) = ask_under(Pruning::mustdrop().without(&[Merge]), "sample_5.png");
    let scores = &all.pictures[0].class_attention;
    let mut best: Vec<usize> = (0..scores.len()).collect();
    best.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let expected: BTreeSet<u32> = best.iter().take(64).map(|patch| *patch as u32).collect();
    let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(64)).without(&[Merge, Filter]);
    pruning.admit = Admit::Class;
    let tokens = &ask_under(pruning, "sample_5.png").0.pictures[0].tokens;
    assert_eq!((scores.len(), tokens.iter().flatten().copied().collect::<BTreeSet<_>>()), (576, expected));
}

#[test]
fn a_late_filter_drops_tokens() {
    let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(64));
    pruning.pruning_layers = Some(vec![8]);
    for admit in Admit::ALL.iter().copied() {
        pruning.admit = admit;
        let (pruned, _) = ask_under(pruning.clone(), "sample_5.png");
        let picture = &pruned.pictures[0];
        assert!((pruned.mean_vision_tokens - 64.0).abs() <= 1.0, "{admit}");
        let entered = picture.tokens.len();
        assert!(picture.kept[0].tokens.len() < 64 && entered > 64, "{admit}: {entered}");
    }
}

/// The patches of a picture in the order in which coverage picked them.
fn picks(pruning: Pruning, name: &str) -> Vec<u32> {
    let (pruned, _) = ask_under(pruning, name);
    let picture = &pruned.pictures[0];
    assert_eq!(picture.picks.len(), picture.tokens.len(), "all that entered were picked");
    picture.picks.iter().map(|token| picture.tokens[*token][0]).collect()
}

#[test]
fn a_smaller_budget_has_the_first_picks_of_a_larger_one() {
    let coverage = |keep| Pruning::policy(PolicyName::Coverage).keep(Keep::Tokens(keep));
    let most = picks(coverage(128), "sample_2.png");
    for keep in [1, 16, 127] {
        assert_eq!(picks(coverage(keep), "sample_2.png"), most[..keep]);
    }
    // MustDrop picks a few more than its budget, for its filter to choose from.
    let entered = picks(Pruning::mustdrop().keep(Keep::Tokens(64)), "sample_2.png");
    assert!(entered.len() > 64 && entered.len() < 128);
    assert_eq!(entered, most[..entered.len()]);
    assert_eq!(entered.iter().collect::<BTreeSet<_>>().len(), entered.len());
}

#[test]
fn means_of_what_is_alike_stand_where_the_picks_do() {
    let [alone, means] = [PolicyName::Coverage, PolicyName::CoverageMeans]
        .map(|policy| ask(policy, Some(64), 0, "sample_2.png").0.pictures.remove(0).tokens);
    assert_eq!((alone.len(), means.len()), (64, 64));
    for (pick, mean) in alone.iter().zip(&means) {
        assert_eq!(pick[0], mean[0], "the first of its patches is the pick");
    }
    let patches: BTreeSet<u32> = means.iter().flatten().copied().collect();
    assert_eq!((patches.len(), means.iter().map(Vec::len).sum()), (576, 576), "each patch is in one token");
}

#[test]
fn pictures_too_large_to_compare_are_refused() {
    for pruning in [Pruning::policy(PolicyName::Coverage), Pruning::mustdrop()] {
        let rules = pruning.keep(Keep::Tokens(64)).rules();
        let sizes = |grid| rules.sizes(&PictureShape::square(grid, 0), grid * grid, 32);
        assert!(sizes(76).is_ok());
        let error = sizes(77).expect_err("128 MiB of cosines and more");
        assert!(error.to_string().contains("5792") && error.to_string().contains("5929"), "{error}");
    }
}

#[test]
fn the_first_picks_are_protected() {
    let (pruned, _) = ask(PolicyName::MustDrop, Some(64), 0, "sample_2.png");
    let picture = &pruned.pictures[0];
    let mut first = picture.picks[..picture.key_tokens.len()].to_vec();
    first.sort_unstable();
    assert_eq!((first.len(), &first), (key_tokens(0.08, picture.tokens.len()), &picture.key_tokens));
    assert!(first.iter().all(|token| picture.kept[0].tokens.contains(token)));
}

#[test]
fn nothing_is_dropped_by_the_policy_that_keeps_everything() {
    let (pruned, _) = ask(PolicyName::None, None, 0, "sample_2.png");
    assert_eq!(pruned.mean_vision_tokens, 576.0);
    assert_eq!(pruned.flops, pruned.dense_flops);
}

#[test]
fn random_tokens_depend_on_seed_and_picture_alone() {
    let tokens = |seed, name| ask(PolicyName::Random, Some(64), seed, name).0.pictures[0].tokens.clone();
    let drawn = tokens(1, "sample_2.png");
    assert_eq!(drawn, tokens(1, "sample_2.png"));
    assert_ne!(drawn, tokens(2, "sample_2.png"));
    assert_ne!(drawn, tokens(1, "sample_5.png"));
    assert!(drawn.is_sorted(), "in the picture's order");
    assert_eq!(drawn.iter().flatten().collect::<BTreeSet<_>>().len(), 64);
}

#[test]
fn pooled_windows_are_three_patches_wide_where_no_budget_asks_for_others() {
    let (pruned, _) = ask(PolicyName::Pool, None, 0, "sample_2.png");
    let tokens = &pruned.pictures[0].tokens;
    assert_eq!((tokens.len(), pruned.mean_vision_tokens), (64, 64.0));
    assert_eq!(tokens[9], [75, 76, 77, 99, 100, 101, 123, 124, 125]);
}

#[test]
fn visionzip_keeps_dominant_patches_and_means_of_all_the_others() {
    let (pruned, _) = ask(PolicyName::VisionZip, Some(64), 0, "sample_5.png");
    let picture = &pruned.pictures[0];
    let means = picture.tokens.iter().filter(|patches| patches.len() > 1).count();
    assert!(means <= 10 && picture.tokens.len() == 64);
    let patches: BTreeSet<u32> = picture.tokens.iter().flatten().copied().collect();
    assert_eq!(patches.len(), 576, "every patch is in one token");
    assert_eq!(picture.tokens.iter().map(Vec::len).sum::<usize>(), 576);
}

#[test]
fn fastv_filters_once_by_the_last_token() {
    let (pruned, _) = ask(PolicyName::FastV, Some(192), 0, "sample_5.png");
    let [kept] = pruned.pictures[0].kept.as_slice() else { panic!("expected one filter") };
    assert_eq!((kept.layer, kept.tokens.len(), kept.importance.len()), (1, 115, 576));
    let least = kept.tokens.iter().map(|token| kept.importance[*token]).fold(f32::MAX, f32::min);
    let better = kept.importance.iter().filter(|importance| **importance > least).count();
    assert!(better < 115, "no token that was dropped is more important than one that stayed");
    assert!(kept.importance.iter().sum::<f32>() < 1.0, "attention of a single row");
}

#[test]
fn impossible_budgets_are_refused() {
    let refused = |pruning: Pruning, expected: &str| {
        let picture = mustdrop::Picture::from_rgb8(1, 1, vec![0; 3]).expect("a picture");
        let error = MODEL.chat().pruning(pruning).ask([Part::Image(picture), Part::text("?")]).err();
        let Some(error @ Error::Argument { .. }) = error else { panic!("{error:?}") };
        assert!(error.to_string().contains(expected), "{error}");
    };
    refused(Pruning::policy(PolicyName::FastV).keep(Keep::Tokens(48)), "at least 49");
    refused(Pruning::policy(PolicyName::None).keep(Keep::Tokens(64)), "none");
    for policy in [
        PolicyName::Coverage,
        PolicyName::CoverageMeans,
        PolicyName::Random,
        PolicyName::FastV,
        PolicyName::VisionZip,
    ] {
        refused(Pruning::policy(policy), "--keep");
    }
}

/// What a pass leaves: logits, for each filter and picture the kept tokens, rows in the caches.
type Outcome = (Vec<f32>, Vec<Vec<Vec<usize>>>, Vec<usize>);

/// One pass of a tiny model, which shows its decoder the class token too if `full`.
fn pass(device: &DeviceSelect, pruning: &Pruning, full: bool) -> Outcome {
    let mut tiny = Tiny::new();
    if full {
        tiny.config["vision_feature_select_strategy"] = "full".into();
    }
    let model = tiny.load(device);
    let pixels: Vec<f32> = (0..3 * SIDE * SIDE).map(|i| (i as f32 * 0.37).sin()).collect();
    let image = model.encode_image_pruned(&pixels, pruning).expect("an image");
    let mut filter = PrefillFilter::new(pruning);
    filter.add_picture(1, &image.candidates);
    let prompt = PromptLayout::from_ids(&[3, IMAGE_TOKEN, 4, 5], IMAGE_TOKEN);
    let rows = model.splice(&prompt, &[image.features]).expect("a prompt");
    let positions: Vec<u32> = (0..rows.dims()[0] as u32).collect();
    let mut cache = model.decoder.new_cache();
    let hidden = model.decoder.prefill(rows, &positions, &mut cache, &mut filter).expect("a pass");
    let last = hidden.dims()[0] - 1;
    let logits = model.decoder.logits(hidden.slice([last..last + 1])).expect("logits");
    (logits, filter.steps.iter().map(|step| step.kept.clone()).collect(), cache.rows_per_layer())
}

#[test]
fn both_paths_choose_the_same() {
    let pruning = PolicyName::ALL.iter().map(|policy| Pruning::policy(*policy).keep(Keep::Tokens(3)));
    let mut by_class = Pruning::mustdrop().keep(Keep::Tokens(3));
    by_class.admit = Admit::Class;
    // Thresholds that drop everything that is not protected, and then everything.
    let mut none_left = Pruning::mustdrop().thresholds(10.0, 10.0);
    none_left.pruning_layers = Some(vec![0]);
    let mut nothing_left = none_left.clone();
    nothing_left.keep_rate = 0.0;
    for pruning in pruning.chain([by_class, none_left, nothing_left]) {
        let [cpu, gpu] = DEVICES.map(|device| pass(&device, &pruning, false));
        assert_eq!((&cpu.1, &cpu.2), (&gpu.1, &gpu.2), "{pruning:?}");
        common::assert_close(&gpu.0, &cpu.0, &format!("{pruning:?}"));
    }
}

/// Pictures and the default model, with every policy: everything that is reported of what was kept.
#[test]
fn both_paths_choose_the_same_of_pictures() {
    let budgets = [32, 64].into_iter().flat_map(|keep| {
        let policies = PolicyName::ALL.iter().filter(|policy| **policy != PolicyName::None);
        // FastV keeps all tokens of two layers.
        let policies = policies.filter(move |policy| keep >= 64 || **policy != PolicyName::FastV);
        let mut by_class = Pruning::mustdrop().keep(Keep::Tokens(keep));
        by_class.admit = Admit::Class;
        let policies = policies.map(move |policy| Pruning::policy(*policy).keep(Keep::Tokens(keep)));
        policies.chain([by_class])
    });
    let thresholds = [Preset::Retain64, Preset::Retain192].map(|preset| Pruning::mustdrop().preset(preset));
    for pruning in budgets.chain(thresholds) {
        for name in ["sample_1.png", "sample_4.png"] {
            let chosen = [&MODEL, &ON_ADAPTER].map(|model| {
                let picture = repository("models/picture-book").join(name);
                let picture = Part::image_path(picture).expect("a sample picture");
                let mut chat = model.chat().pruning(pruning.clone());
                let answer = chat.ask([picture, Part::text("what is in the picture?")]).expect("an answer");
                let report = answer.report().pruning.clone().expect("a policy was named");
                let pictures = report.pictures.into_iter().map(|picture| {
                    let kept: Vec<_> =
                        picture.kept.into_iter().map(|kept| (kept.layer, kept.tokens)).collect();
                    (picture.merged_windows, picture.picks, picture.tokens, picture.key_tokens, kept)
                });
                (pictures.collect::<Vec<_>>(), answer.report().kv_rows_per_layer.clone())
            });
            assert_eq!(chosen[0], chosen[1], "{name}, {pruning:?}");
        }
    }
}

#[test]
fn a_class_token_in_the_decoder_is_always_kept() {
    let ways = PolicyName::ALL.iter().map(|policy| (*policy, Admit::Coverage));
    for (policy, admit) in ways.chain([(PolicyName::MustDrop, Admit::Class)]) {
        let mut pruning = Pruning::policy(policy);
        pruning.admit = admit;
        pruning.keep = (policy != PolicyName::None).then_some(Keep::Tokens(3));
        let [(_, patches, rows), (_, all, more)] =
            [false, true].map(|full| pass(&DeviceSelect::Cpu, &pruning, full));
        assert_eq!(patches.len(), all.len(), "{policy}: as many filters");
        assert!(all.iter().all(|step| step[0][0] == 0), "{policy}: the class token is the first");
        let counts = patches.iter().zip(&all).map(|(patches, all)| (patches[0].len() + 1, all[0].len()));
        assert!(
            counts.into_iter().all(|(expected, found)| expected == found),
            "{policy}: on top of the budget"
        );
        assert!(rows.iter().zip(&more).all(|(rows, more)| rows + 1 == *more), "{policy}: {rows:?}, {more:?}");
    }
}

#[test]
fn two_conversations_side_by_side_answer_as_each_alone() {
    let pruning = || Pruning::mustdrop().keep(Keep::Tokens(64));
    let parts = |name: &str| {
        let picture = Part::image_path(repository("models/picture-book").join(name)).expect("a picture");
        [picture, Part::text("describe the picture.")]
    };
    let alone = |name| {
        let mut chat = MODEL.chat().pruning(pruning());
        let mut answer = chat.ask(parts(name)).expect("an answer");
        (answer.complete().expect("an answer"), answer.report().kv_rows_per_layer.clone())
    };
    let mut chats = [MODEL.chat().pruning(pruning()), MODEL.chat().pruning(pruning())];
    let [first, second] = &mut chats;
    let mut answers = [
        first.ask(parts("sample_2.png")).expect("an answer"),
        second.ask(parts("sample_5.png")).expect("an answer"),
    ];
    // A token of this, a token of that.
    let mut running = true;
    while running {
        running = false;
        for event in answers.iter_mut().filter_map(Iterator::next) {
            event.expect("an event");
            running = true;
        }
    }
    for (answer, name) in answers.iter().zip(["sample_2.png", "sample_5.png"]) {
        assert_eq!((answer.text().to_owned(), answer.report().kv_rows_per_layer.clone()), alone(name));
    }
}
