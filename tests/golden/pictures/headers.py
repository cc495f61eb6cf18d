"""How files of other formats start."""

import struct

from common import encode, picture


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
