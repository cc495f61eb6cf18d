"""Training batches: patches, dense labels and packed questions, a pure function of the seeds."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import easy_vqa
import questions
from nouns import GLYPHS, NOUN_ID, NOUNS
from scene import IGNORED, PAGE, PATCH, Plan, Scene, draw, patch_labels
from vocabulary import EOS, encode, question_ids

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# Slots for the two questions whose answers are lists, then for short ones.
LIST_SLOTS, LIST_LENGTH = 2, 28
SHORT_SLOTS, SHORT_LENGTH = 16, 13
SLOTS = [LIST_LENGTH] * LIST_SLOTS + [SHORT_LENGTH] * SHORT_SLOTS

EASY_VQA_SHARE = 0.15
CLASSES = len(NOUNS) + len(easy_vqa.SHAPES)


@dataclass
class Batch:
    """`P` pictures of `N` patches; -100 and nan mark what is not judged."""

    patches: Tensor  # [P, N, 588]
    labels: Tensor  # [P, N] noun or background colour
    centres: Tensor  # [P, N] 1 where a thing's centre is, nan where unknown
    coordinates: Tensor  # [P, N, 4] own x, y and the owner's x, y, each -1..1 over the page
    glyphs: Tensor  # [P, N]
    present: Tensor  # [P, CLASSES], or a row of zeros
    offsets: Tensor | None  # [P, 2] where a window lies on the page, in patches
    ids: Tensor | None  # [P, T]
    targets: Tensor | None  # [P, T]
    kinds: list[list[str]]  # the kind of the question in each slot


def normalised_patches(pixels: np.ndarray) -> Tensor:
    """Pictures `[P, S, S, 3]` as rows for the patch embedding, `[P, N, 588]`."""
    count, side = pixels.shape[:2]
    grid = side // PATCH
    cells = pixels.reshape(count, grid, PATCH, grid, PATCH, 3).transpose(0, 1, 3, 5, 2, 4)
    values = torch.from_numpy(np.ascontiguousarray(cells)).float().div_(255)
    values -= torch.tensor(MEAN)[:, None, None]
    values /= torch.tensor(STD)[:, None, None]
    return values.reshape(count, grid * grid, 3 * PATCH * PATCH)


def _dense(scene: Scene, offset: tuple[int, int] | None = None) -> dict[str, np.ndarray]:
    """Labels of all patches; with an offset, of a window that lies there on the page."""
    labels, owners = patch_labels(scene)
    grid = labels.shape[0]
    page = PAGE // PATCH if offset else grid
    top, left = offset or (0, 0)

    def on_page(patches, start: int):
        return (np.asarray(patches, np.float32) + start) / page * 2 - 1

    centres = np.zeros((grid, grid), np.float32)
    coordinates = np.full((grid, grid, 4), np.nan, np.float32)
    line = np.arange(grid) + 0.5
    coordinates[..., 0] = on_page(line, left)[None]
    coordinates[..., 1] = on_page(line, top)[:, None]
    glyphs = np.full((grid, grid), IGNORED, np.int64)
    for index, thing in enumerate(scene.things):
        centres[int(thing.y // PATCH), int(thing.x // PATCH)] = 1
        own = owners == index
        coordinates[own, 2] = on_page(thing.x / PATCH, left)
        coordinates[own, 3] = on_page(thing.y / PATCH, top)
        if thing.glyph is not None:
            glyphs[own] = GLYPHS.index(thing.glyph)
    return {"labels": labels, "centres": centres, "coordinates": coordinates, "glyphs": glyphs}


def _present(scene: Scene) -> np.ndarray:
    row = np.zeros(CLASSES, np.float32)
    row[[NOUN_ID[thing.noun] for thing in scene.things]] = 1
    return row


def windows(seeds: list[int], grid: int) -> Batch:
    """Small scenes that lie anywhere on the page, for the vision tower alone."""
    parts: dict[str, list] = {key: [] for key in ("labels", "centres", "coordinates", "glyphs")}
    pixels, present, offsets = [], [], []
    plan = Plan(side=grid * PATCH, most=3, sign=0.25, order=False)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        offset = tuple(int(n) for n in rng.integers(0, PAGE // PATCH - grid + 1, 2))
        scene = draw(rng, plan)
        for key, values in _dense(scene, offset).items():
            parts[key].append(values)
        pixels.append(scene.pixels)
        present.append(_present(scene))
        offsets.append(offset)
    return _batch(pixels, parts, present, torch.tensor(offsets), None)


def pictures(seeds: list[int], side: int, easy_vqa_share: float = EASY_VQA_SHARE) -> Batch:
    """Whole pictures with packed questions: scenes, and easy-VQA's training pictures."""
    parts: dict[str, list] = {key: [] for key in ("labels", "centres", "coordinates", "glyphs")}
    pixels, present, asked = [], [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        if rng.random() < easy_vqa_share:
            picture, dense, classes, texts = _easy_vqa(rng, side)
        else:
            scene = draw(rng, plan_for(side))
            picture, dense = scene.pixels, _dense(scene)
            classes = _present(scene)
            texts = (
                questions.lists(scene)[:LIST_SLOTS],
                questions.balanced(rng, scene, SHORT_SLOTS),
            )
        pixels.append(picture)
        present.append(classes)
        asked.append(texts)
        for key, values in dense.items():
            parts[key].append(values)
    return _batch(pixels, parts, present, None, asked)


def plan_for(side: int) -> Plan:
    """A full page holds up to six things; a smaller picture fewer."""
    if side == PAGE:
        return Plan()
    return Plan(side=side, most=4)


def _easy_vqa(rng: np.random.Generator, side: int):
    grid = side // PATCH
    known = easy_vqa.questions("train")
    number = int(rng.integers(len(known)))
    dense = {
        "labels": np.full((grid, grid), IGNORED, np.int64),
        "centres": np.full((grid, grid), np.nan, np.float32),
        "coordinates": np.full((grid, grid, 4), np.nan, np.float32),
        "glyphs": np.full((grid, grid), IGNORED, np.int64),
    }
    classes = np.zeros(CLASSES, np.float32)
    shape = easy_vqa.shape("train", number)
    if shape is not None:
        classes[len(NOUNS) + shape] = 1
    texts = [questions.Question("easy-vqa", q, a) for q, a in known[number]]
    picture = easy_vqa.picture("train", number, side, mirrored=rng.random() < 0.5)
    return picture, dense, classes, ([], texts[:SHORT_SLOTS])


def pictures_alone(pixels: np.ndarray) -> Batch:
    """Pictures of which nothing is known, `[P, 336, 336, 3]`."""
    count, grid = len(pixels), pixels.shape[1] // PATCH
    unknown = np.full((count, grid, grid), IGNORED, np.int64)
    nowhere = np.full((count, grid, grid, 4), np.nan, np.float32)
    parts = {"labels": list(unknown), "glyphs": list(unknown), "coordinates": list(nowhere)}
    parts["centres"] = list(nowhere[..., 0])
    return _batch(list(pixels), parts, [np.zeros(CLASSES, np.float32)] * count, None, None)


def pack(
    long: list[questions.Question], short: list[questions.Question]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Token ids of all slots and the tokens to predict; empty slots are not judged."""
    ids = np.zeros(sum(SLOTS), np.int64)
    targets = np.full(sum(SLOTS), IGNORED, np.int64)
    kinds, start = [], 0
    padded = long + [None] * (LIST_SLOTS - len(long)) + short
    padded += [None] * (len(SLOTS) - len(padded))
    for question, length in zip(padded, SLOTS):
        kinds.append(question.kind if question else "")
        if question:
            prompt, answer = question_ids(question.text), (*encode(question.answer), EOS)
            fed = prompt + answer[:-1]
            if len(fed) > length:
                raise ValueError(f"{question} needs {len(fed)} tokens of {length}")
            ids[start : start + len(fed)] = fed
            first = start + len(prompt) - 1
            targets[first : first + len(answer)] = answer
        start += length
    return ids, targets, kinds


def _batch(pixels, parts, present, offsets, asked) -> Batch:
    count = len(pixels)
    dense = {key: torch.from_numpy(np.stack(values)) for key, values in parts.items()}
    ids = targets = None
    kinds: list[list[str]] = []
    if asked is not None:
        packed = [pack(*texts) for texts in asked]
        ids = torch.from_numpy(np.stack([p[0] for p in packed]))
        targets = torch.from_numpy(np.stack([p[1] for p in packed]))
        kinds = [p[2] for p in packed]
    return Batch(
        patches=normalised_patches(np.stack(pixels)),
        labels=dense["labels"].reshape(count, -1),
        centres=dense["centres"].reshape(count, -1),
        coordinates=dense["coordinates"].reshape(count, -1, 4),
        glyphs=dense["glyphs"].reshape(count, -1),
        present=torch.from_numpy(np.stack(present)),
        offsets=offsets,
        ids=ids,
        targets=targets,
        kinds=kinds,
    )
