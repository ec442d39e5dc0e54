"""Opening a GeoTIFF that lies on this machine, with our errors."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from headframe.core.errors import FormatError, InputError, MissingFileError


@contextmanager
def open_geotiff(path: Path, *, kind: str) -> Iterator[Any]:
    """Open a GeoTIFF to read while the ``with`` block runs.

    Args:
        path: the file.
        kind: what it should be, for messages: ``image``.

    Yields:
        The open dataset.

    Raises:
        MissingFileError: no such file.
        FormatError: no GeoTIFF, or it cannot be read to the end.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such {kind}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            # Only GeoTIFF: a virtual format under this name could open other files.
            with rasterio.open(path, driver="GTiff") as dataset:
                yield dataset
    except InputError:
        raise
    except (RasterioError, OSError) as exc:
        raise unreadable(path, exc) from exc


def unreadable(path: Path, exc: Exception) -> FormatError:
    """Say in one line why a GeoTIFF cannot be read."""
    reason = " ".join(str(exc.__cause__ or exc).split())[:160]
    return FormatError(f"{path}: cannot be read as a GeoTIFF ({reason}). Replace it.")
