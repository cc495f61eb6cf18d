#!/usr/bin/env bash
# What each way of dropping vision tokens costs in right answers, on the three test sets of the model inside the program; and
# on its validation set, what each part of MustDrop brings.
#
#   bash benches/eval.sh [FOLDER]      tables and plots of 300 questions a set, in FOLDER (default: target/eval)
#   bash benches/eval.sh --docs        of up to 2000 questions a set (400 of the validation set), which also go into
#                                      docs/what-dropping-costs.md
#
# Makes the sets from the packages they are drawn with (Python and npm fetch those once), checks that they are the
# published ones, and asks every question under every policy and budget. Stop it at any time: it goes on where it was.
# QUESTIONS chooses another number of questions, DEVICE a device (default: cpu), PYTHON an interpreter.
set -euo pipefail

docs="" default=300
case "${1:-}" in
    --docs) docs=yes default=2000; shift ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
    -*) echo "expected a folder or --docs, found $1" >&2; exit 2 ;;
esac
repository="$(cd "$(dirname "$0")/.." && pwd)"
folder="${1:-$repository/target/eval}"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
questions="${QUESTIONS:-$default}"
device="${DEVICE:-cpu}"
python="${PYTHON:-python3}"
cd "$repository"
recipe=models/picture-book/train

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "expected Python 3.11 or later, found $("$python" --version); name another with PYTHON" >&2
    exit 1
}
venv="$folder/venv"
if [ ! -e "$venv/.installed" ] || [ "$recipe/requirements.txt" -nt "$venv/.installed" ]; then
    "$python" -m venv "$venv"
    grep -E '^(numpy|pillow)==' "$recipe/requirements.txt" | xargs "$venv/bin/pip" install --quiet
    touch "$venv/.installed"
fi
export PICTURE_BOOK_WORK="$folder"
"$venv/bin/python" "$recipe/fetch.py"
"$venv/bin/python" "$recipe/test_sets.py" --check unseen-scenes unseen-style easy-vqa validation

cargo build --release --locked --bin mustdrop
mustdrop="${CARGO_TARGET_DIR:-target}/release/mustdrop"
figures="$folder/$device-$questions"
mkdir -p "$figures"

# measure SET NAME ARGUMENTS...: a set's figures under NAME.
measure() {
    local set="$1" name="$2"
    shift 2
    "$mustdrop" eval --device "$device" --data "$folder/test-sets/$set/questions.jsonl" \
        --images "$folder/test-sets/$set/images" --sample "$questions" --results "$figures/$set.jsonl" \
        --plot "$figures/$name.svg" "$@" > "$figures/$name.md"
    echo "== $name, $SECONDS s since the start"
    cat "$figures/$name.md"
}

for set in unseen-scenes unseen-style easy-vqa; do
    measure "$set" "$set" --admit coverage,class
done
# What each part brings, on the questions by which MustDrop's way to spend a budget was chosen.
questions=$((questions < 400 ? questions : 400))
measure validation ablation --policies none,mustdrop,coverage-means --merge --pruning-layers 1,5,3+7 \
    --without filter,evict
measure validation stages --policies none,mustdrop --admit class --without merge,filter,evict

if [ -n "$docs" ]; then
    "$venv/bin/python" benches/eval_page.py docs/what-dropping-costs.md "$figures" docs/what-dropping-costs.svg
fi
