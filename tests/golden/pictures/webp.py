"""WebP files."""

import struct

from PIL import Image

from common import encode, picture, whole


def riff_chunk(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def webp_extended(data, flags, width, height):
    extended = b"VP8X" + struct.pack("<IB3x", 10, flags) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBP" + extended + data[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_cases():
    rgb, rgba = picture(37, 21), picture(37, 21, "RGBA")
    turned = rgb.transpose(Image.Transpose.ROTATE_180)
    small = picture(21, 13, "RGBA")
    return [
        whole("lossy.webp", encode(rgb, "WEBP", quality=80)),
        whole("lossy_alpha.webp", encode(rgba, "WEBP", quality=80)),
        whole("lossless.webp", encode(rgb, "WEBP", lossless=True)),
        whole("lossless_alpha.webp", encode(rgba, "WEBP", lossless=True)),
        whole("lossless_alpha_exact.webp", encode(rgba, "WEBP", lossless=True, exact=True)),
        whole("size_1x1.webp", encode(picture(1, 1), "WEBP", quality=80)),
        whole("size_7x3.webp", encode(picture(7, 3), "WEBP", quality=80)),
        whole("animated.webp", encode(rgb, "WEBP", save_all=True, append_images=[turned], lossless=True)),
        whole(
            "animated_alpha.webp",
            encode(small, "WEBP", save_all=True, append_images=[picture(21, 13)], lossless=True, exact=True, background=(0, 0, 255, 255)),
        ),
    ]
