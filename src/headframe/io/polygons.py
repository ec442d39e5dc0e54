"""Class polygons: out of label strips, and onto disk as GeoPackage and GeoParquet."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyogrio
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyarrow import parquet
from pyproj import CRS
from shapely import Polygon

from headframe.geo.coverage import StripLabels, StripParts, label_strip
from headframe.io.files import replacing
from headframe.io.gpkg import LayerWriter, cannot_write, check_count

_COLUMNS = {
    "class_id": pa.int32(),
    "class": pa.string(),
    "area_ha": pa.float64(),
    "perimeter_m": pa.float64(),
    "mean_score": pa.float64(),
}


def strip_parts(
    classes: NDArray[np.uint8], scores: NDArray[np.float32], *, first_row: int
) -> StripParts:
    """Draw the regions of a strip of a scene.

    Args:
        classes: (h, W); 0 and 255 have no regions.
        scores: (h, W), score of each pixel's class, 0-1.
        first_row: the strip's first row in the scene.

    Returns:
        Polygons along pixel edges, in pixel coordinates of the scene.
    """
    labels = label_strip(classes)
    count = len(labels.classes)
    inside = labels.components > 0
    numbers = labels.components[inside] - 1
    return StripParts(
        classes=labels.classes,
        cluster_of=labels.cluster_of,
        pixels=np.bincount(numbers, minlength=count),
        score_sum=np.bincount(numbers, scores[inside], count).astype(np.float64),
        shapes=_outlines(labels, first_row),
        seams=np.stack(
            [labels.components[0], labels.clusters[0], labels.components[-1], labels.clusters[-1]]
        ),
    )


def _outlines(labels: StripLabels, first_row: int) -> list[Polygon]:
    found: list[Polygon | None] = [None] * len(labels.classes)
    # A transform of our own, so that coordinates are scene pixels without rounding.
    transform = Affine(1.0, 0.0, 0.0, 0.0, 1.0, float(first_row))
    for outline, number in rasterio.features.shapes(
        labels.components, mask=labels.components > 0, connectivity=4, transform=transform
    ):
        rings = outline["coordinates"]
        found[int(number) - 1] = Polygon(rings[0], rings[1:])
    return [polygon for polygon in found if polygon is not None]


def write_parts(path: Path, parts: Sequence[StripParts]) -> None:
    """Keep the parts of neighbouring strips in one file, all or nothing."""
    rows = {
        "strip": np.repeat(np.arange(len(parts)), [len(p.classes) for p in parts]),
        "class": np.concatenate([p.classes for p in parts]),
        "cluster": np.concatenate([p.cluster_of for p in parts]),
        "pixels": np.concatenate([p.pixels for p in parts]),
        "score_sum": np.concatenate([p.score_sum for p in parts]),
    }
    wkb = pa.array([w for p in parts for w in shapely.to_wkb(list(p.shapes))], pa.binary())
    table = pa.table({**rows, "shape": wkb})
    seams = np.stack([p.seams for p in parts]).astype("<i4")  # (strips, 4, W)
    table = table.replace_schema_metadata(
        {b"seams": seams.tobytes(), b"strips": str(len(parts)).encode()}
    )
    with replacing(path) as part:
        pa.feather.write_feather(table, part, compression="lz4")


def read_parts(path: Path) -> Iterator[StripParts]:
    """Read what ``write_parts`` wrote, strip by strip."""
    table = pa.feather.read_table(path, memory_map=False)
    metadata = table.schema.metadata
    strips = int(metadata[b"strips"])
    seams = np.frombuffer(metadata[b"seams"], dtype="<i4").reshape(strips, 4, -1)
    strip_of = table["strip"].to_numpy()
    for strip in range(strips):
        rows = table.filter(pa.array(strip_of == strip))
        yield StripParts(
            classes=rows["class"].to_numpy(),
            cluster_of=rows["cluster"].to_numpy(),
            pixels=rows["pixels"].to_numpy(),
            score_sum=rows["score_sum"].to_numpy(),
            shapes=list(shapely.from_wkb(rows["shape"].to_pylist())),
            seams=seams[strip],
        )


@dataclass(frozen=True)
class PolygonBatch:
    """Finished polygons.

    Attributes:
        shapes: polygons in the layer's CRS.
        class_id: class indices.
        names: class names.
        area_ha: geodesic areas, hectares.
        perimeter_m: geodesic lengths of all rings, metres.
        mean_score: mean score of the pixels, 0-1.
        model: the model that they are from; None leaves the column out.
    """

    shapes: Sequence[Polygon]
    class_id: Sequence[int]
    names: Sequence[str]
    area_ha: Sequence[float]
    perimeter_m: Sequence[float]
    mean_score: Sequence[float]
    model: str | None = None

    def __len__(self) -> int:
        """Count the polygons."""
        return len(self.shapes)

    def table(self) -> dict[str, pa.Array]:
        """Give the attribute columns by name."""
        values = (self.class_id, self.names, self.area_ha, self.perimeter_m, self.mean_score)
        columns = {
            name: pa.array(list(column), kind)
            for (name, kind), column in zip(_COLUMNS.items(), values, strict=True)
        }
        if self.model is not None:
            columns["model"] = pa.array([self.model] * len(self), pa.string())
        return columns


class PolygonWriter:
    """Streams polygons to a GeoPackage and a GeoParquet file that agree row for row.

    Both appear under their final names only when the ``with`` block ends well.
    """

    def __init__(
        self, gpkg: Path, geoparquet: Path, *, crs: CRS, date: str, with_model: bool = False
    ) -> None:
        """Prepare to write.

        Args:
            gpkg: GeoPackage, layer ``polygons``.
            geoparquet: GeoParquet 1.0 with WKB geometry.
            crs: of both.
            date: ISO time noted as the GeoPackage's last change; fixed by the caller, so that
                the same polygons give the same bytes.
            with_model: every batch names its model, in a column of its own.
        """
        self._fields = {**_COLUMNS, "model": pa.string()} if with_model else _COLUMNS
        kinds = {name: np.dtype(f.to_pandas_dtype()).name for name, f in self._fields.items()}
        self._layer = LayerWriter(gpkg, layer="polygons", columns=kinds, crs=crs)
        self._path = geoparquet
        self._crs = crs
        self._date = date
        self._stack = ExitStack()

    @property
    def count(self) -> int:
        """Polygons written so far."""
        return self._layer.count

    def __enter__(self) -> "PolygonWriter":
        """Open temporary files beside the final ones."""
        with ExitStack() as stack:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": self._date})
            stack.callback(pyogrio.set_gdal_config_options, {"OGR_CURRENT_DATE": None})
            self._part = stack.enter_context(replacing(self._path))
            with cannot_write(self._path):
                self._parquet = parquet.ParquetWriter(self._part, self._schema())
            stack.enter_context(self._layer)
            stack.push(self._finish)  # before either file gets its name
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: Any, trace: Any) -> None:  # noqa: ANN401 - the protocol of context managers
        """Finish and check both files, or remove them."""
        self._stack.__exit__(kind, exc, trace)

    def write(self, batch: PolygonBatch) -> None:
        """Add polygons at the end of both files."""
        columns = batch.table()
        with cannot_write(self._path):
            wkb = pa.array(list(shapely.to_wkb(list(batch.shapes))), pa.binary())
            self._parquet.write_table(pa.table({**columns, "geometry": wkb}, self._schema()))
        self._layer.write(
            batch.shapes, {name: column.to_numpy(False) for name, column in columns.items()}
        )

    def _schema(self) -> pa.Schema:
        crs = self._crs.to_json_dict()
        column = {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": crs}
        geo = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}}
        fields = [*self._fields.items(), ("geometry", pa.binary())]
        return pa.schema(fields, metadata={"geo": json.dumps(geo)})

    def _finish(self, kind: type[BaseException] | None, exc: Any, trace: Any) -> None:  # noqa: ANN401 - the protocol of context managers
        if kind is None:
            with cannot_write(self._path):
                self._parquet.close()
                rows = parquet.read_metadata(self._part).num_rows
            check_count(self._path, rows, self.count)
