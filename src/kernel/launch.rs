//! How a WGSL kernel meets burn's tensors. The only module that knows cubecl.
//!
//! A [`Kernel`] is one shader file, or one behind what it shares with others. [`Launch`] binds its inputs, its output and its parameters in the
//! order of the shader's bindings (inputs, outputs, then the uniform `params`) and queues it on the
//! device; nothing is read back, so errors surface where the result is read.

use burn::tensor::{DType, Device, Int, Tensor};
use burn_cubecl::{
    cubecl::{
        CubeKernel, PrecompiledSource,
        ir::{AddressType, ElemType, UIntKind, attributes::BufferIOAttr, metadata::Info},
        prelude::*,
        server::{KernelArguments, MetadataBindingInfo},
    },
    kernel::into_contiguous,
    ops::numeric::empty_device_contiguous_dtype,
};
use burn_wgpu::{CubeBackend, CubeTensor};

use super::{host::is_host, tally};
use crate::oracle::cost::Cost;

/// A kernel from `shaders/{stage}/{name}.wgsl`, behind files of `shaders/common` that it shares with others.
macro_rules! shader {
    ($stage:literal, $name:literal, $workgroup:expr $(, $common:literal)*) => {
        $crate::kernel::Kernel::new(
            $name,
            concat!(
                $(include_str!(concat!("../../shaders/common/", $common, ".wgsl")),)*
                include_str!(concat!("../../shaders/", $stage, "/", $name, ".wgsl"))
            ),
            $workgroup,
        )
    };
}
pub(super) use shader;

/// One compute shader: its name is its entry point, its file and its oracle.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Entry point, file stem, and name of the oracle.
    pub name: &'static str,
    /// WGSL text, valid as it stands, what is shared included.
    pub source: &'static str,
    /// Threads of a workgroup, as the shader declares them.
    pub workgroup: [u32; 3],
    /// Constants of the shader that have another value than in the file.
    constants: [(&'static str, u32); CONSTANTS],
}

/// What tells a kernel from others.
pub(super) type Identity = (&'static str, [(&'static str, u32); CONSTANTS]);

/// Constants that may differ from the file, at most.
const CONSTANTS: usize = 3;

impl KernelMetadata for Kernel {
    fn id(&self) -> KernelId {
        // burn keeps one pipeline per id, not per source.
        KernelId::new::<Self>()
            .mode(ExecutionMode::Unchecked)
            .info(self.identity())
            .cube_dim(self.cube_dim().0)
    }

    fn address_type(&self) -> ElemType {
        UIntKind::U32.into()
    }
}

impl CubeKernel for Kernel {
    fn define(&self) -> KernelDefinition {
        // Checked, every loop would count its rounds in 64 bits to end at last, and none be unrolled.
        let settings = KernelSettings::new(self.cube_dim().0, ExecutionMode::Unchecked, AddressType::U32);
        KernelDefinition { body: Scope::root(settings.clone()), settings, info: Info::default() }
    }

    fn source(&self) -> Option<PrecompiledSource> {
        Some(PrecompiledSource { source: self.text(), entrypoint_name: self.name.to_owned(), lang: "wgsl" })
    }
}

impl Kernel {
    fn cube_dim(&self) -> CubeDim {
        let [x, y, z] = self.workgroup;
        CubeDim::new_3d(x, y, z)
    }
}

impl Kernel {
    /// A kernel from its file, `[x, y, z]` threads a workgroup.
    pub const fn new(name: &'static str, source: &'static str, workgroup: [u32; 3]) -> Self {
        Self { name, source, workgroup, constants: [("", 0); CONSTANTS] }
    }

    /// The same kernel with another value of a constant that its file declares as `const NAME: u32 = …;`; three at most.
    pub fn with(mut self, name: &'static str, value: u32) -> Self {
        debug_assert!(self.constants.iter().any(|(known, _)| known.is_empty() || *known == name), "{name}");
        if let Some(free) = self.constants.iter_mut().find(|(known, _)| known.is_empty() || *known == name) {
            *free = (name, value);
        }
        self
    }

    /// What burn keeps one pipeline for.
    pub(super) fn identity(&self) -> Identity {
        (self.name, self.constants)
    }

    /// WGSL text with the constants that were set.
    pub fn text(&self) -> String {
        let mut text = self.source.to_owned();
        for (name, value) in self.constants.iter().filter(|(name, _)| !name.is_empty()) {
            let declaration = format!("const {name}: u32 = ");
            let Some(start) = text.find(&declaration).map(|at| at + declaration.len()) else { continue };
            let Some(length) = text[start..].find(';') else { continue };
            text.replace_range(start..start + length, &format!("{value}u"));
        }
        text
    }
}

/// One queued run of a [`Kernel`]; see the module for the order of bindings.
pub struct Launch {
    kernel: Kernel,
    buffers: Vec<(CubeTensor, BufferIOAttr)>,
}

impl Launch {
    /// Starts to collect the bindings of `kernel`.
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel, buffers: Vec::new() }
    }

    /// Binds the next input, of 32-bit floats, of which the kernel reads the first `count`; a strided view is made
    /// contiguous first.
    ///
    /// # Panics
    ///
    /// If there are fewer, or they are of another type: nothing else guards what a shader reads.
    pub fn floats(self, tensor: CubeTensor, count: usize) -> Self {
        assert_eq!(tensor.dtype, DType::F32, "{}: input {}", self.kernel.name, self.buffers.len());
        self.words(tensor, count)
    }

    /// As [`floats`](Self::floats), for `count` words of 32 bits, whatever they hold.
    pub fn words(self, tensor: CubeTensor, count: usize) -> Self {
        self.assert_holds(&tensor, count);
        self.somewhere(tensor)
    }

    /// As [`words`](Self::words), for words that lie where other inputs say.
    pub fn somewhere(mut self, tensor: CubeTensor) -> Self {
        self.buffers.push((into_contiguous(tensor), BufferIOAttr::ReadOnly));
        self
    }

    /// As [`words`](Self::words) if there is such an input; else binds `other`, which the kernel then does not read.
    pub fn optional(mut self, tensor: Option<&CubeTensor>, other: &CubeTensor, count: usize) -> Self {
        match tensor {
            Some(tensor) => self.words(tensor.clone(), count),
            None => {
                self.buffers.push((other.clone(), BufferIOAttr::ReadOnly));
                self
            }
        }
    }

    /// Binds a buffer that is read and written in place, of at least `count` words; nobody else may hold a tensor of it.
    pub fn inout(mut self, tensor: CubeTensor, count: usize) -> Self {
        self.assert_holds(&tensor, count);
        assert!(tensor.is_contiguous(), "{}: a buffer written in place is whole", self.kernel.name);
        self.buffers.push((tensor, BufferIOAttr::ReadWrite));
        self
    }

    fn assert_holds(&self, tensor: &CubeTensor, count: usize) {
        let held = tensor.meta.shape().num_elements() * tensor.dtype.size();
        let (name, input) = (self.kernel.name, self.buffers.len());
        assert!(
            held >= 4 * count,
            "{name}: input {input} holds {held} bytes of the {} that are read",
            4 * count
        );
    }

    /// Binds a new output of `shape`, on the device of the inputs.
    ///
    /// # Panics
    ///
    /// If no input was bound before: a kernel's device is that of its first input.
    pub fn output<const D: usize>(mut self, shape: [usize; D], dtype: DType) -> Self {
        let first = &self.buffers[0].0;
        let (client, device) = (first.client.clone(), first.device.clone());
        let output = empty_device_contiguous_dtype(client, device, shape.into(), dtype);
        self.buffers.push((output, BufferIOAttr::WriteOnly));
        self
    }

    /// Queues `groups` workgroups with `params` as the uniform, which cost so much, and returns what is written to, in order.
    pub fn run<P: bytemuck::NoUninit>(self, groups: [u32; 3], params: &P, cost: Cost) -> Vec<CubeTensor> {
        let client = self.buffers[0].0.client.clone();
        let mut arguments = KernelArguments::new();
        for (tensor, io) in &self.buffers {
            arguments = arguments.with_buffer_io(tensor.handle.clone().binding(), *io);
        }
        let params = uniform(params);
        tally::note(&self.kernel, &self.buffers[0].0.device, cost, &params);
        let arguments = arguments.with_info(MetadataBindingInfo::custom(params));
        let [x, y, z] = groups;
        client.launch(Box::new(self.kernel), CubeCount::Static(x, y, z), arguments);
        let outputs = self.buffers.into_iter().filter(|(_, io)| *io != BufferIOAttr::ReadOnly);
        outputs.map(|(tensor, _)| tensor).collect()
    }
}

/// The bytes of `params` in the 64-bit words burn takes, padded with zeros.
fn uniform<P: bytemuck::NoUninit>(params: &P) -> Vec<u64> {
    bytemuck::bytes_of(params)
        .chunks(8)
        .map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        })
        .collect()
}

/// Submits what is queued on the adapter of `tensor`; on the CPU path there is nothing to submit.
pub fn submit<const D: usize>(tensor: &Tensor<D>) {
    if let Some(tensor) = on_adapter(tensor) {
        // That the device failed shows where results are read.
        let _ = tensor.client.flush();
    }
}

/// Whether kernels reach what tensors of an adapter's device hold, which [`on_adapter`] takes for granted: they do not
/// where another crate switched on features of burn that put something before it.
pub fn is_reached(device: &Device) -> bool {
    let numbers = Tensor::<1>::zeros([1], device).try_into_primitive::<CubeBackend>();
    let integers = Tensor::<1, Int>::zeros([1], device).try_into_primitive::<CubeBackend>();
    numbers.is_ok() && integers.is_ok()
}

/// The adapter's side of a tensor; `None` if it lives on the CPU path.
///
/// # Panics
///
/// If its device is an adapter's that [`is_reached`] denies.
pub fn on_adapter<const D: usize>(tensor: &Tensor<D>) -> Option<CubeTensor> {
    // That a conversion failed is written into a text first: ten times as dear as to ask.
    if is_host(&tensor.device()) {
        return None;
    }
    Some(reached(tensor.clone().try_into_primitive::<CubeBackend>()))
}

/// As [`on_adapter`], of whole numbers.
pub fn integers_on_adapter<const D: usize>(tensor: &Tensor<D, Int>) -> Option<CubeTensor> {
    if is_host(&tensor.device()) {
        return None;
    }
    Some(reached(tensor.clone().try_into_primitive::<CubeBackend>()))
}

fn reached<E: std::fmt::Debug>(tensor: std::result::Result<CubeTensor, E>) -> CubeTensor {
    tensor.unwrap_or_else(|error| panic!("a device that was not opened by this crate: {error:?}"))
}

/// A tensor of whole numbers on an adapter, as burn's type.
pub fn integers_from_adapter<const D: usize>(tensor: CubeTensor) -> Tensor<D, Int> {
    Tensor::from_primitive::<CubeBackend>(tensor)
}

/// A tensor on an adapter, as burn's type.
pub fn from_adapter<const D: usize>(tensor: CubeTensor) -> Tensor<D> {
    Tensor::from_primitive::<CubeBackend>(tensor)
}
