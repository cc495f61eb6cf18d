//! Matrices of weights: products with them, and rows out of them.

use burn::tensor::{DType, Int, Tensor, TensorData};

use crate::kernel;

/// `y = x Wᵀ + b`, with the rows of `W` in parts that the adapter can bind.
///
/// # Shapes
///
/// `W` is `[outputs, inputs]`, as checkpoints store it; the parts follow each other along `outputs`.
#[derive(Debug, Clone)]
pub struct Linear {
    parts: Vec<Tensor<2>>,
    bias: Option<Tensor<1>>,
}

impl Linear {
    /// A layer from the parts of its matrix, in order.
    pub fn new(parts: Vec<Tensor<2>>, bias: Option<Tensor<1>>) -> Self {
        Self { parts, bias }
    }

    /// Applies the layer to `x`.
    ///
    /// Half-precision weights multiply in half precision; the result is float32 either way, so that
    /// residuals, norms and softmax never lose bits.
    ///
    /// # Shapes
    ///
    /// `x`: `[rows, inputs]`; result: `[rows, outputs]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let products = self.parts.iter().map(|part| match part.dtype() {
            DType::F32 => product(x.clone(), part.clone()),
            dtype => product(x.clone().cast(dtype), part.clone()).cast(DType::F32),
        });
        let y = concatenate(products.collect(), 1);
        match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze(),
            None => y,
        }
    }
}

/// Up to so many rows, the CPU path multiplies faster with the weights on the left: there they need no repacking,
/// which costs as much as 60 rows do.
const FEW_ROWS: usize = 128;

/// `x Wᵀ`
fn product(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let rows = x.dims()[0];
    if (2..=FEW_ROWS).contains(&rows) && !kernel::is_on_adapter(&x) {
        return weight.matmul(x.transpose()).transpose();
    }
    x.matmul(weight.transpose())
}

/// A table of rows (the token embedding) in parts that the adapter can bind.
#[derive(Debug, Clone)]
pub struct RowTable {
    parts: Vec<Tensor<2>>,
}

impl RowTable {
    /// A table from its parts, in order; all but the last have the same number of rows.
    pub fn new(parts: Vec<Tensor<2>>) -> Self {
        Self { parts }
    }

    /// The same matrix as a [`Linear`] without bias: a decoder head tied to its embedding.
    pub fn tied(&self) -> Linear {
        Linear::new(self.parts.clone(), None)
    }

    /// Rows `ids` as float32, `[ids.len(), width]`. Every id must be below the number of rows.
    pub fn gather(&self, ids: &[u32]) -> Tensor<2> {
        let part_rows = self.parts[0].dims()[0];
        let device = self.parts[0].device();
        let index = |rows: Vec<i32>| {
            let count = rows.len();
            Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device)
        };
        // Rows come part by part; `order[i]` is where row i of the request ends up among them.
        let mut order = vec![0; ids.len()];
        let mut taken = 0;
        let mut gathered = Vec::new();
        for (number, part) in self.parts.iter().enumerate() {
            let inside: Vec<usize> =
                (0..ids.len()).filter(|&i| ids[i] as usize / part_rows == number).collect();
            if inside.is_empty() {
                continue;
            }
            for &i in &inside {
                order[i] = taken;
                taken += 1;
            }
            let rows = inside.iter().map(|&i| (ids[i] as usize % part_rows) as i32).collect();
            gathered.push(part.clone().select(0, index(rows)));
        }
        let in_order = order.is_sorted();
        let rows = concatenate(gathered, 0).cast(DType::F32);
        if in_order { rows } else { rows.select(0, index(order)) }
    }
}

/// `Tensor::cat` that leaves a single tensor alone.
fn concatenate(mut tensors: Vec<Tensor<2>>, dim: usize) -> Tensor<2> {
    if tensors.len() == 1 { tensors.remove(0) } else { Tensor::cat(tensors, dim) }
}
