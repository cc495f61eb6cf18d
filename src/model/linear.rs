//! Matrices of weights: products with them, and rows out of them.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::{
    cpu::quantised::BlockMatrix,
    kernel::{self, quantised::QuantisedMatrix, submission, variants::Variants},
};

/// A matrix, or some of its rows, as it is held.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a few hundred of them, beside gigabytes of weights")]
pub enum Weight {
    /// `[outputs, inputs]`, of 16 or 32 bits.
    Floats(Tensor<2>),
    /// Blocks of small numbers.
    Quantised(QuantisedMatrix),
    /// Blocks of small numbers as the CPU multiplies them best.
    Blocks(BlockMatrix),
}

impl Weight {
    fn outputs(&self) -> usize {
        match self {
            Self::Floats(weight) => weight.dims()[0],
            Self::Quantised(weight) => weight.outputs(),
            Self::Blocks(weight) => weight.outputs(),
        }
    }

    fn device(&self) -> Device {
        match self {
            Self::Floats(weight) => weight.device(),
            Self::Quantised(weight) => weight.device(),
            Self::Blocks(_) => Device::flex(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Floats(weight) => (weight.shape().num_elements() * weight.dtype().size()) as u64,
            Self::Quantised(weight) => weight.bytes(),
            Self::Blocks(weight) => weight.bytes(),
        }
    }

    /// `x Wᵀ`, as float32.
    fn product(&self, x: &Tensor<2>, variants: Variants) -> Tensor<2> {
        match self {
            Self::Quantised(weight) => weight.product(x, variants.unpack),
            Self::Blocks(weight) => kernel::quantised::block_product(x, weight),
            Self::Floats(weight) if suits_vector(x, weight) => kernel::nn::float_vector(x, weight),
            Self::Floats(weight) => match weight.dtype() {
                DType::F32 => x.clone().matmul(weight.clone().transpose()),
                dtype => x.clone().cast(dtype).matmul(weight.clone().transpose()).cast(DType::F32),
            },
        }
    }

    /// Rows, as float32.
    fn rows(&self, index: Vec<u32>) -> Tensor<2> {
        match self {
            Self::Quantised(weight) => weight.rows(index),
            Self::Blocks(weight) => kernel::quantised::block_rows(&index, weight),
            Self::Floats(weight) => {
                let count = index.len();
                let index: Vec<i32> = index.into_iter().map(|row| row as i32).collect();
                let index = Tensor::<1, Int>::from_data(TensorData::new(index, [count]), &weight.device());
                weight.clone().select(0, index).cast(DType::F32)
            }
        }
    }
}

/// `y = x Wᵀ + b`, with the rows of `W` in parts that the adapter can bind.
///
/// # Shapes
///
/// `W` is `[outputs, inputs]`, as checkpoints store it; the parts follow each other along `outputs`.
#[derive(Debug, Clone)]
pub struct Linear {
    parts: Vec<Weight>,
    bias: Option<Tensor<1>>,
    variants: Variants,
}

impl Linear {
    /// A layer from the parts of its matrix, in order.
    pub fn new(parts: Vec<Weight>, bias: Option<Tensor<1>>, variants: Variants) -> Self {
        Self { parts, bias, variants }
    }

    /// Bytes of the matrix.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(Weight::bytes).sum()
    }

    /// Applies the layer to `x`.
    ///
    /// Half-precision weights multiply in half precision on an adapter, and as the float32 they stand for on the CPU; the
    /// result is float32 either way, so that residuals, norms and softmax never lose bits.
    ///
    /// # Shapes
    ///
    /// `x`: `[rows, inputs]`; result: `[rows, outputs]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let is_on_adapter = kernel::is_on_adapter(&x);
        if let Some(floats) = (!is_on_adapter).then(|| self.floats()).flatten() {
            return kernel::nn::product(&x, &floats, self.bias.as_ref());
        }
        let (rows, outputs) = (x.dims()[0], self.parts.iter().map(Weight::outputs).sum());
        let at_once = submission::rows_at_once(x.dims()[1], outputs);
        let piece = |start: usize| self.product(&x.clone().slice([start..rows.min(start + at_once)]));
        let y = match rows <= at_once {
            true => self.product(&x),
            false => kernel::join((0..rows).step_by(at_once).map(piece).collect(), 0),
        };
        match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze(),
            None => y,
        }
    }

    /// The parts, if all of them are floats.
    fn floats(&self) -> Option<Vec<Tensor<2>>> {
        let floats = |part: &Weight| match part {
            Weight::Floats(weight) => Some(weight.clone()),
            Weight::Quantised(_) | Weight::Blocks(_) => None,
        };
        self.parts.iter().map(floats).collect()
    }

    /// `x Wᵀ`, of not too many rows for one submission.
    fn product(&self, x: &Tensor<2>) -> Tensor<2> {
        let [rows, inputs] = x.dims();
        let parts = self.parts.iter().map(|part| {
            let flops = submission::flops(rows, inputs, part.outputs());
            submission::before(flops, x, self.variants.is_software);
            part.product(x, self.variants)
        });
        kernel::join(parts.collect(), 1)
    }
}

/// Whether a product with `x` is one of few rows on an adapter, where reading the weights takes all the time, and
/// of no more outputs than a dispatch has workgroups for.
fn suits_vector(x: &Tensor<2>, weight: &Tensor<2>) -> bool {
    const FEW: usize = 4;
    let ([rows, inputs], [outputs, _]) = (x.dims(), weight.dims());
    let is_small = rows <= FEW && outputs <= kernel::nn::FLOAT_VECTOR_OUTPUTS;
    is_small && inputs.is_multiple_of(4) && kernel::is_on_adapter(x)
}

/// A table of rows (the token embedding) in parts that the adapter can bind.
#[derive(Debug, Clone)]
pub struct RowTable {
    parts: Vec<Weight>,
}

impl RowTable {
    /// A table from its parts, in order; all but the last have the same number of rows.
    pub fn new(parts: Vec<Weight>) -> Self {
        Self { parts }
    }

    /// The same matrix as a [`Linear`] without bias: a decoder head tied to its embedding.
    pub fn tied(&self, variants: Variants) -> Linear {
        Linear::new(self.parts.clone(), None, variants)
    }

    /// Rows `ids` as float32, `[ids.len(), width]`. Every id must be below the number of rows.
    pub fn gather(&self, ids: &[u32]) -> Tensor<2> {
        let part_rows = self.parts[0].outputs();
        let device = self.parts[0].device();
        // Rows come part by part; `order[i]` is where row i of the request ends up among them.
        let mut order = vec![0i32; ids.len()];
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
            gathered.push(part.rows(inside.iter().map(|&i| (ids[i] as usize % part_rows) as u32).collect()));
        }
        let rows = kernel::join(gathered, 0);
        if order.is_sorted() {
            return rows;
        }
        let count = order.len();
        rows.select(0, Tensor::<1, Int>::from_data(TensorData::new(order, [count]), &device))
    }
}
