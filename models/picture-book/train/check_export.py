"""Asserts that transformers computes from the exported folder what training computed."""

import argparse
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

import batches
import paths
import splits
import test_sets
from export import newest_checkpoint
from losses import see
from model import Layout, PictureBook, Size
from questions import Question
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
    layout = Layout(ours.size, 576, batches.SLOTS)
    worst = 0.0
    for seed in list(splits.VALIDATION.seeds)[:2]:
        _, scene = test_sets.scene_for(splits.VALIDATION, seed)
        batch = batches.pictures([seed], scene.side, easy_vqa_share=0.0)
        batch.patches = batches.normalised_patches(scene.pixels[None])
        asked = [Question("", text, "yes") for text in _QUESTIONS]
        ids, targets, _ = batches.pack(asked[:1], asked[1:])
        image, _ = see(ours, batch)
        logits = ours.text(image, torch.from_numpy(ids)[None], layout)[0]
        rows = torch.from_numpy(targets != -100).nonzero().flatten()
        # Each answer is "yes </s>": its first row comes right after the prompt.
        for question, row in zip(_QUESTIONS, rows[::2]):
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
