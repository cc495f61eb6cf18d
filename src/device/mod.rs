//! Which machine part runs the model: a GPU through wgpu, or the CPU.
//!
//! The choice is never changed behind the user's back. `Auto` takes a real GPU if there is one and the CPU
//! otherwise; every other value names exactly one device or fails with the list of what there is.

mod adapters;
mod info;
mod select;
mod work;

use std::{collections::HashMap, sync::Mutex};

use burn::tensor::Device;
use burn_wgpu::WgpuSetup;

use crate::{
    calibrate,
    error::{Error, Result},
    kernel::{launch, tally, variants::Variants},
};

pub use adapters::{INSTALL_HINT, adapters, find};
pub use info::{DeviceInfo, DeviceType};
pub use select::DeviceSelect;
pub use work::{Meter, Work};

use adapters::chosen;

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
        let Opened { device, raw, queue } = open_once(instance, info.index, adapter)?;
        let is_software = info.device_type == DeviceType::Software;
        let name = format!("{} | {} | {}", info.name, info.backend, info.driver);
        let found = calibrate::variants(&device, &name, info.max_workgroup_bytes)?;
        let variants = Variants { is_software, ..found };
        Ok(Self { device, info, variants, adapter: Some((raw, queue)) })
    }

    fn cpu() -> Self {
        Self { device: Device::flex(), info: DeviceInfo::cpu(), variants: Variants::default(), adapter: None }
    }

    /// Whether this is the CPU path, which has implementations of its own in place of shaders.
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

    /// How many submissions the device's queue has had, this question and waits being some; `None` on the CPU path.
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
        tally::wait(&self.device).is_err()
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
    pub fn wait(&self, step: &'static str) -> Result<()> {
        tally::wait(&self.device).map_err(|error| Error::device(step, error))
    }
}

/// Dispatches of a submission, at most; before that, what they compute bounds it (`kernel::submission`). With more, a
/// device would wait for the whole of a step to be queued.
const TASKS_MAX: usize = 48;

/// An adapter in use.
#[derive(Debug, Clone)]
struct Opened {
    device: Device,
    raw: wgpu::Device,
    queue: wgpu::Queue,
}

/// What tells an adapter from every other of the machine: of two equal cards, its place on the bus, or where drivers do not
/// say that, its number.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AdapterKey {
    index: Option<usize>,
    backend: wgpu::Backend,
    name: String,
    bus: String,
    driver: String,
}

impl AdapterKey {
    fn new(index: Option<usize>, info: &wgpu::AdapterInfo) -> Self {
        let (name, bus) = (info.name.clone(), info.device_pci_bus_id.clone());
        let index = index.filter(|_| bus.is_empty());
        Self { index, backend: info.backend, name, bus, driver: info.driver_info.clone() }
    }
}

/// Opens `adapter` and registers it with burn, or returns the device an earlier call registered. One that was lost since
/// is given up.
fn open_once(instance: wgpu::Instance, index: Option<usize>, adapter: wgpu::Adapter) -> Result<Opened> {
    static OPEN: Mutex<Option<HashMap<AdapterKey, Opened>>> = Mutex::new(None);
    const STEP: &str = "open the adapter";

    let info = adapter.get_info();
    let key = AdapterKey::new(index, &info);
    // A panic while holding the lock leaves the map whole: it is only ever read or changed by an entry.
    let mut open = OPEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let open = open.get_or_insert_with(HashMap::new);
    match open.get(&key) {
        Some(opened) if opened.device.sync().is_ok() => return Ok(opened.clone()),
        Some(_) => drop(open.remove(&key)),
        None => {}
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
    let device = Device::wgpu_options()
        .tasks_max(TASKS_MAX)
        .setup(setup)
        .init()
        .map_err(|error| Error::device(STEP, error))?;
    if !launch::is_reached(&device) {
        return Err(Error::device(
            STEP,
            "burn hands out tensors that shaders cannot bind; build without burn's features `fusion` and `autodiff`",
        ));
    }
    let opened = Opened { device, raw, queue };
    open.insert(key, opened.clone());
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_equal_cards_are_told_apart() {
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::DiscreteGpu, wgpu::Backend::Vulkan);
        info.name = "a card".into();
        let first = AdapterKey::new(Some(0), &info);
        assert_eq!(first, AdapterKey::new(Some(0), &info));
        assert_ne!(first, AdapterKey::new(Some(1), &info), "by their numbers");
        info.device_pci_bus_id = "0000:65:00.0".into();
        let card = AdapterKey::new(Some(0), &info);
        assert_eq!(
            card,
            AdapterKey::new(Some(1), &info),
            "the same card, though another was plugged in before it"
        );
        info.device_pci_bus_id = "0000:b3:00.0".into();
        assert_ne!(card, AdapterKey::new(Some(0), &info), "by their places on the bus");
    }
}
