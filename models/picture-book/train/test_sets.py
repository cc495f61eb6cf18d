"""Writes validation and test sets: `questions.jsonl` and `images/`, the same bytes each time."""

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


def main() -> None:
    for split in splits.QUESTIONS:
        folder = paths.TEST_SETS / split.name
        if not (folder / "questions.jsonl").exists():
            write_scenes(split, folder)
    folder = paths.TEST_SETS / "easy-vqa"
    if not (folder / "questions.jsonl").exists():
        write_easy_vqa(folder)


if __name__ == "__main__":
    main()
