//! `mustdrop devices`: what `--device` can name.

use std::io::{self, Write};

use clap::Args;

use super::print_json;
use crate::device::{DeviceInfo, DeviceType, INSTALL_HINT, adapters};

/// List the graphics adapters and the CPU, with drivers and limits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mustdrop devices\n  mustdrop describe photo.jpg --device 1")]
pub struct Devices {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let devices = adapters();
        if self.json {
            return print_json(&devices);
        }
        let mut stdout = io::stdout();
        for device in &devices {
            write!(stdout, "{}", describe(device))?;
        }
        if devices.iter().all(|device| device.device_type == DeviceType::Cpu) {
            say!("no graphics adapter answers; {INSTALL_HINT}");
        }
        Ok(())
    }
}

/// A device as a few lines of text.
pub(super) fn describe(device: &DeviceInfo) -> String {
    let Some(index) = device.index else {
        return format!("cpu: {}\n    backend {}, driver {}\n", device.name, device.backend, device.driver);
    };
    let yes = |has: bool| if has { "yes" } else { "no" };
    format!(
        "{index}: {}\n    {}, backend {}, driver {}\n    largest binding {}, largest buffer {}, workgroup {} \
         threads and {}, f16 {}, subgroups {}\n",
        device.name,
        device.device_type,
        device.backend,
        device.driver,
        indicatif::BinaryBytes(device.max_binding_bytes),
        indicatif::BinaryBytes(device.max_buffer_bytes),
        device.max_workgroup_invocations,
        indicatif::BinaryBytes(device.max_workgroup_bytes.into()),
        yes(device.shader_f16),
        yes(device.subgroups),
    )
}
