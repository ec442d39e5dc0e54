"""Which squares of which scenes become tiles, and how they are dealt to splits."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from headframe.core.errors import CrsError, DatasetError
from headframe.datasets.layout import SPLITS
from headframe.datasets.splits import check_fractions, group_sites, split_sites
from headframe.geo.window import Window
from headframe.io.bandfiles import BandScene
from headframe.io.burn import footprint
from headframe.io.mosaic import COARSEST_M, FINEST_M, Mosaic, lay_scenes, scene_crs
from headframe.io.vector import PolygonLayer

GroupBy = Literal["site", "touching", "scene"]
GROUPINGS: tuple[GroupBy, ...] = ("site", "touching", "scene")
MIN_AREA_PX = 0.01
"""Shared ground, pixels of 10 m, up to which a polygon only touches a square: reprojecting moves
edges that fall on a square's by a little."""
_STEP_DEGREES = 0.002
"""Longest edge of a polygon that is reprojected: about 200 m."""


@dataclass(frozen=True)
class TileOptions:
    """How tiles are cut and dealt.

    Attributes:
        tile_m: side of a tile, metres; a multiple of 60, so that every band has whole pixels.
        merge: scenes of one CRS are laid over one another first (the paper's way); else each is
            tiled by itself.
        site_field: field of the polygons with the site; None takes ``site`` or ``name`` if there.
        layer: layer of a GPKG with several.
        target: name of the class.
        fractions: shares of train, val and test.
        seed: of the deal.
        group_by: what stays together in one split: tiles of one ``site``; tiles that are
            ``touching`` (or show one polygon); tiles whose centre is of one ``scene``. None: site
            where the polygons have sites, else touching.
        as_paper: every tile is dealt by itself, and band metadata are those of all tiles.
        workers: threads.
    """

    tile_m: int = 7680
    merge: bool = True
    site_field: str | None = None
    layer: str | None = None
    target: str = "mining"
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    group_by: GroupBy | None = None
    as_paper: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        """Check the side and the shares."""
        if self.tile_m < 2 * COARSEST_M or self.tile_m % COARSEST_M:
            raise DatasetError(
                f"--tile-m {self.tile_m}: must be a multiple of {COARSEST_M}, at least "
                f"{2 * COARSEST_M}, e.g. 7680."
            )
        check_fractions(self.fractions)


@dataclass(frozen=True)
class PlannedTile:
    """One square.

    Attributes:
        name: of its folder, unique.
        mosaic: index of the mosaic it is cut from.
        row: of the grid of squares, from the mosaic's upper left.
        col: likewise.
        geobox: its grid at 10 m.
        polygons: rows of the polygon layer that share ground with it.
        sites: their sites, sorted, without the nameless.
        scene: name of the top scene at its centre.
    """

    name: str
    mosaic: int
    row: int
    col: int
    geobox: GeoBox
    polygons: tuple[int, ...]
    sites: tuple[str, ...]
    scene: str

    def window(self, factor: int) -> Window:
        """Its window in the mosaic's pixels of ``factor`` times 10 m."""
        side = self.geobox.shape.x // factor
        return Window(self.row * side, self.col * side, side, side)


@dataclass(frozen=True)
class TilePlan:
    """All squares.

    Attributes:
        mosaics: scenes laid over one another.
        tiles: by mosaic, row and column.
        sensor: of all scenes.
        notes: what a person should know, one line each.
    """

    mosaics: tuple[Mosaic, ...]
    tiles: tuple[PlannedTile, ...]
    sensor: str
    notes: tuple[str, ...]


def plan_tiles(
    scenes: Sequence[BandScene], layer: PolygonLayer, *, options: TileOptions
) -> TilePlan:
    """Find the squares that lie wholly within a mosaic and share ground with a polygon.

    Squares do not overlap; the first one's corner is the mosaic's. Only headers are read.

    Raises:
        DatasetError: no square meets a polygon, or scenes of two levels.
        CrsError: and the others of ``io.mosaic.lay_scenes``.
    """
    mosaics = []
    tiles: list[PlannedTile] = []
    notes: list[str] = []
    sensors: set[str] = set()
    for index, members in enumerate(_groups(scenes, merge=options.merge)):
        mosaic = lay_scenes(members)
        mosaics.append(mosaic)
        notes += mosaic.notes
        sensors.add(mosaic.sensor)
        side = options.tile_m // FINEST_M
        name = _mosaic_name(members, index)
        for (row, col), rows in sorted(_squares(mosaic.geobox, side, layer.frame).items()):
            window = Window(row * side, col * side, side, side)
            sites = {str(layer.frame["site"].iat[i]) for i in rows} - {""}
            tiles.append(
                PlannedTile(
                    name=f"{name}_r{row:04d}_c{col:04d}",
                    mosaic=index,
                    row=row,
                    col=col,
                    geobox=_cut(mosaic.geobox, window),
                    polygons=tuple(rows),
                    sites=tuple(sorted(sites)),
                    scene=mosaic.top(window),
                )
            )
    if len(sensors) > 1:
        raise DatasetError(
            f"scenes are of {' and '.join(sorted(sensors))}: one data set holds one level. "
            "Tile them into two."
        )
    if not tiles:
        raise DatasetError(
            f"no whole square of {options.tile_m} m in {len(scenes)} scene(s) meets a polygon. "
            "Check that the polygons lie on the scenes, or choose a smaller --tile-m."
        )
    return TilePlan(tuple(mosaics), tuple(tiles), sensors.pop(), tuple(notes))


def deal_tiles(tiles: Sequence[PlannedTile], options: TileOptions) -> dict[str, tuple[str, str]]:
    """Give every tile its split and its site.

    As the paper does, tiles are shuffled and cut: round(n * train) train, round(n * val) val, the
    rest test (134 tiles: 94, 20, 20), and every tile is its own site. Else whole groups are dealt
    as near to the shares as they go.

    Returns:
        Tile's name to (split, site).
    """
    names = [tile.name for tile in tiles]
    if options.as_paper:
        order = np.random.default_rng(options.seed).permutation(len(names)).tolist()
        train, val = paper_counts(len(names), options.fractions)
        place = [SPLITS[0 if k < train else 1 if k < train + val else 2] for k in range(len(names))]
        return {names[i]: (place[k], names[i]) for k, i in enumerate(order)}
    group_by = options.group_by or default_grouping(tiles)
    outlines = {tile.name: [footprint(tile.geobox)] for tile in tiles}
    groups = group_sites(outlines, same=_links(tiles, group_by))
    split_of = split_sites(
        groups, chips=dict.fromkeys(names, 1), fractions=options.fractions, seed=options.seed
    )
    labels = _labels(tiles, groups, group_by)
    return {name: (split_of[name], labels[groups[name]]) for name in names}


def paper_counts(n: int, fractions: Sequence[float]) -> tuple[int, int]:
    """Tiles of train and val among ``n``: each share rounded, halves up; the rest is test."""
    shares = check_fractions(fractions)
    train = min(n, int(np.floor(n * shares[0] + 0.5 + 1e-9)))
    return train, min(n - train, int(np.floor(n * shares[1] + 0.5 + 1e-9)))


def default_grouping(tiles: Sequence[PlannedTile]) -> GroupBy:
    """By site where every tile has one, else by touching."""
    return "site" if all(tile.sites for tile in tiles) else "touching"


def _groups(scenes: Sequence[BandScene], *, merge: bool) -> tuple[tuple[BandScene, ...], ...]:
    if not merge:
        return tuple((scene,) for scene in scenes)
    by_crs: dict[str, list[BandScene]] = {}
    for scene in scenes:
        by_crs.setdefault(scene_crs(scene), []).append(scene)
    return tuple(tuple(members) for members in by_crs.values())


def _mosaic_name(members: Sequence[BandScene], index: int) -> str:
    name = members[0].name if len(members) == 1 else f"mosaic{index + 1}"
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "scene"


def _cut(geobox: GeoBox, window: Window) -> GeoBox:
    moved = geobox.affine * Affine.translation(window.col, window.row)
    return GeoBox((window.height, window.width), moved, geobox.crs)


def _squares(
    geobox: GeoBox, side: int, frame: gpd.GeoDataFrame
) -> Mapping[tuple[int, int], list[int]]:
    """Squares of ``side`` pixels, by row and column, and the polygons that share area with each."""
    height, width = (n // side for n in geobox.shape)
    near = np.flatnonzero(frame.intersects(footprint(geobox)).to_numpy())
    found: dict[tuple[int, int], list[int]] = {}
    if not near.size:
        return found
    local = _in_pixels(frame.iloc[near], geobox)
    for index, shape in zip(near.tolist(), local, strict=True):
        for row, col in _candidates(shape, side, height, width):
            box = shapely.box(col * side, row * side, (col + 1) * side, (row + 1) * side)
            if shapely.area(shapely.intersection(shape, box)) > MIN_AREA_PX:
                found.setdefault((row, col), []).append(index)
    return found


def _in_pixels(frame: gpd.GeoDataFrame, geobox: GeoBox) -> list[shapely.Geometry]:
    """Geometries in pixel coordinates (col, row) of a grid."""
    moved = frame.geometry.segmentize(_STEP_DEGREES).to_crs(str(geobox.crs))
    back = ~geobox.affine
    shapes = moved.affine_transform([back.a, back.b, back.d, back.e, back.c, back.f])
    if not np.isfinite(shapely.get_coordinates(shapes.to_numpy())).all():
        raise CrsError(f"a polygon cannot be brought to the scenes' CRS ({geobox.crs}). Cut it.")
    return [shapely.make_valid(shape) for shape in shapes]


def _candidates(
    shape: shapely.Geometry, side: int, height: int, width: int
) -> Iterator[tuple[int, int]]:
    left, top, right, bottom = shapely.bounds(shape).tolist()
    for row in range(max(0, int(top // side)), min(height - 1, int(bottom // side)) + 1):
        for col in range(max(0, int(left // side)), min(width - 1, int(right // side)) + 1):
            yield row, col


def _links(tiles: Sequence[PlannedTile], group_by: GroupBy) -> Iterator[tuple[str, str]]:
    """Pairs of tiles that stay together; footprints that overlap are linked elsewhere."""
    if group_by == "scene":
        yield from _chains((tile.scene, tile.name) for tile in tiles)
        return
    yield from _chains((i, tile.name) for tile in tiles for i in tile.polygons)
    if group_by == "site":
        yield from _chains((site, tile.name) for tile in tiles for site in tile.sites)
        return
    at = {(tile.mosaic, tile.row, tile.col): tile.name for tile in tiles}
    for (mosaic, row, col), name in at.items():
        for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
            other = at.get((mosaic, row + down, col + right))
            if other is not None:
                yield name, other


def _chains(owned: Iterable[tuple[object, str]]) -> Iterator[tuple[str, str]]:
    """Link all names of one owner, each to the next."""
    names: dict[object, list[str]] = {}
    for owner, name in owned:
        names.setdefault(owner, []).append(name)
    for members in names.values():
        yield from pairwise(members)


def _labels(
    tiles: Sequence[PlannedTile], groups: Mapping[str, str], group_by: GroupBy
) -> dict[str, str]:
    """Site of every group: its first site or scene, else the group's own name."""
    named: dict[str, str] = {}
    for tile in tiles:
        own = {"site": tile.sites[:1], "scene": (tile.scene,), "touching": ()}[group_by]
        group = groups[tile.name]
        if own and own[0] < named.get(group, "\U0010ffff"):
            named[group] = own[0]
    count = Counter(named.values())
    return {
        group: named[group] if count[named.get(group, "")] == 1 else group
        for group in set(groups.values())
    }


def tile_folder(name: str) -> Path:
    """Folder of a tile below the data set's."""
    return Path("tiles") / name
