"""Writes the pictures of this folder, pixels.bin and expected.json. See README.md."""

import io
import json
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
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


# ---- JPEG

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


# ---- PNG

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


# ---- WebP


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


# ---- EXIF

ORIENTATION = 274
TYPES = {"byte": 1, "ascii": 2, "short": 3, "long": 4, "rational": 5, "sbyte": 6, "undefined": 7, "sshort": 8}
TYPES |= {"slong": 9, "srational": 10, "float": 11, "double": 12, "ifd": 13, "long8": 16}
LETTERS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q"}


def entry(endian, kind, *values, tag=ORIENTATION, count=None):
    number = TYPES.get(kind, kind)
    if kind == "ascii":
        body = values[0]
    elif kind in ("rational", "srational"):
        body = struct.pack(endian + f"{len(values)}{'I' if kind == 'rational' else 'i'}", *values)
    else:
        body = struct.pack(endian + f"{len(values)}{LETTERS.get(number, 'H')}", *values)
    if count is None:
        count = len(values) // 2 if "rational" in str(kind) else len(body) if kind == "ascii" else len(values)
    return tag, number, count, body


def tiff(endian, *entries, at=8, count=None, after=b"\0\0\0\0", magic=42):
    head = (b"II" if endian == "<" else b"MM") + struct.pack(endian + "HI", magic, at) + b"\0" * (at - 8)
    rest_at = at + 2 + 12 * len(entries) + len(after)
    table, rest = b"", b""
    for tag, kind, number, body in entries:
        if len(body) > 4:
            value = struct.pack(endian + "I", rest_at + len(rest))
            rest += body
        else:
            value = body.ljust(4, b"\0")
        table += struct.pack(endian + "HHI", tag, kind, number) + value
    return head + struct.pack(endian + "H", len(entries) if count is None else count) + table + after + rest


def simple(value=6, endian=">", kind="short"):
    return tiff(endian, entry(endian, kind, value))


def xmp(body):
    return b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description' + body + b"</rdf:RDF></x:xmpmeta>"


XMP_ATTRIBUTE = xmp(b' tiff:Orientation="6"/>')
XMP_ELEMENT = xmp(b"><tiff:Orientation>6</tiff:Orientation></rdf:Description>")


def exif_blocks():
    make = (0x010F, 2, 8, b"Camera\0\0")
    for value in range(1, 9):
        yield f"value_{value}", simple(value)
        yield f"value_{value}_little_long", simple(value, "<", "long")
    for value in (0, 9, 255, 6 << 8):
        yield f"value_{value}", simple(value)
    for endian, side in ((">", "big"), ("<", "little")):
        for kind in ("byte", "long", "sbyte", "sshort", "slong", "undefined", "float", "double", "ifd", "long8"):
            yield f"{kind}_{side}", simple(6, endian, kind)
        yield f"ascii_{side}", tiff(endian, entry(endian, "ascii", b"6\0"))
        yield f"rational_{side}", tiff(endian, entry(endian, "rational", 6, 1))
        yield f"srational_{side}", tiff(endian, entry(endian, "srational", 12, 2))
        yield f"short_count_2_{side}", tiff(endian, entry(endian, "short", 6, 3))
        yield f"short_count_3_{side}", tiff(endian, entry(endian, "short", 6, 3, 8))
        yield f"long_count_2_{side}", tiff(endian, entry(endian, "long", 6, 3))
        yield f"short_count_0_{side}", tiff(endian, entry(endian, "short", 6, count=0))
        yield f"short_in_wrong_half_{side}", tiff(endian, (ORIENTATION, 3, 1, b"\0\0" + struct.pack(endian + "H", 6)))
        yield f"type_0_{side}", tiff(endian, entry(endian, 0, 6))
        yield f"type_14_{side}", tiff(endian, entry(endian, 14, 6))
    yield "negative_sshort", simple(-6, ">", "sshort")
    yield "long_beyond_short", simple(65542, ">", "long")
    yield "float_6_5", simple(6.5, ">", "float")
    yield "rational_zero_denominator", tiff(">", entry(">", "rational", 6, 0))
    yield "behind_other_tag", tiff("<", make, entry("<", "short", 6))
    yield "unsorted_tags", tiff(">", entry(">", "short", 6), make)
    yield "twice_first_wins", tiff(">", entry(">", "short", 6), entry(">", "short", 3))
    yield "twice_first_of_unknown_type", tiff(">", entry(">", 14, 3), entry(">", "short", 6))
    yield "twice_first_invalid", tiff(">", entry(">", "short", 0), entry(">", "short", 6))
    yield "directory_at_40", tiff("<", entry("<", "short", 6), at=40)
    second = tiff(">", entry(">", "short", 6))[8:]
    yield "second_directory_only", tiff(">", make[:3] + (b"Cam\0",), after=struct.pack(">I", 26)) + second
    yield "exif_directory_only", tiff(">", (0x8769, 4, 1, struct.pack(">I", 26))) + second
    yield "magic_swapped", simple().replace(b"MM\0*", b"MM*\0")
    yield "bigtiff_big", b"MM\0\x2b\0\x08\0\0" + struct.pack(">QQHHQH6xQ", 16, 1, ORIENTATION, 3, 1, 6, 0)
    yield "bigtiff_little", b"II\x2b\0\x08\0\0\0" + struct.pack("<QQHHQH6xQ", 16, 1, ORIENTATION, 3, 1, 6, 0)
    yield "prefix_twice", b"Exif\0\0" + simple()
    yield "no_next_directory", tiff(">", entry(">", "short", 6), after=b"")
    yield "count_too_high", tiff(">", entry(">", "short", 6), count=9)
    yield "count_zero", tiff(">", entry(">", "short", 6), count=0)
    yield "cut_in_directory", simple()[:16]
    yield "cut_before_directory", simple()[:8]
    yield "cut_in_header", simple()[:6]
    yield "empty", b""
    yield "directory_beyond_end", b"MM\0*" + struct.pack(">I", 9999) + simple()[8:]
    yield "value_beyond_end", tiff(">", (ORIENTATION, 3, 3, struct.pack(">I", 9999)))
    yield "other_value_beyond_end_first", tiff(">", (0x010F, 2, 20, struct.pack(">I", 9999)), entry(">", "short", 6))
    yield "other_value_too_large_first", tiff(">", (0x010F, 2, 9999, struct.pack(">I", 26)), entry(">", "short", 6))
    yield "header_not_tiff", b"XX" + simple()[2:]
    yield "header_wrong_magic", simple().replace(b"\0*", b"\0!", 1)


def exif_cases():
    plain = picture(21, 13)
    bases = {
        "small.jpg": encode(plain, "JPEG", quality=85),
        # Pillow reads EXIF while opening a JPEG that states no resolution, and swallows errors there.
        "small_dpi.jpg": encode(plain, "JPEG", quality=85, dpi=(72, 72)),
        "small.png": png(draw(21, 13), 8, 2),
        # EXIF and XMP flags are set, the chunks are spliced in.
        "small.webp": webp_extended(encode(plain, "WEBP", lossless=True), 0x0C, 21, 13),
    }
    files.update(bases)
    untransposed = {name: Image.open(io.BytesIO(data)).convert("RGB") for name, data in bases.items()}
    methods = [None] + [getattr(Image.Transpose, m) for m in "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90".split()]
    cases = []

    def add(name, file, *splices):
        base = bases[file]
        if file.endswith("webp"):
            splices += ((4, 4, struct.pack("<I", len(base) - 8 + sum(len(i) - r for _, r, i in splices))),)
        ordered = descending(*splices)
        case = {"case": name, "file": file, "splices": ordered}
        result = pillow(splice(base, ordered))
        if isinstance(result, str):
            case["error"] = result
        else:
            (case["width"], case["height"]), raw = result
            same = [i for i, m in enumerate(methods, 1) if (untransposed[file].transpose(m) if m is not None else untransposed[file]).tobytes() == raw]
            (case["orientation"],) = same
            case["offset"] = store_pixels(raw)
        cases.append(case)

    def jpeg_exif(block, prefix=b"Exif\0\0"):
        return jpeg_segment(0xE1, prefix + block)

    def jpeg_xmp(block):
        return jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + block)

    behind_jfif = 20
    for name, block in exif_blocks():
        add(f"jpeg_{name}", "small.jpg", (behind_jfif, 0, jpeg_exif(block)))
        if any(word in name for word in ("cut", "empty", "header", "count", "beyond", "large", "zero", "bigtiff")):
            add(f"jpeg_dpi_{name}", "small_dpi.jpg", (behind_jfif, 0, jpeg_exif(block)))
    jpeg = bases["small.jpg"]
    add("jpeg_none", "small.jpg")
    add("jpeg_before_jfif", "small.jpg", (2, 0, jpeg_exif(simple())))
    add("jpeg_before_scan", "small.jpg", (jpeg_marker(jpeg, 0xDA), 0, jpeg_exif(simple())))
    add("jpeg_behind_scan", "small.jpg", (len(jpeg) - 2, 0, jpeg_exif(simple())))
    add("jpeg_behind_end", "small.jpg", (len(jpeg), 0, jpeg_exif(simple())))
    add("jpeg_prefix_not_zero", "small.jpg", (2, 0, jpeg_exif(simple(), b"Exif\0\1")))
    add("jpeg_in_app2", "small.jpg", (2, 0, jpeg_segment(0xE2, b"Exif\0\0" + simple())))
    add("jpeg_two_blocks", "small.jpg", (2, 0, jpeg_exif(simple(6)) + jpeg_exif(simple(3))))
    add("jpeg_split_block", "small.jpg", (2, 0, jpeg_exif(simple(6)[:15]) + jpeg_exif(simple(6)[15:])))
    no_orientation = tiff(">", (0x010F, 2, 4, b"Cam\0"))
    for kind, file in (("jpeg", "small.jpg"), ("jpeg_dpi", "small_dpi.jpg")):
        add(f"{kind}_xmp_attribute", file, (2, 0, jpeg_xmp(XMP_ATTRIBUTE)))
        add(f"{kind}_xmp_with_bad_exif", file, (2, 0, jpeg_exif(b"garbage") + jpeg_xmp(XMP_ATTRIBUTE)))
        add(f"{kind}_xmp_behind_exif", file, (2, 0, jpeg_exif(no_orientation) + jpeg_xmp(XMP_ATTRIBUTE)))
    add("jpeg_xmp_before_exif", "small.jpg", (2, 0, jpeg_xmp(XMP_ATTRIBUTE) + jpeg_exif(no_orientation)))
    add("jpeg_xmp_element", "small.jpg", (2, 0, jpeg_xmp(XMP_ELEMENT)))
    add("jpeg_xmp_single_quotes", "small.jpg", (2, 0, jpeg_xmp(XMP_ATTRIBUTE.replace(b'"6"', b"'6'"))))
    add("jpeg_xmp_space", "small.jpg", (2, 0, jpeg_xmp(XMP_ATTRIBUTE.replace(b'="6"', b' = "6"'))))
    add("jpeg_xmp_element_space", "small.jpg", (2, 0, jpeg_xmp(XMP_ELEMENT.replace(b">6<", b"> 6 <"))))
    add("jpeg_xmp_exif_prefix", "small.jpg", (2, 0, jpeg_xmp(XMP_ATTRIBUTE.replace(b"tiff:", b"exif:"))))
    add("jpeg_xmp_value_0", "small.jpg", (2, 0, jpeg_xmp(XMP_ATTRIBUTE.replace(b'"6"', b'"0"'))))
    add("jpeg_xmp_value_9", "small.jpg", (2, 0, jpeg_xmp(XMP_ATTRIBUTE.replace(b'"6"', b'"9"'))))
    add("jpeg_xmp_value_66", "small.jpg", (2, 0, jpeg_xmp(XMP_ATTRIBUTE.replace(b'"6"', b'"66"'))))
    add("jpeg_xmp_utf16", "small.jpg", (2, 0, jpeg_xmp(XMP_ATTRIBUTE.decode().encode("utf-16"))))
    add("jpeg_xmp_and_exif_1", "small.jpg", (2, 0, jpeg_exif(simple(1)) + jpeg_xmp(XMP_ATTRIBUTE)))
    add("jpeg_xmp_and_exif_0", "small.jpg", (2, 0, jpeg_exif(simple(0)) + jpeg_xmp(XMP_ATTRIBUTE)))
    add("jpeg_xmp_and_exif_byte", "small.jpg", (2, 0, jpeg_exif(simple(3, ">", "byte")) + jpeg_xmp(XMP_ATTRIBUTE)))
    add("jpeg_xmp_twice", "small.jpg", (2, 0, jpeg_xmp(XMP_ATTRIBUTE) + jpeg_xmp(XMP_ATTRIBUTE.replace(b'"6"', b'"3"'))))
    add("jpeg_xmp_extended", "small.jpg", (2, 0, jpeg_segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + XMP_ATTRIBUTE)))

    data = bases["small.png"]
    front, behind = data.index(b"IDAT") - 4, data.index(b"IEND") - 4

    def raw_profile(block, what=b"exif"):
        text = block.hex().encode()
        lines = b"\n".join(text[i : i + 72] for i in range(0, len(text), 72))
        return b"\n" + what + b"\n%8d\n" % len(block) + lines + b"\n"

    def text_chunk(kind, key, value):
        body = {
            b"tEXt": b"\0" + value,
            b"zTXt": b"\0\0" + zlib.compress(value),
            b"iTXt": b"\0\0\0\0\0" + value,
            b"iTXz": b"\0\1\0\0\0" + zlib.compress(value),
        }[kind]
        return png_chunk(b"iTXt" if kind == b"iTXz" else kind, key + body)

    for place, at in (("front", front), ("behind", behind)):
        add(f"png_{place}", "small.png", (at, 0, png_chunk(b"eXIf", simple())))
        add(f"png_{place}_little_long", "small.png", (at, 0, png_chunk(b"eXIf", simple(6, "<", "long"))))
        for kind in (b"tEXt", b"zTXt", b"iTXt", b"iTXz"):
            label = kind.decode().lower()
            key = b"Raw profile type exif"
            add(f"png_{place}_raw_profile_{label}", "small.png", (at, 0, text_chunk(kind, key, raw_profile(b"Exif\0\0" + simple()))))
            add(f"png_{place}_xmp_{label}", "small.png", (at, 0, text_chunk(kind, b"XML:com.adobe.xmp", XMP_ATTRIBUTE)))
    add("png_behind_end", "small.png", (len(data), 0, png_chunk(b"eXIf", simple())))
    add("png_with_prefix", "small.png", (front, 0, png_chunk(b"eXIf", b"Exif\0\0" + simple())))
    add("png_two_chunks", "small.png", (front, 0, png_chunk(b"eXIf", simple(6))), (behind, 0, png_chunk(b"eXIf", simple(3))))
    for kind in (b"tEXt", b"zTXt"):
        add(f"png_key_exif_{kind.decode().lower()}", "small.png", (front, 0, text_chunk(kind, b"exif", simple())))
    add("png_raw_profile_without_prefix", "small.png", (front, 0, text_chunk(b"tEXt", b"Raw profile type exif", raw_profile(simple()))))
    add("png_raw_profile_app1", "small.png", (front, 0, text_chunk(b"tEXt", b"Raw profile type APP1", raw_profile(b"Exif\0\0" + simple(), b"APP1"))))
    add("png_raw_profile_not_hex", "small.png", (front, 0, text_chunk(b"tEXt", b"Raw profile type exif", b"\nexif\n  4\nzz zz\n")))
    add("png_raw_profile_and_exif", "small.png", (front, 0, text_chunk(b"tEXt", b"Raw profile type exif", raw_profile(simple(3))) + png_chunk(b"eXIf", simple(6))))
    add("png_xmp_and_exif_without_orientation", "small.png", (front, 0, png_chunk(b"eXIf", no_orientation) + text_chunk(b"iTXt", b"XML:com.adobe.xmp", XMP_ATTRIBUTE)))
    wrong_crc = bytearray(png_chunk(b"eXIf", simple()))
    wrong_crc[-1] ^= 1
    add("png_front_wrong_crc", "small.png", (front, 0, wrong_crc))
    add("png_behind_wrong_crc", "small.png", (behind, 0, wrong_crc))

    end = len(bases["small.webp"])
    image_at = 30
    for value in range(1, 9):
        add(f"webp_value_{value}", "small.webp", (end, 0, riff_chunk(b"EXIF", simple(value))))
    add("webp_with_prefix", "small.webp", (end, 0, riff_chunk(b"EXIF", b"Exif\0\0" + simple())))
    add("webp_little_long", "small.webp", (end, 0, riff_chunk(b"EXIF", simple(6, "<", "long"))))
    add("webp_before_image", "small.webp", (image_at, 0, riff_chunk(b"EXIF", simple())))
    add("webp_flag_not_set", "small.webp", (20, 1, b"\0"), (end, 0, riff_chunk(b"EXIF", simple())))
    add("webp_two_chunks", "small.webp", (end, 0, riff_chunk(b"EXIF", simple(6)) + riff_chunk(b"EXIF", simple(3))))
    add("webp_xmp_attribute", "small.webp", (end, 0, riff_chunk(b"XMP ", XMP_ATTRIBUTE)))
    add("webp_xmp_element", "small.webp", (end, 0, riff_chunk(b"XMP ", XMP_ELEMENT)))
    add("webp_xmp_and_exif_1", "small.webp", (end, 0, riff_chunk(b"EXIF", simple(1)) + riff_chunk(b"XMP ", XMP_ATTRIBUTE)))
    for name, block in exif_blocks():
        if name in ("empty", "cut_in_header", "cut_before_directory", "cut_in_directory", "header_not_tiff", "directory_beyond_end", "byte_big"):
            if block:
                add(f"png_{name}", "small.png", (front, 0, png_chunk(b"eXIf", block)))
                add(f"webp_{name}", "small.webp", (end, 0, riff_chunk(b"EXIF", block)))
    return cases


# ---- Cut and damaged files


def verdict(data, reference):
    result = pillow(data)
    return {"error": result} if isinstance(result, str) else {"same_pixels": result == reference}


def accepted_lengths(data):
    """Every length that Pillow accepts, as inclusive ranges."""
    ranges = []
    for length in range(len(data) + 1):
        if isinstance(pillow(data[:length]), str):
            continue
        if ranges and ranges[-1][1] == length - 1:
            ranges[-1][1] = length
        else:
            ranges.append([length, length])
    return ranges


def damaged_cases():
    large = picture(200, 150)
    baseline = encode(large, "JPEG", quality=60)
    thumbnail = encode(picture(40, 30), "JPEG", quality=60)
    thumbnail_exif = tiff("<", entry("<", "short", 1), after=struct.pack("<I", 26))
    ifd1_at = len(thumbnail_exif)
    thumbnail_exif += tiff("<", entry("<", "long", ifd1_at + 30, tag=0x0201), entry("<", "long", len(thumbnail), tag=0x0202))[8:] + thumbnail
    sources = {
        "cut_baseline.jpg": baseline,
        "cut_progressive.jpg": encode(large, "JPEG", quality=60, progressive=True),
        "cut_restart.jpg": encode(large, "JPEG", quality=60, restart_marker_rows=1),
        "cut_grey.jpg": encode(picture(200, 150, "L"), "JPEG", quality=60),
        # The one of these that Pillow accepts without its end marker: see README.md.
        "cut_end_not_needed.jpg": encode(picture(67, 45), "JPEG", quality=60),
        "cut_444.jpg": encode(picture(67, 45), "JPEG", quality=90, subsampling="4:4:4"),
        "cut_thumbnail.jpg": baseline[:20] + jpeg_segment(0xE1, b"Exif\0\0" + thumbnail_exif) + baseline[20:],
        "cut_two.mpo": encode(picture(100, 75), "MPO", save_all=True, append_images=[picture(80, 60)], quality=60),
        "cut.png": png(draw(71, 47), 8, 2, part=1024),
        "cut_interlaced.png": png(draw(41, 29), 8, 2, interlaced=True, part=1024),
        "cut_lossy.webp": encode(large, "WEBP", quality=60),
        "cut_lossless.webp": encode(picture(67, 45), "WEBP", lossless=True),
        "cut_lossy_alpha.webp": encode(picture(67, 45, "RGBA"), "WEBP", quality=60),
    }
    files.update(sources)
    cut_cases, damage_cases = [], []

    def damage(name, file, *splices):
        ordered = descending(*splices)
        changed = splice(sources[file], ordered)
        damage_cases.append({"case": name, "file": file, "splices": ordered, **verdict(changed, pillow(sources[file]))})

    for file, data in sources.items():
        reference = pillow(data)
        (width, height), _ = reference
        ranges = accepted_lengths(data)
        points = {int(len(data) * part) for part in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)}
        points |= {0, 1, 2, 12, 24} | {len(data) - n for n in (0, 1, 2, 3, 4, 8, 12, 16, 20)}
        points |= {p for r in ranges for p in (r[0] - 1, r[0], r[1])}
        if data[:2] == b"\xff\xd8":
            scan = jpeg_marker(data, 0xDA)
            points |= {jpeg_marker(data, m) + n for m in (0xDB, 0xC4, 0xDA) for n in (0, 1, 3, 10)} | {scan + 14, scan + 15}
            points |= {m.end() for m in re.finditer(b"\xff\xd9", data)}
        cuts = [{"cut": p, **verdict(data[:p], reference)} for p in sorted(points) if 0 <= p <= len(data)]
        for cut in cuts:
            if file.endswith("jpg") and len(data) - 2 <= cut["cut"] < len(data):
                cut["only_end_marker_missing"] = True
        cut_cases.append({"file": file, "length": len(data), "width": width, "height": height, "accepted": ranges, "cuts": cuts})

    def flipped(data, at, mask=0xFF):
        return (at, 1, bytes([data[at] ^ mask]))

    for file in ("cut_baseline.jpg", "cut_progressive.jpg", "cut_restart.jpg", "cut_grey.jpg"):
        data, kind = sources[file], file[4:-4]
        size, scan = len(data), jpeg_marker(data, 0xDA)
        for part in (0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
            at = scan + int((size - scan) * part)
            damage(f"{kind}_flip_{part}", file, flipped(data, at))
            damage(f"{kind}_bit_{part}", file, flipped(data, at, 0x10))
        middle = scan + (size - scan) // 2
        scan_data = scan + 2 + struct.unpack(">H", data[scan + 2 : scan + 4])[0]
        damage(f"{kind}_garbage_behind", file, (size, 0, b"garbage behind the end" * 3))
        damage(f"{kind}_zeros_behind", file, (size, 0, bytes(100)))
        damage(f"{kind}_zeros_for_end", file, (size - 2, 2, bytes(100)))
        damage(f"{kind}_early_end", file, (middle, 0, b"\xff\xd9"))
        damage(f"{kind}_half_and_end", file, (middle, size - middle, b"\xff\xd9"))
        damage(f"{kind}_half_and_100_zeros", file, (middle, size - middle, bytes(100)))
        damage(f"{kind}_half_and_900_zeros", file, (middle, size - middle, bytes(900)))
        damage(f"{kind}_half_removed_from_middle", file, (middle, (size - middle) // 2, b""))
        damage(f"{kind}_zeroed_40_bytes", file, (middle, 40, bytes(40)))
        damage(f"{kind}_headers_and_end", file, (scan_data, size - scan_data, b"\xff\xd9"))
        damage(f"{kind}_fill_before_markers", file, *[(jpeg_marker(data, m), 0, b"\xff\xff") for m in (0xDB, 0xC4, 0xDA)], (size - 2, 0, b"\xff\xff"))
        damage(f"{kind}_junk_before_marker", file, (jpeg_marker(data, 0xDB), 0, b"\0\1\2"))
        damage(f"{kind}_marker_in_scan", file, (middle, 0, b"\xff\xe5\0\4ab"))
        damage(f"{kind}_wrong_restart", file, (middle, 0, b"\xff\xd5"))
    data = sources["cut_restart.jpg"]
    marks = [m.start() for m in re.finditer(b"\xff[\xd0-\xd7]", data)]
    damage("restart_interval_removed", "cut_restart.jpg", (marks[2], marks[3] - marks[2], b""))
    damage("restart_marker_renumbered", "cut_restart.jpg", (marks[2] + 1, 1, b"\xd7"))
    no_tables = sources["cut_baseline.jpg"]
    at = jpeg_marker(no_tables, 0xC4)
    damage("baseline_huffman_tables_removed", "cut_baseline.jpg", (at, jpeg_marker(no_tables, 0xDA) - at, b""))
    at = jpeg_marker(no_tables, 0xDB)
    damage("baseline_quantisation_tables_removed", "cut_baseline.jpg", (at, jpeg_marker(no_tables, 0xC0) - at, b""))
    at = jpeg_marker(no_tables, 0xC0)
    damage("baseline_height_doubled", "cut_baseline.jpg", (at + 5, 2, struct.pack(">H", 300)))
    damage("baseline_height_17_more", "cut_baseline.jpg", (at + 5, 2, struct.pack(">H", 167)))
    damage("baseline_height_halved", "cut_baseline.jpg", (at + 5, 2, struct.pack(">H", 75)))
    damage("baseline_height_zero", "cut_baseline.jpg", (at + 5, 2, b"\0\0"))

    for file in ("cut.png", "cut_interlaced.png"):
        data, kind = sources[file], file[:-4].replace("cut", "png")
        first, end = data.index(b"IDAT"), data.index(b"IEND")
        last = data.rindex(b"IDAT")
        length = struct.unpack(">I", data[last - 4 : last])[0]
        damage(f"{kind}_no_end_chunk", file, (end - 4, 12, b""))
        damage(f"{kind}_end_chunk_without_crc", file, (end + 4, 4, b""))
        damage(f"{kind}_end_chunk_wrong_crc", file, flipped(data, end + 5))
        damage(f"{kind}_garbage_behind", file, (len(data), 0, b"garbage behind the end" * 3))
        damage(f"{kind}_garbage_for_end_chunk", file, (end - 4, 12, b"garbage behind the pixels"))
        damage(f"{kind}_last_data_wrong_crc", file, flipped(data, last + 4 + length + 1))
        damage(f"{kind}_flip_in_data", file, flipped(data, first + 700))
        damage(f"{kind}_wrong_zlib_checksum", file, flipped(data, last + 4 + length - 1))
        damage(f"{kind}_header_wrong_crc", file, flipped(data, 30))
        damage(f"{kind}_no_data_chunk", file, (first - 4, end - first, b""))
        damage(f"{kind}_last_data_removed", file, (last - 4, length + 12, b""))
        damage(f"{kind}_text_wrong_crc_in_front", file, (first - 4, 0, png_chunk(b"tEXt", b"a\0b")[:-1] + b"\0"))
        damage(f"{kind}_text_wrong_crc_behind", file, (end - 4, 0, png_chunk(b"tEXt", b"a\0b")[:-1] + b"\0"))
        damage(f"{kind}_unknown_critical_chunk", file, (first - 4, 0, png_chunk(b"ABCD", b"x")))
        damage(f"{kind}_cut_text_behind", file, (end - 4, 12, png_chunk(b"tEXt", b"a\0" + b"b" * 50)[:30]))
    data = sources["cut.png"]
    first = data.index(b"IDAT")
    damage("png_first_data_wrong_crc", "cut.png", flipped(data, first + 4 + 1024 + 1))
    damage("png_first_data_removed", "cut.png", (first - 4, 1024 + 12, b""))
    damage("png_chunk_between_data", "cut.png", (first + 4 + 1024 + 4, 0, png_chunk(b"tEXt", b"a\0b")))

    for file in ("cut_lossy.webp", "cut_lossless.webp", "cut_lossy_alpha.webp"):
        data, kind = sources[file], file[4:-5]
        size = len(data)
        for part in (0.3, 0.6, 0.9):
            damage(f"webp_{kind}_flip_{part}", file, flipped(data, int(size * part)))
        damage(f"webp_{kind}_garbage_behind", file, (size, 0, b"garbage behind the end"))
        damage(f"webp_{kind}_cut_with_sizes_as_if_whole", file, (size * 3 // 4, size - size * 3 // 4, bytes(size - size * 3 // 4)))
        damage(f"webp_{kind}_riff_size_too_large", file, (4, 4, struct.pack("<I", size + 92)))
        damage(f"webp_{kind}_riff_size_too_small", file, (4, 4, struct.pack("<I", size // 2)))
    return cut_cases, damage_cases


# ---- Starts of other formats


def box(kind, body, size=None):
    return struct.pack(">I", len(body) + 8 if size is None else size) + kind + body


def ftyp(major, *compatible):
    return box(b"ftyp", major + bytes(4) + b"".join(compatible)) + box(b"meta", bytes(24))


def header_cases():
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0h9v9z"/></svg>'
    prolog = b'<?xml version="1.0" encoding="UTF-8"?>\n'
    doctype = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">\n'
    small = picture(5, 3)
    listed = {
        "HEIC": {
            "heic": ftyp(b"heic", b"mif1", b"heic", b"miaf"),
            "heix": ftyp(b"heix", b"mif1", b"heix"),
            "hevc": ftyp(b"hevc", b"msf1", b"hevc"),
            "mif1": ftyp(b"mif1", b"mif1", b"heic"),
            "msf1": ftyp(b"msf1", b"msf1", b"hevc"),
        },
        "AVIF": {
            "avif": ftyp(b"avif", b"avif", b"mif1", b"miaf"),
            "avis": ftyp(b"avis", b"avis", b"msf1"),
            "mif1": ftyp(b"mif1", b"mif1", b"avif", b"miaf"),
        },
        "GIF": {"87a": b"GIF87a" + encode(small, "GIF")[6:48], "89a": b"GIF89a" + encode(small, "GIF")[6:48]},
        "BMP": {"info": encode(small, "BMP")[:60], "core": b"BM" + struct.pack("<IIIIHHHH", 74, 0, 26, 12, 5, 3, 1, 24) + bytes(24)},
        "TIFF": {
            "little": b"II*\0" + struct.pack("<IHHHII", 8, 1, 256, 3, 1, 5) + bytes(16),
            "big": b"MM\0*" + struct.pack(">IHHHII", 8, 1, 256, 3, 1, 5 << 16) + bytes(16),
            "bigtiff_little": b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + bytes(24),
            "bigtiff_big": b"MM\0+\0\x08\0\0" + struct.pack(">Q", 16) + bytes(24),
        },
        "PDF": {"plain": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"},
        "SVG": {
            "plain": svg,
            "prolog": prolog + svg,
            "bom": b"\xef\xbb\xbf" + prolog + svg,
            "bom_plain": b"\xef\xbb\xbf" + svg,
            "whitespace": b"\n \t\r\n" + svg,
            "comment": b"<!-- drawn by hand -->\n" + svg,
            "prolog_comment_doctype": prolog + b"<!-- drawn by hand -->\n" + doctype + svg,
            "prefixed": prolog + svg.replace(b"<svg xmlns=", b"<svg:svg xmlns:svg="),
            "utf16": (prolog + svg).decode().encode("utf-16"),
        },
        "JPEG 2000": {
            "jp2": box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", bytes(16)),
            "codestream": b"\xff\x4f\xff\x51\0\x2f\0\0" + struct.pack(">IIII", 5, 3, 0, 0) + bytes(16),
        },
        "JPEG XL": {
            "codestream": b"\xff\x0a\xfa\x7f\x01\x90\x08\x06\x01\0\x98\0" + bytes(20),
            "container": box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ") + box(b"jxlc", bytes(16)),
        },
        "PSD": {"plain": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 3, 5, 8, 3) + bytes(12)},
        "ICO": {"ico": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\0\0\x16\0\0\0" + bytes(16), "cur": b"\0\0\2\0\1\0\x10\x10\0\0\1\0\1\0\x68\4\0\0\x16\0\0\0" + bytes(16)},
        "DDS": {"plain": b"DDS " + struct.pack("<IIIIIII", 124, 0x1007, 3, 5, 20, 0, 0) + bytes(20)},
        "EXR": {"plain": b"v/1\1\2\0\0\0channels\0chlist\0" + bytes(24)},
        "HDR": {"radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 3 +X 5\n", "rgbe": b"#?RGBE\nFORMAT=32-bit_rle_rgbe\n\n-Y 3 +X 5\n"},
        "QOI": {"plain": b"qoif" + struct.pack(">IIBB", 5, 3, 3, 0) + bytes(24)},
        "PNM": {f"P{n}": b"P%d\n# drawn by hand\n5 3\n" % n + (b"" if n in (1, 4) else b"255\n") + b"1 0 1 1 0 1 0 0 1 0 1 1 1 0 1\n" for n in range(1, 7)},
        "ZIP": {"plain": b"PK\3\4\x14\0\0\0\x08\0" + bytes(16) + b"\5\0\0\0a.txt", "empty": b"PK\5\6" + bytes(18)},
        "gzip": {"plain": b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + bytes(20)},
        "MP4": {
            "isom": box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41") + box(b"moov", bytes(16)),
            "mp42": box(b"ftyp", b"mp42\0\0\0\0mp42isom") + box(b"mdat", bytes(16)),
        },
        "MOV": {
            "ftyp": box(b"ftyp", b"qt  \0\0\2\0qt  ") + box(b"wide", b"") + box(b"mdat", bytes(16)),
            "moov_first": box(b"moov", box(b"mvhd", bytes(24))),
        },
        "WebM": {"plain": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\xf7\x81\1\x42\xf2\x81\4\x42\xf3\x81\x08\x42\x82\x84webm\x42\x87\x81\4"},
        "HTML": {
            "doctype": b"<!DOCTYPE html>\n<html><head><title>Not found</title></head>",
            "lower_case": b"<!doctype html><html lang=en><meta charset=utf-8>",
            "plain": b"<html>\n<body><h1>403 Forbidden</h1></body></html>",
            "whitespace": b"\r\n\r\n<HTML><HEAD><TITLE>Error</TITLE></HEAD>",
            "with_svg": b"<!DOCTYPE html><html><body>" + svg,
        },
        "JSON": {"object": b'{"error": "not found", "status": 404}\n', "array": b'[{"file": "a.jpg"}]\n'},
        "text": {
            "ascii": b"This is not a picture.\n",
            "utf8": "Das ist kein Bild: \u00e4\u00f6\u00fc\n".encode(),
            "utf16_little": b"\xff\xfe" + "This is not a picture.\n".encode("utf-16-le"),
            "utf16_big": b"\xfe\xff" + "This is not a picture.\n".encode("utf-16-be"),
        },
        "empty": {"plain": b""},
        "Git LFS pointer": {"plain": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0123456789abcdef" * 4 + b"\nsize 23793\n"},
        "unknown": {"bytes": bytes(range(128, 192)), "zeros": bytes(64), "one_byte": b"\xff"},
    }
    return [{"format": name, "case": case, "hex": data.hex()} for name, cases in listed.items() for case, data in cases.items()]


def main():
    expected = {"pillow": PIL.__version__, "jpeg": jpeg_cases(), "png": png_cases(), "webp": webp_cases(), "exif": exif_cases()}
    cuts, damaged = damaged_cases()
    expected |= {"cut": cuts, "damaged": damaged, "headers": header_cases()}
    for name, data in files.items():
        (HERE / name).write_bytes(data)
    (HERE / "pixels.bin").write_bytes(pixels)
    lists = []
    for key, value in expected.items():
        body = "[\n" + ",\n".join(json.dumps(v) for v in value) + "\n]" if isinstance(value, list) else json.dumps(value)
        lists.append(f"{json.dumps(key)}: {body}")
    (HERE / "expected.json").write_text("{\n" + ",\n".join(lists) + "\n}\n")


if __name__ == "__main__":
    main()
