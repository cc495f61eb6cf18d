//! Dropping in the model and in conversations: what must hold on every path, whatever the weights.

use crate::common::tiny::{IMAGE_TOKEN, SIDE, Tiny};
use crate::common::{DEVICES, MODEL, golden, repository};
use mustdrop::{
    DeviceSelect, Error, Part, Picture, Pruning, Report,
    checkpoint::{Checkpoint, ModelFiles},
    device::Compute,
    drop::{Admit, Keep, Turns, prefill::PrefillFilter},
    kernel::variants::Variants,
    model::LlavaModel,
    trace::Fixture,
};

fn picture(name: &str) -> Part {
    Part::image_path(repository("models/picture-book").join(name)).expect("a sample picture")
}

fn ask(pruning: Pruning, parts: Vec<Part>) -> (String, Report) {
    let mut chat = MODEL.chat().pruning(pruning);
    let mut answer = chat.ask(parts).expect("an answer");
    let text = answer.complete().expect("a complete answer");
    (text, answer.report().clone())
}

fn about(name: &str) -> Vec<Part> {
    vec![picture(name), Part::text("what is in the picture?")]
}

/// Logits, kept tokens, rows in each cache, key tokens.
type Passed = (Vec<f32>, Vec<Vec<usize>>, Vec<usize>, Vec<usize>);

/// A pass over a golden fixture's prompt with dropping.
fn pass(device: &DeviceSelect, pruning: &Pruning) -> Passed {
    pass_on(&Compute::open(device).expect("a device"), pruning)
}

/// The same on an opened device.
fn pass_on(compute: &Compute, pruning: &Pruning) -> Passed {
    let fixture = Fixture::open(&golden("grouped_query")).expect("a fixture");
    let files = ModelFiles::folder(golden("grouped_query")).expect("a folder");
    let checkpoint = Checkpoint::open(&files).expect("weights");
    let model = LlavaModel::load(&checkpoint, &fixture.config, compute, false).expect("a model");
    let image = model.encode_image_pruned(&fixture.pixels, pruning).expect("an image");
    let mut filter = PrefillFilter::new(pruning);
    filter.add_picture(20, &image.candidates);
    let rows = model.splice(&fixture.prompt, &[image.features]).expect("a prompt");
    let positions: Vec<u32> = (0..rows.dims()[0] as u32).collect();
    let mut cache = model.decoder.new_cache();
    let hidden = model.decoder.prefill(rows, &positions, &mut cache, &mut filter).expect("a pass");
    let last = hidden.dims()[0] - 1;
    let logits = model.decoder.logits(hidden.slice([last..last + 1])).expect("logits");
    let kept = filter.steps.iter().map(|step| step.kept.concat()).collect();
    let keys = filter.admitted.first().expect("a picture").key_tokens.clone();
    (logits, kept, cache.rows_per_layer(), keys)
}

#[test]
fn every_stage_off_is_the_dense_model_bit_for_bit() {
    for device in &DEVICES {
        let fixture = Fixture::open(&golden("grouped_query")).expect("a fixture");
        let files = ModelFiles::folder(golden("grouped_query")).expect("a folder");
        let compute = Compute::open(device).expect("a device");
        let checkpoint = Checkpoint::open(&files).expect("weights");
        let model = LlavaModel::load(&checkpoint, &fixture.config, &compute, false).expect("a model");
        let rows = model.splice(&fixture.prompt, &[model.encode_image(&fixture.pixels)]).expect("a prompt");
        let count = rows.dims()[0];
        let positions: Vec<u32> = (0..count as u32).collect();
        let hidden = model.decoder.forward(rows, &positions, &mut model.decoder.new_cache());
        let dense = model.decoder.logits(hidden.slice([count - 1..count])).expect("logits");
        assert_eq!(pass(device, &Pruning::none()).0, dense, "{device}");
    }
}

#[test]
fn thresholds_at_their_ends_keep_all_or_the_key_tokens_alone() {
    let all = pass(&DeviceSelect::Cpu, &Pruning::reference().thresholds(1.0, 0.0));
    assert!(all.1.iter().all(|kept| kept.len() == 264), "nothing is below a bound of 0");
    assert!(all.2.iter().all(|rows| *rows == 20 + 264 + 25));

    let (_, kept, rows, keys) = pass(&DeviceSelect::Cpu, &Pruning::reference().thresholds(10.0, 10.0));
    assert_eq!(kept[0], keys, "everything is below a bound of 10");
    assert!(kept[1..].iter().all(|kept| kept.len() == keys.len()));
    assert_eq!((rows[1], rows[2], rows[31]), (309, 20 + 25 + keys.len(), 20 + 25 + keys.len()));
}

#[test]
fn stages_switch_off_one_by_one() {
    let mut pruning = Pruning::reference().thresholds(0.0025, 0.006);
    let (with, _, rows, _) = pass(&DeviceSelect::Cpu, &pruning);
    pruning.evict = false;
    let (without, _, whole, _) = pass(&DeviceSelect::Cpu, &pruning);
    assert_eq!(with, without, "eviction comes after the prefill");
    assert_eq!((rows[2], whole[2], whole[3]), (177, 309, 227), "layer 2 still held what entered it");
    pruning.merge = Some(false);
    assert_eq!(pass(&DeviceSelect::Cpu, &pruning).2[0], 20 + 576 + 25);
    pruning.filter = false;
    assert!(pass(&DeviceSelect::Cpu, &pruning).1.is_empty());
}

#[test]
fn both_paths_keep_the_same_under_a_budget() {
    let pruning = Pruning::mustdrop().keep(Keep::Tokens(64));
    let cpu = pass(&DeviceSelect::Cpu, &pruning);
    let adapter = Compute::open(&DeviceSelect::Gpu).expect("an adapter");
    // Whichever kernels the adapter is given for the same work.
    for attention in [false, true] {
        let compute = adapter.clone().with_variants(Variants { attention, ..adapter.variants() });
        let gpu = pass_on(&compute, &pruning);
        assert_eq!((&cpu.1, &cpu.2, &cpu.3), (&gpu.1, &gpu.2, &gpu.3), "tiled attention: {attention}");
    }
}

#[test]
fn a_budget_is_hit_and_reported() {
    for tokens in [32, 64, 128, 192] {
        let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(tokens));
        pruning.merge = Some(false);
        let (_, report) = ask(pruning, about("sample_2.png"));
        let pruned = report.pruning.expect("tokens were dropped");
        assert!((pruned.mean_vision_tokens - tokens as f64).abs() <= 1.0, "{pruned:?}");
        assert!(pruned.flops < pruned.dense_flops);
        assert_eq!(pruned.vision_tokens_per_layer.len(), 12);
        let text = report.prompt_tokens - report.vision_tokens;
        let last = *pruned.vision_tokens_per_layer.last().expect("layers");
        assert!(report.kv_rows_per_layer[11] >= text + last, "text is never dropped");
    }
}

#[test]
fn survivors_are_nested_and_key_tokens_stay() {
    let (_, report) = ask(Pruning::mustdrop().thresholds(0.0012, 0.001), about("sample_5.png"));
    let pruned = report.pruning.expect("tokens were dropped");
    let picture = &pruned.pictures[0];
    assert_eq!(picture.kept.len(), 4);
    let mut before: Vec<usize> = (0..picture.tokens.len()).collect();
    for kept in &picture.kept {
        assert!(kept.tokens.iter().all(|token| before.contains(token)), "behind layer {}", kept.layer);
        assert!(picture.key_tokens.iter().all(|token| kept.tokens.contains(token)));
        before.clone_from(&kept.tokens);
    }
}

#[test]
fn each_picture_has_its_own_windows_key_tokens_and_budget() {
    let single = |name| ask(Pruning::mustdrop().keep(Keep::Tokens(40)), about(name)).1;
    let both = vec![picture("sample_2.png"), picture("sample_5.png"), Part::text("what is in the picture?")];
    let pruned = ask(Pruning::mustdrop().keep(Keep::Tokens(40)), both).1.pruning.expect("dropped");
    for (found, name) in pruned.pictures.iter().zip(["sample_2.png", "sample_5.png"]) {
        let alone = &single(name).pruning.expect("dropped").pictures[0];
        assert_eq!(found.merged_windows, alone.merged_windows);
        assert_eq!((&found.tokens, &found.key_tokens), (&alone.tokens, &alone.key_tokens));
        let sizes = |kept: &[mustdrop::report::Kept]| kept.iter().map(|k| k.tokens.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&found.kept), sizes(&alone.kept));
    }
    assert!((pruned.mean_vision_tokens - 80.0).abs() <= 2.0);
}

#[test]
fn the_overlay_darkens_what_was_dropped_and_frames_the_key_tokens() {
    let name = repository("models/picture-book/sample_5.png");
    let shown = Picture::open(name).expect("a sample picture");
    let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(64));
    pruning.admit = Admit::Class;
    let (_, report) = ask(pruning, about("sample_5.png"));
    let pruned = report.pruning.expect("tokens were dropped");
    let overlay = pruned.overlay(0, &shown).expect("drawn").expect("one picture");
    assert_eq!((overlay.width(), overlay.height()), (3 * (24 * 16 + 8) + 8, 24 * 16 + 3 * 16 + 16));
    assert!(pruned.overlay(1, &shown).expect("nothing to draw").is_none());

    // The middle of a patch in the panel of a stage.
    let level = |stage: usize, patch: u32| -> u32 {
        let (x, y) =
            (8 + stage * (24 * 16 + 8) + (patch as usize % 24) * 16 + 8, 56 + (patch as usize / 24) * 16 + 8);
        let at = 3 * (y * overlay.width() + x);
        overlay.rgb()[at..at + 3].iter().map(|level| u32::from(*level)).sum()
    };
    let picture = &pruned.pictures[0];
    let last = &picture.kept.last().expect("filters").tokens;
    let mut dropped = 0;
    for (token, patches) in picture.tokens.iter().enumerate() {
        let bright = level(0, patches[0]);
        match last.contains(&token) {
            true => assert_eq!(level(2, patches[0]), bright, "token {token} is in the caches"),
            false if bright > 30 => {
                assert!(level(2, patches[0]) < bright / 2, "token {token} was dropped");
                dropped += 1;
            }
            false => {}
        }
    }
    assert!(dropped > 50, "only {dropped} dropped patches were bright enough to tell");
    // The upper left corner of a key token's frame, two pixels inside its patch.
    let key = picture.tokens[picture.key_tokens[0]][0] as usize;
    let at = 3 * ((56 + key / 24 * 16 + 2) * overlay.width() + 8 + key % 24 * 16 + 2);
    assert_eq!(overlay.rgb()[at..at + 3], [250, 204, 21]);
}

#[test]
fn the_overlay_shows_the_order_of_the_picks() {
    let name = repository("models/picture-book/sample_5.png");
    let shown = Picture::open(name).expect("a sample picture");
    let (_, report) = ask(Pruning::mustdrop().keep(Keep::Tokens(64)), about("sample_5.png"));
    let pruned = report.pruning.expect("tokens were dropped");
    let overlay = pruned.overlay(0, &shown).expect("drawn").expect("one picture");
    let picture = &pruned.pictures[0];
    // The upper left corner of a token's frame in the first panel.
    let frame = |token: usize| -> [u8; 3] {
        let patch = picture.tokens[token][0] as usize;
        let at = 3 * ((56 + patch / 24 * 16) * overlay.width() + 8 + patch % 24 * 16);
        overlay.rgb()[at..at + 3].try_into().expect("three levels")
    };
    let frames: Vec<[u8; 3]> = picture.picks.iter().map(|token| frame(*token)).collect();
    assert_eq!((frames[0], frames[frames.len() - 1]), ([125, 211, 252], [234, 88, 12]));
    assert!(frames.windows(2).all(|pair| pair[0][2] > pair[1][2]), "{frames:?}");
}

#[test]
fn pinned_tokens_stay_dropped_and_requeried_ones_come_back() {
    let questions = ["what color is the background?", "is there a crown?"];
    let second = |turns| {
        let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(48));
        pruning.turns = turns;
        let mut chat = MODEL.chat().pruning(pruning);
        chat.ask([picture("sample_2.png"), Part::text(questions[0])])
            .expect("asked")
            .complete()
            .expect("answered");
        let mut answer = chat.ask([Part::text(questions[1])]).expect("an answer");
        answer.complete().expect("a complete answer");
        answer.report().clone()
    };
    let pinned = second(Turns::Pin);
    assert!(pinned.reused_tokens > 50, "only the new question is computed");
    assert!(pinned.pruning.expect("a report").pictures.is_empty(), "and no picture is judged again");
    let requeried = second(Turns::Requery);
    assert_eq!(requeried.reused_tokens, 0);
    assert_eq!(requeried.pruning.expect("a report").pictures.len(), 1);
    assert_eq!(pinned.kv_rows_per_layer.len(), requeried.kv_rows_per_layer.len());
}

#[test]
fn a_prompt_that_ends_in_its_picture_is_not_filtered() {
    let model = Tiny::new().load(&DeviceSelect::Cpu);
    let mut pruning = Pruning::mustdrop().thresholds(10.0, 10.0);
    pruning.pruning_layers = Some(vec![0]);
    let pixels: Vec<f32> = (0..3 * SIDE * SIDE).map(|i| (i as f32 * 0.37).sin()).collect();
    let image = model.encode_image_pruned(&pixels, &pruning).expect("a 2 x 2 grid: one small window");
    let mut filter = PrefillFilter::new(&pruning);
    filter.add_picture(1, &image.candidates);
    let prompt = mustdrop::prompt::PromptLayout::from_ids(&[3, IMAGE_TOKEN], IMAGE_TOKEN);
    let rows = model.splice(&prompt, &[image.features]).expect("a prompt");
    let count = rows.dims()[0];
    let positions: Vec<u32> = (0..count as u32).collect();
    let hidden =
        model.decoder.prefill(rows, &positions, &mut model.decoder.new_cache(), &mut filter).expect("a pass");
    assert_eq!((hidden.dims()[0], filter.steps.len()), (count, 0));
}

#[test]
fn a_deep_decoder_keeps_the_caches_of_all_its_layers() {
    let model = Tiny::of(40, 6).load(&DeviceSelect::Cpu);
    let mut pruning = Pruning::mustdrop().thresholds(10.0, 10.0);
    pruning.merge = Some(false);
    let pixels: Vec<f32> = (0..3 * SIDE * SIDE).map(|i| (i as f32 * 0.37).sin()).collect();
    let image = model.encode_image_pruned(&pixels, &pruning).expect("an image");
    let mut filter = PrefillFilter::new(&pruning);
    filter.add_picture(1, &image.candidates);
    let prompt = mustdrop::prompt::PromptLayout::from_ids(&[3, IMAGE_TOKEN, 4, 5], IMAGE_TOKEN);
    let rows = model.splice(&prompt, &[image.features]).expect("a prompt");
    let positions: Vec<u32> = (0..rows.dims()[0] as u32).collect();
    let mut cache = model.decoder.new_cache();
    model.decoder.prefill(rows, &positions, &mut cache, &mut filter).expect("a pass");
    // 4 patches, 1 of them key; 3 text tokens. The first pruning layer of 40 is 3.
    let expected: Vec<usize> = (0..40).map(|layer| if layer < 3 { 7 } else { 4 }).collect();
    assert_eq!(cache.rows_per_layer(), expected);
}

/// What an earlier budget kept out of the decoder may come back with a later question, if tokens are asked for again.
#[test]
fn a_larger_budget_admits_tokens_anew_where_turns_requery() {
    let second = |turns, keeps: [usize; 2]| {
        let rules = |keep| {
            let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(keep));
            pruning.turns = turns;
            pruning
        };
        let mut chat = MODEL.chat().pruning(rules(keeps[0]));
        let question = [picture("sample_2.png"), Part::text("what color is the background?")];
        chat.ask(question).expect("asked").complete().expect("answered");
        chat.set_pruning(Some(rules(keeps[1]))).expect("rules");
        let mut answer = chat.ask([Part::text("is there a crown?")]).expect("an answer");
        (answer.complete().expect("a complete answer"), answer.report().clone())
    };
    let admitted = |report: &Report| report.pruning.as_ref().expect("rules").pictures[0].tokens.clone();
    let (answer, anew) = second(Turns::Requery, [16, 96]);
    let (expected, from_the_start) = second(Turns::Requery, [96, 96]);
    assert_eq!(admitted(&anew), admitted(&from_the_start));
    assert_eq!((answer, anew.vision_tokens), (expected, 108));
    let (_, fewer) = second(Turns::Requery, [96, 16]);
    assert_eq!((admitted(&fewer).len(), fewer.vision_tokens), (27, 27));
    // Pinned, a picture keeps what it was shown with.
    let (_, pinned) = second(Turns::Pin, [16, 96]);
    assert_eq!((pinned.vision_tokens, pinned.pruning.expect("rules").pictures.len()), (27, 0));
}

#[test]
fn rules_out_of_range_are_refused_before_anything_is_computed() {
    let picture = Picture::from_rgb8(2, 2, vec![0; 12]).expect("a picture");
    let refused = |pruning: Pruning| {
        let error = MODEL.chat().pruning(pruning).ask([Part::Image(picture.clone()), Part::text("?")]).err();
        assert!(matches!(error, Some(Error::Argument { .. })), "{error:?}");
    };
    refused(Pruning::mustdrop().thresholds(f32::NAN, 1.0));
    refused(Pruning::mustdrop().thresholds(0.1, -1.0));
    refused(Pruning::mustdrop().keep(Keep::Tokens(0)));
    refused(Pruning::mustdrop().keep(Keep::Tokens(577)));
    refused(Pruning::mustdrop().keep(Keep::Share(f64::NAN)));
    let mut pruning = Pruning::mustdrop();
    pruning.pruning_layers = Some(vec![11]);
    refused(pruning);
}
