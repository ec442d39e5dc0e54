"""Scenes without labels as a set in Sen1Floods11's layout, their water by a threshold on an index.

A model can so be judged where nobody drew water, as ProCANet's was on the Citarum: against a
normalised difference of two bands (methods 5.1, 5.2). Such labels are no truth; they say how far
two ways of finding water agree.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from headframe import __version__
from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import DatasetError, OutputError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import open_dataset
from headframe.datasets.pseudo_scenes import (
    PseudoOptions,
    PseudoScene,
    Stored,
    index_of,
    look_at_scene,
    read_tile,
)
from headframe.datasets.sen1floods11 import ABSENT, BANDS, LABEL, LIGHT, RADAR, TABLES
from headframe.datasets.show import OUTLINE, draw_chip, draw_outline, write_sheet
from headframe.geo.window import Window
from headframe.io.claimed import working
from headframe.io.files import replacing, write_json, write_text
from headframe.io.layers import shown
from headframe.io.scene import Scene, scene_sources

__all__ = ["PseudoOptions", "PseudoReport", "SceneCount", "pseudo_label"]

PICTURE = "pseudo-label.png"
RECORD_NAME = "pseudo-label.json"
"""What was made, of what and how; written last."""
WORK_NAME = ".pseudo-label"
"""Folder inside an unfinished data set: the plan's fingerprint, a lock, one record a tile."""
NO_DATA = -1
_MADE_FROM = "scenes or options"
_SHOWN = 12
_SHOWN_PX = 224

Label = npt.NDArray[np.int16]


@dataclass(frozen=True)
class SceneCount:
    """What became of one scene.

    Attributes:
        scene: its file's name.
        event: its flood.
        sensor: whose bands they were taken for.
        bands: bands of L1C that it has.
        threshold: index from which on a pixel is water.
        tiles: tiles written.
        skipped: tiles with too little data.
        land: pixels labelled land.
        water: pixels labelled water.
    """

    scene: str
    event: str
    sensor: str
    bands: tuple[str, ...]
    threshold: float
    tiles: int
    skipped: int
    land: int
    water: int


@dataclass(frozen=True)
class PseudoReport:
    """What was made.

    Attributes:
        out: folder of the data set.
        index: the index.
        scenes: the scenes, in the order given.
    """

    out: Path
    index: str
    scenes: tuple[SceneCount, ...]

    @property
    def tiles(self) -> int:
        """Tiles written."""
        return sum(scene.tiles for scene in self.scenes)

    @property
    def skipped(self) -> int:
        """Tiles with too little data."""
        return sum(scene.skipped for scene in self.scenes)

    @property
    def water_share(self) -> float:
        """Share of labelled pixels that are water."""
        water = sum(scene.water for scene in self.scenes)
        return water / max(water + sum(scene.land for scene in self.scenes), 1)


@dataclass(frozen=True)
class _Tile:
    """One tile: its scene by number, its name, what it shows, and which of that it labels."""

    scene: int
    name: str
    window: Window
    block: Window


def pseudo_label(
    inputs: Sequence[str],
    *,
    out: Path,
    options: PseudoOptions | None = None,
    progress: Progress = SILENT,
) -> PseudoReport:
    """Cut scenes into tiles and label their water by a normalised difference index.

    Tiles cover a scene from its upper left, all as large as ``tile_px`` or, where it is smaller,
    the scene. The last row and column reach back over their neighbours; each pixel of the scene is
    labelled in one tile only and -1 in the others, so that nothing counts twice. The index is that
    of the numbers written, so that it can be checked on the files.

    A call that was killed goes on when it is made again with the same arguments, and gives the
    same files; one that was finished does nothing. ``pseudo-label.json`` is written last.

    Args:
        inputs: rasters, folders of them, URLs or STAC items.
        out: folder of the data set: new, empty, or left by an unfinished call.
        options: how.
        progress: told of every tile.

    Raises:
        InputError: one of its kinds, naming the file, for anything wrong with the input; no tile
            has enough data.
        OutputError: ``out`` cannot be written, or holds something else.
    """
    options = options or PseudoOptions()
    sources = [source for source, _ in scene_sources(inputs)]
    mark = _fingerprint(sources, options)
    counts = _finished(out, mark)
    if counts is None:
        scenes = [look_at_scene(source, options) for source in sources]
        _check_floods(scenes)
        with working(out, WORK_NAME, mark, made_from=_MADE_FROM) as work:
            counts = _make(scenes, out=out, work=work, options=options, bar=progress)
            if any(count.tiles for count in counts):
                _draw(out, progress)
                _write_record(out, counts, mark=mark, options=options)
    shutil.rmtree(out / WORK_NAME, ignore_errors=True)
    if not any(count.tiles for count in counts):
        raise DatasetError(
            f"{shown(sources[0])}: none of {sum(count.skipped for count in counts)} tiles has data "
            f"in {100 * options.min_valid:g} % of its pixels. Lower --min-valid or --tile-px."
        )
    return PseudoReport(out, options.index, tuple(counts))


def _make(
    scenes: Sequence[PseudoScene],
    *,
    out: Path,
    work: Path,
    options: PseudoOptions,
    bar: Progress,
) -> list[SceneCount]:
    """Write tiles and the table that names them; one count a scene."""
    tiles = _plan(scenes)
    records = _cut_all(scenes, tiles, out=out, work=work, options=options, bar=bar)
    made = [tile for tile in tiles if records[tile.name]["written"]]
    if made:
        _write_table(out, made)
    return [
        _count(scene, [records[tile.name] for tile in tiles if tile.scene == number])
        for number, scene in enumerate(scenes)
    ]


def _fingerprint(sources: Sequence[str], options: PseudoOptions) -> str:
    """Digest of all that decides what is written."""
    files = [(_file_name(s), Path(s).stat().st_size if Path(s).is_file() else s) for s in sources]
    text = json.dumps([asdict(options), files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file_name(source: str) -> str:
    return shown(source).replace("\\", "/").rpartition("/")[2]


def _finished(out: Path, mark: str) -> list[SceneCount] | None:
    """Read what an earlier call with the same fingerprint has finished; None where nothing is."""
    path = out / RECORD_NAME
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["fingerprint"] == mark:
            return [SceneCount(**{**s, "bands": tuple(s["bands"])}) for s in record["scenes"]]
    except (OSError, ValueError, KeyError, TypeError):  # damaged or foreign, so not ours
        pass
    raise OutputError(
        f"{out}: holds a data set made from other {_MADE_FROM}. Choose another --out, or delete it."
    )


def _check_floods(scenes: Sequence[PseudoScene]) -> None:
    """Check that scenes of one event have the same bands: readers look at one tile of each."""
    first: dict[str, PseudoScene] = {}
    for scene in scenes:
        other = first.setdefault(scene.event, scene)
        if tuple(scene.slots) != tuple(other.slots):
            raise DatasetError(
                f"{shown(scene.source)}: has {', '.join(scene.slots)}, but "
                f"{_file_name(other.source)}, of the same event {scene.event}, has "
                f"{', '.join(other.slots)}. Make a data set of each."
            )


def _plan(scenes: Sequence[PseudoScene]) -> list[_Tile]:
    """List the tiles, row by row; numbers run on where scenes share an event."""
    numbers: Counter[str] = Counter()
    tiles = []
    for place, scene in enumerate(scenes):
        for row, col in scene.tiling.tiles():
            name = f"{scene.event}_{numbers[scene.event]:05d}"
            numbers[scene.event] += 1
            window, block = scene.tiling.tile(row, col), scene.tiling.block(row, col)
            tiles.append(_Tile(place, name, window, block))
    return tiles


def _cut_all(
    scenes: Sequence[PseudoScene],
    tiles: Sequence[_Tile],
    *,
    out: Path,
    work: Path,
    options: PseudoOptions,
    bar: Progress,
) -> dict[str, dict[str, Any]]:
    """Cut the tiles that have no record yet; records by name."""
    paths = {tile.name: work / f"{tile.name}.json" for tile in tiles}
    bar.start("Labelling tiles", len(tiles))
    bar.advance(sum(path.exists() for path in paths.values()))
    for number, planned in enumerate(scenes):
        left = [t for t in tiles if t.scene == number and not paths[t.name].exists()]
        if not left:
            continue
        with planned.open(options) as scene:
            for tile in left:
                record = _cut(scene, planned, tile, out=out, options=options)
                write_json(paths[tile.name], record)
                bar.advance()
    bar.finish()
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items()}


def _cut(
    scene: Scene, planned: PseudoScene, tile: _Tile, *, out: Path, options: PseudoOptions
) -> dict[str, Any]:
    """Write one tile, image and label, unless it has too little data; tell what it holds."""
    bands = tuple(planned.slots)
    numbers = read_tile(scene, tile.window, bands=bands, index=options.index)
    label = _label(numbers, planned, tile, options)
    land, water = int((label == 0).sum()), int((label == 1).sum())
    share = float((numbers > 0).any(axis=0).mean())
    if share < options.min_valid or land + water == 0:
        return {"written": False, "land": 0, "water": 0}
    w = tile.window
    grid = planned.geobox[w.row : w.row + w.height, w.col : w.col + w.width]
    files = {folder: out / folder / f"{tile.name}_{folder}.tif" for folder in (LIGHT, LABEL)}
    _write(files[LIGHT], _in_place(numbers, bands), grid, nodata=0, names=_described(bands))
    _write(files[LABEL], label[None], grid, nodata=None, names=())
    return {"written": True, "land": land, "water": water}


def _label(numbers: Stored, planned: PseudoScene, tile: _Tile, options: PseudoOptions) -> Label:
    """Label the tile's own share of the scene; -1 elsewhere and where there is no data."""
    index = index_of(numbers, bands=tuple(planned.slots), index=options.index)
    known = np.isfinite(index)
    label = np.where(known, index >= planned.threshold, NO_DATA).astype(np.int16)
    top, left = tile.block.row - tile.window.row, tile.block.col - tile.window.col
    own = np.s_[top : top + tile.block.height, left : left + tile.block.width]
    found = np.full(label.shape, NO_DATA, np.int16)
    found[own] = label[own]
    return found


def _in_place(numbers: Stored, bands: Sequence[str]) -> Stored:
    """Put bands in L1C's order, those that are absent 0."""
    placed = np.zeros((len(BANDS[LIGHT]), *numbers.shape[1:]), np.uint16)
    placed[[BANDS[LIGHT].index(band) for band in bands]] = numbers
    return placed


def _described(bands: Sequence[str]) -> tuple[str, ...]:
    return tuple(band if band in bands else ABSENT for band in BANDS[LIGHT])


def _write(
    path: Path,
    values: npt.NDArray[Any],
    grid: GeoBox,
    *,
    nodata: int | None,
    names: Sequence[str],
) -> None:
    """Write (C, H, W) as a GeoTIFF, all or nothing."""
    count, height, width = values.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width}
    profile |= {"dtype": values.dtype, "crs": str(grid.crs), "transform": grid.affine}
    with replacing(path) as part:
        try:
            with rasterio.open(
                part, "w", nodata=nodata, compress="deflate", predictor=2, **profile
            ) as sink:
                sink.write(values)
                if names:
                    sink.descriptions = tuple(names)
        except RasterioError as exc:
            raise OutputError(f"{path}: cannot be written ({exc}). Choose another --out.") from exc


def _write_table(out: Path, tiles: Sequence[_Tile]) -> None:
    """Name the tiles in the table of the test split, as the published tables do."""
    rows = [f"{tile.name}_{RADAR}.tif,{tile.name}_{LABEL}.tif\n" for tile in tiles]
    write_text(out / TABLES["test"], "".join(rows))


def _draw(out: Path, bar: Progress) -> None:
    """Show some tiles, the shore of the water in yellow; what has no label is darker."""
    dataset = open_dataset(out)
    chips = dataset.chips()
    places = np.linspace(0, len(chips) - 1, min(_SHOWN, len(chips))).astype(int)
    pictures = []
    bar.start("Drawing tiles", len(places))
    for chip in (chips[place] for place in places):
        arrays = dataset.read(chip)
        ignored = arrays.label == IGNORE_INDEX
        bare = replace(arrays, label=np.zeros_like(arrays.label))
        plain = draw_chip(bare, dataset.bands, target=1)
        picture = plain.copy()
        width_px = -(-max(ignored.shape) // _SHOWN_PX)
        draw_outline(picture, arrays.label != 0, OUTLINE, width_px=width_px)
        picture[ignored] = plain[ignored] // 2  # no shore lies where labels end
        pictures.append((picture, chip))
        bar.advance()
    bar.finish()
    write_sheet(out / PICTURE, pictures, chip_px=_SHOWN_PX)


def _count(scene: PseudoScene, records: Sequence[dict[str, Any]]) -> SceneCount:
    written = sum(record["written"] for record in records)
    return SceneCount(
        scene=_file_name(scene.source),
        event=scene.event,
        sensor=scene.sensor,
        bands=tuple(scene.slots),
        threshold=scene.threshold,
        tiles=written,
        skipped=len(records) - written,
        land=sum(record["land"] for record in records),
        water=sum(record["water"] for record in records),
    )


def _write_record(
    out: Path, counts: Sequence[SceneCount], *, mark: str, options: PseudoOptions
) -> None:
    record = {
        "fingerprint": mark,
        "options": asdict(options),
        "scenes": [asdict(count) for count in counts],
        "versions": {"headframe": __version__},
    }
    write_json(out / RECORD_NAME, record)
