"""Writes the validation and test sets: `questions.jsonl` and `images/`, the same bytes each time.

`test_sets.py NAME...` writes these alone; Pillow and numpy are all it needs. `--check` compares them with
the ones that the published scores are of.
"""

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

import easy_vqa
import paths
import questions
import splits
from nouns import NUMBERS
from scene import Plan, Scene, draw

# A set's kinds are kept balanced: each picture is asked what has been asked least so far.
_KINDS = (
    "list", "describe", "yes", "no", "count", "count-none", "where", "beside", "at", "total",
    "colour", "sign",
)
# Kinds that are halves of one type, or that any picture allows, are asked less often.
_SHARE = {"yes": 0.75, "no": 0.75, "count-none": 0.25, "colour": 0.5, "total": 0.5}

# Of the sets, as `digest` has it; with the versions of Pillow and numpy in requirements.txt.
SHA256 = {
    "validation": "a3e3c530e1990e0f1b25cdfae1a86013560cdca212ef5e2c6b984a0db562c5fb",
    "unseen-scenes": "17e13ae6ff05957d8f3008d9360a8283db318f43517aa5615bf609942521f091",
    "unseen-style": "a76cb90c1f2c9a439dae30b65d0ced47bda2bc0237c1d6782c9186f6678b10f6",
    "simple-scenes": "9c40f6c7a9ccdd4ff1d4b564ba98658b7e033aca7c82253b1cee2ade11d34fee",
    "easy-vqa": "de21357076d9e0e892e0267c16bfb22b89386d15c1f7db6bcef6f0d1ed14fe88",
}


def scene_for(split: splits.Split, seed: int) -> tuple[np.random.Generator, Scene]:
    """The picture of a seed, and the generator that goes on to choose its questions."""
    rng = np.random.default_rng(seed)
    plan = Plan(styles=split.styles)
    if split is splits.SIMPLE_SCENES:
        plan.simple = 1.0
    return rng, draw(rng, plan)


def chosen(
    rng: np.random.Generator, scene: Scene, number: int, asked: Counter
) -> list[questions.Question]:
    """Questions about one picture; `asked` counts kinds over the whole set."""
    by_kind = questions.all_questions(rng, scene)
    for question in questions.lists(scene):
        by_kind.setdefault(question.kind, []).append(question)
    # Where there are several of something, that is what is worth counting.
    several = [q for q in by_kind["count"] if q.answer != NUMBERS[1]]
    by_kind["count"] = several or by_kind["count"]
    picked = []
    while len(picked) < number:
        kinds = [kind for kind in _KINDS if by_kind.get(kind)]
        kind = min(kinds, key=lambda k: (asked[k] / _SHARE.get(k, 1.0), _KINDS.index(k)))
        asked[kind] += 1
        candidates = by_kind[kind]
        picked.append(candidates.pop(int(rng.integers(len(candidates)))))
    return picked


def write_scenes(split: splits.Split, folder: Path) -> None:
    """Draws a split and asks about it."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    per_picture = splits.QUESTIONS[split] // split.pictures
    asked: Counter = Counter()
    lines = []
    for number, seed in enumerate(split.seeds):
        rng, scene = scene_for(split, seed)
        name = f"{number:04}.png"
        Image.fromarray(scene.pixels).save(images / name, optimize=False, compress_level=6)
        for question in chosen(rng, scene, per_picture, asked):
            lines.append(_line(name, question.text, question.answer, question.kind))
    _write(folder, lines)


def easy_vqa_type(answer: str) -> str:
    if answer in ("yes", "no"):
        return "easy-vqa exists"
    return "easy-vqa shape" if answer in easy_vqa.SHAPES else "easy-vqa colour"


def write_easy_vqa(folder: Path) -> None:
    """The official test split; its pictures are copied as they are."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, asked in sorted(easy_vqa.questions("test").items()):
        name = f"{number}.png"
        source = easy_vqa.folder("test") / "images" / name
        (images / name).write_bytes(source.read_bytes())
        for question, answer in asked:
            lines.append(_line(name, question, answer, easy_vqa_type(answer)))
    _write(folder, lines)


def _line(image: str, question: str, answer: str, kind: str) -> str:
    return json.dumps({"image": image, "question": question, "answers": [answer], "type": kind})


def _write(folder: Path, lines: list[str]) -> None:
    # Last, so that a set that has its questions is whole.
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")
    print(f"{folder.name}: {len(lines)} questions", flush=True)


def digest(folder: Path) -> str:
    """One SHA-256 of a set's questions and of the pixels that they are about."""
    lines = (folder / "questions.jsonl").read_bytes()
    found = hashlib.sha256(lines)
    for name in sorted({json.loads(line)["image"] for line in lines.splitlines()}):
        found.update(Image.open(folder / "images" / name).convert("RGB").tobytes())
    return found.hexdigest()


def check(name: str) -> None:
    """Ends the program if a set is not the published one."""
    found = digest(paths.TEST_SETS / name)
    if found != SHA256[name]:
        raise SystemExit(
            f"{paths.TEST_SETS / name}: expected SHA-256 {SHA256[name]}, found {found}: other pictures than"
            " the published figures are of; by another version of Pillow or numpy?"
        )
    print(f"{name}: as published", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SHA256)}; all if left out")
    parser.add_argument("--check", action="store_true", help="compare with the published sets")
    options = parser.parse_args()
    if unknown := set(options.names) - set(SHA256):
        parser.error(f"no such set: {', '.join(sorted(unknown))}")
    splits_by_name = {split.name: split for split in splits.QUESTIONS}
    for name in options.names or SHA256:
        folder = paths.TEST_SETS / name
        if not (folder / "questions.jsonl").exists():
            if name in splits_by_name:
                write_scenes(splits_by_name[name], folder)
            else:
                write_easy_vqa(folder)
        if options.check:
            check(name)


if __name__ == "__main__":
    main()
