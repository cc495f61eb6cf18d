//! Questions about pictures in tiles: conversations, odd pictures, what is refused, and what is drawn.

use std::sync::Arc;

use mustdrop::{
    DeviceSelect, GenerationOptions, Llava, Part, Picture, PictureCache, Pruning,
    drop::{Keep, PolicyName, Preset, Turns},
    prompt::Role,
    report::PictureReport,
};

use crate::common::{
    DEVICES,
    families::{TILED, ask, edited, keep, load, part},
    golden,
};

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

#[test]
fn a_budget_that_a_larger_picture_could_not_have_is_no_reason_to_refuse_a_small_one() {
    let name = TILED[2];
    let model = load(name, &DeviceSelect::Cpu);
    let fastv = |tokens| Pruning::policy(PolicyName::FastV).keep(Keep::Tokens(tokens));
    let least = |picture: &str| {
        (1..200).find(|tokens| {
            let question = [part(name, picture), Part::text("What?")];
            model.chat().pruning(fastv(*tokens)).ask(question).is_ok()
        })
    };
    let dense = ask(&model, name, &["square.png"], None, 1).1.dense_vision_tokens;
    assert_eq!(least("square.png"), Some(dense.div_ceil(3) + 1), "of three layers the first sees them all");
    let question = [part(name, "square.png"), Part::text("What?")];
    let error = model.chat().pruning(fastv(5)).ask(question).map(drop).expect_err("refused").to_string();
    assert!(error.contains("--keep: expected at least"), "{error}");
}
