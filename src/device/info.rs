//! What devices are, and what they can do.

use std::fmt;

use crate::cpu::threads;

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
            name: match threads::count() {
                1 => "CPU, 1 thread".into(),
                count => format!("CPU, {count} threads"),
            },
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

    pub(super) fn of_adapter(index: usize, adapter: &wgpu::Adapter) -> Self {
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
