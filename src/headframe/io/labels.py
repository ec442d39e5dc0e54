"""Label PNGs (palette index images), their sidecars and RGB previews."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from headframe.core.classmap import IGNORE_INDEX, ClassMap
from headframe.core.errors import FormatError, GridMismatchError, MissingFileError, UnsafeFileError
from headframe.io.files import replacing

UInt8Array = npt.NDArray[np.uint8]

MAX_COLOR_DISTANCE = 48.0
"""Largest Euclidean distance, in sRGB steps, from a pixel's colour to its class's colour.

Viridis at 0, 0.5 and 1 lie over 130 apart, so that no colour is within reach of two classes."""


def write_label_png(path: Path, index: UInt8Array, classes: ClassMap) -> None:
    """Write a label as a mode-P PNG whose palette holds the class colours.

    Args:
        path: the file, written all or nothing.
        index: class indices (H, W), uint8, each below ``len(classes)``.
        classes: the class map.

    Raises:
        GridMismatchError: ``index`` is not two-dimensional.
        FormatError: a value that is no class.
        OutputError: the file cannot be written.
    """
    if index.ndim != 2:
        raise GridMismatchError(f"{path}: a label has two axes, not {index.ndim}.")
    if index.size and int(index.max()) >= len(classes):
        raise FormatError(f"{path}: value {int(index.max())} is none of {len(classes)} classes.")
    image = Image.fromarray(np.ascontiguousarray(index, dtype=np.uint8)).convert("L")
    image.putpalette([part for info in classes.classes for part in info.color])
    _save(path, image)


def read_label_png(path: Path, classes: ClassMap) -> UInt8Array:
    """Read a label PNG: palette, grey or true-colour alike.

    A palette is believed where its colours are the class colours (an image that was converted
    to a palette elsewhere may have its indices in any order), else its indices are taken as
    classes. True colours are decoded to the nearest class within ``MAX_COLOR_DISTANCE``.

    Args:
        path: the file.
        classes: the class map; grey values may also be 255, ignore.

    Returns:
        Class indices (H, W), uint8.

    Raises:
        MissingFileError: no such file.
        FormatError: not an image, of an unknown mode, or with values or colours of no class.
        UnsafeFileError: so large that it may be a bomb.
    """
    try:
        with Image.open(path) as image:
            image.load()
            mode = image.mode
            if mode == "P":
                return _decode_palette(image, classes, path)
            if mode in ("RGB", "RGBA"):
                return _decode_colors(np.asarray(image.convert("RGB")), classes, path)
            if mode in ("L", "1"):
                values = np.asarray(image).astype(np.uint8)
                return _checked(values, classes, path)
    except FileNotFoundError as exc:
        raise MissingFileError(f"{path}: no such label.") from exc
    except Image.DecompressionBombError as exc:
        raise UnsafeFileError(f"{path}: {exc}.") from exc
    except (UnidentifiedImageError, OSError, SyntaxError) as exc:
        raise FormatError(f"{path}: not a readable label PNG ({exc}).") from exc
    raise FormatError(f"{path}: labels are PNGs of mode P, L or RGB, not {mode}.")


def write_valid_png(path: Path, valid: npt.NDArray[np.bool_]) -> None:
    """Write the sidecar of a label: 255 where the image has data, 0 where it has none."""
    _save(path, Image.fromarray(np.where(valid, 255, 0).astype(np.uint8)))


def write_rgb_png(path: Path, rgb: UInt8Array) -> None:
    """Write a true-colour PNG from (H, W, 3) uint8 in sRGB."""
    _save(path, Image.fromarray(np.ascontiguousarray(rgb, dtype=np.uint8)))


def _save(path: Path, image: Image.Image) -> None:
    with replacing(path) as part:
        image.save(part, format="PNG", optimize=False)


def _decode_palette(image: Image.Image, classes: ClassMap, path: Path) -> UInt8Array:
    index = np.asarray(image)
    used = np.unique(index)
    palette = np.asarray(image.getpalette("RGB") or [])
    colors = palette.reshape(-1, 3)
    if used.size and int(used[-1]) < len(colors):
        nearest, distance = _nearest(colors[used], classes)
        if float(distance.max()) <= MAX_COLOR_DISTANCE:
            table = np.zeros(256, np.uint8)
            table[used] = nearest
            return np.asarray(table[index])
    return _checked(index.copy(), classes, path)


def _decode_colors(rgb: UInt8Array, classes: ClassMap, path: Path) -> UInt8Array:
    packed = rgb.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)  # (H, W)
    used, inverse = np.unique(packed, return_inverse=True)
    colors = np.stack([used >> 16, (used >> 8) & 255, used & 255], axis=1)
    nearest, distance = _nearest(colors, classes)
    if used.size and float(distance.max()) > MAX_COLOR_DISTANCE:
        worst = tuple(int(c) for c in colors[int(distance.argmax())])
        raise FormatError(
            f"{path}: colour {worst} is none of the {len(classes)} classes' "
            f"(nearest is {distance.max():.0f} steps away, at most {MAX_COLOR_DISTANCE:.0f})."
        )
    return np.asarray(nearest[inverse].reshape(packed.shape))


def _nearest(
    colors: npt.NDArray[np.integer], classes: ClassMap
) -> tuple[UInt8Array, npt.NDArray[np.float64]]:
    """Nearest class of each colour (N, 3), and its distance."""
    known = np.array([info.color for info in classes.classes], np.float64)
    distance = np.linalg.norm(colors[:, None, :].astype(np.float64) - known, axis=2)  # (N, K)
    return distance.argmin(axis=1).astype(np.uint8), distance.min(axis=1)


def _checked(values: UInt8Array, classes: ClassMap, path: Path) -> UInt8Array:
    used = np.unique(values)
    alien = [int(v) for v in used if v >= len(classes) and v != IGNORE_INDEX]
    if alien:
        raise FormatError(
            f"{path}: value(s) {', '.join(map(str, alien[:5]))} are none of the classes "
            f"0 to {len(classes) - 1} ({', '.join(classes.names)})."
        )
    return values
