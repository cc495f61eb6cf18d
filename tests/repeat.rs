//! The same bits each time: a whole pass with float weights, over and over, by each choice of kernels. `products` repeats
//! those with blocks.

use burn::tensor::Tensor;
use mustdrop::{
    Pruning,
    device::Compute,
    drop::{
        Keep,
        prefill::{FilterStep, PrefillFilter},
    },
    model::{Candidates, LlavaModel},
    prompt::PromptLayout,
};

use crate::common::{
    computes, noise,
    tiny::{IMAGE_TOKEN, SIDE, Tiny},
    values,
};

const RUNS: usize = 20;

fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

/// A model that is small enough to be run often, with a sliding window or without.
pub fn model(compute: &Compute, window: Option<usize>) -> LlavaModel {
    let mut tiny = Tiny::of(3, 8);
    tiny.set_window(window);
    tiny.load_on(compute).expect("a model")
}

/// A budget for it.
pub fn pruning() -> Pruning {
    let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(3));
    pruning.pruning_layers = Some(vec![0, 1]);
    // All three stages, whoever admits tokens.
    pruning.merge = Some(true);
    pruning
}

/// A picture through the tower, a prompt with dropping, steps of one row and of a few, and what may come next: the bits of
/// all that is computed, and what was dropped.
pub fn pass(model: &LlavaModel, pruning: &Pruning) -> (Vec<Vec<u32>>, Vec<FilterStep>) {
    let pixels = noise(3, 3 * SIDE * SIDE);
    let image = model.encode_image_pruned(&pixels, pruning).expect("an image");
    let mut filter = PrefillFilter::new(pruning);
    filter.add_picture(2, &image.candidates);
    let ids: Vec<u32> = [1, 2, IMAGE_TOKEN].into_iter().chain(3..33).collect();
    let prompt = PromptLayout::from_ids(&ids, IMAGE_TOKEN);
    let rows = model.splice(&prompt, &[image.features]).expect("a prompt");
    let count = rows.dims()[0] as u32;
    let positions: Vec<u32> = (0..count).collect();
    let mut cache = model.decoder.new_cache();
    let hidden = model.decoder.prefill(rows, &positions, &mut cache, &mut filter).expect("a pass");
    let mut all = vec![bits(hidden)];
    let mut position = count;
    for ids in [&[4u32][..], &[5], &[6, 7, 8], &[9]] {
        let positions: Vec<u32> = (position..).take(ids.len()).collect();
        position += ids.len() as u32;
        all.push(bits(model.decoder.forward(model.decoder.embed(ids), &positions, &mut cache)));
    }
    let last = model.decoder.forward(model.decoder.embed(&[10]), &[position], &mut cache);
    let logits = model.decoder.head(last);
    let Candidates { tokens, mass } = logits.candidates(0.7).expect("tokens");
    all.push(tokens.into_iter().flat_map(|(token, logit)| [token, logit.to_bits()]).collect());
    all.push(vec![logits.most_likely().expect("a token"), (mass as f32).to_bits()]);
    (all, filter.steps)
}

#[test]
fn whole_passes_repeat_bit_by_bit() {
    for (compute, window) in
        computes().into_iter().flat_map(|compute| [None, Some(17)].map(|window| (compute.clone(), window)))
    {
        let (model, pruning) = (model(&compute, window), pruning());
        let first = pass(&model, &pruning);
        assert!(first.0[0].iter().all(|bits| f32::from_bits(*bits).is_finite()));
        for number in 1..RUNS {
            let what =
                format!("run {number}: {}, {:?}, window {window:?}", compute.info(), compute.variants());
            assert_eq!(pass(&model, &pruning), first, "{what}");
        }
    }
}
