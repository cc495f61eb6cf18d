"""Draws the 8 sample pictures, asks about them and notes what the exported model answers.

`--look FILE` draws a sheet of candidates for every sample instead, with the seed and the model's
score of each; the seeds of the chosen ones stand in `SAMPLES` below.
"""

import argparse
import json
import os
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import AutoProcessor, LlavaForConditionalGeneration

import batches
import export
import paths
import questions
import splits
from check_export import conversation, lean_model
from losses import layout_for, see
from nouns import NUMBERS, SIGN
from progress import right_slots
from scene import PAGE, PATCH, Plan, Scene, draw
from vocabulary import PROMPT


@dataclass
class Sample:
    """A kind of picture, which scenes are of it, and what is asked first.

    The seed counts from the split's first one; without it, the first scene that suits is drawn.
    """

    name: str
    plan: Plan
    suits: Callable[[Scene], bool]
    kinds: tuple[str, ...]
    seed: int | None = None


def _sides(scene: Scene) -> list[int]:
    return [max(thing.width, thing.height) for thing in scene.things]


def _roughness(scene: Scene) -> float:
    """How much the ground varies."""
    return float(scene.pixels[scene.owner < 0].astype(np.float32).std(0).max())


def _groups(scene: Scene) -> list[tuple[str, int, float]]:
    return questions.groups(scene.things)


def _clear(scene: Scene) -> bool:
    """Everything is to be seen whole and has a fair list."""
    whole = all(thing.visible > 0.97 * thing.pixels for thing in scene.things)
    return whole and questions.is_listable(scene)


def _signs(scene: Scene) -> int:
    return sum(thing.noun == SIGN for thing in scene.things)


def _large(scene: Scene) -> bool:
    return (
        len(scene.things) == 1 and not _signs(scene) and _sides(scene)[0] > 150
        and scene.background is not None and _roughness(scene) < 20
    )


def _three(scene: Scene) -> bool:
    return (
        len(scene.things) == len(_groups(scene)) == 3 and not _signs(scene) and _clear(scene)
        and min(_sides(scene)) > 75 and scene.background is not None
    )


def _sign(scene: Scene) -> bool:
    return (
        len(scene.things) == 2 and _signs(scene) == 1 and _clear(scene)
        and min(_sides(scene)) > 80 and scene.background is not None
    )


def _many(scene: Scene) -> bool:
    groups = _groups(scene)
    return (
        len(groups) == 2 and max(n for _, n, _ in groups) in (3, 4) and len(scene.things) >= 4
        and not _signs(scene) and _clear(scene) and min(_sides(scene)) > 45
        and scene.background is not None
    )


def _textured(scene: Scene) -> bool:
    return (
        len(scene.things) == len(_groups(scene)) == 2 and not _signs(scene) and _clear(scene)
        and min(_sides(scene)) > 70 and scene.background is None and _roughness(scene) > 30
    )


def _crowded(scene: Scene) -> bool:
    return (
        len(scene.things) == len(_groups(scene)) == 6 and _clear(scene)
        and max(_sides(scene)) < 90 and min(_sides(scene)) > 34 and scene.background is not None
    )


def _placed(scene: Scene) -> bool:
    places = [questions.place_of(thing, scene.side) for thing in scene.things]
    return (
        len(scene.things) == len(_groups(scene)) == 4 == len(set(places)) and None not in places
        and _clear(scene) and not _signs(scene) and min(_sides(scene)) > 50
        and scene.background is not None
    )


def _plain(scene: Scene) -> bool:
    return (
        len(scene.things) == len(_groups(scene)) == 2 and not _signs(scene) and _clear(scene)
        and min(_sides(scene)) > 80 and scene.background is not None and _roughness(scene) < 6
    )


_SIMPLE = Plan(simple=1.0)
_COUNTING = Plan(simple=0.0, least=4, most=5, listable=0.0, sign=0.0)
_TEXTURED = Plan(simple=0.0, least=2, most=2, listable=1.0, sign=0.0)
_CROWDED = Plan(simple=0.0, least=6, listable=1.0, sign=0.0)
_PLACED = Plan(simple=0.0, least=4, most=4, listable=1.0, sign=0.0)
_PLAIN = Plan(simple=1.0, least=2, most=2, listable=1.0, sign=0.0)
SAMPLES = (
    Sample(
        "one large thing", _SIMPLE, _large,
        ("list", "describe", "yes", "no", "colour", "total"), 24,
    ),
    Sample(
        "three things", _SIMPLE, _three,
        ("describe", "list", "at", "where", "beside", "no"), 1438,
    ),
    Sample(
        "a sign", _SIMPLE, _sign,
        ("sign", "describe", "where", "beside", "yes", "colour"), 2532,
    ),
    Sample(
        "counting", _COUNTING, _many,
        ("count", "total", "describe", "no", "yes", "list"), 4470,
    ),
    Sample(
        "textured ground", _TEXTURED, _textured,
        ("list", "where", "yes", "no", "total", "beside"), 5044,
    ),
    Sample(
        "a crowded page", _CROWDED, _crowded,
        ("list", "total", "yes", "no", "where", "beside"), 6359,
    ),
    Sample(
        "positions", _PLACED, _placed,
        ("where", "at", "beside", "describe", "no", "total"), 8077,
    ),
    Sample(
        "a plain page", _PLAIN, _plain,
        ("describe", "list", "where", "yes", "no", "count"), 8767,
    ),
)


def drawn(sample: Sample, seed: int) -> Scene:
    return draw(np.random.default_rng(seed), replace(sample.plan, styles=splits.SAMPLES.styles))


def seeds_of(number: int) -> range:
    """Every sample looks for its pictures among seeds of its own."""
    share = splits.SAMPLES.pictures // len(SAMPLES)
    first = splits.SAMPLES.first_seed + number * share
    return range(first, first + share)


def ask(scene: Scene, seed: int, kinds: tuple[str, ...], most: int = 6) -> list[questions.Question]:
    """One question of every kind that the scene allows, as one usually asks."""
    found = questions.all_questions(np.random.default_rng(seed), scene, usual_words=True)
    for question in questions.lists(scene):
        found[question.kind] = [question]
    # Of counts, that of the commonest noun is worth asking.
    found["count"].sort(key=lambda question: -NUMBERS.index(question.answer))
    return [found[kind][0] for kind in kinds if found.get(kind)][:most]


@torch.no_grad()
def score(model, scene: Scene, asked: list[questions.Question]) -> int:
    """How many of the questions the training code's model answers rightly."""
    batch = batches.pictures_alone(scene.pixels[None])
    image, _ = see(model, batch)
    ids, batch.targets, batch.kinds, batch.slots = batches.pack([asked])
    logits = model.text(image, ids, layout_for(model, PAGE // PATCH, batch.slots))
    return sum(right for _, right in right_slots(logits, batch))


def look(model, file: Path, rows: list[int], candidates: int = 10) -> None:
    """A sheet with a row of candidates for every sample."""
    sheet = Image.new("RGB", (candidates * 200, len(SAMPLES) * 220), "white")
    pen = ImageDraw.Draw(sheet)
    for number, sample in enumerate(SAMPLES):
        if rows and number + 1 not in rows:
            continue
        suiting = (seed for seed in seeds_of(number) if sample.suits(drawn(sample, seed)))
        for column, seed in zip(count(), islice(suiting, candidates)):
            scene = drawn(sample, seed)
            asked = ask(scene, seed, sample.kinds)
            small = Image.fromarray(scene.pixels).resize((196, 196))
            sheet.paste(small, (column * 200, number * 220))
            text = f"{seed - splits.SAMPLES.first_seed}: {score(model, scene, asked)}/{len(asked)}"
            pen.text((column * 200 + 4, number * 220 + 200), text, fill="black")
    sheet.save(file)


@torch.no_grad()
def answer(model, processor, picture: Image.Image, question: str) -> str:
    """What transformers writes, greedily."""
    text = processor.apply_chat_template(conversation(question), add_generation_prompt=True)
    assert text == PROMPT.format(question=question)
    inputs = processor(images=picture, text=text, return_tensors="pt")
    written = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
    return processor.decode(written, skip_special_tokens=True).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=paths.OUT)
    parser.add_argument("--look", type=Path)
    parser.add_argument("--rows", type=int, nargs="*", default=[], help="only these samples")
    options = parser.parse_args()
    out = options.out
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    if options.look:
        look(lean_model(export.newest_checkpoint()), options.look, options.rows)
        return
    model = LlavaForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(out)
    samples, right, total = [], 0, 0
    for number, sample in enumerate(SAMPLES):
        seed = splits.SAMPLES.first_seed + sample.seed if sample.seed is not None else next(
            seed for seed in seeds_of(number) if sample.suits(drawn(sample, seed))
        )
        scene = drawn(sample, seed)
        name = f"sample_{number + 1}.png"
        Image.fromarray(scene.pixels).save(out / name)
        picture = Image.open(out / name).convert("RGB")
        asked = []
        for question in ask(scene, seed, sample.kinds):
            said = answer(model, processor, picture, question.text)
            right, total = right + (said == question.answer), total + 1
            asked.append({
                "type": question.kind, "question": question.text,
                "answer": question.answer, "model_answer": said,
            })
        samples.append({
            "image": name,
            "about": sample.name,
            "size": PAGE,
            "background": scene.background,
            "objects": [
                {
                    "name": thing.noun, "x": round(thing.x), "y": round(thing.y),
                    "width": thing.width, "height": thing.height,
                    **({"glyph": thing.glyph} if thing.glyph else {}),
                }
                for thing in scene.things
            ],
            "questions": asked,
        })
    content = {"prompt": PROMPT, "samples": samples}
    (out / "samples.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"samples: {right} of {total} answers are right")


if __name__ == "__main__":
    main()
