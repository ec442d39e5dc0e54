"""Draw a whole mine scene, as Sentinel-2 would see it, with exact truth.

Nothing here is a measurement: scenes are drawn so that the program can be shown, and tested,
without data. A seed is a place; the same place at another date has the same hills and another mine.
"""

from dataclasses import dataclass
from datetime import date

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage

from headframe.datasets.drawn import cover, mine, optics
from headframe.datasets.drawn.canvas import Canvas
from headframe.datasets.drawn.outline import Outline
from headframe.datasets.drawn.spectra import BAND_NAMES
from headframe.datasets.drawn.terrain import PIXEL_M, Terrain, draw_terrain, fractal, hillshade

FloatArray = NDArray[np.float32]

PARTS = ("background", "pit", "waste dump", "tailings")
"""Meaning of the values of ``DrawnScene.parts``."""

DRAWN_CRS = "EPSG:32723"
"""UTM zone 23 south, in which every drawn place lies."""

_STYLES = {"forest": (0.18, 0.25), "mixed": (0.48, 0.5), "savanna": (0.74, 0.6)}
"""Dryness and farmed share of the land, by style."""


@dataclass(frozen=True)
class DrawnScene:
    """One drawn scene and all that is known about it.

    Attributes:
        site: name of the place, the same at every date.
        seed: what it was drawn from.
        date: day it shows.
        bands: reflectance times 10,000, (12, H, W), uint16, nodata 0; order ``band_names``.
        band_names: Sentinel-2 names of the bands.
        geobox: grid, north-up, 10 m, ``DRAWN_CRS``.
        truth: 1 where tailings are stored, else 0, (H, W), uint8: the polygon rasterised.
        parts: index into ``PARTS``, (H, W), uint8.
        cloud: where the cloud hides more than half of the ground, (H, W), bool.
        polygons: one row a part; columns site, name, part, geometry in ``geobox.crs``.
    """

    site: str
    seed: int
    date: date
    bands: NDArray[np.uint16]
    band_names: tuple[str, ...]
    geobox: GeoBox
    truth: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    cloud: NDArray[np.bool_]
    polygons: gpd.GeoDataFrame

    @property
    def tailings(self) -> gpd.GeoDataFrame:
        """The polygons of tailings only."""
        return self.polygons[self.polygons["part"] == "tailings"]


@dataclass(frozen=True)
class _Plan:
    """Where the parts of the mine go, at one date."""

    pit: mine.Place
    dump: mine.Place
    tailings: mine.Place
    plant: tuple[float, float]
    town: cover.Town
    ore: mine.Ore


def draw_landscape(
    seed: int,
    *,
    size: tuple[int, int] = (448, 448),
    date: date = date(2021, 7, 15),
    cloudy: bool = True,
) -> DrawnScene:
    """Draw one place at one date.

    Relief, river, land cover, town and the kind of ore follow from ``seed`` and ``size``; the mine
    grows with the years (from 2014 to 2026); haze, cloud and noise are of the day. Equal arguments
    give equal scenes. Different seeds below 1,480 lie apart on the map.

    Args:
        seed: which place, >= 0.
        size: (H, W) in pixels of 10 m, each >= 96.
        date: day of the picture.
        cloudy: whether a cloud and its shadow pass.

    Raises:
        ValueError: ``size`` is too small or ``seed`` negative.
    """
    if min(size) < 96 or seed < 0:
        raise ValueError(f"size {size} must be at least 96 by 96 px and seed {seed} at least 0")
    rng = np.random.default_rng([seed, 7])
    land = draw_terrain(rng, size)
    dryness, farmed = _STYLES[str(rng.choice(list(_STYLES)))]
    grown = float(np.clip((date.year + date.timetuple().tm_yday / 366 - 2014) / 12, 0, 1))
    plan = _plan(rng, land, grown)
    canvas = Canvas(size, "grass_dry")
    cover.draw_vegetation(rng, canvas, land, dryness=dryness + rng.uniform(-0.08, 0.08))
    cover.draw_fields(rng, canvas, land, share=farmed)
    cover.draw_roads(rng, canvas, land, plan.town)
    cover.draw_water(rng, canvas, land)
    cover.draw_town(rng, canvas, land, plan.town)
    outlines = _build(rng, canvas, land, plan)
    bands, cloud = _photograph(
        np.random.default_rng([seed, date.toordinal()]), canvas, land, plan, cloudy=cloudy
    )
    parts = np.zeros(size, dtype=np.uint8)
    for value, part in enumerate(PARTS[1:], start=1):
        parts[outlines[part].mask] = value
    site = f"drawn_{seed:04d}"
    geobox = drawn_geobox(seed, size)
    return DrawnScene(
        site, seed, date, bands, BAND_NAMES, geobox,
        (parts == PARTS.index("tailings")).astype(np.uint8), parts, cloud,
        _frame(outlines, site, geobox),
    )  # fmt: skip


def _plan(rng: np.random.Generator, land: Terrain, grown: float) -> _Plan:
    """Lay out the mine on the wide side of the river, the town on the other."""
    height, width = land.elevation.shape
    sine, cosine = abs(np.sin(land.axes.angle)), abs(np.cos(land.axes.angle))
    half_u = 0.42 * (width * cosine + height * sine)
    half_v = 0.44 * (height * cosine + width * sine)
    side = -1.0 if land.river_v > 0 else 1.0
    flip = float(rng.choice([-1.0, 1.0]))
    room = half_v + abs(land.river_v)
    scale = float(np.clip(min(height, width) / 448, 0.3, 1.15))

    def spot(u: float, v: float, *, jitter: float = 0.06) -> tuple[float, float]:
        du, dv = rng.uniform(-jitter, jitter, 2)
        row, col = land.axes.place(flip * (u + du) * half_u, land.river_v + side * (v + dv) * room)
        margin = 34 * scale
        return (
            float(np.clip(row, margin, height - margin)),
            float(np.clip(col, margin, width - margin)),
        )

    ore = mine.ORES[str(rng.choice(list(mine.ORES)))]
    angle = land.axes.angle
    pit = mine.Place(
        *spot(-0.58, 0.62), rng.uniform(46, 62) * scale * (0.66 + 0.4 * grown),
        angle + rng.uniform(-0.5, 0.5),
    )  # fmt: skip
    tailings = mine.Place(
        *spot(0.58, 0.60), rng.uniform(46, 66) * scale * (0.62 + 0.44 * grown),
        rng.uniform(0, 2 * np.pi),
    )  # fmt: skip
    dump = mine.Place(
        *spot(0.0, 0.84), rng.uniform(26, 36) * scale * (0.7 + 0.35 * grown),
        rng.uniform(0, 2 * np.pi),
    )  # fmt: skip
    plant = spot(0.0, 0.42, jitter=0.04)
    row, col = land.axes.place(
        flip * rng.uniform(-0.6, 0.6) * half_u,
        land.river_v - side * rng.uniform(0.45, 0.7) * (half_v - abs(land.river_v) + 20 * scale),
    )
    town = cover.Town(row, col, rng.uniform(38, 62) * scale)
    return _Plan(pit, dump, tailings, plant, town, ore)


def _build(
    rng: np.random.Generator, canvas: Canvas, land: Terrain, plan: _Plan
) -> dict[str, Outline]:
    """Draw the mine; later parts lie on top, tailings topmost."""
    stops = [plan.plant, *((p.row, p.col) for p in (plan.pit, plan.dump, plan.tailings))]
    mine.draw_haul_roads(rng, canvas, [*stops, (plan.town.row, plan.town.col)], plan.ore)
    outlines = {
        "waste dump": mine.draw_dump(rng, canvas, land, plan.dump, plan.ore),
        "pit": mine.draw_pit(rng, canvas, land, plan.pit, plan.ore),
    }
    mine.draw_plant(rng, canvas, plan.plant, plan.ore)
    outlines["tailings"] = mine.draw_tailings(rng, canvas, land, plan.tailings, plan.ore).storage
    return outlines


def _photograph(
    rng: np.random.Generator, canvas: Canvas, land: Terrain, plan: _Plan, *, cloudy: bool
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Light the land, add the day's air, and measure."""
    shape = (land.elevation.shape[0], land.elevation.shape[1])
    azimuth, sun = rng.uniform(30, 65), rng.uniform(42, 56)
    relief = land.elevation + canvas.relief
    shade = hillshade(relief.astype(np.float32), azimuth_deg=azimuth, sun_elevation_deg=sun)
    haze = 1 + 0.12 * np.abs(fractal(rng, shape, beta=3.2)) + rng.uniform(0, 0.25)
    cloud = np.zeros(shape, dtype=np.float32)
    if cloudy:
        spots = rng.uniform(0.08, 0.92, (12, 2)) * shape
        mine_at = np.array([plan.tailings.row, plan.tailings.col])
        centre = spots[np.hypot(*(spots - mine_at).T).argmax()]
        radius = 0.075 * min(shape) * rng.uniform(0.8, 1.3)
        cloud = optics.draw_cloud(
            rng, shape, centre=(float(centre[0]), float(centre[1])), radius_px=radius
        )
    # The shadow falls away from the sun, further the lower it stands: the cloud is 450 m up.
    away = 45 / np.tan(np.radians(sun))
    drift = (away * np.cos(np.radians(azimuth)), -away * np.sin(np.radians(azimuth)))
    shadow = 0.8 * ndimage.shift(cloud, drift, order=1, mode="constant", cval=0.0)
    ground = optics.light_up(canvas.reflectance, shade)
    seen = optics.through_air(ground, haze=haze.astype(np.float32), cloud=cloud, shadow=shadow)
    return optics.measure(rng, seen), cloud > 0.5


def drawn_geobox(seed: int, size: tuple[int, int]) -> GeoBox:
    """Give every seed below 1,480 its own square of 12 km; 10 m, north-up, ``DRAWN_CRS``."""
    east = 330_000 + (seed % 37) * 12_000
    north = 7_900_000 - (seed // 37 % 40) * 12_000
    return GeoBox(size, Affine(PIXEL_M, 0, east, 0, -PIXEL_M, north), DRAWN_CRS)


def _frame(outlines: dict[str, Outline], site: str, geobox: GeoBox) -> gpd.GeoDataFrame:
    """Polygons of all parts in the grid's CRS."""
    matrix = geobox.transform
    rows = [
        {
            "site": site,
            "name": f"{site} {part}",
            "part": part,
            "geometry": shapely.transform(
                item.polygon,
                lambda xy: np.column_stack(
                    (matrix.c + matrix.a * xy[:, 0], matrix.f + matrix.e * xy[:, 1])
                ),
            ),
        }
        for part, item in outlines.items()
        if not item.polygon.is_empty
    ]
    return gpd.GeoDataFrame(rows, geometry="geometry", crs=DRAWN_CRS)
