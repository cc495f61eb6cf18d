//! The decoder's judgement of every token, as long as it is on the device.

use burn::tensor::Tensor;

use crate::{
    error::{Error, Result},
    kernel,
    oracle::decode::NO_TOKEN,
};

const STEP: &str = "read the logits";

/// Rows of logits, `[rows, vocabulary]`; as much of them is read back as a choice needs.
#[derive(Debug, Clone)]
pub struct Logits(Tensor<2>);

/// The most likely tokens, and what all tokens weigh together.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidates {
    /// Tokens and their logits, the most likely first.
    pub tokens: Vec<(u32, f32)>,
    /// `Σ exp((logit - highest) / temperature)` over the whole vocabulary.
    pub mass: f64,
}

impl Logits {
    pub(super) fn new(rows: Tensor<2>) -> Self {
        Self(rows)
    }

    /// Whether they lie on an adapter, from where reading costs more than choosing there does.
    pub fn is_on_adapter(&self) -> bool {
        kernel::is_on_adapter(&self.0)
    }

    /// All of them, row after row, one a token of the vocabulary.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if the device failed before or now, [`Error::Model`] if a logit is not finite.
    pub fn read(&self) -> Result<Vec<f32>> {
        let [rows, vocabulary] = self.0.dims();
        let logits = kernel::read_numbers(self.0.clone().reshape([rows * vocabulary]), STEP)?;
        match logits.iter().position(|logit| !logit.is_finite()) {
            None => Ok(logits),
            Some(i) => Err(not_finite(format!("the logit of token {} is {}", i % vocabulary, logits[i]))),
        }
    }

    /// The most likely token of a single row, the lowest of several; 16 bytes are read back.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn most_likely(&self) -> Result<u32> {
        let summary = kernel::read_integers(kernel::decode::most_likely(&self.0, 1.0), STEP)?;
        Summary::new(&summary).map(|summary| summary.token)
    }

    /// The 64 most likely tokens of a single row, or all if they are fewer; 528 bytes are read back.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn candidates(&self, temperature: f32) -> Result<Candidates> {
        let summary = kernel::decode::most_likely(&self.0, temperature);
        let parts = vec![summary, kernel::decode::best_tokens(&self.0)];
        let read = kernel::read_integers(kernel::concatenate(parts), STEP)?;
        let (summary, best) = read.split_at(read.len().min(4));
        let mass = Summary::new(summary)?.mass;
        let tokens = best
            .chunks_exact(2)
            .filter(|pair| pair[1] != NO_TOKEN)
            .map(|pair| (pair[1], f32::from_bits(pair[0])))
            .collect();
        Ok(Candidates { tokens, mass })
    }
}

/// What `most_likely` says of a row.
struct Summary {
    token: u32,
    mass: f64,
}

impl Summary {
    fn new(values: &[u32]) -> Result<Self> {
        match *values {
            [token, _, mass, 0] => Ok(Self { token, mass: f64::from(f32::from_bits(mass)) }),
            [.., count] => Err(not_finite(format!("{count} of the logits are no finite numbers"))),
            [] => Err(Error::device(STEP, "nothing came back")),
        }
    }
}

/// Weights are finite numbers when they are loaded: what they make of a prompt may still not be.
fn not_finite(found: String) -> Error {
    Error::model(
        "the model's weights",
        format!(
            "{found}, expected finite numbers; they are of another model or damaged, or overflow in half precision (try \
             `--weights f32`, or `--device cpu` to compare)"
        ),
    )
}
