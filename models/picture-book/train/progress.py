"""Accuracy on a few validation pictures while training, by kind of question."""

from collections import defaultdict

import torch

import batches
import splits
from losses import see
from model import Layout, PictureBook
from scene import IGNORED, PATCH


def right_slots(logits: torch.Tensor, batch: batches.Batch, slots: list[int]):
    """(kind, right) of every question: all its answer's tokens are the likeliest ones.

    With the right answer fed in, that is the same as a greedy answer being right.
    """
    wrong = (logits.argmax(-1) != batch.targets) & (batch.targets != IGNORED)
    for row, kinds in enumerate(batch.kinds):
        for kind, part in zip(kinds, wrong[row].split(slots)):
            if kind:
                yield kind, not bool(part.any())


@torch.no_grad()
def evaluate(
    model: PictureBook, layout: Layout, grid: int, rank: int, ranks: int, count: int = 40
) -> dict[str, tuple[int, int]]:
    """Right answers and questions by kind, on this rank's share of validation pictures."""
    results: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    seeds = list(splits.VALIDATION.seeds)[:count][rank::ranks]
    for seed in seeds:
        # No easy-VQA: its training pictures are no validation set.
        batch = batches.pictures([seed], grid * PATCH, easy_vqa_share=0.0)
        image, _ = see(model, batch)
        logits = model.text(image, batch.ids, layout)
        for kind, right in right_slots(logits, batch, batches.SLOTS):
            results[kind][0] += right
            results[kind][1] += 1
    return {kind: tuple(values) for kind, values in results.items()}
