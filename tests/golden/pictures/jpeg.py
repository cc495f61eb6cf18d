"""JPEG files: colours, sampling, ways to store."""

import struct

import numpy as np
from PIL import Image, ImageOps

from common import encode, picture, whole

ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, (i // 8 if (i // 8 + i % 8) % 2 else i % 8)))


def jpeg_segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_by_hand(planes, width, height, sampling, quality_step=6):
    """Baseline JPEG with any sampling factors: Pillow writes neither 4:1:1 nor 4:4:0."""
    basis = np.array([[np.cos((2 * n + 1) * k * np.pi / 16) * (0.5 if k else 8**-0.5) for n in range(8)] for k in range(8)])
    h_max, v_max = (max(s[i] for s in sampling) for i in (0, 1))
    mcus_x, mcus_y = -(-width // (8 * h_max)), -(-height // (8 * v_max))
    blocks = []
    for plane, (h, v) in zip(planes, sampling):
        full = np.pad(plane.astype(float), ((0, mcus_y * 8 * v_max - height), (0, mcus_x * 8 * h_max - width)), "edge")
        step_y, step_x = v_max // v, h_max // h
        small = full.reshape(full.shape[0] // step_y, step_y, full.shape[1] // step_x, step_x).mean((1, 3)) - 128
        tiles = small.reshape(mcus_y * v, 8, mcus_x * h, 8).transpose(0, 2, 1, 3)
        blocks.append(np.rint(basis @ tiles @ basis.T / quality_step).astype(int))
    ac_symbols = [r << 4 | s for r in range(16) for s in range(1, 11)] + [0x00, 0xF0]
    bits, previous = [], [0] * len(planes)

    def put(value, length):
        bits.append(format(value & ((1 << length) - 1), f"0{length}b") if length else "")

    def put_number(value, size):
        put(value if value >= 0 else value - 1, size)

    for my in range(mcus_y):
        for mx in range(mcus_x):
            for c, (h, v) in enumerate(sampling):
                for b in range(h * v):
                    scan = blocks[c][my * v + b // h, mx * h + b % h].ravel()[ZIGZAG]
                    difference, previous[c] = int(scan[0]) - previous[c], int(scan[0])
                    size = abs(difference).bit_length()
                    put(size, 4)
                    put_number(difference, size)
                    run = 0
                    for value in map(int, scan[1:]):
                        if value == 0:
                            run += 1
                            continue
                        for _ in range(run // 16):
                            put(ac_symbols.index(0xF0), 8)
                        size = abs(value).bit_length()
                        put(ac_symbols.index(run % 16 << 4 | size), 8)
                        put_number(value, size)
                        run = 0
                    if run:
                        put(ac_symbols.index(0), 8)
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    components = range(1, len(planes) + 1)
    return (
        b"\xff\xd8"
        + jpeg_segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
        + jpeg_segment(0xDB, b"\0" + bytes([quality_step] * 64))
        + jpeg_segment(0xC0, struct.pack(">BHHB", 8, height, width, len(planes)) + b"".join(bytes([i, h << 4 | v, 0]) for i, (h, v) in zip(components, sampling)))
        + jpeg_segment(0xC4, b"\0" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12)))
        + jpeg_segment(0xC4, b"\x10" + bytes([0] * 7 + [len(ac_symbols)] + [0] * 8) + bytes(ac_symbols))
        + jpeg_segment(0xDA, bytes([len(planes)]) + b"".join(bytes([i, 0]) for i in components) + b"\0\x3f\0")
        + scan
        + b"\xff\xd9"
    )


def jpeg_marker(data, marker):
    """Position of the first segment with this marker, stepping over the segments' contents."""
    at = 2
    while data[at + 1] != marker:
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return at


def without_segment(data, marker):
    at = jpeg_marker(data, marker)
    return data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0] :]


def adobe(transform):
    return jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def with_app(data, *segments):
    return data[:2] + b"".join(segments) + data[2:]


def jpeg_cases():
    cases = []

    def add(name, data):
        cases.append(whole(f"{name}.jpg", data))

    rgb = picture(37, 21)
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        for quality in (60, 92):
            for progressive in (False, True):
                name = f"{subsampling.replace(':', '')}_q{quality}{'_progressive' * progressive}"
                add(name, encode(rgb, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive))
    ycc = list(np.moveaxis(np.array(rgb.convert("YCbCr")), -1, 0))
    add("411", jpeg_by_hand(ycc, 37, 21, [(4, 1), (1, 1), (1, 1)]))
    add("440", jpeg_by_hand(ycc, 37, 21, [(1, 2), (1, 1), (1, 1)]))
    add("410", jpeg_by_hand(ycc, 37, 21, [(4, 2), (1, 1), (1, 1)]))
    add("420_cb_only", jpeg_by_hand(ycc, 37, 21, [(2, 2), (1, 1), (2, 2)]))
    large = picture(53, 35)
    add("restart", encode(large, "JPEG", quality=85, restart_marker_blocks=3))
    add("restart_progressive", encode(rgb, "JPEG", quality=85, progressive=True, restart_marker_rows=1))
    add("optimised", encode(rgb, "JPEG", quality=85, optimize=True))
    add("grey", encode(picture(53, 35, "L"), "JPEG", quality=85))
    add("grey_progressive", encode(picture(37, 21, "L"), "JPEG", quality=85, progressive=True))
    for width, height in ((1, 1), (7, 3), (16, 16), (17, 33)):
        add(f"size_{width}x{height}", encode(picture(width, height), "JPEG", quality=85))
    add("size_1x33", encode(picture(1, 33), "JPEG", quality=85, subsampling="4:2:2"))

    kept = encode(rgb, "JPEG", quality=85, keep_rgb=True)
    add("rgb", kept)
    add("rgb_ids_only", without_segment(kept, 0xEE))
    plain = encode(rgb, "JPEG", quality=85)
    bare = without_segment(plain, 0xE0)
    add("ycc_no_marker", bare)
    add("ycc_adobe_1", with_app(bare, adobe(1)))
    add("adobe_0_without_jfif", with_app(bare, adobe(0)))
    add("adobe_0_with_jfif", plain[:20] + adobe(0) + plain[20:])

    cmyk = picture(37, 21, "CMYK")
    stored = encode(cmyk, "JPEG", quality=85)
    add("cmyk", stored)
    add("cmyk_progressive", encode(cmyk, "JPEG", quality=85, progressive=True))
    add("cmyk_no_adobe", without_segment(stored, 0xEE))
    # Pillow inverts all four planes when it saves; Y, Cb and Cr are inverted first so that they arrive as they are.
    c, m, y, k = cmyk.split()
    ycc = [ImageOps.invert(p) for p in Image.merge("RGB", [c, m, y]).convert("YCbCr").split()]
    ycck = encode(Image.merge("CMYK", ycc + [k]), "JPEG", quality=85)
    at = jpeg_marker(ycck, 0xEE) + 15
    add("ycck", ycck[:at] + b"\2" + ycck[at + 1 :])
    return cases
