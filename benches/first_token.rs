//! Time from process start to the first token of an answer, with the default model: what a user waits.
//!
//! `cargo bench --bench first_token` runs the real program, built with optimisation, with its model and sample
//! picture inside, on the CPU path and on the best adapter.

use std::process::{Command, Stdio};

fn main() {
    divan::main();
}

/// Whole runs that end with the first token.
#[divan::bench(args = ["cpu", "gpu"], sample_count = 5, sample_size = 1)]
fn from_process_start(device: &str) {
    let status = Command::new(env!("CARGO_BIN_EXE_mustdrop"))
        .args(["describe", "--max-new-tokens", "1", "--device", device])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "`mustdrop describe --device {device}` works");
}
