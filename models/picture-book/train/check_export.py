"""Asserts that transformers computes from the exported folder what training computed."""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

import batches
import paths
import splits
import test_sets
from export import newest_checkpoint
from losses import layout_for, see
from model import PictureBook, Size
from questions import Question
from scene import IGNORED, PAGE, PATCH
from vocabulary import PROMPT

_QUESTIONS = ("what is in the picture?", "is there a dog?", "how many emus are there?")


def conversation(question: str) -> list[dict]:
    parts = [{"type": "image"}, {"type": "text", "text": question}]
    return [{"role": "user", "content": parts}]


def check_prompt(processor) -> None:
    """The chat template writes exactly the prompt of training."""
    for question in _QUESTIONS:
        rendered = processor.apply_chat_template(conversation(question), add_generation_prompt=True)
        assert rendered == PROMPT.format(question=question), rendered


def lean_model(checkpoint: Path) -> PictureBook:
    """The checkpoint's model with its weights rounded to float16, as they are exported."""
    state = torch.load(checkpoint, weights_only=True)
    model = PictureBook(Size(**state["size"]))
    model.load_state_dict({name: t.half().float() for name, t in state["model"].items()})
    return model.eval()


@torch.no_grad()
def check_logits(processor, checkpoint: Path, out: Path) -> None:
    theirs = LlavaForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    ours = lean_model(checkpoint)
    worst = 0.0
    for seed in list(splits.VALIDATION.seeds)[:2]:
        _, scene = test_sets.scene_for(splits.VALIDATION, seed)
        asked = [Question("", text, "yes") for text in _QUESTIONS]
        image, _ = see(ours, batches.pictures_alone(scene.pixels[None]))
        for question, one in zip(_QUESTIONS, asked):
            # Beside a longer question: packed logits equal those of a lone question.
            longer = Question("", "how many things are in the picture?", "one")
            ids, targets, kinds, slots = batches.pack([[longer, replace(one, kind="asked")]])
            logits = ours.text(image, ids, layout_for(ours, PAGE // PATCH, slots))[0]
            begin = sum(slots[: kinds[0].index("asked")])
            judged = (targets[0, begin:] != IGNORED).nonzero().flatten()
            # The answer is "yes </s>": its first row comes right after the prompt.
            row = begin + int(judged[0])
            inputs = processor(
                images=Image.fromarray(scene.pixels),
                text=PROMPT.format(question=question),
                return_tensors="pt",
            )
            worst = max(worst, float((theirs(**inputs).logits[0, -1] - logits[row]).abs().max()))
    print(f"largest difference of a logit: {worst:.2e}")
    assert worst < 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="the newest one if left out")
    parser.add_argument("--out", type=Path, default=paths.OUT)
    options = parser.parse_args()
    processor = AutoProcessor.from_pretrained(options.out)
    check_prompt(processor)
    check_logits(processor, options.checkpoint or newest_checkpoint(), options.out)


if __name__ == "__main__":
    main()
