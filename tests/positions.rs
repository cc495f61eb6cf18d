//! The positions of rows, where the device alone knows which of a picture's tokens entered.

use crate::common::{
    DEVICES, MODEL, both, golden,
    tiny::{SIDE, Tiny},
};
use burn::tensor::{Int, Tensor};
use mustdrop::{
    Chat, Error, Part, Picture, Pruning,
    checkpoint::{Checkpoint, ModelFiles},
    device::Compute,
    drop::{Keep, PolicyName, Turns, prefill::PrefillFilter},
    kernel,
    model::{LlavaModel, Places, RowPositions},
    trace::Fixture,
};

/// Positions as they are on a device, one a row.
fn read(positions: &RowPositions, device: &burn::tensor::Device) -> Vec<u32> {
    let (all, index) = positions.and_index(device);
    match index {
        None => all,
        Some(index) => {
            let index = kernel::read_integers(index, "test").expect("whole numbers");
            index.into_iter().map(|row| all[row as usize]).collect()
        }
    }
}

/// Text, two pictures side by side of which the device chose tokens, text, one of known tokens, and one more at the end.
#[test]
fn rows_stand_where_the_picture_has_them_wherever_a_pass_begins() {
    for device in both() {
        let entered = |rows: &[u32]| -> Option<Tensor<1, Int>> {
            Some(kernel::integers(rows.to_vec(), [rows.len()], &device))
        };
        let chosen = |rows: &[u32]| Places { span: 9, of_rows: (0..9).collect(), entered: entered(rows) };
        let known = Places { span: 9, of_rows: vec![1, 4, 8], entered: None };
        let mut positions = RowPositions::default();
        positions.follow(2);
        positions.picture(&chosen(&[0, 5, 8]));
        positions.picture(&chosen(&[3]));
        positions.follow(1);
        positions.picture(&known);
        positions.picture(&chosen(&[2, 6]));
        let expected = [0, 1, 2, 7, 10, 14, 20, 22, 25, 29, 32, 36];
        assert_eq!(positions.end(), 39);
        for first in 0..=expected.len() {
            let rest = positions.starting_at(first);
            assert_eq!(read(&rest, &device), expected[first..], "from row {first} on");
            assert_eq!(rest.end(), 39);
            if let Some(first) = expected.get(first) {
                assert!(rest.at(0) <= *first, "at least");
            }
            assert!(positions.leaves_gaps() && positions.at(first) == rest.at(0));
        }
    }
}

/// A tower with a class token that the decoder sees, too.
#[test]
fn a_class_token_stands_before_the_patches() {
    let mut tiny = Tiny::new();
    tiny.config["vision_feature_select_strategy"] = "full".into();
    for device in &DEVICES {
        let model = tiny.load(device);
        let pixels: Vec<f32> = (0..3 * SIDE * SIDE).map(|i| (i as f32 * 0.37).sin()).collect();
        for policy in PolicyName::ALL.iter().copied().filter(|policy| *policy != PolicyName::FastV) {
            let mut pruning = Pruning::policy(policy);
            pruning.keep = (policy != PolicyName::None).then_some(Keep::Tokens(2));
            let image = model.encode_image_pruned(&pixels, &pruning).expect("an image");
            let mut filter = PrefillFilter::new(&pruning);
            filter.add_picture(0, &image.candidates);
            filter.finish().expect("a device");
            let entered = image.entered(&filter.admitted[0]).tokens.patches;
            // Means stand for the token that they formed around: the middle of a window, or the first of what is alike.
            let place = |patches: &Vec<u32>| match policy {
                PolicyName::Pool => patches.get(patches.len() / 2).map_or(0, |patch| 1 + patch),
                _ => patches.first().map_or(0, |patch| 1 + patch),
            };
            let expected: Vec<u32> = entered.iter().map(place).collect();
            assert_eq!((entered[0].len(), expected[0]), (0, 0), "the class token comes first");
            let mut positions = RowPositions::default();
            positions.picture(image.places.as_ref().expect("a budget"));
            assert_eq!(read(&positions, &image.features.device()), expected, "{policy} on {device}");
            assert_eq!(positions.end(), 5);
        }
    }
}

/// SigLIP: a grid of 5 x 5 patches, and no class token.
#[test]
fn coverage_of_a_tower_without_class_token_is_the_same_on_both_paths() {
    let fixture = Fixture::open(&golden("siglip")).expect("a fixture");
    let files = ModelFiles::folder(golden("siglip")).expect("a folder");
    let checkpoint = Checkpoint::open(&files).expect("weights");
    let picks = DEVICES.map(|device| {
        let compute = Compute::open(&device).expect("a device");
        let model = LlavaModel::load(&checkpoint, &fixture.config, &compute, false).expect("a model");
        [1, 3, 12, 23].map(|keep| {
            let pruning = Pruning::mustdrop().keep(Keep::Tokens(keep));
            let picture = model.vision.pruned_features(&fixture.pixels, &pruning, 4).expect("features");
            let mut filter = PrefillFilter::new(&pruning);
            filter.add_picture(0, &picture.candidates);
            filter.finish().expect("a device");
            let entered = picture.entered(&filter.admitted[0]);
            let picks = entered.picks.expect("coverage");
            assert_eq!((picks.len(), entered.tokens.len()), (keep + 1, keep + 1), "one more for the filter");
            picks.iter().map(|token| entered.tokens.patches[*token][0]).collect::<Vec<u32>>()
        })
    });
    assert_eq!(picks[0], picks[1]);
    assert!(picks[0].windows(2).all(|pair| pair[1].starts_with(&pair[0])), "few are the first of many");
}

fn picture(shade: u8) -> Part {
    let rgb = (0..3 * 64 * 64).map(|at: usize| (at / 7 % 200) as u8 ^ shade).collect();
    Part::Image(Picture::from_rgb8(64, 64, rgb).expect("a picture"))
}

fn chat(pruning: Pruning) -> Chat {
    MODEL.chat().pruning(pruning)
}

/// Of the default model's context of 2,048 tokens, two pictures with gaps leave a quarter free, three do not.
#[test]
fn many_pictures_stand_close_together() {
    let pruning = || Pruning::mustdrop().keep(Keep::Tokens(16));
    let mut talk = chat(pruning());
    let mut reused = Vec::new();
    for number in 0..4 {
        let mut answer = talk.ask([picture(number), Part::text("is there a dog?")]).expect("an answer");
        answer.complete().expect("a complete answer");
        let report = answer.report();
        assert!(report.prompt_tokens < 400, "tokens are few, whatever positions they take");
        reused.push(report.reused_tokens);
    }
    assert!(reused[0] == 0 && reused[1] > 0, "{reused:?}");
    assert!(reused[2] == 0 && reused[3] > 0, "once gaps are closed, all is computed anew: {reused:?}");
    // Where nothing is left out, there are no gaps to close.
    let mut dense = MODEL.chat();
    for number in 0..3 {
        let mut answer = dense.ask([picture(number), Part::text("is there a dog?")]).expect("an answer");
        answer.complete().expect("a complete answer");
        assert_eq!(answer.report().reused_tokens > 0, number > 0, "three pictures are 1,728 tokens");
    }
}

/// A question that is refused leaves a conversation as it was, though its pictures would have been admitted anew.
#[test]
fn a_refused_question_leaves_requeried_pictures_as_they_were() {
    let rules = |keep| {
        let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(keep));
        pruning.turns = Turns::Requery;
        pruning
    };
    let converse = |refused: bool| {
        let mut talk = chat(rules(16));
        let first = [picture(3), Part::text("is there a dog?")];
        talk.ask(first).expect("asked").complete().expect("answered");
        if refused {
            talk.set_pruning(Some(rules(576))).expect("rules");
            let error = talk.ask([Part::text("dog ".repeat(2_000))]).err().expect("too long");
            assert!(matches!(error, Error::Context { .. }), "{error}");
        }
        talk.set_pruning(None).expect("no rules");
        let mut answer = talk.ask([Part::text("what is in the picture?")]).expect("an answer");
        (answer.complete().expect("a complete answer"), answer.report().reused_tokens)
    };
    let (expected, reused) = converse(false);
    assert_eq!(converse(true), (expected, reused));
    assert!(reused > 16);
}
