//! Variables of the environment that libraries ask, and that a program may have an opinion about.
//!
//! To be set at its start, before anything that could start a thread.
#![allow(unsafe_code)]

use std::{env, ffi::OsString};

use crate::cpu::threads;

/// Mesa's layer that sorts adapters asks the desktop which one it shows its windows on. Without a desktop it prints an
/// error at every start; adapters are sorted here in any case.
const NO_DEVICE_SELECT: &str = "NODEVICE_SELECT";

/// Switches the layer off where there is no desktop to ask.
pub(super) fn silence_vulkan_loader() {
    if env::var_os("XDG_RUNTIME_DIR").is_none() {
        set_if_unset(NO_DEVICE_SELECT, "1");
    }
}

/// Says how many threads compute on the CPU. Left to itself, candle counts the machine's cores, of which a container may
/// have few.
pub(super) fn set_threads(asked: Option<u16>) {
    match asked {
        Some(count) => set(threads::VARIABLE, &count.to_string()),
        None => set_if_unset(threads::VARIABLE, &threads::count().to_string()),
    }
}

/// Takes variables of this program that are empty for unset, as shells and containers leave them.
pub(super) fn unset_empty() {
    let is_empty = |(name, value): &(OsString, OsString)| {
        value.is_empty() && name.to_str().is_some_and(|name| name.starts_with("MUSTDROP_"))
    };
    for (name, _) in env::vars_os().filter(is_empty).collect::<Vec<_>>() {
        // SAFETY: no other thread runs yet that could read the environment meanwhile.
        unsafe { env::remove_var(name) };
    }
}

fn set_if_unset(variable: &str, value: &str) {
    if env::var_os(variable).is_none() {
        set(variable, value);
    }
}

fn set(variable: &str, value: &str) {
    // SAFETY: no other thread runs yet that could read the environment meanwhile.
    unsafe { env::set_var(variable, value) };
}
