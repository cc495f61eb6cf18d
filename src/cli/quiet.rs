//! Keeps other people's messages off stderr.
#![allow(unsafe_code)]

use std::env;

/// Mesa's layer that sorts adapters asks the desktop which one it shows its windows on. Without a desktop it prints an
/// error at every start; adapters are sorted here in any case.
const NO_DEVICE_SELECT: &str = "NODEVICE_SELECT";

/// Switches the layer off where there is no desktop to ask.
///
/// To be called at the start of a program, before anything that could start a thread.
pub(super) fn silence_vulkan_loader() {
    if env::var_os("XDG_RUNTIME_DIR").is_none() && env::var_os(NO_DEVICE_SELECT).is_none() {
        // SAFETY: no other thread runs yet that could read the environment meanwhile.
        unsafe { env::set_var(NO_DEVICE_SELECT, "1") };
    }
}
