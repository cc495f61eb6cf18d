"""Scenes: things placed freely on a background, and what is known about every patch."""

from dataclasses import dataclass

import numpy as np

import backgrounds
import sprites
from nouns import COLOURS, EMOJI_NOUNS, GLYPHS, NOUN_ID, NOUNS, SIGN
from splits import TRAINING_STYLES

PATCH = 14
PAGE = 336

SMALLEST = 28
LARGEST = 200

# Patch labels: nouns, then background colours, then "a background of no one colour".
BACKGROUND_LABEL = len(NOUNS) + len(COLOURS)
IGNORED = -100

# A patch is named after a thing that covers a quarter of it; one that is less covered, but not
# clear, is not judged.
_NAMED_PIXELS = PATCH * PATCH // 4
_CLEAR_PIXELS = PATCH * PATCH // 20

# Lists go from left to right, so centres of a "listable" scene must differ clearly.
LIST_GAP = 34.0


@dataclass
class Thing:
    """A thing in a scene; coordinates are those of its whole box, in pixels."""

    noun: str
    x: float
    y: float
    width: int
    height: int
    pixels: int
    visible: int
    glyph: str | None = None


@dataclass
class Scene:
    """A picture and all that is known about it."""

    pixels: np.ndarray
    things: list[Thing]
    background: str | None
    owner: np.ndarray

    @property
    def side(self) -> int:
        return self.pixels.shape[0]


@dataclass
class Plan:
    """What a scene may hold."""

    side: int = PAGE
    least: int = 1
    most: int = 6
    styles: tuple[str, ...] = TRAINING_STYLES
    listable: float = 0.5
    sign: float = 0.4
    # Whether listable scenes keep the centres of things apart.
    order: bool = True
    # The share of simple pictures: one to three large things on one colour.
    simple: float = 0.25


def _nouns(rng: np.random.Generator, count: int, plan: Plan) -> tuple[list[str], bool]:
    """Nouns of a scene, and whether it shall be listable (all different, clear order)."""
    chosen = [EMOJI_NOUNS[i] for i in rng.choice(len(EMOJI_NOUNS), count, replace=False)]
    has_sign = rng.random() < plan.sign
    if has_sign:
        chosen[0] = SIGN
    listable = rng.random() < plan.listable
    first = int(has_sign)
    if not listable and count - first >= 2:
        # Several of one kind, so that counting is worth a question.
        copies = int(rng.integers(2, count - first + 1))
        chosen[first : first + copies] = [chosen[first]] * copies
    rng.shuffle(chosen)
    return chosen, listable


def _stands_out(sprite: np.ndarray, below: np.ndarray) -> bool:
    """Whether most of a thing differs from what it covers."""
    solid = sprite[..., 3] > 128
    difference = np.abs(sprite[..., :3] - below).max(-1)[solid]
    return difference.size > 0 and float((difference > 42).mean()) > 0.5


def _paste(pixels: np.ndarray, sprite: np.ndarray, top: int, left: int) -> None:
    height, width = sprite.shape[:2]
    below = pixels[top : top + height, left : left + width]
    alpha = sprite[..., 3:] / 255
    below += (sprite[..., :3] - below) * alpha


def _covers_too_much(window: np.ndarray, solid: np.ndarray, things, noun) -> bool:
    """Whether a thing put here would hide too much of one that is there already.

    `window` says whose pixels the new thing's box has so far.
    """
    hidden = np.bincount(window[solid] + 1, minlength=len(things) + 1)[1:]
    for thing, lost in zip(things, hidden):
        small = max(thing.width, thing.height) < 40 or thing.noun == SIGN
        least_visible = 0.97 if small else 0.72
        # Copies of one noun stay apart, or nobody could count them.
        small = small or thing.noun == noun
        if lost and thing.visible - lost < least_visible * thing.pixels:
            return True
    return False


def draw(rng: np.random.Generator, plan: Plan) -> Scene:
    """Draws a scene: fewer things than wished for, if they find no fair place."""
    side = plan.side
    simple = rng.random() < plan.simple
    ground = backgrounds.background(rng, side, of_one_colour=simple)
    pixels = np.ascontiguousarray(np.clip(ground.pixels, 0, 255).astype(np.float32))
    owner = np.full((side, side), -1, np.int16)
    count = int(rng.integers(plan.least, (min(3, plan.most) if simple else plan.most) + 1))
    wished, listable = _nouns(rng, count, plan)
    largest = min(LARGEST, side * 0.85)
    # Things of one scene are of one order of size, or not: density and scale vary freely.
    scene_side = np.exp(rng.uniform(np.log(SMALLEST * 1.25), np.log(largest)))
    scene_spread = rng.choice([0.15, 0.4, 0.8])
    if simple:
        scene_side = np.exp(rng.uniform(np.log(0.2), np.log(0.6))) * side
        scene_spread = 0.25
    things: list[Thing] = []
    for noun in wished:
        wanted = float(np.clip(scene_side * np.exp(rng.normal(0, scene_spread)), SMALLEST, largest))
        thing = _place(rng, plan, pixels, owner, things, noun, wanted, listable)
        if thing is not None:
            things.append(thing)
    if not things:
        return draw(rng, plan)
    pixels = np.clip(pixels + 0.5, 0, 255).astype(np.uint8)
    return Scene(pixels, things, ground.colour, owner)


def _place(rng, plan, pixels, owner, things, noun, wanted, listable) -> Thing | None:
    """Puts one thing on the page, smaller after each few failures."""
    side = plan.side
    gap = LIST_GAP * side / PAGE if listable and plan.order else 0.0
    for attempt in range(16):
        if attempt % 4 == 0:
            size = max(SMALLEST, wanted * 0.8 ** (attempt // 4))
            glyph = None
            if noun == SIGN:
                glyph = GLYPHS[rng.integers(len(GLYPHS))]
                sprite = sprites.sign(rng, glyph, min(max(size, 32), 110))
            else:
                style = plan.styles[rng.integers(len(plan.styles))]
                sprite = sprites.emoji(rng, noun, style, size)
            height, width = sprite.shape[:2]
        if max(height, width) >= side:
            continue
        top, left = int(rng.integers(0, side - height)), int(rng.integers(0, side - width))
        x, y = left + width / 2, top + height / 2
        if any(abs(x - other.x) < gap for other in things):
            continue
        window = (slice(top, top + height), slice(left, left + width))
        solid = sprite[..., 3] > 128
        if _covers_too_much(owner[window], solid, things, noun):
            continue
        if not _stands_out(sprite, pixels[window]):
            continue
        _paste(pixels, sprite, top, left)
        for index, lost in enumerate(np.bincount(owner[window][solid] + 1)[1:]):
            things[index].visible -= int(lost)
        owner[window][solid] = len(things)
        area = int(solid.sum())
        return Thing(noun, x, y, width, height, area, area, glyph)
    return None


def patch_owners(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The index of the thing that each patch is named after, or -1; and which patches are clear."""
    grid = scene.side // PATCH
    cells = scene.owner.reshape(grid, PATCH, grid, PATCH).transpose(0, 2, 1, 3)
    cells = cells.reshape(grid, grid, -1)
    owners = np.full((grid, grid), -1, np.int64)
    most = np.full((grid, grid), _NAMED_PIXELS - 1)
    for index in range(len(scene.things)):
        covered = (cells == index).sum(-1)
        larger = covered > most
        owners[larger] = index
        most[larger] = covered[larger]
    return owners, (cells >= 0).sum(-1) <= _CLEAR_PIXELS


def patch_labels(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The label and the owner of every patch, both `[rows, columns]`."""
    owners, clear = patch_owners(scene)
    ground = BACKGROUND_LABEL
    if scene.background is not None:
        ground = len(NOUNS) + COLOURS.index(scene.background)
    labels = np.where(clear, ground, IGNORED)
    for index, thing in enumerate(scene.things):
        labels[owners == index] = NOUN_ID[thing.noun]
    return labels, owners
