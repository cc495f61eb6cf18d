//! Several matrices over the same inputs as one: a dispatch less for each.

use burn::tensor::{DType, Tensor, TensorData};

use super::{Loader, Source, Stored, blocks, rows_per_part};
use crate::{
    error::Result,
    kernel::quantised::QuantisedMatrix,
    model::linear::{Linear, Weight},
    quantise::Blocks,
};

/// Which output of a joined matrix follows which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All of a matrix, then all of the next.
    Behind,
    /// The first of each, then the second of each: pairs of gates and what they let through. On the CPU path as
    /// [`Behind`](Self::Behind).
    InTurns,
}

impl Loader<'_> {
    /// One layer of several: for each name and number of outputs `{name}.weight` and, where `bias`, `{name}.bias`.
    pub fn joined(
        &self,
        names: &[(String, usize)],
        inputs: usize,
        bias: bool,
        order: Order,
    ) -> Result<Linear> {
        let is_apart = self.compute.is_cpu() || matches!(self.source, Source::Checking(..));
        let mut parts = Vec::new();
        if is_apart {
            for (name, outputs) in names {
                parts.extend(self.matrix(&format!("{name}.weight"), &[*outputs, inputs])?);
            }
        } else {
            parts = self.joined_on_adapter(names, inputs, order)?;
        }
        let order = if is_apart { Order::Behind } else { order };
        let bias = bias.then(|| self.joined_bias(names, order)).transpose()?;
        Ok(Linear::new(parts, bias, self.variants()))
    }

    fn joined_bias(&self, names: &[(String, usize)], order: Order) -> Result<Tensor<1>> {
        let mut biases = Vec::with_capacity(names.len());
        for (name, outputs) in names {
            biases.push(match self.stored(&format!("{name}.bias"), &[*outputs], false)? {
                Stored::Here(stored) => stored.to_f32(),
                Stored::Placeholder | Stored::Random => vec![1.0; *outputs],
            });
        }
        let joined = match order {
            Order::Behind => biases.concat(),
            Order::InTurns => (0..names[0].1).flat_map(|row| biases.iter().map(move |of| of[row])).collect(),
        };
        let count = joined.len();
        Ok(Tensor::from_data(TensorData::new(joined, [count]), &self.compute.device))
    }

    fn joined_on_adapter(
        &self,
        names: &[(String, usize)],
        inputs: usize,
        order: Order,
    ) -> Result<Vec<Weight>> {
        let device = &self.compute.device;
        let outputs: usize = names.iter().map(|(_, outputs)| outputs).sum();
        let weights: Vec<String> = names.iter().map(|(name, _)| format!("{name}.weight")).collect();
        let held = self.held(&weights[0], outputs, inputs);
        // A part begins with a gate.
        let part_rows = rows_per_part(outputs, held.row_bytes, self.compute.info().max_binding_bytes);
        let part_rows = if order == Order::InTurns { part_rows.next_multiple_of(2) } else { part_rows };
        let mut quantised = Vec::new();
        let mut singles: Vec<Vec<f32>> = Vec::new();
        let mut halves: Vec<Vec<half::f16>> = Vec::new();
        // Where each row comes from: (matrix, row).
        let mut rows: Vec<Vec<(usize, usize)>> = Vec::new();
        for ((_, count), name) in names.iter().zip(&weights) {
            let Stored::Here(stored) = self.stored(name, &[*count, inputs], true)? else {
                return Ok(self.random_parts(outputs, inputs, part_rows, held.bits, held.dtype));
            };
            let mut own = Vec::with_capacity(*count);
            match held.bits {
                Some(bits) => {
                    for range in self.held(name, *count, inputs).parts(*count) {
                        own.extend((0..range.len()).map(|row| (quantised.len(), row)));
                        let params = blocks(range.len(), inputs, bits);
                        let quantise = || Ok(Blocks::new(&stored.rows_f32(range)?, inputs, bits));
                        quantised.push(self.cached.borrow_mut().next(&params, quantise)?);
                    }
                }
                None if held.dtype == DType::F16 => {
                    own.extend((0..*count).map(|row| (halves.len(), row)));
                    halves.push(stored.rows_f16(0..*count)?);
                }
                None => {
                    own.extend((0..*count).map(|row| (singles.len(), row)));
                    singles.push(stored.rows_f32(0..*count)?);
                }
            }
            rows.push(own);
            if let Source::Checkpoint(checkpoint) = &self.source {
                checkpoint.release(name);
            }
        }
        let rows: Vec<_> = match order {
            Order::Behind => rows.concat(),
            Order::InTurns => (0..names[0].1).flat_map(|row| rows.iter().map(move |of| of[row])).collect(),
        };
        let part = |rows: &[(usize, usize)]| {
            let shape = [rows.len(), inputs];
            if held.bits.is_some() {
                let blocks = Blocks::gather(&quantised, rows);
                return Weight::Quantised(QuantisedMatrix::new(blocks, device, true));
            }
            let data = match held.dtype {
                DType::F16 => TensorData::new(gathered(&halves, inputs, rows), shape),
                _ => TensorData::new(gathered(&singles, inputs, rows), shape),
            };
            Weight::Floats(Tensor::from_data(data, (device, held.dtype)))
        };
        Ok(rows.chunks(part_rows).map(part).collect())
    }

    fn random_parts(
        &self,
        outputs: usize,
        inputs: usize,
        part_rows: usize,
        bits: Option<u32>,
        dtype: DType,
    ) -> Vec<Weight> {
        let part = |start: usize| {
            let rows = part_rows.min(outputs - start);
            match bits {
                Some(bits) => Weight::Quantised(QuantisedMatrix::arbitrary(
                    inputs,
                    rows,
                    bits,
                    &self.compute.device,
                    true,
                )),
                None => Weight::Floats(self.random([rows, inputs]).cast(dtype)),
            }
        };
        (0..outputs).step_by(part_rows).map(part).collect()
    }
}

/// Rows of several matrices, in this order.
fn gathered<T: Copy>(matrices: &[Vec<T>], inputs: usize, rows: &[(usize, usize)]) -> Vec<T> {
    let mut all = Vec::with_capacity(rows.len() * inputs);
    for (matrix, row) in rows {
        all.extend_from_slice(&matrices[*matrix][row * inputs..][..inputs]);
    }
    all
}
