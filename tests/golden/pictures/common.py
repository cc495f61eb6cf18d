"""What all of these pictures are drawn, encoded and judged with."""

import io
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent
warnings.simplefilter("ignore")

files = {}
pixels = bytearray()
pixel_offsets = {}


def draw(width, height, channels=3):
    y, x = np.mgrid[0:height, 0:width]
    across, down = x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1)
    texture = ((x * 5) ^ (y * 3)) % 32
    planes = np.stack([across, down, 255 - (across + down) // 2], -1) * 7 // 8
    planes = planes + texture[..., None]
    disc = (x * 10 - width * 3) ** 2 + (y * 10 - height * 4) ** 2 < (min(width, height) * 2) ** 2
    planes[disc] = (230, 40, 60)
    planes[(x * 8 > width * 5) & (x * 8 < width * 7) & (y * 8 > height * 4) & (y * 8 < height * 5)] = (20, 120, 220)
    planes[height // 2 :, : width // 6] //= 3
    rgb = planes.clip(0, 255).astype(np.uint8)
    if channels == 1:
        return rgb[..., 1]
    alpha = ((x * 3 + y * 5) % 256).astype(np.uint8)
    return np.dstack([rgb, alpha]) if channels == 4 else rgb


def picture(width, height, mode="RGB"):
    if mode == "CMYK":
        cmyk = np.dstack([255 - draw(width, height), draw(width, height, 4)[..., 3] // 3])
        return Image.fromarray(cmyk, "CMYK")
    return Image.fromarray(draw(width, height, {"L": 1, "RGB": 3, "RGBA": 4}[mode]))


def encode(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def splice(data, splices):
    for at, remove, insert in splices:
        data = data[:at] + bytes.fromhex(insert) + data[at + remove :]
    return data


def descending(*splices):
    """Later positions first, so that the positions hold when they are applied in this order."""
    return sorted(([at, remove, bytes(insert).hex()] for at, remove, insert in splices), reverse=True)


def pillow(data):
    """The picture as transformers loads it, or the error as text."""
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        return image.size, image.tobytes()
    except Exception as error:
        return f"{type(error).__name__}: {re.sub('<_io.*>', 'FILE', str(error))}"


def store_pixels(raw):
    if raw not in pixel_offsets:
        pixel_offsets[raw] = len(pixels)
        pixels.extend(raw)
    return pixel_offsets[raw]


def whole(name, data):
    files[name] = data
    result = pillow(data)
    if isinstance(result, str):
        return {"file": name, "error": result}
    (width, height), raw = result
    return {"file": name, "width": width, "height": height, "offset": store_pixels(raw)}
