"""Orientations in EXIF and XMP, wherever a file has them."""

import io
import struct
import zlib

from PIL import Image

from common import descending, draw, encode, files, picture, pillow, splice, store_pixels
from jpeg import jpeg_marker, jpeg_segment
from png import png, png_chunk
from webp import riff_chunk, webp_extended

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
