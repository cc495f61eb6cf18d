#!/usr/bin/env bash
# Checks everything: formatting, lints, documentation, tests. Installs what the tests need first.
#
#   bash tests/run.sh          all of it
#   bash tests/run.sh golden   only the tests of tests/golden.rs (any test file's name, or several)
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or newer from https://rustup.rs" >&2; exit 1; }
for component in rustfmt clippy; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
done

step "a graphics adapter for the GPU tests"
cargo build --locked --bin mustdrop --example describe
answers() { cargo run --quiet --locked --bin mustdrop -- devices --json | grep -q '"index":0'; }
if ! answers; then
    if command -v apt-get >/dev/null; then
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mesa-vulkan-drivers
    fi
    answers || { echo "no graphics adapter answers, and the GPU tests need one: install a Vulkan driver (Mesa's lavapipe is a software one)" >&2; exit 1; }
fi
cargo run --quiet --locked --bin mustdrop -- devices

if [ $# -gt 0 ]; then
    step "tests: $*"
    exec cargo test --locked $(printf -- '--test %s ' "$@")
fi

step "formatting"
cargo fmt --check
step "lints"
cargo clippy --locked --all-targets -- -D warnings
step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
step "tests"
cargo test --locked
