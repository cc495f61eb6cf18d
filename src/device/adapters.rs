//! The adapters of the machine, and which of them was meant.

use super::{DeviceInfo, DeviceSelect, DeviceType};
use crate::error::{Error, Result};

/// How to get a Vulkan driver where no adapter answers; part of every "no adapter" message.
pub const INSTALL_HINT: &str = "install a Vulkan driver (on Debian or Ubuntu `apt-get install mesa-vulkan-drivers` \
     gives a software one), or choose `--device cpu`";

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
pub(super) fn chosen(select: &DeviceSelect) -> Result<Option<(wgpu::Instance, DeviceInfo, wgpu::Adapter)>> {
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
                format!(
                    "no adapter matches `--device {select}`; expected one of {}; or `cpu`",
                    names.join("; ")
                ),
            )
        })
    }
}
