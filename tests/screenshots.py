"""Takes the pictures in docs/screenshots of a real report: ``python -m tests.screenshots REPORT docs/screenshots``.

The report is the README's example: ``parity compare --prompt "Hello world" --candidates
transformers@variant=attn-scale-sqrt-d --report REPORT``.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from tests.browser import Sheet, browser

VIEWS = {"first": "#top", "depth": "#depth", "house": "#house", "step": "#step-1"}
"""What is at the top of each picture."""
COLOURS = 256
"""Flat colours and text look the same with so few, at a third of the size; fewer would merge levels of the scale."""


def take(page: Path, folder: Path) -> None:
    """Write a picture of each view, and the first screen on a phone in the dark."""
    folder.mkdir(parents=True, exist_ok=True)
    with browser() as started:
        for name, fragment in VIEWS.items():
            _take(Sheet(started, page), fragment, folder / f"{name}.png")
        _take(Sheet(started, page, width=390, scheme="dark"), "#house", folder / "phone.png")


def _take(sheet: Sheet, fragment: str, file: Path) -> None:
    sheet.open(fragment.removeprefix("#"))
    if not fragment.startswith("#step-"):  # which the page itself shows from its top
        sheet.page.evaluate("fragment => document.querySelector(fragment).scrollIntoView()", fragment)
    sheet.page.wait_for_timeout(300)
    picture = Image.open(io.BytesIO(sheet.page.screenshot()))
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    sheet.context.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]).absolute() / "index.html", Path(sys.argv[2]))
