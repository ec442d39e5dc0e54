"""Making a data set in MineSegSAT's layout from scenes of separate band files and polygons."""

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headframe import __version__
from headframe.core.errors import DatasetError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.layout import SPLITS, TILE_MASK, TILE_TABLE
from headframe.datasets.manifest import SplitRecord, finished_before, write_manifest
from headframe.datasets.minesegsat import TILE_BANDS, tile_manifest
from headframe.datasets.tile_plan import (
    PlannedTile,
    TileOptions,
    TilePlan,
    deal_tiles,
    default_grouping,
    plan_tiles,
    tile_folder,
)
from headframe.datasets.tile_write import (
    band_grid,
    moments,
    write_band,
    write_metadata,
    write_table,
)
from headframe.io.bandfiles import BandScene, find_band_scenes
from headframe.io.burn import burn_polygons
from headframe.io.claimed import working
from headframe.io.files import replacing, write_json
from headframe.io.mosaic import NODATA
from headframe.io.vector import PolygonLayer, read_polygons

__all__ = ["TileOptions", "TileReport", "tile_scenes"]

WORK_NAME = ".tile"
"""Folder inside an unfinished data set: the plan's fingerprint, a lock, one record a tile."""
_MADE_FROM = "scenes, polygons or options"
_LOG = logging.getLogger("headframe")


@dataclass(frozen=True)
class TileReport:
    """What was made.

    Attributes:
        out: folder of the data set.
        tiles: tiles by split.
        sites: sites by split.
        with_target: share of tiles that show some of the target.
        target_share: share of pixels that are the target.
        skipped: squares without any data.
        grouped_by: what stays together in one split; ``tile`` as in the paper.
        notes: what a person should know, one line each; also logged as warnings.
    """

    out: Path
    tiles: dict[str, int]
    sites: dict[str, int]
    with_target: float
    target_share: float
    skipped: int
    grouped_by: str
    notes: tuple[str, ...]


def tile_scenes(
    inputs: Sequence[str],
    *,
    polygons: Path,
    out: Path,
    options: TileOptions | None = None,
    progress: Progress = SILENT,
) -> TileReport:
    """Cut scenes into tiles of band files with masks, and deal them to splits.

    Tiles are squares of ``tile_m`` metres from the upper left of the scene, those that lie wholly
    within it and share ground with a polygon; every band is cut at its own resolution, so that a
    tile covers the same ground at 10, 20 and 60 m. Polygons are reprojected to the scenes' CRS and
    burnt at 10 m, pixel centres counting. Numbers stored are reflectance times 10,000, 0 = no data,
    whatever the product's offset. Band metadata are measured over the training tiles, with
    ``as_paper`` over all.

    A call that was killed goes on when it is made again with the same arguments, and gives the
    same files. ``dataset_splits.csv`` is written last.

    Args:
        inputs: SAFE folders, folders of band files, STAC items; the first scene is on top.
        polygons: file of polygons.
        out: folder of the data set: new, empty, or left by an unfinished call.
        options: how.
        progress: told of every tile.

    Raises:
        InputError: one of its kinds, naming the file, for anything wrong with the input.
        OutputError: ``out`` cannot be written, or holds something else.
    """
    options = options or TileOptions()
    scenes = find_band_scenes(inputs)
    layer = read_polygons(
        polygons, site_field=options.site_field, layer=options.layer, need_site=False
    )
    mark = _fingerprint(scenes, polygons, options)
    before = finished_before(out, mark, made_from=_MADE_FROM, last=TILE_TABLE)
    finished: Any = None if before is None else before.sources.get("report")
    if not isinstance(finished, dict):
        plan = plan_tiles(scenes, layer, options=options)
        with working(out, WORK_NAME, mark, made_from=_MADE_FROM) as work:
            records = _cut_all(plan, layer, out=out, work=work, options=options, progress=progress)
            finished = _finish(out, plan, records, polygons=polygons, mark=mark, options=options)
        for note in (*layer.report, *finished["notes"]):
            _LOG.warning("%s", note)
    shutil.rmtree(out / WORK_NAME, ignore_errors=True)
    return TileReport(out=out, **{**finished, "notes": tuple(finished["notes"])})


def _fingerprint(scenes: Sequence[BandScene], polygons: Path, options: TileOptions) -> str:
    """Digest of all that decides what is written."""
    facts = {key: value for key, value in asdict(options).items() if key != "workers"}
    files = [[scene.name, *(_size(path) for path in scene.files.values())] for scene in scenes]
    digest = hashlib.sha256(json.dumps([facts, files], sort_keys=True).encode())
    digest.update(polygons.read_bytes())
    return digest.hexdigest()[:16]


def _size(source: str) -> tuple[str, int]:
    path = Path(source)
    return (path.name, path.stat().st_size) if path.is_file() else (source, -1)


def _cut_all(
    plan: TilePlan,
    layer: PolygonLayer,
    *,
    out: Path,
    work: Path,
    options: TileOptions,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Cut the tiles that have no record yet; records in the order of the plan."""
    open_tiles = [tile for tile in plan.tiles if not _record_path(work, tile).exists()]
    progress.start("Cutting tiles", len(plan.tiles))
    progress.advance(len(plan.tiles) - len(open_tiles))
    cutter = _Cutter(plan, layer, out, work)
    with ThreadPoolExecutor(max(1, options.workers)) as pool:
        # Threads do: what takes time, GDAL's reading and packing, does not hold Python's lock.
        futures = [pool.submit(cutter.cut, tile) for tile in open_tiles]
        try:
            for future in as_completed(futures):
                future.result()
                progress.advance()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    progress.finish()
    return [json.loads(_record_path(work, tile).read_text(encoding="utf-8")) for tile in plan.tiles]


def _record_path(work: Path, tile: PlannedTile) -> Path:
    return work / f"{tile.name}.json"


class _Cutter:
    """Cuts tiles; ``cut`` may run in several threads at once."""

    def __init__(self, plan: TilePlan, layer: PolygonLayer, out: Path, work: Path) -> None:
        self._plan = plan
        self._shapes = layer.frame.geometry.to_numpy()
        self._out = out
        self._work = work

    def cut(self, tile: PlannedTile) -> None:
        """Write one tile's folder, then its record; a square without any data has no folder."""
        mosaic = self._plan.mosaics[tile.mosaic]
        bands = {
            band: mosaic.read(band, tile.window(factor)) for band, factor in TILE_BANDS.items()
        }
        record: dict[str, Any] = {"name": tile.name, "written": False}
        if all((values != NODATA).any() for values in bands.values()):
            mask = burn_polygons([self._shapes[i] for i in tile.polygons], tile.geobox)
            folder = self._out / tile_folder(tile.name)
            if folder.exists():  # left by a run that was killed before it wrote the record
                shutil.rmtree(folder)
            with replacing(folder) as part:
                part.mkdir()
                for band, values in bands.items():
                    grid = band_grid(tile.geobox, band)
                    write_band(part / f"{band}.tif", values, grid, nodata=NODATA)
                write_band(part / TILE_MASK, mask.astype(np.uint8), tile.geobox, nodata=None)
            record |= {
                "written": True,
                "target": int(mask.sum()),
                "pixels": int(mask.size),
                "bands": {band: moments(values) for band, values in bands.items()},
            }
        write_json(_record_path(self._work, tile), record)


def _finish(
    out: Path,
    plan: TilePlan,
    records: Sequence[Mapping[str, Any]],
    *,
    polygons: Path,
    mark: str,
    options: TileOptions,
) -> dict[str, Any]:
    """Deal the tiles, and write metadata, ``dataset.json`` and, last, the table."""
    made = {record["name"]: record for record in records if record["written"]}
    tiles = [tile for tile in plan.tiles if tile.name in made]
    if not tiles:
        raise DatasetError(
            f"none of {len(plan.tiles)} squares that meet a polygon holds data in every band. "
            "Check the scenes and the polygons."
        )
    dealt = deal_tiles(tiles, options)
    measured = [
        made[name]["bands"]
        for name, (split, _) in dealt.items()
        if options.as_paper or split == "train"
    ]
    write_metadata(out, measured)
    report = _report(tiles, made, dealt, plan, options)
    manifest = tile_manifest(options.target, sensor=plan.sensor).model_copy(
        update={
            "preset": "minesegsat",
            "split": SplitRecord(
                fractions=options.fractions, seed=options.seed, as_paper=options.as_paper
            ),
            "sources": {
                "fingerprint": mark,
                "polygons": polygons.name,
                "scenes": [scene.name for mosaic in plan.mosaics for scene in mosaic.scenes],
                "tile_m": options.tile_m,
                "metadata_of": "all tiles" if options.as_paper else "training tiles",
                "report": report,
            },
            "versions": {"headframe": __version__},
        }
    )
    write_manifest(out, manifest)
    write_table(out, dealt, with_sites=not options.as_paper)
    return report


def _report(
    tiles: Sequence[PlannedTile],
    made: Mapping[str, Mapping[str, Any]],
    dealt: Mapping[str, tuple[str, str]],
    plan: TilePlan,
    options: TileOptions,
) -> dict[str, Any]:
    counts = Counter(split for split, _ in dealt.values())
    sites = Counter(split for split, _ in set(dealt.values()))
    records = [made[tile.name] for tile in tiles]
    by = "tile" if options.as_paper else options.group_by or default_grouping(tiles)
    notes = list(plan.notes)
    empty = [split for split, share in zip(SPLITS, options.fractions, strict=True) if share > 0]
    empty = [split for split in empty if not counts[split]]
    if empty:
        notes.append(
            f"{len(set(dealt.values()))} group(s) of tiles by {by} are too few: no tile in "
            f"{' and '.join(empty)}. Choose another --group-by or a smaller --tile-m."
        )
    return {
        "tiles": {split: counts[split] for split in SPLITS},
        "sites": {split: sites[split] for split in SPLITS},
        "with_target": round(sum(r["target"] > 0 for r in records) / len(records), 4),
        "target_share": round(
            sum(r["target"] for r in records) / sum(r["pixels"] for r in records), 6
        ),
        "skipped": len(plan.tiles) - len(tiles),
        "grouped_by": by,
        "notes": notes,
    }
