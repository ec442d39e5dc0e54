"""Polygons with free columns, streamed to a GeoPackage."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import OutputError
from headframe.io.files import replacing


class LayerWriter:
    """Streams polygons to a layer of a new GeoPackage.

    It appears under its final name only when the ``with`` block ends well.
    """

    def __init__(
        self,
        path: Path,
        *,
        layer: str,
        columns: Mapping[str, str],
        crs: CRS,
        geometry_type: str = "Polygon",
    ) -> None:
        """Prepare to write.

        Args:
            path: GeoPackage.
            layer: its only layer.
            columns: name to NumPy type, ``object`` for text.
            crs: of the polygons.
            geometry_type: of all of them, ``Polygon`` or ``MultiPolygon``.
        """
        self._geometry_type = geometry_type
        self._path = path
        self._layer = layer
        self._columns = dict(columns)
        self._crs = crs
        self._stack = ExitStack()
        self.count = 0

    def __enter__(self) -> "LayerWriter":
        """Open a temporary file beside the final one."""
        with ExitStack() as stack:
            self._part = stack.enter_context(replacing(self._path))
            stack.push(self._check)
            self._append([], {name: [] for name in self._columns}, append=False)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: Any, trace: Any) -> None:  # noqa: ANN401 - the protocol of context managers
        """Check the file and give it its name, or remove it."""
        self._stack.__exit__(kind, exc, trace)

    def write(self, shapes: Sequence[BaseGeometry], values: Mapping[str, Sequence[Any]]) -> None:
        """Add polygons with a value for each column."""
        self.count += len(shapes)
        self._append(shapes, values, append=True)

    def _append(
        self, shapes: Sequence[BaseGeometry], values: Mapping[str, Sequence[Any]], *, append: bool
    ) -> None:
        columns = {n: np.array(list(values[n]), dtype=kind) for n, kind in self._columns.items()}
        frame = geopandas.GeoDataFrame(columns, geometry=list(shapes), crs=self._crs)
        with cannot_write(self._path):
            pyogrio.write_dataframe(
                frame,
                self._part,
                driver="GPKG",
                layer=self._layer,
                append=append,
                geometry_type=self._geometry_type,
            )

    def _check(self, kind: type[BaseException] | None, exc: Any, trace: Any) -> None:  # noqa: ANN401 - the protocol of context managers
        if kind is None:
            with cannot_write(self._path):
                found = pyogrio.read_info(self._part, force_feature_count=True)["features"]
            check_count(self._path, found, self.count)


@contextmanager
def cannot_write(path: Path) -> Iterator[None]:
    """Turn what a writer of polygons says into one line.

    Raises:
        OutputError: with the first line of its words.
    """
    try:
        yield
    except (OSError, RuntimeError) as exc:  # pyogrio's errors are RuntimeErrors
        raise _failed(path, (str(exc).splitlines() or [type(exc).__name__])[0]) from exc


def check_count(path: Path, found: int, written: int) -> None:
    """Refuse a file that holds fewer polygons than were written: a disk may fill unnoticed.

    Raises:
        OutputError: the numbers differ.
    """
    if found != written:
        raise _failed(path, f"only {found} of {written} polygons were written")


def _failed(path: Path, reason: str) -> OutputError:
    return OutputError(
        f"{path}: cannot be written ({reason}). Free some space or choose another --out."
    )
