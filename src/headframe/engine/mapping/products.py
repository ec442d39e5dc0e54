"""From finished strips to the files a user sees."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely import Polygon

from headframe.core.classmap import ClassInfo, ClassMap
from headframe.core.modelspec import ModelSpec
from headframe.engine.mapping.options import MapOptions
from headframe.engine.mapping.resume import Checkpoint
from headframe.engine.mapping.strips import read_look
from headframe.geo.area import GridMeasure
from headframe.geo.coverage import Region, Stitcher, simplify_cluster
from headframe.io.cog import RasterStyle, class_style, write_cog
from headframe.io.files import writing_into
from headframe.io.polygons import PolygonBatch, PolygonWriter, read_parts
from headframe.io.quicklook import assemble, write_quicklook
from headframe.io.stac import MapRecord, write_item

ITEM = ".stac.json"
SUFFIXES = (".classes.tif", ".scores.tif", ".gpkg", ".parquet", ".png")
_CHUNK = 4096
_SLACK = 1.05


@dataclass(frozen=True)
class FinishedScene:
    """A scene whose strips are all on disk.

    Attributes:
        name: stem of its outputs.
        source: where it came from.
        folder: where its outputs go.
        shape: (H, W), pixels.
        geobox: None without a CRS.
        date: when it was taken, or its file written.
        rows: number of strips.
        fingerprint: of scene, model and options.
    """

    name: str
    source: str
    folder: Path
    shape: tuple[int, int]
    geobox: GeoBox | None
    date: datetime
    rows: int
    fingerprint: str


def write_products(
    scene: FinishedScene,
    checkpoint: Checkpoint,
    *,
    spec: ModelSpec,
    model_digest: str,
    options: MapOptions,
) -> dict[str, Any]:
    """Write all outputs in the checkpoint's folder, then move them out; the STAC item last.

    Returns:
        The facts noted in the item.

    Raises:
        OutputError: something cannot be written; final names are then untouched.
    """
    work = checkpoint.folder / "out"
    strips = [checkpoint.facts(row) for row in range(scene.rows)]
    facts: dict[str, Any] = {"headframe:fingerprint": scene.fingerprint}
    made = [".classes.tif"]
    for kind, style in rasters(spec, options):
        made = list(dict.fromkeys([*made, f".{kind}.tif"]))
        join_strips(scene, checkpoint, strips, kinds=(kind, kind), style=style)
    if scene.geobox is not None:
        facts["headframe:area_ha"] = class_areas(strips, scene, spec.classes)
        if options.polygons:
            facts["headframe:polygons"] = _write_polygons(scene, checkpoint, work, spec, options)
            made += [".gpkg", ".parquet"]
    looks = [read_look(checkpoint.file("look", row, "npz")) for row in range(scene.rows)]
    write_quicklook(work / f"{scene.name}.png", assemble(looks, scene.shape), spec.classes)
    made.append(".png")
    outputs = move_out(scene, work, made)
    record = MapRecord(
        name=scene.name,
        source=scene.source,
        shape=scene.shape,
        geobox=scene.geobox,
        date=scene.date,
        models={"": (spec, model_digest)},
        outputs=outputs,
        facts=facts,
    )
    write_item(scene.folder / f"{scene.name}{ITEM}", record)
    return facts


def join_strips(
    scene: FinishedScene,
    checkpoint: Checkpoint,
    strips: Sequence[dict[str, Any]],
    *,
    kinds: tuple[str, str],
    style: RasterStyle,
) -> None:
    """Join the strips of one kind, ``kinds[0]``, to the raster ``<name>.<kinds[1]>.tif``."""
    files = [
        (checkpoint.file(kinds[0], row, "tif"), strip["first_row"])
        for row, strip in enumerate(strips)
    ]
    write_cog(
        checkpoint.folder / "out" / f"{scene.name}.{kinds[1]}.tif",
        files,
        shape=scene.shape,
        geobox=scene.geobox,
        style=style,
    )


def rasters(spec: ModelSpec, options: MapOptions) -> Iterator[tuple[str, RasterStyle]]:
    """Give the rasters of one model: the kind of their strips, and their style."""
    yield "classes", class_style(spec.classes)
    if options.scores:
        names = spec.classes.names
        layers = names[1:] if len(names) == 2 else names
        yield "scores", RasterStyle("float32", float("nan"), layers, overview="average")


def move_out(scene: FinishedScene, work: Path, made: Sequence[str]) -> dict[str, Path]:
    """Give finished files their final names; what an earlier run made and this one not goes.

    Args:
        scene: whose files they are.
        work: folder of the finished files.
        made: their suffixes.

    Returns:
        Suffix to final path, in the order of ``made``.

    Raises:
        OutputError: the scene's folder cannot be written.
    """
    outputs: dict[str, Path] = {}
    item = scene.folder / f"{scene.name}{ITEM}"
    with writing_into(scene.folder):
        earlier = _earlier_files(item, scene.name)
        item.unlink(missing_ok=True)
        for suffix in made:
            final = scene.folder / f"{scene.name}{suffix}"
            os.replace(work / final.name, final)
            outputs[suffix] = final
        for name in earlier - {file.name for file in outputs.values()}:
            (scene.folder / name).unlink(missing_ok=True)
    return outputs


def _earlier_files(item: Path, stem: str) -> set[str]:
    """Name the files of the map that an item describes; none where there is no item."""
    if not item.exists():
        return set()
    named = {f"{stem}{suffix}" for suffix in SUFFIXES}
    try:
        assets = json.loads(item.read_text(encoding="utf-8"))["assets"].values()
        found = {str(asset["href"]) for asset in assets}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return named
    return named | {f for f in found if f.startswith(f"{stem}.") and f == Path(f).name}


def class_areas(
    strips: Sequence[dict[str, Any]], scene: FinishedScene, classes: ClassMap
) -> dict[str, float]:
    """Sum pixel areas of each class but background, hectares, by each strip's own pixel size."""
    return areas_of(strips, scene, classes.classes[1:])


def areas_of(
    strips: Sequence[dict[str, Any]], scene: FinishedScene, infos: Sequence[ClassInfo]
) -> dict[str, float]:
    """Sum pixel areas by name, hectares; a strip's ``counts`` are by ``index``, as text."""
    if scene.geobox is None:
        return {}
    measure = GridMeasure(scene.geobox)
    areas = {info.name: 0.0 for info in infos}
    for strip in strips:
        middle = strip["first_row"] + strip["height"] / 2
        width_m, height_m = measure.pixel_size_m(scene.shape[1] / 2, middle)
        for info in infos:
            pixels = strip["counts"].get(str(info.index), 0)
            areas[info.name] += pixels * width_m * height_m / 1e4
    return {name: round(area, 4) for name, area in areas.items()}


def _write_polygons(
    scene: FinishedScene,
    checkpoint: Checkpoint,
    work: Path,
    spec: ModelSpec,
    options: MapOptions,
) -> int:
    assert scene.geobox is not None  # the caller's condition
    drawing = Drawing(GridMeasure(scene.geobox), scene.shape, options, legend=_plain(spec.classes))
    files = [checkpoint.file("regions", row, "arrow") for row in range(scene.rows)]
    with PolygonWriter(
        work / f"{scene.name}.gpkg",
        work / f"{scene.name}.parquet",
        crs=drawing.measure.crs,
        date=change_date(scene),
    ) as writer:
        for batch in drawing.batches(files):
            writer.write(batch)
    return writer.count


def change_date(scene: FinishedScene) -> str:
    """Write the scene's time as a GeoPackage notes its last change."""
    return scene.date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _plain(classes: ClassMap) -> dict[int, tuple[int, str]]:
    return {info.index: (info.index, info.name) for info in classes.classes}


class Drawing:
    """Turns stitched regions into measured polygons."""

    def __init__(
        self,
        measure: GridMeasure,
        shape: tuple[int, int],
        options: MapOptions,
        *,
        legend: Mapping[int, tuple[int, str]],
        model: str | None = None,
    ) -> None:
        """Prepare to draw.

        Args:
            measure: of the scene's grid.
            shape: the scene's (H, W), pixels.
            options: least area and tolerance.
            legend: class index of a region to the number and the name that are written.
            model: written beside every polygon; None for no such column.
        """
        self.measure = measure
        self._legend = legend
        self._model = model
        self._options = options
        height, width = shape
        corners = [(0, 0), (width, 0), (0, height), (width, height), (width / 2, height / 2)]
        sizes = [measure.pixel_size_m(x, y) for x, y in corners]
        self._largest_pixel_ha = max(w * h for w, h in sizes) * _SLACK / 1e4

    def batches(self, files: Sequence[Path]) -> Iterator[PolygonBatch]:
        """Draw the regions kept in ``files``, one a strip, from top to bottom."""
        pending: list[tuple[Region, Polygon]] = []
        for cluster in _clusters(files):
            pending += self._drawn(cluster)
            if len(pending) >= _CHUNK:
                yield self._batch(pending)
                pending = []
        if pending:
            yield self._batch(pending)

    def _drawn(self, cluster: Sequence[Region]) -> list[tuple[Region, Polygon]]:
        least, tolerance = self._options.min_area_ha, self._options.simplify_m
        if tolerance == 0:
            large = [r for r in cluster if r.pixels * self._largest_pixel_ha >= least]
            return [(r, r.polygon()) for r in large]
        if sum(r.pixels for r in cluster) * self._largest_pixel_ha < least / 4:
            return []
        exact = [r.polygon() for r in cluster]
        middle = exact[0].envelope.centroid
        simple = simplify_cluster(
            exact,
            tolerance_m=tolerance,
            pixel_size_m=self.measure.pixel_size_m(middle.x, middle.y),
        )
        return [(r, p) for r, p in zip(cluster, simple, strict=True) if not p.is_empty]

    def _batch(self, drawn: Sequence[tuple[Region, Polygon]]) -> PolygonBatch:
        areas, perimeters = self.measure.measures([p for _, p in drawn])
        kept = np.flatnonzero(areas / 1e4 >= self._options.min_area_ha).tolist()
        regions = [drawn[i][0] for i in kept]
        shapes = shapely.transform([drawn[i][1] for i in kept], self.measure.to_crs)
        return PolygonBatch(
            shapes=list(np.atleast_1d(shapes)),
            class_id=[self._legend[r.kind][0] for r in regions],
            names=[self._legend[r.kind][1] for r in regions],
            area_ha=list(areas[kept] / 1e4),
            perimeter_m=list(perimeters[kept]),
            mean_score=[r.mean_score for r in regions],
            model=self._model,
        )


def _clusters(files: Sequence[Path]) -> Iterator[list[Region]]:
    stitcher = Stitcher()
    for file in files:
        for parts in read_parts(file):
            yield from stitcher.add(parts)
    yield from stitcher.close()
