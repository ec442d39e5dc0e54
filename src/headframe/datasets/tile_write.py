"""Files of a data set in MineSegSAT's layout."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from headframe.core.errors import OutputError
from headframe.datasets.layout import TILE_COLUMNS, TILE_TABLE
from headframe.datasets.minesegsat import TILE_BANDS, metadata_file
from headframe.datasets.tile_plan import tile_folder
from headframe.io.files import write_json, write_text
from headframe.io.mosaic import NODATA


def band_grid(geobox: GeoBox, band: str) -> GeoBox:
    """Grid of a band that covers the ground of a tile's grid at 10 m."""
    return geobox.zoom_out(TILE_BANDS[band])


def write_band(path: Path, values: npt.NDArray[Any], grid: GeoBox, *, nodata: int | None) -> None:
    """Write (H, W) as a GeoTIFF of one band that is described by the file's stem.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": values.shape[0],
        "width": values.shape[1],
        "dtype": values.dtype,
        "crs": str(grid.crs),
        "transform": grid.affine,
        "nodata": nodata,
        "compress": "deflate",
        "predictor": 2,
    }
    try:
        with rasterio.open(path, "w", **profile) as sink:
            sink.write(values, 1)
            sink.set_band_description(1, path.stem)
    except RasterioError as exc:
        raise OutputError(f"{path}: cannot be written ({exc}). Choose another --out.") from exc


def moments(values: npt.NDArray[np.uint16]) -> dict[str, float]:
    """Count, sum, sum of squares and extremes of the numbers that are data; at least one is."""
    known = values[values != NODATA].astype(np.float64)
    return {
        "n": float(known.size),
        "sum": float(known.sum()),
        "squares": float((known**2).sum()),
        "min": float(known.min()),
        "max": float(known.max()),
    }


def write_metadata(root: Path, tiles: Sequence[Mapping[str, Mapping[str, float]]]) -> None:
    """Write each band's min, max, mean and standard deviation over tiles, in stored numbers.

    Args:
        root: the data set.
        tiles: per tile, ``moments`` by band.
    """
    for band in TILE_BANDS:
        found = [tile[band] for tile in tiles]
        n = sum(m["n"] for m in found)
        mean = sum(m["sum"] for m in found) / n
        variance = max(sum(m["squares"] for m in found) / n - mean**2, 0.0)
        content = {
            "min": min(m["min"] for m in found),
            "max": max(m["max"] for m in found),
            "mean": round(mean, 4),
            "std": round(math.sqrt(variance), 4),
        }
        write_json(metadata_file(root, band), content)


def write_table(
    root: Path, dealt: Mapping[str, tuple[str, str]], *, with_sites: bool = True
) -> None:
    """Write ``dataset_splits.csv``: the published columns, and the site where asked for.

    Args:
        root: the data set.
        dealt: tile's name to (split, site).
        with_sites: whether to add the column ``site``.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*TILE_COLUMNS, "site"] if with_sites else TILE_COLUMNS)
    for name in sorted(dealt):
        split, site = dealt[name]
        folder = tile_folder(name).as_posix()
        writer.writerow([folder, folder, split, site] if with_sites else [folder, folder, split])
    write_text(root / TILE_TABLE, text.getvalue())
