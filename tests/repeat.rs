//! The same bits each time: a whole pass, over and over, with every kind of kernel.

use burn::tensor::Tensor;
use mustdrop::{
    Pruning,
    device::Compute,
    drop::{Keep, prefill::PrefillFilter},
    prompt::PromptLayout,
};

use crate::common::{
    computes, noise,
    tiny::{IMAGE_TOKEN, SIDE, Tiny},
};

const RUNS: usize = 20;

fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    let values: Vec<f32> = tensor.into_data().try_to_vec().expect("float32");
    values.into_iter().map(f32::to_bits).collect()
}

/// A picture through the tower, a prompt with dropping, steps of one row, and of a few.
fn assert_repeats(compute: &Compute) {
    let model = Tiny::of(3, 8).load_on(compute).expect("a model");
    let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(3));
    pruning.pruning_layers = Some(vec![0, 1]);
    let pixels = noise(3, 3 * SIDE * SIDE);
    let ids: Vec<u32> = [1, 2, IMAGE_TOKEN].into_iter().chain(3..33).collect();
    let prompt = PromptLayout::from_ids(&ids, IMAGE_TOKEN);
    let run = || {
        let image = model.encode_image_pruned(&pixels, &pruning).expect("an image");
        let mut filter = PrefillFilter::new(&pruning, 4, 3);
        filter.add_picture(2, &image.candidates);
        let rows = model.splice(&prompt, &[image.features]).expect("a prompt");
        let count = rows.dims()[0] as u32;
        let positions: Vec<u32> = (0..count).collect();
        let mut cache = model.decoder.new_cache();
        let hidden = model.decoder.prefill(rows, &positions, &mut cache, &mut filter).expect("a pass");
        let mut all = vec![bits(hidden)];
        for (step, ids) in [&[4u32][..], &[5], &[6, 7, 8], &[9]].into_iter().enumerate() {
            let positions: Vec<u32> = (count + 4 * step as u32..).take(ids.len()).collect();
            all.push(bits(model.decoder.forward(model.decoder.embed(ids), &positions, &mut cache)));
        }
        let last = model.decoder.forward(model.decoder.embed(&[10]), &[count + 20], &mut cache);
        all.push(model.decoder.logits(last).expect("logits").into_iter().map(f32::to_bits).collect());
        (all, filter.steps)
    };
    let first = run();
    assert!(first.0.iter().flatten().all(|bits| f32::from_bits(*bits).is_finite()));
    for number in 1..RUNS {
        assert_eq!(run(), first, "run {number}: {}, {:?}", compute.info(), compute.variants());
    }
}

#[test]
fn whole_passes_repeat_bit_by_bit() {
    for compute in computes() {
        assert_repeats(&compute);
    }
}
