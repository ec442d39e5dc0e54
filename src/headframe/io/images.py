"""Photographs as people have them: PNG, JPEG, TIFF, WebP and BMP, grey, RGBA, 16-bit, turned."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import rasterio
from PIL import Image, ImageOps, UnidentifiedImageError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from headframe.core.errors import (
    FormatError,
    InputError,
    MissingFileError,
    OutputError,
    UnsafeFileError,
)
from headframe.io.files import replacing

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
"""Endings by which a folder's photographs are known, in any case of letters."""
MAX_PIXELS = 150_000_000
"""Largest picture read, 450 MB once decoded. What claims more is taken for a bomb."""

Pixels = npt.NDArray[np.uint8]
FloatPixels = npt.NDArray[np.float32]
Level = TypeVar("Level", np.uint8, np.uint16)
Deep = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
_ORIENTATION = 0x0112
_TURNS: dict[int, tuple[bool, int]] = {
    2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3),
    8: (False, 1),
}  # fmt: skip
"""EXIF orientation to (mirror left-right first, quarter turns counter-clockwise)."""


def read_image(path: Path) -> Pixels:
    """Read a photograph as 8-bit RGB, upright.

    EXIF orientation is applied; grey and palette pictures get three channels, CMYK is converted,
    transparency is laid on black, 16-bit values are divided by 257 and rounded. Of a file of
    several pages the first is read.

    Args:
        path: PNG, JPEG, TIFF, WebP or BMP.

    Returns:
        (H, W, 3) uint8, RGB, 0-255.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is empty, truncated, no picture, or holds numbers that are no light.
        UnsafeFileError: it claims more than ``MAX_PIXELS``.
    """
    return as_bytes(_read(path))


def read_levels(path: Path) -> Deep:
    """Read a photograph as it is stored: (H, W, 3) uint8, or uint16 of a file of 16 bits.

    Of 12 MP this is 36 MB, and as floats 144. Errors as ``read_image``.
    """
    return _read(path)


def as_bytes(levels: Deep) -> Pixels:
    """Give 8 bits of (H, W, 3) uint8 or uint16: divided by 257, rounded."""
    if levels.dtype == np.uint8:
        return levels.astype(np.uint8, copy=False)
    wide = levels.astype(np.uint32)
    return ((wide + 128) // 257).astype(np.uint8)


def read_float(path: Path) -> FloatPixels:
    """Read a photograph as networks take it; of 16 bits none are lost.

    Returns:
        (3, H, W) float32, RGB, in [0, 1]. Errors as ``read_image``.
    """
    deep = _read(path)
    full = 255.0 if deep.dtype == np.uint8 else 65535.0
    scaled = deep.astype(np.float32) / np.float32(full)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))  # (H, W, 3) -> (3, H, W)


def image_size(path: Path) -> tuple[int, int]:
    """Tell (height, width) of a photograph as ``read_image`` gives it, from its header."""
    with _opened(path) as image:
        width, height = image.size
        turned = _TURNS.get(_orientation(image), (False, 0))[1] % 2 == 1
    return (width, height) if turned else (height, width)


def to_uint8(pixels: FloatPixels) -> Pixels:
    """Turn (3, H, W) float32 in [0, 1] into (H, W, 3) uint8, rounded and clipped."""
    wide = np.clip(pixels, 0.0, 1.0).transpose(1, 2, 0) * np.float32(255.0)
    return np.ascontiguousarray(np.rint(wide).astype(np.uint8))


def find_images(sources: Iterable[Path]) -> list[Path]:
    """List photographs: files as given, folders searched in depth, by name.

    Args:
        sources: files and folders.

    Returns:
        Each file once; those of a folder sorted by path. Hidden and half-written files of a
        folder (names that begin with a dot) are left out.

    Raises:
        MissingFileError: a source does not exist.
        FormatError: there is not one photograph.
    """
    given = [Path(source) for source in sources]
    found: dict[Path, None] = {}
    for source in given:
        if source.is_dir():
            found.update(dict.fromkeys(sorted(_within(source))))
        elif source.exists():
            found[source] = None
        else:
            raise MissingFileError(f"{source}: no such file or folder. Check the path.")
    if not found:
        names = ", ".join(str(source) for source in given)
        raise FormatError(f"{names}: no photographs ({', '.join(SUFFIXES)}) there.")
    return list(found)


def write_image(path: Path, pixels: Pixels, *, quality: int = 92) -> None:
    """Write a picture, all or nothing; the ending of the name chooses the format.

    Args:
        path: PNG, JPEG, TIFF, WebP or BMP.
        pixels: (H, W, 3) RGB or (H, W) grey, uint8.
        quality: of JPEG and WebP, 1-100.

    Raises:
        OutputError: the format is unknown or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: unknown kind of picture. Choose one of {', '.join(SUFFIXES)}.")
    lossy = path.suffix.lower() in {".jpg", ".jpeg", ".webp"}
    more: dict[str, Any] = {"quality": quality} if lossy else {}
    with replacing(path) as part:
        Image.fromarray(np.ascontiguousarray(pixels)).save(part, **more)


def _within(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(name.startswith(".") for name in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield path


def _read(path: Path) -> Deep:
    """Read (H, W, 3), uint8 or uint16, upright."""
    with _opened(path) as image:
        if _is_deep(image):
            return _turn(_three(_read_deep(path)), _orientation(image))
        if image.mode in {"F", "I"}:
            raise FormatError(
                f"{path}: its pixels are 32-bit numbers, not light. Save it with 8 or 16 bits."
            )
        ImageOps.exif_transpose(image, in_place=True)  # 12 MP are 36 MB: no copy without need
        upright: Image.Image = image
        if image.has_transparency_data:
            seen = image.convert("RGBA")
            black = Image.new("RGBA", seen.size, (0, 0, 0, 255))
            upright = Image.alpha_composite(black, seen)
        return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"), np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture and turn what libraries say into one line, within the block too."""
    if not path.exists():
        raise MissingFileError(f"{path}: no such file. Check the path.")
    if path.is_dir():
        raise FormatError(f"{path}: is a folder, not a photograph.")
    if path.stat().st_size == 0:
        raise FormatError(f"{path}: is empty (0 bytes). Copy it again from the camera.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged EXIF: it then has no orientation
            with Image.open(path, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnsafeFileError(_bomb(path, f"{image.width} x {image.height}"))
                yield image
    except UnidentifiedImageError as exc:
        raise FormatError(
            f"{path}: is not a picture that can be read. Convert it to PNG, JPEG, TIFF or WebP."
        ) from exc
    except Image.DecompressionBombError as exc:
        raise UnsafeFileError(_bomb(path, str(exc))) from exc
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, RasterioError) as exc:
        raise FormatError(
            f"{path}: is damaged or cut short ({exc}). Copy it again from the camera."
        ) from exc


def _bomb(path: Path, what: str) -> str:
    return f"{path}: claims {what} pixels, more than the {MAX_PIXELS:,} allowed. Cut it up."


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(_ORIENTATION, 1))


def _is_deep(image: Image.Image) -> bool:
    """Tell whether the file holds 16 bits a channel, which Pillow would cut to 8 in colour."""
    if image.mode.startswith("I;16"):
        return True
    if image.format == "PNG":
        return any(";16" in str(tile) for tile in getattr(image, "tile", ()))
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined] # only TIFF images have tags
        return set(bits if isinstance(bits, tuple) else (bits,)) == {16}
    return False


def _read_deep(path: Path) -> npt.NDArray[np.uint16]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as source:
            if source.dtypes[0] != "uint16":
                raise FormatError(
                    f"{path}: its pixels are {source.dtypes[0]}. Save it with 8 or 16 bits."
                )
            bands: npt.NDArray[np.uint16] = source.read()
    return bands.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)


def _three(pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Make RGB of 1 (grey), 2 (grey, alpha), 3 or 4 (RGB, alpha) channels; alpha lies on black."""
    channels = pixels.shape[2]
    colour = pixels[..., :3] if channels >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    if channels not in {2, 4}:
        return colour
    alpha = pixels[..., channels - 1 :].astype(np.uint64)
    return ((colour * alpha + 32767) // 65535).astype(np.uint16)


def _turn(pixels: npt.NDArray[Level], orientation: int) -> npt.NDArray[Level]:
    mirror, turns = _TURNS.get(orientation, (False, 0))
    out = pixels[:, ::-1] if mirror else pixels
    return np.ascontiguousarray(np.rot90(out, turns))
