//! Which machine part runs the model: a GPU through wgpu, or the CPU.
//!
//! The choice is never changed behind the user's back. `Auto` takes a real GPU if there is one and the CPU
//! otherwise; every other value names exactly one device or fails with the list of what there is.

use std::{collections::HashMap, fmt, str::FromStr, sync::Mutex};

use burn::tensor::Device;
use burn_wgpu::WgpuSetup;

use crate::{
    calibrate,
    error::{Error, Result},
    kernel::variants::Variants,
};

/// How to get a Vulkan driver where no adapter answers; part of every "no adapter" message.
pub const INSTALL_HINT: &str = "install a Vulkan driver (on Debian or Ubuntu `apt-get install mesa-vulkan-drivers` \
     gives a software one), or choose `--device cpu`";

/// The user's choice of device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceSelect {
    /// A real GPU if one answers, else the CPU.
    #[default]
    Auto,
    /// The best adapter, a software one included; an error if none answers.
    Gpu,
    /// The CPU path: no adapter is touched.
    Cpu,
    /// The adapter with this number in [`adapters`].
    Index(usize),
    /// The first adapter whose name contains this text, ignoring case.
    Name(String),
}

impl FromStr for DeviceSelect {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        Ok(match text.to_ascii_lowercase().as_str() {
            "" => return Err(Error::argument("--device", "auto, gpu, cpu, a number or a name", "nothing")),
            "auto" => Self::Auto,
            "gpu" => Self::Gpu,
            "cpu" => Self::Cpu,
            _ => match text.parse() {
                Ok(index) => Self::Index(index),
                Err(_) => Self::Name(text.to_owned()),
            },
        })
    }
}

impl fmt::Display for DeviceSelect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu => f.write_str("gpu"),
            Self::Cpu => f.write_str("cpu"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What kind of hardware an adapter is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeviceType {
    /// A graphics card with its own memory.
    DiscreteGpu,
    /// A GPU that shares the machine's memory.
    IntegratedGpu,
    /// A GPU lent to a virtual machine.
    VirtualGpu,
    /// An adapter whose driver does not say.
    Other,
    /// A driver that runs shaders on the CPU (Mesa's lavapipe, Windows' WARP).
    Software,
    /// Not an adapter at all: the CPU path of this program.
    Cpu,
}

impl fmt::Display for DeviceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiscreteGpu => "discrete GPU",
            Self::IntegratedGpu => "integrated GPU",
            Self::VirtualGpu => "virtual GPU",
            Self::Other => "unspecified adapter",
            Self::Software => "software adapter",
            Self::Cpu => "CPU",
        })
    }
}

/// A device as `mustdrop devices` shows it. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// What `--device N` takes; `None` for the CPU path.
    pub index: Option<usize>,
    /// The adapter's own name.
    pub name: String,
    /// The graphics API: `vulkan`, `metal`, `dx12`, `gl`; `flex` for the CPU path.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// Kind of hardware.
    pub device_type: DeviceType,
    /// The largest tensor a shader can bind.
    pub max_binding_bytes: u64,
    /// The largest buffer the device allocates.
    pub max_buffer_bytes: u64,
    /// Threads of a workgroup, at most.
    pub max_workgroup_invocations: u32,
    /// Memory shared by a workgroup.
    pub max_workgroup_bytes: u32,
    /// Whether shaders may compute in 16-bit floats.
    pub shader_f16: bool,
    /// Whether shaders may use subgroup operations.
    pub subgroups: bool,
}

impl DeviceInfo {
    /// The CPU path, which every machine has.
    pub fn cpu() -> Self {
        Self {
            index: None,
            name: format!("CPU, {} threads", std::thread::available_parallelism().map_or(1, usize::from)),
            backend: "flex".into(),
            driver: concat!("mustdrop ", env!("CARGO_PKG_VERSION")).into(),
            device_type: DeviceType::Cpu,
            max_binding_bytes: u64::MAX,
            max_buffer_bytes: u64::MAX,
            max_workgroup_invocations: 0,
            max_workgroup_bytes: 0,
            shader_f16: true,
            subgroups: false,
        }
    }

    fn of_adapter(index: usize, adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        Self {
            index: Some(index),
            driver: [info.driver.trim(), info.driver_info.trim()].join(" ").trim().to_owned(),
            backend: info.backend.to_string(),
            device_type: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => DeviceType::DiscreteGpu,
                wgpu::DeviceType::IntegratedGpu => DeviceType::IntegratedGpu,
                wgpu::DeviceType::VirtualGpu => DeviceType::VirtualGpu,
                wgpu::DeviceType::Cpu => DeviceType::Software,
                wgpu::DeviceType::Other => DeviceType::Other,
            },
            name: info.name,
            max_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            max_buffer_bytes: limits.max_buffer_size,
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            shader_f16: features.contains(wgpu::Features::SHADER_F16),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
        }
    }
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device_type {
            DeviceType::Cpu => f.write_str(&self.name),
            kind => write!(f, "{} ({kind}, {})", self.name, self.backend),
        }
    }
}

/// Every device that `--device` can name: the adapters in the order of their numbers, then the CPU path.
///
/// Adapters are sorted best first: real GPUs before software. OpenGL adapters are listed only
/// where no other graphics API has any.
pub fn adapters() -> Vec<DeviceInfo> {
    Adapters::find().list.into_iter().map(|(info, _)| info).chain([DeviceInfo::cpu()]).collect()
}

/// What the chosen device is, without opening it.
///
/// # Errors
///
/// [`Error::Device`] if no adapter matches.
pub fn find(select: &DeviceSelect) -> Result<DeviceInfo> {
    Ok(chosen(select)?.map_or_else(DeviceInfo::cpu, |(_, info, _)| info))
}

/// The chosen adapter; `None` for the CPU path.
fn chosen(select: &DeviceSelect) -> Result<Option<(wgpu::Instance, DeviceInfo, wgpu::Adapter)>> {
    if *select == DeviceSelect::Cpu {
        return Ok(None);
    }
    let adapters = Adapters::find();
    let position = match adapters.position(select) {
        Err(_) if *select == DeviceSelect::Auto => return Ok(None),
        position => position?,
    };
    let Some((info, adapter)) = adapters.list.into_iter().nth(position) else {
        return Err(Error::device("choose a device", "the adapter went away"));
    };
    if *select == DeviceSelect::Auto && info.device_type == DeviceType::Software {
        return Ok(None);
    }
    Ok(Some((adapters.instance, info, adapter)))
}

struct Adapters {
    instance: wgpu::Instance,
    list: Vec<(DeviceInfo, wgpu::Adapter)>,
}

impl Adapters {
    fn find() -> Self {
        let (instance, found) = Self::answering(wgpu::Backends::PRIMARY);
        let (instance, mut found) = match found.is_empty() {
            // OpenGL only where nothing else answers: there it shows the same hardware again, with less to it.
            true => Self::answering(wgpu::Backends::GL),
            false => (instance, found),
        };
        found.sort_by_key(|(info, _)| info.device_type);
        for (index, (info, _)) in found.iter_mut().enumerate() {
            info.index = Some(index);
        }
        Self { instance, list: found }
    }

    /// The adapters of these graphics APIs that can run burn's kernels and ours.
    fn answering(backends: wgpu::Backends) -> (wgpu::Instance, Vec<(DeviceInfo, wgpu::Adapter)>) {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = backends;
        let instance = wgpu::Instance::new(descriptor);
        let adapters = pollster::block_on(instance.enumerate_adapters(backends));
        let found = adapters.into_iter().map(|adapter| (DeviceInfo::of_adapter(0, &adapter), adapter));
        // What WebGPU guarantees everywhere is enough; less than that is a driver for something else.
        let able = found
            .filter(|(info, _)| info.max_workgroup_invocations >= 256 && info.max_binding_bytes >= 128 << 20);
        (instance, able.collect())
    }

    fn position(&self, select: &DeviceSelect) -> Result<usize> {
        const STEP: &str = "choose a device";
        let position = match select {
            DeviceSelect::Index(index) if *index < self.list.len() => Some(*index),
            // A number beyond the list may still be a part of a name, as in "RTX 4090".
            DeviceSelect::Index(_) | DeviceSelect::Name(_) => {
                let name = select.to_string().to_lowercase();
                self.list.iter().position(|(info, _)| info.name.to_lowercase().contains(&name))
            }
            _ => (!self.list.is_empty()).then_some(0),
        };
        position.ok_or_else(|| {
            if self.list.is_empty() {
                return Error::device(STEP, format!("no graphics adapter answers; {INSTALL_HINT}"));
            }
            let names: Vec<_> =
                self.list.iter().enumerate().map(|(i, (info, _))| format!("{i}: {info}")).collect();
            Error::device(
                STEP,
                format!("no adapter matches `--device {select}`; there are {}, and `cpu`", names.join("; ")),
            )
        })
    }
}

/// An opened device: where tensors live, and what it can do.
#[derive(Debug, Clone)]
pub struct Compute {
    pub(crate) device: Device,
    info: DeviceInfo,
    variants: Variants,
    adapter: Option<(wgpu::Device, wgpu::Queue)>,
}

impl Compute {
    /// Opens the chosen device.
    ///
    /// An adapter is opened once per process and shared by all models on it.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if no adapter matches, or the adapter refuses to be opened.
    pub fn open(select: &DeviceSelect) -> Result<Self> {
        let Some((instance, info, adapter)) = chosen(select)? else { return Ok(Self::cpu()) };
        let Opened { device, raw, queue } = open_once(instance, adapter)?;
        let is_software = info.device_type == DeviceType::Software;
        let name = format!("{} | {} | {}", info.name, info.backend, info.driver);
        let found = calibrate::variants(&device, &name, info.max_workgroup_bytes)?;
        let variants = Variants { is_software, ..found };
        Ok(Self { device, info, variants, adapter: Some((raw, queue)) })
    }

    fn cpu() -> Self {
        Self { device: Device::flex(), info: DeviceInfo::cpu(), variants: Variants::default(), adapter: None }
    }

    /// Whether this is the CPU path, which runs oracles in place of shaders.
    pub fn is_cpu(&self) -> bool {
        self.info.index.is_none()
    }

    /// The device in burn's terms, for tests and benches of single kernels.
    #[doc(hidden)]
    pub fn burn(&self) -> Device {
        self.device.clone()
    }

    /// The same device, said to bind no more than `bytes` at once: how tests reach the code that splits
    /// large matrices.
    #[doc(hidden)]
    pub fn limit_bindings(mut self, bytes: u64) -> Self {
        self.info.max_binding_bytes = self.info.max_binding_bytes.min(bytes);
        self
    }

    /// The same device with other kernels for the same work, for tests and benches of each.
    #[doc(hidden)]
    pub fn with_variants(mut self, variants: Variants) -> Self {
        self.variants = variants;
        self
    }

    /// Which kernels suit the device.
    pub fn variants(&self) -> Variants {
        self.variants
    }

    /// How many submissions the device's queue has had, this question being one; `None` on the CPU path.
    pub(crate) fn submissions(&self) -> Option<u64> {
        let index = self.adapter.as_ref()?.1.submit([]);
        // wgpu counts them, and shows the number to debuggers only.
        format!("{index:?}").chars().filter(char::is_ascii_digit).collect::<String>().parse().ok()
    }

    /// What was opened.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Whether the device went away: whatever is asked of it fails from then on.
    pub(crate) fn is_lost(&self) -> bool {
        self.device.sync().is_err()
    }

    /// Takes the adapter's device away, as a driver's reset does, for tests of what happens then.
    #[doc(hidden)]
    pub fn lose(&self) {
        if let Some((device, _)) = &self.adapter {
            device.destroy();
        }
    }

    /// Waits until the device has done all it was asked to, so that staging memory can be reused.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] naming `step` if the device failed meanwhile.
    pub(crate) fn wait(&self, step: &'static str) -> Result<()> {
        self.device.sync().map_err(|error| Error::device(step, error))
    }
}

/// An adapter in use.
#[derive(Debug, Clone)]
struct Opened {
    device: Device,
    raw: wgpu::Device,
    queue: wgpu::Queue,
}

/// Opens `adapter` and registers it with burn, or returns the device an earlier call registered, unless it was lost
/// since.
fn open_once(instance: wgpu::Instance, adapter: wgpu::Adapter) -> Result<Opened> {
    static OPEN: Mutex<Option<HashMap<String, Opened>>> = Mutex::new(None);
    const STEP: &str = "open the adapter";

    let info = adapter.get_info();
    let key = format!("{}/{}/{}/{}", info.backend, info.name, info.device_pci_bus_id, info.driver_info);
    // A panic while holding the lock leaves the map whole: it is only ever read or extended.
    let mut open = OPEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let open = open.get_or_insert_with(HashMap::new);
    if let Some(opened) = open.get(&key).filter(|opened| opened.device.sync().is_ok()) {
        return Ok(opened.clone());
    }
    // burn asks the adapter, not the device, what it may use, so everything the adapter has is switched on.
    let experimental = wgpu::Features::all_experimental_mask() | wgpu::Features::MAPPABLE_PRIMARY_BUFFERS;
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("mustdrop"),
        required_features: adapter.features().difference(experimental),
        required_limits: adapter.limits(),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    });
    let (raw, queue) = pollster::block_on(request).map_err(|error| Error::device(STEP, error))?;
    let setup =
        WgpuSetup { instance, adapter, device: raw.clone(), queue: queue.clone(), backend: info.backend };
    let device = Device::wgpu_options().setup(setup).init().map_err(|error| Error::device(STEP, error))?;
    let opened = Opened { device, raw, queue };
    open.insert(key, opened.clone());
    Ok(opened)
}
