"""Draws the 8 sample pictures, asks about them and notes what the exported model answers."""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

import paths
import questions
import splits
from check_export import conversation
from scene import PAGE, Plan, Scene, draw
from vocabulary import PROMPT

# Width, height, things: squares of the model's own size, others, and one landscape.
_SHAPES = (
    (336, 336, 1), (336, 336, 2), (400, 400, 3), (336, 336, 4),
    (500, 500, 5), (336, 336, 6), (252, 252, 3), (448, 336, 4),
)


def suitable(scene: Scene, number: int, wide: bool, want_sign: bool) -> bool:
    """A landscape picture gets its margins from its own edges, so its ground must be plain."""
    if len(scene.things) != number or scene.background is None:
        return False
    if want_sign != any(thing.glyph for thing in scene.things):
        return False
    if min(max(thing.width, thing.height) for thing in scene.things) < 30:
        return False
    return not wide or float(scene.pixels.astype(np.float32).std(1).max()) < 60


def find_scene(number: int, wide: bool, want_sign: bool, seeds) -> tuple[Scene, int]:
    for seed in seeds:
        scene = draw(np.random.default_rng(seed), Plan(styles=splits.SAMPLES.styles))
        if suitable(scene, number, wide, want_sign):
            return scene, seed
    raise SystemExit("no suitable sample scene")


def resized(scene: Scene, width: int, height: int) -> Image.Image:
    """The scene in another size; a landscape shows more ground at its left and right."""
    pixels = scene.pixels
    if width > height:
        margin = (width - height) // 2
        pixels = np.pad(pixels, ((0, 0), (margin, margin), (0, 0)), mode="edge")
    picture = Image.fromarray(pixels)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return picture


def ask(scene: Scene, seed: int) -> list[questions.Question]:
    """One question of every kind that the scene allows."""
    rng = np.random.default_rng(seed)
    by_kind = questions.all_questions(rng, scene)
    asked = questions.lists(scene)
    return asked + [found[0] for kind, found in by_kind.items() if found and kind != "count-none"]


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
    out = parser.parse_args().out
    model = LlavaForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(out)
    seeds, samples, right, total = iter(splits.SAMPLES.seeds), [], 0, 0
    for number, (width, height, things) in enumerate(_SHAPES, 1):
        scene, seed = find_scene(things, width > height, number % 2 == 0, seeds)
        name = f"sample_{number}.png"
        resized(scene, width, height).save(out / name)
        picture = Image.open(out / name).convert("RGB")
        asked = []
        for question in ask(scene, seed):
            said = answer(model, processor, picture, question.text)
            right, total = right + (said == question.answer), total + 1
            asked.append({
                "type": question.kind, "question": question.text,
                "answer": question.answer, "model_answer": said,
            })
        samples.append({
            "image": name,
            "size": width if width == height else [width, height],
            "background": scene.background,
            "objects": [
                {"name": thing.noun, "x": round(thing.x), "y": round(thing.y)}
                for thing in scene.things
            ],
            "questions": asked,
        })
    content = {"prompt": PROMPT, "samples": samples}
    (out / "samples.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"samples: {right} of {total} answers are right")


if __name__ == "__main__":
    main()
