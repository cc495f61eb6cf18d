"""The drawn things: emoji pictures of one art style, resized and turned, and signs."""

import functools
import json

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import paths
from nouns import EMOJI

# The side the packages draw emoji at; other styles are brought to it first.
SOURCE_SIDE = 64
MAX_ANGLE = 15.0
# Alpha -> whether it counts as drawn.
_DRAWN = [255 * (alpha > 24) for alpha in range(256)]

_EMOJI_FOLDERS = {"noto": "google", "twemoji": "twitter"}

# (board, glyph and border)
_SIGN_COLOURS = (
    ((250, 250, 250), (20, 20, 20)),
    ((250, 250, 250), (190, 25, 25)),
    ((250, 215, 60), (20, 20, 20)),
    ((30, 70, 170), (255, 255, 255)),
    ((20, 110, 60), (255, 255, 255)),
    ((30, 30, 30), (255, 240, 120)),
)


@functools.cache
def _emoji_by_short_name() -> dict[str, dict]:
    with (paths.PACKAGES / "noto/package/emoji.json").open() as file:
        return {name: entry for entry in json.load(file) for name in entry["short_names"]}


@functools.cache
def _source(noun: str, style: str) -> Image.Image:
    """The emoji of a noun, cropped to what is drawn."""
    entry = _emoji_by_short_name()[EMOJI[noun]]
    if style == "fluent":
        assets = paths.PACKAGES / "fluent/package/assets"
        code = entry["unified"].lower()
        names = (f"{code}.webp", f"{code.replace('-fe0f', '')}.webp")
        path = next(assets / name for name in names if (assets / name).exists())
    else:
        folder = _EMOJI_FOLDERS[style]
        path = paths.PACKAGES / style / f"package/img/{folder}/64" / entry["image"]
    picture = Image.open(path).convert("RGBA")
    if max(picture.size) > SOURCE_SIDE:
        picture = picture.resize((SOURCE_SIDE, SOURCE_SIDE), Image.Resampling.LANCZOS)
    return _cropped(picture)


def _cropped(picture: Image.Image) -> Image.Image:
    return picture.crop(picture.getchannel("A").point(_DRAWN).getbbox())


def emoji(rng: np.random.Generator, noun: str, style: str, side: float) -> np.ndarray:
    """RGBA pixels of a noun whose longer side is about `side` pixels."""
    source = _source(noun, style)
    # A little stretching, so that no two pictures of a noun are alike.
    stretch = np.exp(rng.uniform(-0.1, 0.1, 2))
    scale = side / max(source.size) * stretch
    width, height = (max(6, round(n * s)) for n, s in zip(source.size, scale))
    picture = source.resize((width, height), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = rng.uniform(-MAX_ANGLE, MAX_ANGLE)
    picture = _cropped(picture.rotate(angle, Image.Resampling.BILINEAR, expand=True))
    pixels = np.asarray(picture).astype(np.float32)
    pixels[..., :3] = np.clip(pixels[..., :3] * rng.uniform(0.85, 1.1), 0, 255)
    return pixels


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def sign(rng: np.random.Generator, glyph: str, side: float) -> np.ndarray:
    """RGBA pixels of a board that shows one letter (as a capital) or digit."""
    # Drawn four times as large, then reduced: smooth edges.
    large = max(16, round(side)) * 4
    board, ink = _SIGN_COLOURS[rng.integers(len(_SIGN_COLOURS))]
    picture = Image.new("RGBA", (large, large), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    radius = large * float(rng.choice([0.03, 0.12, 0.25]))
    box = (0, 0, large - 1, large - 1)
    draw.rounded_rectangle(box, radius, (*board, 255), (*ink, 255), max(4, large // 18))
    font = _font(round(large * rng.uniform(0.66, 0.84)))
    stroke = int(large * rng.choice([0.0, 0.012, 0.025]))
    centre = (large / 2, large / 2)
    draw.text(centre, glyph.upper(), (*ink, 255), font, anchor="mm", stroke_width=stroke)
    picture = picture.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC, expand=True)
    side_after = max(8, round(picture.width / 4))
    picture = picture.resize((side_after, side_after), Image.Resampling.BOX)
    return np.asarray(_cropped(picture)).astype(np.float32)
