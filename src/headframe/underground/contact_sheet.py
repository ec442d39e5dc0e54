"""Contact sheets of frames: each as it is and, beside it, stretched so that dark ones show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from headframe.io.images import Pixels, write_image

CELL_PX = (300, 130)
"""Width and height of one frame's cell: two pictures side by side above two lines of words."""
COLUMNS, ROWS = 4, 8

_PAPER, _INK, _QUIET = (250, 250, 248), (20, 20, 20), (110, 110, 110)
_TEXT_PX = 30


@dataclass(frozen=True)
class Cell:
    """One frame on a sheet.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, of any size.
        name: first line under it.
        note: second line.
        beside: what stands beside it; None: the frame stretched.
    """

    pixels: Pixels
    name: str
    note: str
    beside: Pixels | None = None


def thumbnail(pixels: Pixels) -> Pixels:
    """Reduce a frame to what a sheet shows of it, so that few bytes wait for their page."""
    return _fit(pixels, CELL_PX[0] // 2, CELL_PX[1] - _TEXT_PX)


def write_sheets(cells: Iterable[Cell], path: Path, *, title: str) -> list[Path]:
    """Draw frames in order onto as many sheets as they need.

    Args:
        cells: frames, taken page by page; none gives no sheet.
        path: PNG of the first sheet; the others are numbered, ``kept-2.png``.
        title: at the top of each.

    Returns:
        What was written.
    """
    written: list[Path] = []
    waiting = iter(cells)
    while page := list(islice(waiting, COLUMNS * ROWS)):
        number = len(written) + 1
        target = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        write_image(target, _page(page, f"{title}, sheet {number}"))
        written.append(target)
    return written


def _page(cells: Sequence[Cell], title: str) -> Pixels:
    wide, tall = CELL_PX
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (wide + 8) + 8, rows * (tall + 8) + 32), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    draw.text((8, 8), title, fill=_INK, font=ImageFont.load_default(14))
    for number, cell in enumerate(cells):
        x = 8 + (number % COLUMNS) * (wide + 8)
        y = 32 + (number // COLUMNS) * (tall + 8)
        small = thumbnail(cell.pixels)
        other = _stretched(small) if cell.beside is None else thumbnail(cell.beside)
        for shift, shown in ((0, small), (wide // 2, other)):
            sheet.paste(Image.fromarray(shown), (x + shift, y))
        below = y + tall - _TEXT_PX
        draw.text((x, below + 2), _short(cell.name, wide, font), fill=_INK, font=font)
        draw.text((x, below + 15), _short(cell.note, wide, font), fill=_QUIET, font=font)
    return np.asarray(sheet)


def _fit(pixels: Pixels, wide: int, tall: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = min(wide / width, tall / height, 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _stretched(pixels: Pixels) -> Pixels:
    """Spread the 1st to 99th percentile over the whole range, alike in all three channels."""
    low, high = np.percentile(pixels, (1, 99))
    spread = (pixels.astype(np.float32) - low) / max(float(high - low), 1.0)
    return np.asarray(np.clip(spread, 0, 1) * 255, np.uint8)


def _short(text: str, wide: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut a text at its beginning until it fits: the end of a file's name tells frames apart."""
    if font.getlength(text) <= wide:
        return text
    while text and font.getlength(f"…{text}") > wide:
        text = text[1:]
    return f"…{text}"
