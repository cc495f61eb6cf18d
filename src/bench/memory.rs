//! The most memory this process held.

use std::fs;

/// Forgets earlier peaks, where the system can (Linux).
pub fn reset_peak() {
    // Elsewhere, or without the right to: the peak then covers earlier settings as well, dense first.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Bytes in memory at the peak; `None` where the system does not tell.
pub fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_covers_what_was_held_since_the_reset() {
        // Other tests of this process take and free memory meanwhile, far less than this.
        const HELD: usize = 512 << 20;
        reset_peak();
        let Some(before) = peak() else { return };
        let held = vec![1u8; HELD];
        assert_eq!(held.iter().step_by(4096).map(|byte| usize::from(*byte)).sum::<usize>(), HELD / 4096);
        let grown = peak().unwrap_or(0).saturating_sub(before);
        assert!(grown >= HELD as u64 / 2, "{grown} bytes more at the peak");
    }
}
