//! Matrices of weights: products with them, and rows out of them.

use burn::tensor::{DType, Device, Tensor};

use crate::{
    cpu::quantised::BlockMatrix,
    kernel::{
        self,
        product::{Around, Operand},
        quantised::QuantisedMatrix,
        variants::Variants,
    },
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

    /// `x Wᵀ`, as float32, on the CPU path.
    fn product(&self, x: &Tensor<2>) -> Tensor<2> {
        match self {
            Self::Quantised(weight) => weight.product(x),
            Self::Blocks(weight) => kernel::quantised::block_product(x, weight),
            Self::Floats(weight) => kernel::nn::product(x, std::slice::from_ref(weight), None),
        }
    }

    /// The matrix as shaders take it; `None` on the CPU path.
    fn operand(&self) -> Option<Operand> {
        match self {
            Self::Floats(weight) => Operand::floats(weight),
            Self::Quantised(weight) => weight.operand(),
            Self::Blocks(_) => None,
        }
    }

    /// Rows, as float32.
    fn rows(&self, index: Vec<u32>) -> Tensor<2> {
        match self {
            Self::Quantised(weight) => weight.rows(index),
            Self::Blocks(weight) => kernel::quantised::block_rows(&index, weight),
            Self::Floats(weight) => {
                let count = index.len();
                let index = kernel::integers(index, [count], &weight.device());
                weight.clone().select(0, index).cast(DType::F32)
            }
        }
    }
}

/// `y = x Wᵀ + b`, with the rows of `W` in parts that the adapter can bind, or that were loaded apart.
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
    /// Weights of all formats multiply as the float32 they stand for.
    ///
    /// # Shapes
    ///
    /// `x`: `[rows, inputs]`; result: `[rows, outputs]`.
    pub fn forward(&self, x: &Tensor<2>) -> Tensor<2> {
        self.forward_within(x, &Around::default())
    }

    /// Applies the layer with what is `around` it, whose bias is this layer's.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward); gated, half as many columns.
    pub fn forward_within(&self, x: &Tensor<2>, around: &Around) -> Tensor<2> {
        let around = Around { bias: self.bias.as_ref(), ..*around };
        let operands: Option<Vec<_>> = match kernel::is_on_adapter(x) {
            true => self.parts.iter().map(Weight::operand).collect(),
            false => None,
        };
        match operands {
            Some(operands) => kernel::product::product(x, &operands, &around, self.variants),
            None => self.on_host(x, &around),
        }
    }

    fn on_host(&self, x: &Tensor<2>, around: &Around) -> Tensor<2> {
        let normed = around.norm.map(|(weight, eps)| kernel::nn::rms_norm(x, weight, eps, self.variants));
        let x = normed.as_ref().unwrap_or(x);
        let y = match (self.floats(), &self.bias) {
            (Some(floats), bias) => kernel::nn::product(x, &floats, bias.as_ref()),
            (None, bias) => {
                let y = kernel::join(self.parts.iter().map(|part| part.product(x)).collect(), 1);
                match bias {
                    Some(bias) => y + bias.clone().unsqueeze(),
                    None => y,
                }
            }
        };
        let y = match (around.activation, around.is_gated) {
            (Some(activation), true) => activation.gate(y),
            (Some(activation), false) => activation.forward(y),
            (None, _) => y,
        };
        match around.residual {
            Some(residual) => kernel::nn::add(&y, residual),
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
        let mut order = vec![0u32; ids.len()];
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
        rows.select(0, kernel::integers(order, [count], &device))
    }
}
