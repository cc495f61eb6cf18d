"""Files that are cut, and files that are damaged."""

import re
import struct

from common import descending, draw, encode, files, picture, pillow, splice
from exif import entry, tiff
from jpeg import jpeg_marker, jpeg_segment
from png import png, png_chunk


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
