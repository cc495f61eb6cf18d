//! How much memory there is.

use std::{fmt, fs, path::Path};

use super::MemorySize;
use crate::device::{DeviceInfo, DeviceType};

/// A bound on what a model may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct MemoryLimit {
    /// The bound.
    pub bytes: u64,
    /// Whether the user named it, rather than the machine.
    pub given: bool,
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({})",
            MemorySize(self.bytes),
            if self.given { "--memory" } else { "what the device has" }
        )
    }
}

impl MemoryLimit {
    /// What the user gave, or else what `device` has; `None` where that is not known.
    ///
    /// - The CPU path has nine tenths of the memory that is free now, a container's bound included.
    /// - An adapter that shares the machine's memory, integrated or software, has half of all of it.
    /// - wgpu does not say how much a graphics card has of its own, and a buffer's largest size is no measure of it:
    ///   nothing is guessed.
    ///
    /// Only Linux is asked; elsewhere nothing is known.
    pub fn new(given: Option<MemorySize>, device: &DeviceInfo) -> Option<Self> {
        match given {
            Some(size) => Some(Self { bytes: size.0, given: true }),
            None => Some(Self { bytes: of_device(device)?, given: false }),
        }
    }
}

fn of_device(device: &DeviceInfo) -> Option<u64> {
    let machine = Machine::read(Path::new("/"))?;
    match device.device_type {
        DeviceType::Cpu => Some(machine.available / 10 * 9),
        DeviceType::IntegratedGpu | DeviceType::Software => Some(machine.total / 2),
        DeviceType::DiscreteGpu | DeviceType::VirtualGpu | DeviceType::Other => None,
    }
}

/// The machine's memory in bytes, or that of the container around this program.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    total: u64,
    available: u64,
}

impl Machine {
    /// Reads Linux's `/proc` and `/sys` under `root`; nothing where there are none.
    fn read(root: &Path) -> Option<Self> {
        let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
            kilobytes.checked_mul(1024)
        };
        let (total, available) = (field("MemTotal:")?, field("MemAvailable:")?);
        // Version 2 of control groups, and version 1; without a bound they say "max", or a number above all memory.
        let bound = |[limit, usage, account]: [&str; 3], prefix: &str| {
            let text = |name: &str| fs::read_to_string(root.join("sys/fs/cgroup").join(name)).ok();
            let read = |name: &str| text(name)?.trim().parse::<u64>().ok();
            // Files that were read count as used, and give way as soon as something else needs the memory.
            let account = text(account).unwrap_or_default();
            let cached = |kind: &str| {
                let named = format!("{prefix}{kind} ");
                let found = account.lines().find_map(|line| line.strip_prefix(&named));
                found.and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or_default()
            };
            let files = cached("inactive_file").saturating_add(cached("active_file"));
            Some((read(limit)?, read(usage)?.saturating_sub(files)))
        };
        let container = bound(["memory.max", "memory.current", "memory.stat"], "").or_else(|| {
            let names =
                ["memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"];
            bound(names, "total_")
        });
        Some(match container {
            Some((limit, used)) => {
                Self { total: total.min(limit), available: available.min(limit.saturating_sub(used)) }
            }
            None => Self { total, available },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::Machine;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        let folder = path.parent().unwrap_or(root);
        assert!(fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)).is_ok());
    }

    #[test]
    fn memory_is_the_machines_or_the_containers() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        assert_eq!(Machine::read(root.path()), None);
        write(
            root.path(),
            "proc/meminfo",
            "MemTotal:       8000 kB\nMemFree: 1 kB\nMemAvailable:   4000 kB\n",
        );
        let machine = Machine { total: 8_192_000, available: 4_096_000 };
        assert_eq!(Machine::read(root.path()), Some(machine));
        write(root.path(), "sys/fs/cgroup/memory.max", "max\n");
        write(root.path(), "sys/fs/cgroup/memory.current", "1000\n");
        assert_eq!(Machine::read(root.path()).map(|machine| machine.total), Some(8_192_000));
        write(root.path(), "sys/fs/cgroup/memory.max", "3000000\n");
        assert_eq!(Machine::read(root.path()), Some(Machine { total: 3_000_000, available: 2_999_000 }));
        let account = "anon 100\nfile 900\ninactive_file 500\nactive_file 300\n";
        write(root.path(), "sys/fs/cgroup/memory.stat", account);
        assert_eq!(Machine::read(root.path()), Some(Machine { total: 3_000_000, available: 2_999_800 }));
        write(root.path(), "proc/meminfo", "MemTotal: many\n");
        assert_eq!(Machine::read(root.path()), None);
        Ok(())
    }
}
