"""Polygons with free columns, streamed to a GeoPackage."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
from pyproj import CRS
from shapely import Polygon

from headframe.core.errors import OutputError
from headframe.io.files import replacing


class LayerWriter:
    """Streams polygons to a layer of a new GeoPackage.

    It appears under its final name only when the ``with`` block ends well.
    """

    def __init__(self, path: Path, *, layer: str, columns: Mapping[str, str], crs: CRS) -> None:
        """Prepare to write.

        Args:
            path: GeoPackage.
            layer: its only layer.
            columns: name to NumPy type, ``object`` for text.
            crs: of the polygons.
        """
        self._path = path
        self._layer = layer
        self._columns = dict(columns)
        self._crs = crs
        self._stack = ExitStack()
        self.count = 0

    def __enter__(self) -> "LayerWriter":
        """Open a temporary file beside the final one."""
        self._part = self._stack.enter_context(replacing(self._path))
        self._append([], {name: [] for name in self._columns}, append=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: Any, trace: Any) -> None:  # noqa: ANN401 - the protocol of context managers
        """Check the file and give it its name, or remove it."""
        try:
            if kind is None:
                self._check()
        except BaseException as failure:
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._stack.__exit__(kind, exc, trace)

    def write(self, shapes: Sequence[Polygon], values: Mapping[str, Sequence[Any]]) -> None:
        """Add polygons with a value for each column."""
        self.count += len(shapes)
        self._append(shapes, values, append=True)

    def _append(
        self, shapes: Sequence[Polygon], values: Mapping[str, Sequence[Any]], *, append: bool
    ) -> None:
        columns = {n: np.array(list(values[n]), dtype=kind) for n, kind in self._columns.items()}
        frame = geopandas.GeoDataFrame(columns, geometry=list(shapes), crs=self._crs)
        try:
            pyogrio.write_dataframe(
                frame,
                self._part,
                driver="GPKG",
                layer=self._layer,
                append=append,
                geometry_type="Polygon",
            )
        except (OSError, RuntimeError) as exc:  # pyogrio's errors are RuntimeErrors
            raise self._failed(str(exc)) from exc

    def _check(self) -> None:
        try:
            found = pyogrio.read_info(self._part, force_feature_count=True)["features"]
        except (OSError, RuntimeError) as exc:
            raise self._failed(str(exc)) from exc
        if found != self.count:
            raise self._failed(f"only {found} of {self.count} polygons were written")

    def _failed(self, reason: str) -> OutputError:
        first = (reason.splitlines() or ["unknown reason"])[0]
        return OutputError(
            f"{self._path}: cannot be written ({first}). Free some space or choose another --out."
        )
