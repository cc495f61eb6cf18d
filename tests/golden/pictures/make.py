"""Writes the pictures of this folder, pixels.bin and expected.json. See README.md."""

import json

import PIL

from common import HERE, files, pixels
from damage import damaged_cases
from exif import exif_cases
from headers import header_cases
from jpeg import jpeg_cases
from png import png_cases
from webp import webp_cases


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
