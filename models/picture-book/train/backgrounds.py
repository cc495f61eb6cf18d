"""Grounds to put things on: plain, patterned, and procedural ones that look photographic."""

from dataclasses import dataclass
from typing import Callable

import numpy as np
from PIL import Image

from nouns import BACKGROUND_COLOURS, COLOURS

Rng = np.random.Generator


@dataclass
class Background:
    """Float pixels 0-255, and the colour that a person would name, if there is one."""

    pixels: np.ndarray
    colour: str | None


def fractal_noise(rng: Rng, side: int, coarsest: int, octaves: int, stretch: int = 1) -> np.ndarray:
    """Smooth noise in about -1..1: octaves of random grids, each finer and weaker."""
    total = np.zeros((side, side), np.float32)
    weight = 1.0
    for octave in range(octaves):
        cells = coarsest * 2**octave
        if cells > side:
            break
        grid = rng.standard_normal((max(2, cells // stretch), cells)).astype(np.float32)
        layer = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)
        total += weight * np.asarray(layer)
        weight *= 0.6
    return total / (np.abs(total).max() + 1e-6)


def _colour(rng: Rng, jitter: float = 12.0) -> tuple[str, np.ndarray]:
    name = COLOURS[rng.integers(len(COLOURS))]
    value = np.array(BACKGROUND_COLOURS[name], np.float32)
    return name, value + rng.uniform(-jitter, jitter, 3).astype(np.float32)


def _shaded(rng: Rng, shade: np.ndarray, strength: float) -> Background:
    """One colour, made lighter and darker by a field in -1..1."""
    name, value = _colour(rng)
    return Background(value + shade[..., None] * np.float32(strength), name)


def _ramp(rng: Rng, side: int) -> np.ndarray:
    """A linear ramp from -1 to 1 in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    line = np.linspace(-1, 1, side, dtype=np.float32)
    ramp = np.cos(angle) * line[None, :] + np.sin(angle) * line[:, None]
    return (ramp / np.abs(ramp).max()).astype(np.float32)


def flat(rng: Rng, side: int) -> Background:
    return _shaded(rng, np.zeros((side, side), np.float32), 0)


def gradient(rng: Rng, side: int) -> Background:
    return _shaded(rng, _ramp(rng, side), rng.uniform(8, 28))


def grainy(rng: Rng, side: int) -> Background:
    """Sensor-like noise, the same in all channels."""
    grain = rng.standard_normal((side, side)).astype(np.float32)
    return _shaded(rng, grain, rng.uniform(3, 16))


def mottled(rng: Rng, side: int) -> Background:
    """Paper or plaster: clouds of light and dark in one colour."""
    noise = fractal_noise(rng, side, int(rng.integers(2, 16)), 5)
    return _shaded(rng, noise, rng.uniform(10, 34))


def striped(rng: Rng, side: int) -> Background:
    """Stripes or checks in two shades of one colour."""
    period = rng.uniform(8, 60)
    stripes = np.sign(np.sin(_ramp(rng, side) * side * np.pi / period))
    if rng.random() < 0.5:
        across = np.sign(np.sin(np.arange(side, dtype=np.float32) * 2 * np.pi / period))
        stripes = across[:, None] * across[None, :]
    return _shaded(rng, stripes.astype(np.float32), rng.uniform(5, 20))


def blobs(rng: Rng, side: int) -> Background:
    """Out-of-focus discs in lighter and darker shades of one colour."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    shade = np.zeros((side, side), np.float32)
    for _ in range(rng.integers(4, 12)):
        y, x = rng.uniform(0, side, 2)
        radius = rng.uniform(0.05, 0.2) * side
        edge = (radius - np.hypot(rows - y, columns - x)) / (0.15 * radius)
        shade += rng.uniform(-1, 1) * np.clip(edge, 0, 1)
    return _shaded(rng, np.clip(shade, -1, 1), rng.uniform(10, 30))


def grass(rng: Rng, side: int) -> Background:
    """Upright or lying blades in one colour."""
    noise = fractal_noise(rng, side, 48, 3, stretch=8)
    if rng.random() < 0.3:
        noise = noise.T
    return _shaded(rng, noise, rng.uniform(20, 42))


def two_tone(rng: Rng, side: int) -> Background:
    """Two colours on the two sides of a line: no colour that one could name."""
    mask = (_ramp(rng, side) > rng.uniform(-0.35, 0.35))[..., None]
    return Background(np.where(mask, _colour(rng)[1], _colour(rng)[1]), None)


def marble(rng: Rng, side: int) -> Background:
    """Two or three colours that flow into one another."""
    mix = np.clip(fractal_noise(rng, side, int(rng.integers(2, 8)), 6) * 1.5 + 0.5, 0, 1)[..., None]
    pixels = _colour(rng, 40)[1] * mix + _colour(rng, 40)[1] * (1 - mix)
    veins = np.clip(fractal_noise(rng, side, 4, 5) * 2, 0, 1)[..., None]
    return Background(pixels * (1 - veins) + _colour(rng, 40)[1] * veins, None)


def landscape(rng: Rng, side: int) -> Background:
    """Sky with clouds over hilly ground, grain over all."""
    sky = np.array([rng.uniform(90, 190), rng.uniform(140, 205), rng.uniform(190, 245)], np.float32)
    clouds = np.clip(fractal_noise(rng, side, 3, 6) * 1.6, 0, 1)[..., None]
    sky_pixels = sky * (1 - clouds) + np.float32(rng.uniform(200, 250)) * clouds
    ground = np.array([rng.uniform(60, 165), rng.uniform(80, 150), rng.uniform(35, 100)], np.float32)
    texture = fractal_noise(rng, side, 24, 4, stretch=int(rng.integers(1, 6)))[..., None]
    ground_pixels = ground + texture * np.float32(rng.uniform(20, 55))
    hills = fractal_noise(rng, side, 2, 4)[0] * side * 0.1 + side * rng.uniform(0.25, 0.75)
    is_ground = np.arange(side, dtype=np.float32)[:, None] > hills[None, :]
    pixels = np.where(is_ground[..., None], ground_pixels, sky_pixels)
    grain = rng.standard_normal((side, side, 1)).astype(np.float32) * rng.uniform(0, 9)
    return Background(pixels + grain, None)


def bokeh(rng: Rng, side: int) -> Background:
    """A blurred room: large soft patches of many colours, with grain."""
    cells = int(rng.integers(3, 9))
    grid = (rng.uniform(20, 235, (cells, cells, 3)) * 0.7 + rng.uniform(0, 60)).astype(np.uint8)
    blurred = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)
    grain = rng.standard_normal((side, side, 1)).astype(np.float32) * rng.uniform(2, 12)
    return Background(np.asarray(blurred).astype(np.float32) + grain, None)


# kind -> weight
KINDS: dict[Callable[[Rng, int], Background], float] = {
    flat: 0.10, gradient: 0.10, grainy: 0.08, mottled: 0.12, striped: 0.10, blobs: 0.08,
    grass: 0.10, two_tone: 0.06, marble: 0.08, landscape: 0.12, bokeh: 0.06,
}
# Those of one colour that a person would name.
ONE_COLOUR = {
    kind: KINDS[kind] for kind in (flat, gradient, grainy, mottled, striped, blobs, grass)
}
ONE_COLOUR[flat] = 0.25


def _chances(kinds: dict) -> tuple[list, np.ndarray]:
    weights = np.array(list(kinds.values()))
    return list(kinds), weights / weights.sum()


_ANY, _PLAIN = _chances(KINDS), _chances(ONE_COLOUR)


def background(rng: Rng, side: int, of_one_colour: bool = False) -> Background:
    """A background of a random kind."""
    kinds, weights = _PLAIN if of_one_colour else _ANY
    return kinds[rng.choice(len(kinds), p=weights)](rng, side)
