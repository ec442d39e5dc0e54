"""Contact sheet: every chip as a small picture with its target outlined."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.components import COMPONENTS
from headframe.core.errors import DatasetError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import Chip, ChipArrays, ChipDataset
from headframe.io.labels import write_rgb_png

CAPTION_PX = 14
GAP_PX = 4
OUTLINE = (255, 214, 0)
CLOUD_OUTLINE = (0, 200, 255)
NODATA = (40, 40, 40)

_Picture = npt.NDArray[np.uint8]


def contact_sheet(
    dataset: ChipDataset,
    out: Path,
    *,
    split: str | None = None,
    limit: int = 48,
    chip_px: int = 160,
    progress: Progress = SILENT,
) -> int:
    """Draw chips in a grid, the target's outline in yellow, cloud's in blue, and write a PNG.

    Components are outlined in their own colours; a legend below names those that are there.

    Args:
        dataset: the data set.
        out: the PNG.
        split: shown alone; all splits by default.
        limit: chips shown at most, taken at regular steps.
        chip_px: side of a chip's picture.
        progress: told of every chip.

    Returns:
        Chips shown.

    Raises:
        DatasetError: no chip with data.
        OutputError: ``out`` cannot be written.
    """
    chips = dataset.chips(split)
    if len(chips) > limit:
        chips = tuple(chips[i] for i in np.linspace(0, len(chips) - 1, limit).astype(int))
    cells = []
    there = 0
    progress.start("Drawing chips", len(chips))
    for chip in chips:
        arrays = dataset.read(chip, target="full")
        if not arrays.empty:
            picture = draw_chip(
                arrays,
                dataset.bands,
                target=len(dataset.manifest.classes) - 1,
                width_px=max(1, -(-max(arrays.label.shape) // chip_px)),
            )
            if arrays.bits is not None:
                there |= int(np.bitwise_or.reduce(arrays.bits[arrays.label != IGNORE_INDEX]))
            cells.append(_cell(picture, chip, chip_px))
        progress.advance()
    progress.finish()
    if not cells:
        raise DatasetError(f"{dataset.root}: no chip with data in split {split or 'all'} to show.")
    write_rgb_png(out, _with_legend(_grid(cells), there))
    return len(cells)


def draw_chip(
    arrays: ChipArrays, bands: tuple[str, ...], *, target: int, width_px: int = 1
) -> _Picture:
    """Draw one chip in its colours (H, W, 3), stretched from 2 to 98 %, classes outlined.

    Chips without red, green and blue are drawn in grey from their first band. Outlines lie just
    inside the classes, ``width_px`` wide: those of cloud and ``target``, or each component's in its
    own colour.
    """
    colors = ("red", "green", "blue")
    chosen = [bands.index(c) for c in colors] if set(colors) <= set(bands) else [0, 0, 0]
    shown = arrays.image[chosen]
    valid = ~np.isnan(shown).any(axis=0)
    low, high = np.percentile(shown[:, valid], [2, 98])
    scaled = (shown - low) / max(float(high - low), 1e-6)
    picture = (np.nan_to_num(scaled).clip(0, 1) ** 0.8 * 255).astype(np.uint8).transpose(1, 2, 0)
    picture = np.ascontiguousarray(picture)
    picture[~valid] = NODATA
    if arrays.bits is not None:
        labelled = np.where(arrays.label == IGNORE_INDEX, 0, arrays.bits)
        layers = [(labelled >> info.index & 1 > 0, info.color) for info in COMPONENTS]
        layers.sort(key=lambda layer: -int(layer[0].sum()))  # small ones on top
    else:
        layers = [(arrays.label == 1, CLOUD_OUTLINE), (arrays.label == target, OUTLINE)]
    for inside, color in layers:
        draw_outline(picture, inside, color, width_px=width_px)
    return picture


def draw_outline(
    picture: _Picture,
    inside: npt.NDArray[np.bool_],
    color: tuple[int, int, int],
    *,
    width_px: int = 1,
) -> None:
    """Draw the outline of a mask (H, W) into a picture (H, W, 3), in place, just inside of it."""
    core = ndimage.binary_erosion(inside, iterations=width_px, border_value=1)
    picture[inside & ~core] = color


def write_sheet(path: Path, pictures: Sequence[tuple[_Picture, Chip]], *, chip_px: int) -> None:
    """Write pictures (H, W, 3) of chips as a grid with captions; nothing where there are none.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    if pictures:
        write_rgb_png(path, _grid([_cell(picture, chip, chip_px) for picture, chip in pictures]))


def _with_legend(sheet: _Picture, bits: int) -> _Picture:
    """Name the components of a mask below the sheet, each in its colour."""
    shown = [info for info in COMPONENTS if bits >> info.index & 1]
    if not shown:
        return sheet
    height, width = sheet.shape[:2]
    canvas = Image.new("RGB", (width, height + CAPTION_PX * len(shown)), (255, 255, 255))
    canvas.paste(Image.fromarray(sheet), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for row, info in enumerate(shown):
        top = height + CAPTION_PX * row
        draw.rectangle((GAP_PX, top + 2, GAP_PX + 16, top + 10), fill=info.color)
        draw.text((GAP_PX + 22, top), info.name.replace("_", " "), fill=(0, 0, 0))
    return np.asarray(canvas)


def _cell(picture: _Picture, chip: Chip, chip_px: int) -> _Picture:
    height, width = picture.shape[:2]
    factor = chip_px / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    canvas = Image.new("RGB", (chip_px, chip_px + CAPTION_PX), (255, 255, 255))
    canvas.paste(Image.fromarray(picture).resize(size, Image.Resampling.BOX), (0, CAPTION_PX))
    caption = chip.key if chip.split is None else f"{chip.split} {chip.key}"
    caption = caption if len(caption) * 6 <= chip_px else "…" + caption[-(chip_px // 6 - 1) :]
    ImageDraw.Draw(canvas).text((2, 1), caption, fill=(0, 0, 0))
    return np.asarray(canvas)


def _grid(cells: list[_Picture]) -> _Picture:
    height, width = cells[0].shape[:2]
    columns = int(np.ceil(np.sqrt(len(cells) * 1.5)))
    rows = -(-len(cells) // columns)
    shape = (rows * (height + GAP_PX) + GAP_PX, columns * (width + GAP_PX) + GAP_PX, 3)
    sheet = np.full(shape, 255, np.uint8)
    for i, cell in enumerate(cells):
        row, col = divmod(i, columns)
        top, left = GAP_PX + row * (height + GAP_PX), GAP_PX + col * (width + GAP_PX)
        sheet[top : top + height, left : left + width] = cell
    return sheet
