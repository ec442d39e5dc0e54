"""Coarse polygons made tight: each is shown to a network on the scene that covers it."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import geopandas as gpd
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from headframe import __version__
from headframe.core.errors import CrsError, FormatError, InputError, OutputError
from headframe.core.progress import SILENT, Progress
from headframe.engine.prompting.prompter import Prompter, Range
from headframe.geo.coarsen import reprojected
from headframe.io.burn import footprint
from headframe.io.feature_table import free_column, read_features, write_features
from headframe.io.scene import Scene, scene_sources
from headframe.io.vector import repaired
from headframe.surface.refine_journal import Row, RowJournal
from headframe.surface.refine_outline import (
    OutlineFrame,
    Refined,
    RefineOptions,
    refine_outline,
)

STATUS, SCORE, SCENE = "status", "score", "scene"
REFINED, UNCHANGED = "refined", "unchanged"
LAYER = "refined"

_LOG = logging.getLogger("headframe")
_LONLAT = CRS.from_epsg(4326)
_LONGEST_DEGREES = 0.05


@dataclass(frozen=True)
class RefineResult:
    """All that was done.

    Attributes:
        before: the table as it was read.
        after: the table as it was written, with three more columns.
        rows: one for each polygon, in order.
        sources: scene of each row, as it was opened; empty where none covers it.
        columns: names of the columns status, score and scene.
    """

    before: gpd.GeoDataFrame
    after: gpd.GeoDataFrame
    rows: tuple[Row, ...]
    sources: tuple[str, ...]
    columns: tuple[str, str, str]

    def counts(self) -> dict[str, int]:
        """Number of rows of each status, the most frequent first."""
        return dict(Counter(row.status for row in self.rows).most_common())


def refine_polygons(
    scenes: Sequence[str],
    *,
    polygons: Path,
    prompter: Prompter,
    out: Path,
    options: RefineOptions | None = None,
    layer: str | None = None,
    progress: Progress = SILENT,
) -> RefineResult:
    """Refine a file of coarse polygons and write a GeoPackage.

    Each polygon is shown to the network on the scene that covers most of it; of several that cover
    it alike, on the one with most ground around it. The new file has the same rows in the same
    order, with the same fields and CRS, and the columns ``status``, ``score`` and ``scene``
    (``headframe_status`` and so on where the file has such fields). A polygon stays as it was
    where no scene covers it, nothing is found, or the answer is not like it. A call that was
    killed goes on where it was, if it is made again with the same scenes, polygons and options.

    Args:
        scenes: files, folders, globs, URLs or STAC items.
        polygons: KML, KMZ, GeoJSON, GeoPackage or shapefile.
        prompter: the network.
        out: ``.gpkg``; replaced as a whole.
        options: how.
        layer: GeoPackage only: which layer.
        progress: told of scenes and polygons.

    Raises:
        InputError: the polygons or all of the scenes cannot be read, no row is a polygon, or
            ``out`` is no ``.gpkg``.
    """
    options = options or RefineOptions()
    if out.suffix.lower() != ".gpkg":
        raise OutputError(f"{out}: results are written as GeoPackage. Name a .gpkg file.")
    if out.resolve() == polygons.resolve():
        raise OutputError(f"{out}: is the file of polygons itself. Choose another --out.")
    frame = read_features(polygons, layer=layer)
    if not any(_has_area(shape) for shape in frame.geometry):
        raise FormatError(f"{polygons}: none of its {len(frame)} rows is a polygon with an area.")
    sources = [source for source, _ in scene_sources(scenes)]
    chosen = _choose(frame, _footprints(sources, prompter, options, progress), options)
    if not any(chosen):
        _LOG.warning(
            "%s: no scene covers any of its polygons, so all stay as they are. Are its reference "
            "system and the scenes right?",
            polygons,
        )
    mark = _mark(polygons, layer, sources, prompter=prompter, options=options)
    journal = RowJournal(out, mark)
    rows = journal.known()
    todo = [place for place in range(len(frame)) if place not in rows]
    progress.start("Refining polygons", len(frame))
    progress.advance(len(frame) - len(todo))
    for place, row in _refined(frame, todo, chosen, prompter=prompter, options=options):
        rows[place] = row
        journal.add(place, row)
        progress.advance()
    progress.finish()
    done = tuple(rows[place] for place in range(len(frame)))
    after, columns = _table(frame, done)
    write_features(after, out, layer=LAYER)
    journal.close()
    return RefineResult(frame, after, done, tuple(c or "" for c in chosen), columns)


def _footprints(
    sources: Sequence[str], prompter: Prompter, options: RefineOptions, progress: Progress
) -> dict[str, BaseGeometry]:
    """Outlines of the scenes in EPSG:4326; those that cannot be used are told and left out."""
    found: dict[str, BaseGeometry] = {}
    failure: InputError | None = None
    progress.start("Looking at scenes", len(sources))
    for source in sources:
        try:
            with prompter.open(source, options.scene) as scene:
                if scene.geobox is None:
                    raise CrsError(
                        f"{source}: has no CRS, so nothing on it has a place. Set one with "
                        "gdal_edit.py -a_srs."
                    )
                found[source] = footprint(scene.geobox)
        except InputError as exc:
            failure = exc
            if len(sources) > 1:
                _LOG.warning("%s Left out.", exc)
        progress.advance()
    progress.finish()
    if not found and failure is not None:
        raise failure
    return found


def _choose(
    frame: gpd.GeoDataFrame, footprints: dict[str, BaseGeometry], options: RefineOptions
) -> list[str | None]:
    """Scene of each polygon: the most of it, then the most ground around it."""
    names, outlines = list(footprints), list(footprints.values())
    tree = shapely.STRtree(outlines)
    crs = CRS.from_user_input(frame.crs)
    chosen: list[str | None] = []
    for shape in frame.geometry:
        there = _in_degrees(shape, crs)
        best: tuple[float, float, str] | None = None
        if there is None:
            chosen.append(None)
            continue
        for number in sorted(tree.query(there).tolist()):
            covered = there.intersection(outlines[number]).area / there.area
            around = _around(there).intersection(outlines[number]).area
            if covered >= max(options.min_cover, 1e-9) and (
                best is None or (round(covered, 6), around) > best[:2]
            ):
                best = (round(covered, 6), around, names[number])
        chosen.append(None if best is None else best[2])
    return chosen


def _in_degrees(shape: BaseGeometry | None, crs: CRS) -> BaseGeometry | None:
    """A polygon in EPSG:4326; None where it is none, or cannot be brought there."""
    whole = _whole(shape)
    if whole is None:
        return None
    try:
        return shapely.make_valid(reprojected(whole, crs, _LONLAT))
    except InputError:
        return None


def _whole(shape: BaseGeometry | None) -> BaseGeometry | None:
    """A polygon repaired; None where it is none, or has no area."""
    if shape is None or shape.geom_type not in ("Polygon", "MultiPolygon"):
        return None
    return repaired(shape)[0]


def _has_area(shape: BaseGeometry | None) -> bool:
    return _whole(shape) is not None


def _around(shape: BaseGeometry) -> BaseGeometry:
    west, south, east, north = shape.bounds
    wide, high = (east - west) / 2, (north - south) / 2
    return shapely.box(west - wide, south - high, east + wide, north + high)


def _refined(
    frame: gpd.GeoDataFrame,
    todo: Sequence[int],
    chosen: Sequence[str | None],
    *,
    prompter: Prompter,
    options: RefineOptions,
) -> Iterator[tuple[int, Row]]:
    """Refine the polygons of ``todo``, scene by scene, so that each is opened once."""
    crs = CRS.from_user_input(frame.crs)
    by_scene: dict[str | None, list[int]] = {}
    for place in todo:
        by_scene.setdefault(chosen[place], []).append(place)
    for source, places in by_scene.items():
        if source is None:
            for place in places:
                whole = _in_degrees(frame.geometry.iloc[place], crs)
                reason = "no polygon" if whole is None else "no scene covers it"
                yield place, Row(None, f"{UNCHANGED}: {reason}", float("nan"), "")
            continue
        with prompter.open(source, options.scene) as scene:
            there = _Opened(scene, OutlineFrame(scene, crs), prompter.stretch_of(scene))
            for place in places:
                found = _one(frame.geometry.iloc[place], there, prompter, options)
                status = REFINED if found.shape is not None else f"{UNCHANGED}: {found.reason}"
                yield place, Row(found.shape, status, found.score, scene.name)


@dataclass(frozen=True)
class _Opened:
    """A scene with what is found out of it once."""

    scene: Scene
    frame: OutlineFrame
    stretch: Range | None


def _one(
    shape: BaseGeometry, there: _Opened, prompter: Prompter, options: RefineOptions
) -> Refined:
    whole, _ = repaired(shape)
    if whole is None:
        return Refined(None, "no polygon")
    found = refine_outline(
        whole, there.scene, there.frame, prompter=prompter, stretch=there.stretch, options=options
    )
    if found.shape is None:
        return found
    tight, _ = repaired(found.shape)
    if tight is None:
        return replace(found, shape=None, reason="nothing found")
    return replace(found, shape=tight)


def _table(
    frame: gpd.GeoDataFrame, rows: Sequence[Row]
) -> tuple[gpd.GeoDataFrame, tuple[str, str, str]]:
    """Lay the new outlines into the table, and say what was done in three more columns."""
    shapes = [
        row.shape if row.shape is not None else old
        for row, old in zip(rows, frame.geometry, strict=True)
    ]
    after = frame.copy()
    columns = []
    for name, values in (
        (STATUS, [row.status for row in rows]),
        (SCORE, [row.score for row in rows]),
        (SCENE, [row.scene for row in rows]),
    ):
        column = free_column(after, name)
        after[column] = values
        columns.append(column)
    after = after.set_geometry(gpd.GeoSeries(shapes, index=after.index, crs=frame.crs))
    return after, (columns[0], columns[1], columns[2])


def _mark(
    polygons: Path,
    layer: str | None,
    sources: Sequence[str],
    *,
    prompter: Prompter,
    options: RefineOptions,
) -> str:
    """Fingerprint of all that decides the result."""
    stamps = [
        [source, found.stat().st_size, found.stat().st_mtime_ns] if found.is_file() else [source]
        for source in sources
        for found in (Path(source),)
    ]
    facts = [__version__, layer, stamps, prompter.fingerprint, asdict(options)]
    digest = hashlib.sha256(polygons.read_bytes())
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()
