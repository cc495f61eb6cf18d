"""Puts what `eval.sh` measured into a page: `eval_page.py PAGE.md FIGURES PLOT.svg`.

What stands in the page behind each line `<!-- NAME.md -->`, up to the line `<!-- end -->`, becomes the file of that
name in the folder FIGURES; PLOT.svg becomes the four plots of that folder, side by side.
"""

import re
import sys
from pathlib import Path

# Plot -> what stands above it, in the order of reading.
PANELS = {
    "unseen-scenes": "unseen scenes",
    "unseen-style": "unseen art style",
    "easy-vqa": "easy-VQA",
    "ablation": "validation: mustdrop with parts changed",
}
COLUMNS = 2
TITLE_HEIGHT = 26


def filled(page: str, figures: Path) -> str:
    """The page with the tables of today."""

    def table(found: re.Match) -> str:
        name = found["name"]
        return f"<!-- {name} -->\n\n{(figures / name).read_text().strip()}\n\n<!-- end -->"

    return re.sub(r"<!-- (?P<name>[\w-]+\.md) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


def joined(figures: Path) -> str:
    """All plots in one."""
    plots = [(figures / f"{name}.svg").read_text() for name in PANELS]
    width, height = (int(re.search(rf'{side}="(\d+)"', plots[0])[1]) for side in ("width", "height"))
    rows = -(-len(plots) // COLUMNS)
    parts = []
    for number, (title, plot) in enumerate(zip(PANELS.values(), plots)):
        x, y = number % COLUMNS * width, number // COLUMNS * (height + TITLE_HEIGHT)
        parts.append(
            f'<text x="{x + width // 2}" y="{y + TITLE_HEIGHT - 6}" font-family="sans-serif" font-size="15"'
            f' text-anchor="middle">{title}</text>'
        )
        parts.append(plot.strip().replace("<svg ", f'<svg x="{x}" y="{y + TITLE_HEIGHT}" ', 1))
    size = f'width="{COLUMNS * width}" height="{rows * (height + TITLE_HEIGHT)}"'
    ground = '<rect width="100%" height="100%" fill="#FFFFFF"/>'
    return "\n".join([f'<svg {size} xmlns="http://www.w3.org/2000/svg">', ground, *parts, "</svg>\n"])


def main() -> None:
    page, figures, plot = (Path(name) for name in sys.argv[1:4])
    page.write_text(filled(page.read_text(), figures))
    plot.write_text(joined(figures))


if __name__ == "__main__":
    main()
