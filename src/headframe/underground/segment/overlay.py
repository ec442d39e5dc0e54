"""Pictures with what was found drawn over them."""

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from headframe.io.images import Pixels
from headframe.underground.segment.record import Found, Mask, enlarged

STYLES = ("bright", "original")
"""What masks are drawn on: the photograph stretched to its full range, or as it is."""
COLOURS = (
    (240, 110, 20), (60, 160, 255), (20, 190, 130), (240, 220, 50), (220, 110, 190),
    (150, 130, 255), (200, 200, 200),
)  # fmt: skip
"""Of classes 1, 2, …; they come again."""
_SHARE = 0.4
_PERCENTILES = (1.0, 99.5)
_STEP = 4


def backdrop(pixels: Pixels, *, longest_px: int, style: str) -> Pixels:
    """Make the picture to draw on.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        longest_px: larger photographs are reduced to this long side; 0: never.
        style: one of ``STYLES``.

    Returns:
        A new picture, (h, w, 3) uint8 RGB.
    """
    height, width = pixels.shape[:2]
    scale = longest_px / max(height, width)
    if longest_px and scale < 1:
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    if style == "original":
        return pixels.copy()
    low, high = np.percentile(pixels[::_STEP, ::_STEP], _PERCENTILES)
    table = (np.arange(256) - low) / max(high - low, 1) * 255
    return np.asarray(cv2.LUT(pixels, np.rint(table.clip(0, 255)).astype(np.uint8)), np.uint8)


def draw(
    picture: Pixels,
    objects: Sequence[Found],
    masks: Iterable[Mask],
    *,
    size: tuple[int, int],
    names: Mapping[int, str],
) -> Pixels:
    """Draw objects over a picture, in place: colour, outline, box with class, score and track.

    Args:
        picture: (h, w, 3) uint8 RGB.
        objects: boxes in pixels of the photograph.
        masks: of each object, at any one size of the same view.
        size: (H, W) of the photograph.
        names: category to name.

    Returns:
        ``picture``.
    """
    height, width = picture.shape[:2]
    thick = max(round(max(height, width) / 640), 1)
    for found, mask in zip(objects, masks, strict=True):
        colour = COLOURS[(found.category_id - 1) % len(COLOURS)]
        window, part = enlarged(mask, (height, width))
        region = picture[window]
        mixed = region[part] * (1 - _SHARE) + np.array(colour) * _SHARE
        region[part] = mixed.astype(np.uint8)
        outlines, _ = cv2.findContours(
            part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        corner = window[1].start, window[0].start
        cv2.drawContours(picture, outlines, -1, colour, thick, offset=corner)
    for found in objects:
        _label(picture, found, size, names.get(found.category_id, "?"), thick)
    return picture


def note(picture: Pixels, told: str) -> Pixels:
    """Write a line into the upper left corner, in place; give ``picture``."""
    thick = max(round(max(picture.shape[:2]) / 640), 1)
    font, large = cv2.FONT_HERSHEY_SIMPLEX, 0.45 * thick
    (wide, tall), under = cv2.getTextSize(told, font, large, thick)
    cv2.rectangle(picture, (0, 0), (wide + 2 * under, tall + 2 * under), (0, 0, 0), -1)
    place = under, tall + under
    cv2.putText(picture, told, place, font, large, (255, 255, 255), thick, cv2.LINE_AA)
    return picture


def fitted(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """Bring a picture to (h, w), its shape kept, black beside it; one of that size stays."""
    if picture.shape[:2] == size:
        return picture
    scale = min(size[0] / picture.shape[0], size[1] / picture.shape[1])
    height, width = (max(round(side * scale), 1) for side in picture.shape[:2])
    canvas = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    canvas[top : top + height, left : left + width] = small
    return canvas


def _label(picture: Pixels, found: Found, size: tuple[int, int], name: str, thick: int) -> None:
    scale = picture.shape[1] / size[1], picture.shape[0] / size[0]
    x, y, wide, tall = found.bbox
    left, top = round(x * scale[0]), round(y * scale[1])
    right, bottom = round((x + wide) * scale[0]), round((y + tall) * scale[1])
    colour = COLOURS[(found.category_id - 1) % len(COLOURS)]
    cv2.rectangle(picture, (left, top), (right, bottom), colour, thick)
    track = "" if found.track_id is None else f" #{found.track_id}"
    told = f"{name} {found.score:.2f}{track}"
    font, large = cv2.FONT_HERSHEY_SIMPLEX, 0.45 * thick
    (text_w, text_h), under = cv2.getTextSize(told, font, large, thick)
    foot = max(top, text_h + under)
    left = max(min(left, picture.shape[1] - text_w), 0)
    cv2.rectangle(picture, (left, foot - text_h - under), (left + text_w, foot), colour, -1)
    cv2.putText(
        picture, told, (left, foot - under // 2), font, large, (0, 0, 0), thick, cv2.LINE_AA
    )
