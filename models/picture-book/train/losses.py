"""What training minimises: answers, names of patches, places, signs and the things in [CLS]."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from batches import Batch
from model import Layout, PictureBook
from nouns import COLOURS, NOUNS
from scene import BACKGROUND_LABEL, IGNORED
from vocabulary import token_ids

_LABEL_WORDS = [*NOUNS, *COLOURS, "background"]
assert len(_LABEL_WORDS) == BACKGROUND_LABEL + 1
LABEL_IDS = torch.tensor([token_ids()[word] for word in _LABEL_WORDS])
# A centre is one patch of hundreds.
_CENTRE_WEIGHT = torch.tensor(8.0)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy over judged places; 0 where there are none."""
    judged = (targets != IGNORED).sum().clamp(min=1)
    total = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum")
    return total / judged


def see(model: PictureBook, batch: Batch, vision=None) -> tuple[Tensor, Tensor]:
    """Projected patch features and [CLS]."""
    grid = math.isqrt(batch.patches.shape[1])
    positions = model.positions_of(grid, batch.offsets)
    features, cls = (vision or model.vision)(batch.patches, positions)
    return model.project(features), cls


def patch_losses(
    model: PictureBook, batch: Batch, image: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Losses that each patch feature pays for itself.

    Names are scored against the decoder's own word embeddings: so a dog's patches look like the
    word `dog` before the decoder has learnt anything.
    """
    scores = image @ model.embedding[LABEL_IDS].t() * (1.5 / math.sqrt(image.shape[-1]))
    where = model.patch_head(image)
    centre_known = ~batch.centres.isnan()
    centre = F.binary_cross_entropy_with_logits(
        where[..., 0], batch.centres.nan_to_num(), reduction="none", pos_weight=_CENTRE_WEIGHT
    )
    known = ~batch.coordinates.isnan()
    distance = F.smooth_l1_loss(
        where[..., 1:], batch.coordinates.nan_to_num(), reduction="none", beta=0.1
    )
    is_thing = batch.labels < len(NOUNS)
    things = torch.where(is_thing, batch.labels, IGNORED)
    ground = torch.where(is_thing, IGNORED, batch.labels)
    return {
        "name": _cross_entropy(scores, things),
        # Easy, and most of the page: it must not drown the things.
        "ground": 0.3 * _cross_entropy(scores, ground),
        "centre": 0.3 * (centre * centre_known).sum() / centre_known.sum().clamp(min=1),
        "place": 4.0 * (distance * known).sum() / known.sum().clamp(min=1),
        "glyph": 0.5 * _cross_entropy(model.glyph_head(image), batch.glyphs),
    }, scores


def cls_loss(model: PictureBook, batch: Batch, cls: Tensor) -> Tensor:
    """[CLS] names all things of the picture: its attention has to find them."""
    shares = batch.present / batch.present.sum(1, keepdim=True).clamp(min=1)
    per_picture = -(shares * model.cls_head(cls).log_softmax(-1)).sum(1)
    return per_picture.sum() / (batch.present.sum(1) > 0).sum().clamp(min=1)


def answer_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return _cross_entropy(logits, targets)


@torch.no_grad()
def patch_accuracy(scores: Tensor, batch: Batch) -> float:
    """The share of things' patches that are named rightly."""
    things = (batch.labels >= 0) & (batch.labels < len(NOUNS))
    right = scores.argmax(-1)[things] == batch.labels[things]
    return float(right.float().mean()) if right.numel() else float("nan")


@torch.no_grad()
def cls_accuracy(model: PictureBook, cls: Tensor, batch: Batch) -> float:
    """How often the thing that [CLS] is surest of is there."""
    seen = batch.present.sum(1) > 0
    best = model.cls_head(cls).argmax(1, keepdim=True)
    return float(batch.present.gather(1, best)[seen].mean())


def layout_for(model: PictureBook, grid: int, slots: list[int]) -> Layout:
    return Layout(model.size, grid * grid, slots)
