"""PNG files: depths, palettes, interlacing."""

import struct
import zlib

import numpy as np
from PIL import Image

from common import draw, encode, picture, whole

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_rows(samples, depth):
    lines = []
    for row in samples:
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        elif depth == 8:
            packed = row.astype(np.uint8).tobytes()
        else:
            text = "".join(format(int(v), f"0{depth}b") for v in row.ravel())
            text += "0" * (-len(text) % 8)
            packed = int(text, 2).to_bytes(len(text) // 8, "big")
        lines.append(b"\0" + packed)
    return b"".join(lines)


def png(samples, depth, colour, *chunks, interlaced=False, part=4096):
    height, width = samples.shape[:2]
    if interlaced:
        passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        raw = b"".join(png_rows(p, depth) for p in passes if p.size)
    else:
        raw = png_rows(samples, depth)
    packed = zlib.compress(raw, 9)
    return (
        PNG_MAGIC
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
        + b"".join(chunks)
        + b"".join(png_chunk(b"IDAT", packed[i : i + part]) for i in range(0, len(packed), part))
        + png_chunk(b"IEND", b"")
    )


def png_cases():
    cases = []

    def add(name, *arguments, **options):
        cases.append(whole(f"{name}.png", png(*arguments, **options)))

    width, height = 27, 15
    rgb, grey, rgba = (draw(width, height, c) for c in (3, 1, 4))
    wide = rgb.astype(int) * 257 + (np.arange(width)[None, :, None] * 7 - 120)
    wide = wide.clip(0, 65535)
    wide_alpha = np.dstack([wide, rgba[..., 3].astype(int) * 257])
    for depth in (1, 2, 4, 8):
        add(f"grey{depth}", grey >> (8 - depth), depth, 0)
    add("grey16", wide[..., 1], 16, 0)
    # Values below 256 too: clipping and the high byte differ there.
    add("grey16_dark", np.arange(width * height).reshape(height, width) * 3 % 600, 16, 0)
    add("grey8_trns", grey, 8, 0, png_chunk(b"tRNS", struct.pack(">H", 60)))
    add("grey1_trns", grey >> 7, 1, 0, png_chunk(b"tRNS", struct.pack(">H", 1)))
    add("grey8_alpha", np.dstack([grey, rgba[..., 3]]), 8, 4)
    add("grey16_alpha", np.dstack([wide[..., 1], wide_alpha[..., 3]]), 16, 4)
    add("rgb8", rgb, 8, 2)
    add("rgb8_trns", rgb, 8, 2, png_chunk(b"tRNS", struct.pack(">3H", 230, 40, 60)))
    add("rgb8_gamma", rgb, 8, 2, png_chunk(b"gAMA", struct.pack(">I", 100000)))
    add("rgb16", wide, 16, 2)
    add("rgba8", rgba, 8, 6)
    add("rgba16", wide_alpha, 16, 6)
    palette = png_chunk(b"PLTE", bytes(v for i in range(16) for v in (i * 17, 255 - i * 9, i * 40 % 256)))
    index = grey >> 4
    for depth in (1, 2, 4, 8):
        add(f"palette{depth}", index >> max(4 - depth, 0), depth, 3, palette)
    add("palette_trns", index, 4, 3, palette, png_chunk(b"tRNS", bytes([0, 100, 200, 255])))
    add("palette_trns_one", index, 8, 3, palette, png_chunk(b"tRNS", b"\xff\xff\0"))
    add("palette_short", grey >> 3, 8, 3, palette)
    add("palette_missing", index, 8, 3)
    add("interlaced_rgb8", rgb, 8, 2, interlaced=True)
    add("interlaced_grey1", grey >> 7, 1, 0, interlaced=True)
    add("interlaced_palette4", index, 4, 3, palette, interlaced=True)
    add("interlaced_rgb16", wide, 16, 2, interlaced=True)
    add("interlaced_1x1", rgb[:1, :1], 8, 2, interlaced=True)
    add("interlaced_3x2", rgb[:2, :3], 8, 2, interlaced=True)

    first, second = picture(width, height), picture(width, height).transpose(Image.Transpose.ROTATE_180)
    cases.append(whole("animated.png", encode(first, "PNG", save_all=True, append_images=[second])))
    shown = encode(first, "PNG", save_all=True, append_images=[second, first], default_image=True)
    cases.append(whole("animated_default_image.png", shown))
    return cases
