//! What follows a prefill that dropped tokens: steps, later turns, forgotten rows, against a dense decoder in f64 that only
//! hides what was dropped ([`MaskedDecoder`]).

use crate::common::{
    computes,
    masked::{MaskedDecoder, Pass},
    noise,
    tiny::{TEXT_WIDTH, Tiny, VOCABULARY},
};
use burn::tensor::{Tensor, TensorData};
use mustdrop::{
    Pruning,
    config::ModelConfig,
    device::Compute,
    drop::prefill::{Candidates, PrefillFilter},
    kernel,
    model::{KeyValueCache, LlavaModel},
    tiling::PictureShape,
};

const LAYERS: usize = 5;
/// Layers behind which tokens are dropped.
const FILTERS: [usize; 3] = [0, 2, 3];

/// A decoder and its reference, side by side.
struct Both {
    model: LlavaModel,
    cache: KeyValueCache,
    masked: MaskedDecoder,
    /// Rows so far, dropped ones included.
    seen: usize,
    compute: Compute,
    what: String,
}

/// How far rows look back.
#[derive(Debug, Clone, Copy)]
enum Looks {
    Everywhere,
    Back(usize),
    BackInEverySecondLayer(usize),
}

/// A picture of a prompt: the row it begins at, and how many of its tokens go on behind each filter.
type Shown = (usize, usize, [usize; FILTERS.len()]);

impl Both {
    fn new(compute: &Compute, head_dim: usize, window: Looks, what: &str) -> Self {
        let mut tiny = Tiny::of(LAYERS, head_dim);
        match window {
            Looks::Everywhere => {}
            Looks::Back(window) => tiny.set_window(Some(window)),
            Looks::BackInEverySecondLayer(window) => tiny.set_window_of_every_second_layer(window),
        }
        let config = ModelConfig::parse(tiny.config.to_string().as_bytes(), "config.json".as_ref());
        let masked = MaskedDecoder::new(&config.expect("a configuration").text, |name| {
            // The tiny checkpoint has the names of transformers before 4.52.
            let stored = match name {
                "lm_head.weight" => "language_model.lm_head.weight".to_owned(),
                name => name.replacen("language_model.", "language_model.model.", 1),
            };
            tiny.tensors.iter().find(|tensor| tensor.0 == stored).expect("a tensor").2.clone()
        });
        let model = tiny.load_on(compute).expect("a model");
        let cache = model.decoder.new_cache();
        Self {
            model,
            cache,
            masked,
            seen: 0,
            compute: compute.clone(),
            what: format!(
                "{}, {:?}, {what}, heads of {head_dim}, which look {window:?}",
                compute.info(),
                compute.variants()
            ),
        }
    }

    /// Runs a prompt of `rows` rows, those of pictures being noise, and compares the logits behind it.
    fn prefill(&mut self, rows: usize, pictures: &[Shown], rules: &Pruning) {
        let mut values = noise(self.seen as u64, rows * TEXT_WIDTH);
        let is_picture =
            |row: usize| pictures.iter().any(|(start, len, _)| (*start..start + len).contains(&row));
        for row in (0..rows).filter(|row| !is_picture(*row)) {
            let text = self.masked.embed((row * 7 % VOCABULARY) as u32);
            values[row * TEXT_WIDTH..][..TEXT_WIDTH]
                .copy_from_slice(&text.iter().map(|value| *value as f32).collect::<Vec<_>>());
        }
        let device = self.compute.burn();
        let mut filter = PrefillFilter::new(rules);
        for (start, len, sizes) in pictures {
            let is_key = (0..*len).map(|token| u32::from(token % 7 == 3)).collect();
            filter.add_picture(
                *start,
                &Candidates {
                    is_key: kernel::integers(is_key, [*len], &device),
                    layers: rules.rules().layers(&PictureShape::square(5, 0), LAYERS),
                    sizes: Some(sizes.to_vec()),
                    rows: None,
                    score: None,
                    standing: None,
                },
            );
        }
        let embedded = Tensor::from_data(TensorData::new(values.clone(), [rows, TEXT_WIDTH]), &device);
        let positions: Vec<u32> = (self.seen as u32..).take(rows).collect();
        let hidden = self.model.decoder.prefill(embedded, &positions, &mut self.cache, &mut filter);
        assert_eq!(filter.steps.len(), FILTERS.len(), "{}", self.what);
        let values = values.chunks(TEXT_WIDTH).map(|row| row.iter().copied().map(f64::from).collect());
        let pass = Pass::filtered(LAYERS, rows, self.seen, &filter.steps, rules);
        let expected = self.masked.forward(values.collect(), &pass);
        self.seen += rows;
        self.compare(hidden.expect("a pass"), &expected, "a prompt with pictures");
    }

    /// Runs text behind all that was seen.
    fn text(&mut self, ids: &[u32]) {
        let positions: Vec<u32> = (self.seen as u32..).take(ids.len()).collect();
        let embedded = self.model.decoder.embed(ids);
        let hidden = self.model.decoder.forward(embedded, &positions, &mut self.cache);
        let rows = ids.iter().map(|id| self.masked.embed(*id)).collect();
        let expected = self.masked.forward(rows, &Pass::dense(LAYERS, ids.len(), self.seen));
        self.seen += ids.len();
        self.compare(hidden, &expected, &format!("{} rows of text", ids.len()));
    }

    fn forget_last(&mut self, rows: usize) {
        self.seen -= rows;
        self.cache.forget_last(rows, self.seen as u32);
        self.masked.forget_last(rows);
    }

    fn compare(&self, hidden: Tensor<2>, expected: &[f64], step: &str) {
        let what = format!("{}: {step} up to row {}", self.what, self.seen);
        assert_eq!(self.cache.rows_per_layer(), self.masked.rows_per_layer(), "{what}");
        let last = hidden.dims()[0] - 1;
        let found = self.model.decoder.logits(hidden.slice([last..last + 1])).expect("logits");
        let scale = expected.iter().fold(0.0f64, |scale, value| scale.max(value.abs()));
        let differences =
            found.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).abs());
        let worst = differences.fold(0.0, f64::max);
        assert!(scale > 0.1 && worst < 2e-5 * scale, "{what}: differs by {worst:e} of {scale}");
    }
}

fn rules(mut rules: Pruning, evict: bool) -> Pruning {
    rules.evict = evict;
    rules.pruning_layers = Some(FILTERS.to_vec());
    rules
}

/// Two pictures and a question, steps, a question that takes the path of many rows, one that takes that of few behind
/// forgotten rows, a third picture, and steps again.
#[test]
fn steps_and_turns_behind_dropped_tokens_equal_a_dense_model_with_them_hidden() {
    let kinds = [
        ("evicting", rules(Pruning::mustdrop(), true)),
        ("keeping caches", rules(Pruning::mustdrop(), false)),
        ("as the authors number rows", rules(Pruning::reference(), true)),
    ];
    for compute in computes() {
        for (kind, rules) in &kinds {
            for (head_dim, window) in [
                (8, Looks::Everywhere),
                (6, Looks::Back(13)),
                (8, Looks::Back(40)),
                (8, Looks::BackInEverySecondLayer(13)),
            ] {
                let mut both = Both::new(&compute, head_dim, window, kind);
                let pictures = [(3, 30, [12, 7, 5]), (35, 17, [9, 9, 2])];
                both.prefill(57, &pictures, rules);
                (0..8).for_each(|step| both.text(&[step * 5 % VOCABULARY as u32]));
                both.text(&[4, 8, 15, 16, 23, 32, 1, 2, 3, 5, 7, 11]);
                (0..3).for_each(|step| both.text(&[step]));
                both.forget_last(3 + 4);
                both.text(&[9, 30, 2, 2, 17]);
                both.prefill(31, &[(2, 20, [15, 8, 3])], rules);
                (0..8).for_each(|step| both.text(&[step * 3 + 1]));
            }
        }
    }
}
