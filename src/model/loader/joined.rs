//! Several matrices over the same inputs as one: a dispatch less for each.

use burn::tensor::{DType, Tensor, TensorData};

use super::{Loader, Source, Stored, rows_per_part};
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

impl Order {
    /// What belongs to the outputs of several matrices, as one list; in turns, of as many each.
    fn of<T: Copy>(self, lists: &[Vec<T>]) -> Vec<T> {
        match self {
            Self::Behind => lists.concat(),
            Self::InTurns => {
                let count = lists.first().map_or(0, Vec::len);
                (0..count).flat_map(|output| lists.iter().map(move |list| list[output])).collect()
            }
        }
    }
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
                Stored::Here(stored) => stored.finite_f32()?,
                Stored::Placeholder | Stored::Random => vec![1.0; *outputs],
            });
        }
        let joined = order.of(&biases);
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
                let part = |start: usize| self.random_weight([part_rows.min(outputs - start), inputs], held);
                return Ok((0..outputs).step_by(part_rows).map(part).collect());
            };
            let mut own = Vec::with_capacity(*count);
            match held.bits {
                Some(bits) => {
                    for range in self.held(name, *count, inputs).parts(*count) {
                        own.extend((0..range.len()).map(|row| (quantised.len(), row)));
                        quantised.push(self.quantised(&stored, range, inputs, bits)?);
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
            self.release(name);
        }
        let rows = order.of(&rows);
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
}

/// Rows of several matrices, in this order.
fn gathered<T: Copy>(matrices: &[Vec<T>], inputs: usize, rows: &[(usize, usize)]) -> Vec<T> {
    let mut all = Vec::with_capacity(rows.len() * inputs);
    for (matrix, row) in rows {
        all.extend_from_slice(&matrices[*matrix][row * inputs..][..inputs]);
    }
    all
}
