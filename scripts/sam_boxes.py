"""What do SAM's masks add to boxes? Mean IoU of masks prompted with true boxes, and of the boxes.

Photographs with COCO instances: every object that covers at least ``--min-px`` pixels of its
photograph is prompted with its own box. The masks of the base are compared with the drawn ones at
the photograph's size, and so is the box itself, filled: a base that is real beats it clearly.

    nice python scripts/sam_boxes.py                          # LiteMedSAM, minutes on one core
    python scripts/sam_boxes.py --base sam_vit_b.pth --images 8
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from headframe.core.errors import HeadframeError, MissingFileError
from headframe.engine.bases import base_state, find_base
from headframe.models.sam import Prompts, Sam, build_sam

DATA = Path(__file__).resolve().parents[2] / "shared/data/coco200/val"
MIN_PX = 1500
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Photograph:
    """One photograph and its objects.

    Attributes:
        path: of the picture.
        masks: (B, H, W), drawn outlines, filled.
        boxes: (B, 4), x0, y0, x1, y1 in pixels, edges.
    """

    path: Path
    masks: BoolArray
    boxes: NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """IoU with the drawn mask, of one object."""

    sam: float
    box: float


def photographs(folder: Path, *, min_px: int) -> Iterator[Photograph]:
    """Photographs that have objects of ``min_px`` pixels; crowds are left out."""
    index = folder / "instances.json"
    if not index.is_file():
        raise MissingFileError(f"{index}: no COCO instances. Give --data a folder that has them.")
    content = json.loads(index.read_text(encoding="utf-8"))
    for image in content["images"]:
        found = [
            (_drawn(one["segmentation"], image["width"], image["height"]), one["bbox"])
            for one in content["annotations"]
            if one["image_id"] == image["id"] and not one["iscrowd"]
        ]
        found = [(mask, box) for mask, box in found if mask.sum() >= min_px]
        if found:
            boxes = [(x, y, x + width, y + height) for _, (x, y, width, height) in found]
            yield Photograph(
                folder / "images" / image["file_name"],
                np.stack([mask for mask, _ in found]),
                np.asarray(boxes, dtype=np.float32),
            )


def _drawn(outlines: list[list[float]], width: int, height: int) -> BoolArray:
    mask = Image.new("1", (width, height))
    pen = ImageDraw.Draw(mask)
    for outline in outlines:
        pen.polygon(outline, fill=1)
    return np.asarray(mask)


def framed(path: Path, sam: Sam) -> tuple[torch.Tensor, float]:
    """A photograph as the base wants it, and frame pixels to one of the photograph.

    The long side is resized to the native frame, the rest is 0 on the right and below. LiteMedSAM
    is given values stretched from minimum to maximum, as its authors do, SAM and MobileSAM theirs.
    """
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
    scale = sam.size_px / max(rgb.size)
    size = (round(rgb.width * scale), round(rgb.height * scale))
    values = np.asarray(rgb.resize(size, Image.Resampling.BILINEAR), dtype=np.float32) / 255
    if sam.base == "litemedsam":
        values = (values - values.min()) / max(float(values.max() - values.min()), 1e-8)
    pixels = torch.from_numpy(values).permute(2, 0, 1)[None]  # (1, 3, h, w)
    pixels = (pixels - sam.pixel_mean[:, None, None]) / sam.pixel_std[:, None, None]
    rest = (0, sam.size_px - size[0], 0, sam.size_px - size[1])
    return functional.pad(pixels, rest), scale


@torch.inference_mode()
def measure(sam: Sam, photo: Photograph) -> list[Score]:
    """Prompt every object of a photograph with its box."""
    height, width = photo.masks.shape[-2:]
    pixels, scale = framed(photo.path, sam)
    prompts = Prompts(boxes=torch.from_numpy(photo.boxes * np.float32(scale)))
    logits, _ = sam.decode(sam.encode(pixels), prompts)  # (B, 1, 4h, 4w)
    logits = functional.interpolate(logits, (sam.size_px, sam.size_px), mode="bilinear")
    logits = logits[..., : round(height * scale), : round(width * scale)]
    masks = functional.interpolate(logits, (height, width), mode="bilinear")[:, 0] > 0
    found = masks.numpy()
    return [
        Score(_iou(mask, truth), _iou(_filled(box, truth), truth))
        for mask, truth, box in zip(found, photo.masks, photo.boxes, strict=True)
    ]


def _filled(box: NDArray[np.float32], like: BoolArray) -> BoolArray:
    x0, y0, x1, y1 = (round(float(edge)) for edge in box)
    mask = np.zeros_like(like)
    mask[y0:y1, x0:x1] = True
    return mask


def _iou(one: BoolArray, other: BoolArray) -> float:
    return float((one & other).sum() / (one | other).sum())


def _report(rows: list[Score], *, base: str, images: int, seconds: float) -> None:
    table = Table(title=f"{base}: {images} photographs, {seconds:.0f} s")
    for name in ("objects", "box IoU", "SAM IoU", "SAM above box"):
        table.add_column(name, justify="right")
    sam = np.array([row.sam for row in rows])
    box = np.array([row.box for row in rows])
    share = f"{np.mean(sam > box):.0%}"
    table.add_row(str(len(rows)), f"{box.mean():.3f}", f"{sam.mean():.3f}", share)
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="litemedsam", help="litemedsam, a file, or hf://…")
    parser.add_argument("--data", type=Path, default=DATA, help="images/ and instances.json")
    parser.add_argument("--min-px", type=int, default=MIN_PX, help="smallest object, in pixels")
    parser.add_argument("--images", type=int, default=None, help="only the first photographs")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        found = find_base(options.base)
        sam = build_sam(found.architecture, state=base_state(found)).eval()
        photos = list(photographs(options.data, min_px=options.min_px))[: options.images]
    except HeadframeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    rows = [row for photo in photos for row in measure(sam, photo)]
    seconds = time.monotonic() - started
    _report(rows, base=options.base, images=len(photos), seconds=seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
