"""Scores a checkpoint, its weights rounded to float16, on the written test sets.

An answer is right if greedy decoding writes exactly it. All questions about a picture share one
pass, with the right answer fed in: its tokens are all likeliest if and only if greedy decoding
writes them.
"""

import argparse
import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import batches
import export
import paths
from check_export import lean_model
from losses import layout_for, see
from model import PictureBook
from progress import right_slots
from questions import Question
from scene import PAGE, PATCH

ABOUT = (
    "greedy answers, right if exactly the expected one; float16 weights computed in float32; "
    "no token dropped"
)
SETS = ("unseen-scenes", "simple-scenes", "unseen-style", "easy-vqa", "validation")
# Kinds that are one type in the report.
_TYPES = {"yes": "exists", "no": "exists", "count-none": "count"}


def read_questions(folder: Path) -> dict[str, list[Question]]:
    """Picture file -> its questions."""
    found: dict[str, list[Question]] = defaultdict(list)
    for line in (folder / "questions.jsonl").read_text().splitlines():
        entry = json.loads(line)
        question = Question(entry["type"], entry["question"], entry["answers"][0])
        found[entry["image"]].append(question)
    return dict(found)


def spread(images: list[str], limit: int | None) -> list[str]:
    """Evenly chosen pictures, if not all are wanted."""
    if limit is None or limit >= len(images):
        return images
    return [images[i * len(images) // limit] for i in range(limit)]


@torch.no_grad()
def score(
    model: PictureBook, folder: Path, asked: dict[str, list[Question]]
) -> dict[str, tuple[int, int]]:
    """Right answers and questions by kind."""
    results: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name in asked:
        picture = Image.open(folder / "images" / name).convert("RGB")
        if picture.size != (PAGE, PAGE):
            picture = picture.resize((PAGE, PAGE), Image.Resampling.BICUBIC)
        batch = batches.pictures_alone(np.asarray(picture)[None])
        image, _ = see(model, batch)
        for first in range(0, len(asked[name]), batches.SLOTS):
            some = asked[name][first : first + batches.SLOTS]
            ids, batch.targets, batch.kinds, batch.slots = batches.pack([some])
            logits = model.text(image, ids, layout_for(model, PAGE // PATCH, batch.slots))
            for kind, right in right_slots(logits, batch):
                results[kind][0] += right
                results[kind][1] += 1
    return {kind: tuple(values) for kind, values in sorted(results.items())}


def report(counts: dict[str, tuple[int, int]]) -> dict:
    """Accuracy over all and by type, with the numbers of questions."""
    types: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for kind, (right, asked) in counts.items():
        types[_TYPES.get(kind, kind)][0] += right
        types[_TYPES.get(kind, kind)][1] += asked
    right, asked = (sum(values[i] for values in types.values()) for i in (0, 1))

    def entry(right: int, asked: int) -> dict:
        return {"accuracy": round(right / asked, 4), "questions": asked}

    by_type = {name: entry(*values) for name, values in sorted(types.items())}
    return {**entry(right, asked), "by_type": by_type}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="the newest one if left out")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--limit", type=int, help="pictures a set, evenly chosen")
    parser.add_argument("--out", type=Path, default=paths.OUT / "eval.json")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    checkpoint = options.checkpoint or export.newest_checkpoint()
    state = torch.load(checkpoint, weights_only=True)
    results = {"about": ABOUT, "stage": state["stage"], "step": state["step"], "sets": {}}
    model = lean_model(checkpoint)
    for name in options.sets:
        folder = paths.TEST_SETS / name
        asked = read_questions(folder)
        asked = {image: asked[image] for image in spread(sorted(asked), options.limit)}
        counts = score(model, folder, asked)
        results["sets"][name] = {"pictures": len(asked), **report(counts)}
        print(name, json.dumps(results["sets"][name]), flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
