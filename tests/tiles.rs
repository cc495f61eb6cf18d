//! Dropping tokens in every family: of pictures in tiles, each with its newlines, and of pictures that are one square.

use std::{fs, sync::Arc};

use mustdrop::{
    DeviceSelect, GenerationOptions, Llava, Part, Picture, PictureCache, Pruning, Report, WeightFormat,
    config::Shape,
    drop::{Admit, Keep, PolicyName, Preset, Turns},
    prompt::Role,
    report::{PictureReport, decoder_flops},
};

use crate::common::{DEVICES, golden};

const SQUARE: [&str; 4] =
    ["llava_qwen2_siglip", "llava_mistral_window", "llava_llama3_clip", "llava_llama31_clip"];
const TILED: [&str; 3] = ["llava_next_mistral", "llava_next_vicuna", "llava_onevision_qwen2"];

fn load(name: &str, device: &DeviceSelect) -> Llava {
    let builder = Llava::builder(golden("family").join(name)).device(device.clone());
    builder.weights(WeightFormat::F32).build().expect("a model")
}

fn part(name: &str, picture: &str) -> Part {
    Part::image_path(golden("family").join(name).join(picture)).expect("a picture")
}

/// The answer to a question about pictures, and its account.
fn ask(
    model: &Llava,
    name: &str,
    pictures: &[&str],
    pruning: Option<Pruning>,
    tokens: usize,
) -> (String, Report) {
    let mut options = GenerationOptions::default();
    options.max_new_tokens = tokens;
    let mut chat = model.chat().options(options);
    if let Some(pruning) = pruning {
        chat = chat.pruning(pruning);
    }
    let pictures = pictures.iter().map(|picture| part(name, picture));
    let mut answer = chat.ask(pictures.chain([Part::text("What is in the picture?")])).expect("an answer");
    let said = answer.complete().expect("a complete answer");
    (said, answer.report().clone())
}

fn keep(tokens: usize) -> Pruning {
    Pruning::mustdrop().keep(Keep::Tokens(tokens))
}

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
fn stages_work_tile_by_tile() {
    for (name, picture) in [(TILED[0], "wide.png"), (TILED[1], "square.png"), (TILED[2], "tall.png")] {
        let model = load(name, &DeviceSelect::Cpu);
        let mut rules = Pruning::mustdrop().thresholds(0.02, 0.02);
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

/// What three questions are answered, the last with a second picture: in a conversation, and each in a fresh one that is told what was
/// said before.
fn converse(model: &Llava, name: &str, pruning: Option<Pruning>) -> [Vec<(String, usize)>; 2] {
    let questions =
        [(Some("wide.png"), "What is this?"), (None, "Which colour?"), (Some("tall.png"), "And this?")];
    let new_chat = || {
        let mut options = GenerationOptions::default();
        options.max_new_tokens = 5;
        let chat = model.chat().options(options).picture_cache(Arc::new(PictureCache::new(1 << 24)));
        match &pruning {
            Some(pruning) => chat.pruning(pruning.clone()),
            None => chat,
        }
    };
    let mut chat = new_chat();
    let (mut going_on, mut afresh) = (Vec::new(), Vec::new());
    let mut history: Vec<(Role, Vec<Part>)> = Vec::new();
    for (picture, question) in questions {
        let parts: Vec<Part> =
            picture.map(|picture| part(name, picture)).into_iter().chain([Part::text(question)]).collect();
        let mut answer = chat.ask(parts.clone()).expect("an answer");
        let said = answer.complete().expect("whole");
        going_on.push((said.clone(), answer.report().vision_tokens));
        let mut fresh = new_chat();
        let mut answer = fresh.ask_after(history.clone(), parts.clone()).expect("an answer");
        afresh.push((answer.complete().expect("whole"), answer.report().vision_tokens));
        history.push((Role::User, parts));
        history.push((Role::Assistant, vec![Part::text(said)]));
    }
    [going_on, afresh]
}

#[test]
fn later_questions_are_answered_as_in_a_fresh_conversation() {
    for name in TILED {
        let mut rules = keep(12);
        rules.turns = Turns::Requery;
        for pruning in [None, Some(rules)] {
            let of_devices = DEVICES.each_ref().map(|device| {
                let [going_on, afresh] = converse(&load(name, device), name, pruning.clone());
                assert_eq!(going_on, afresh, "{name} on {device}, {pruning:?}");
                going_on
            });
            assert_eq!(of_devices[0], of_devices[1], "{name}");
        }
        // Pinned, later questions find what the first left: there is no other way to say it, but both paths agree.
        let pinned =
            DEVICES.each_ref().map(|device| converse(&load(name, device), name, Some(keep(12)))[0].clone());
        assert_eq!(pinned[0], pinned[1], "{name}");
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

#[test]
fn no_picture_is_too_thin() {
    for name in TILED {
        let models = DEVICES.each_ref().map(|device| load(name, device));
        for (width, height) in [(1, 1), (1, 400), (400, 1), (3, 2000), (2000, 3), (59, 61)] {
            let picture = Picture::from_rgb8(
                width,
                height,
                (0..3 * width * height).map(|i| (i * 7 % 251) as u8).collect(),
            );
            let picture = Part::Image(picture.expect("a picture"));
            for rules in [None, Some(keep(5)), Some(Pruning::mustdrop().preset(Preset::Retain64))] {
                let said = models.each_ref().map(|model| {
                    let mut options = GenerationOptions::default();
                    options.max_new_tokens = 3;
                    let chat = model.chat().options(options);
                    let mut chat = match &rules {
                        Some(rules) => chat.pruning(rules.clone()),
                        None => chat,
                    };
                    let mut answer = chat.ask([picture.clone(), Part::text("What?")]).expect("an answer");
                    answer.complete().expect("whole")
                });
                assert_eq!(said[0], said[1], "{name}, {width} x {height}, {rules:?}");
            }
        }
    }
}

/// Behind a short window, no text sees the first of two pictures: nothing is below a share of nothing, and all of it stays, as of a
/// picture that is one square.
#[test]
fn what_no_text_sees_is_not_judged() {
    let windows = [
        ("\"sliding_window\": null", "\"sliding_window\": 4"),
        ("\"use_sliding_window\": false", "\"use_sliding_window\": true"),
        ("\"full_attention\"", "\"sliding_attention\""),
    ];
    let folder = edited(TILED[2], &windows);
    for device in &DEVICES {
        let model = Llava::builder(folder.path()).device(device.clone()).build().expect("a model");
        let mut rules = Pruning::mustdrop().thresholds(0.5, 0.5);
        rules.merge = Some(false);
        let (_, report) = ask(&model, TILED[2], &["wide.png", "tall.png"], Some(rules), 1);
        let pictures = report.pruning.expect("an account").pictures;
        let left = |picture: &PictureReport| picture.kept.last().expect("a filter").tokens.len();
        assert_eq!(left(&pictures[0]), pictures[0].tokens.len(), "{device}: the first is not seen");
        assert!(left(&pictures[1]) < pictures[1].tokens.len(), "{device}: the second is");
    }
}

/// A copy of a fixture whose configuration is changed.
fn edited(name: &str, changes: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(golden("family").join(name)).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    let path = folder.path().join("config.json");
    let mut config = fs::read_to_string(&path).expect("text");
    for (from, to) in changes {
        assert!(config.contains(from), "{config}");
        config = config.replace(from, to);
    }
    fs::write(path, config).expect("written");
    folder
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

#[test]
fn a_picture_too_wide_for_the_context_is_refused_before_it_is_looked_at() {
    let change = ("\"max_position_embeddings\": 4096", "\"max_position_embeddings\": 64");
    let folder = edited(TILED[1], &[change]);
    let model = Llava::builder(folder.path()).device(DeviceSelect::Cpu).build().expect("a model");
    let question = || [part(TILED[1], "square.png"), Part::text("What is this?")];
    let cache = Arc::new(PictureCache::new(1 << 24));
    let mut chat = model.chat().picture_cache(Arc::clone(&cache));
    let error = chat.ask(question()).map(drop).expect_err("88 tokens and more").to_string();
    assert!(error.contains("context of 64") && error.contains("--keep"), "{error}");
    assert_eq!(cache.pictures(), 0, "it was not looked at");
    let mut chat = model.chat().pruning(keep(12)).picture_cache(Arc::clone(&cache));
    assert!(chat.ask(question()).expect("an answer").complete().is_ok());
    assert_eq!(cache.pictures(), 1);
    // Thresholds let in what they let in: that it might fit is enough to look.
    let mut merging = Pruning::mustdrop();
    merging.similarity_threshold = -1.0;
    assert!(model.chat().pruning(merging).ask(question()).expect("an answer").complete().is_ok());
}

#[test]
fn videos_are_refused_by_name() {
    let model = load(TILED[2], &DeviceSelect::Cpu);
    let question = [part(TILED[2], "wide.png"), Part::text("What happens in <video>?")];
    let error = model.chat().ask(question).map(drop).expect_err("a video").to_string();
    assert!(error.contains("<video>: videos are not supported"), "{error}");
    // Of a model that knows none, these are letters.
    let model = load(TILED[0], &DeviceSelect::Cpu);
    let question = [part(TILED[0], "wide.png"), Part::text("What happens in <video>?")];
    assert!(model.chat().ask(question).is_ok());
}

#[test]
fn the_overlay_shows_base_and_detail() {
    let name = TILED[0];
    let model = load(name, &DeviceSelect::Cpu);
    let picture = Picture::open(golden("family").join(name).join("wide.png")).expect("a picture");
    let (_, report) = ask(&model, name, &["wide.png"], Some(keep(20)), 1);
    let account = report.pruning.expect("an account");
    let drawing = account.overlay(0, &picture).expect("a drawing").expect("one picture");
    let seen = &account.pictures[0];
    let level = |x: usize, y: usize| -> u32 {
        drawing.rgb()[3 * (y * drawing.width() + x)..][..3].iter().map(|level| u32::from(*level)).sum()
    };
    // The last panels: 480 pixels wide, below three lines and a title, and below the base's.
    let scale = 480.0 / picture.width() as f64;
    let (left, height) = (8 + 2 * (480 + 8), (picture.height() as f64 * scale).round() as usize);
    let tops = [48 + 8 + 16, 48 + 8 + 16 + height + 8 + 16];
    let alive = &seen.kept.last().expect("a filter").tokens;
    let (mut bright, mut dark) = ([0, 0], [0, 0]);
    for (tile, placement) in seen.tiles.iter().enumerate() {
        let row = usize::from(tile > 0);
        for patch in 0..seen.grid * seen.grid {
            let global = (tile * seen.grid * seen.grid + patch) as u32;
            let is_kept = alive.iter().any(|token| seen.tokens[*token].contains(&global));
            let side = seen.side as f64 / seen.grid as f64;
            let middle = |index: usize| (index as f64 + 0.5) * side;
            let x = placement.placement.left + middle(patch % seen.grid) * placement.placement.step_x;
            let y = placement.placement.top + middle(patch / seen.grid) * placement.placement.step_y;
            if x < 0.0 || y < 0.0 || x >= picture.width() as f64 || y >= picture.height() as f64 {
                continue;
            }
            let original: u32 = picture.rgb()[3 * (y as usize * picture.width() + x as usize)..][..3]
                .iter()
                .map(|level| u32::from(*level))
                .sum();
            let shown = level(left + (x * scale) as usize, tops[row] + (y * scale) as usize);
            let counts = if is_kept { &mut bright } else { &mut dark };
            counts[row] += 1;
            assert_eq!(is_kept, shown * 2 > original, "tile {tile}, patch {patch}: {shown} of {original}");
        }
    }
    assert!(bright.iter().chain(&dark).all(|count| *count > 0), "{bright:?} {dark:?}");
    for (place, patches) in seen.places.iter().zip(&seen.tokens) {
        assert_eq!(place.is_some(), !patches.is_empty());
        if let Some(place) = place {
            let global = (place.tile * seen.grid + place.row) * seen.grid + place.column;
            assert_eq!(global, patches[0] as usize);
            let [x0, y0, x1, y1] = place.pixels;
            assert!(x0 < x1 && y0 < y1 && x1 > 0.0 && y1 > 0.0);
        }
    }
}

#[test]
fn a_second_picture_changes_how_one_vision_looks_at_the_first() {
    let name = TILED[2];
    let model = load(name, &DeviceSelect::Cpu);
    let mut options = GenerationOptions::default();
    options.max_new_tokens = 6;
    let mut chat = model.chat().options(options);
    let alone = {
        let mut answer = chat.ask([part(name, "wide.png"), Part::text("What is this?")]).expect("an answer");
        answer.complete().expect("whole");
        answer.report().vision_tokens
    };
    let mut answer = chat.ask([part(name, "tall.png"), Part::text("And this?")]).expect("an answer");
    answer.complete().expect("whole");
    // 4 x 4 patches and a newline each.
    assert_eq!((answer.report().vision_tokens, answer.report().reused_tokens), (2 * 17, 0));
    assert!(alone > 2 * 17);
}
