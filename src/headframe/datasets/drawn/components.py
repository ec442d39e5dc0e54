"""Draw a mine with all ten components, as Sentinel-2 and Sentinel-1 would see it.

Like ``landscape``, this is no measurement: it shows and tests the way from fifteen bands to a map
of components where there is no data. The truth is exact, and a pixel carries every component that
it belongs to.
"""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from headframe.core.bandsets import BAND_SETS
from headframe.core.components import COMPONENT_NAMES, BitArray, bits_of
from headframe.datasets.drawn import cover, mine, optics, workings, yards
from headframe.datasets.drawn.canvas import Canvas
from headframe.datasets.drawn.inks import INKS, OPTICAL, RADAR
from headframe.datasets.drawn.landscape import drawn_geobox
from headframe.datasets.drawn.lots import Lots, deal_lots, room_of
from headframe.datasets.drawn.radar import measure_radar
from headframe.datasets.drawn.terrain import Terrain, draw_terrain, hillshade

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

MIN_PX = 128
"""Least side of a drawn mine: below, parts have less than a handful of pixels."""

SENSOR = BAND_SETS["m+s"].sensor

_STYLES = ((0.18, 0.25), (0.48, 0.5), (0.74, 0.6))
"""Dryness and farmed share of the land."""


@dataclass(frozen=True)
class Material:
    """What a kind of raw material looks like.

    Attributes:
        ore: rock, roads, tailings and water.
        spoil: what dumps are made of.
        stock: what stockpiles are made of.
        pond: water of settling ponds.
        types: codes of mine types it is dug in; more often by the first.
        often: chance of each optional component; 1 where it is not named.
    """

    ore: mine.Ore
    spoil: str
    stock: str
    pond: str
    types: tuple[str, ...]
    often: dict[str, float]


_COAL = mine.Ore(
    "overburden", "coal", "tail_coal_dry", "tail_coal_wet", "water_green", "overburden"
)
_STONE = mine.Ore(
    "limestone", "limestone_dark", "tail_pale_dry", "tail_pale_wet", "water_clear", "crushed"
)

MATERIALS: dict[str, tuple[Material, ...]] = {
    "CL": (
        Material(
            _COAL, "spoil_coal", "coal", "pond_black", ("OC", "OC", "MT"),
            {"tailings_storage_facility": 0.5, "settling_pond": 0.85},
        ),
    ),
    "MO": (
        Material(
            mine.ORES["iron"], "spoil_iron", "ore_fines", "pond_grey", ("OP", "OP", "MT"),
            {"settling_pond": 0.6, "stockpile": 0.75},
        ),
        Material(
            mine.ORES["gold"], "spoil_grey", "ore_grey", "pond_grey", ("OP",),
            {"settling_pond": 0.6, "stockpile": 0.75},
        ),
    ),
    "RR": (
        Material(
            _STONE, "spoil_pale", "crushed", "pond_pale", ("OP", "OC"),
            {"tailings_storage_facility": 0.4, "dumping_ground": 0.7, "settling_pond": 0.75},
        ),
    ),
}  # fmt: skip
"""Coal and lignite, metal ores, rock raw materials, as papers/002 groups them (section 2.4)."""

_SOMETIMES = {
    "exploitation_slope": 0.85,
    "transportation_slope": 0.8,
    "preparatory_work_area": 0.85,
}


@dataclass(frozen=True)
class DrawnMine:
    """One drawn mine and all that is known about it.

    Attributes:
        site: name of the place, the same at every date.
        seed: what it was drawn from.
        date: day it shows.
        material: raw material: CL, MO or RR.
        kind: type of mine: OC, OP or MT.
        bands: (15, H, W), float32: reflectance, then VV, VH and their ratio in dB.
        band_names: common names of the bands, as the band set ``m+s``.
        geobox: grid, north-up, 10 m.
        bits: masks of components, (H, W), uint16; see ``core.components``.
    """

    site: str
    seed: int
    date: date
    material: str
    kind: str
    bands: FloatArray
    band_names: tuple[str, ...]
    geobox: GeoBox
    bits: BitArray


def draw_mine(
    seed: int,
    *,
    size: tuple[int, int] = (256, 256),
    date: date = date(2021, 7, 15),
    every: bool = False,
) -> DrawnMine:
    """Draw one mine at one date.

    Relief, land cover, raw material, type and the lots of all parts follow from ``seed`` and
    ``size``; the parts grow within their lots from 2014 to 2026; light, noise and speckle are of
    the day. No cloud: the paper takes cloud-free images. Equal arguments give equal scenes.

    Invariants: slopes lie within the excavation; a preparatory work area touches it; a dam touches
    its tailings storage; members of a class set share no pixel. Only a dumping ground overlaps
    another component, the excavation, where an opencast mine is filled from behind.

    Args:
        seed: which place, >= 0; seeds below 1,480 lie apart on the map.
        size: (H, W) in pixels of 10 m, each >= ``MIN_PX``.
        date: day of the picture.
        every: draw all ten components, as far as there is room; else some mines lack some, more
            often those that their raw material seldom has.

    Raises:
        ValueError: ``size`` is too small or ``seed`` negative.
    """
    if min(size) < MIN_PX or seed < 0:
        raise ValueError(f"size {size} must be at least {MIN_PX} px and seed {seed} at least 0")
    rng = np.random.default_rng([seed, 15])
    land = draw_terrain(rng, size)
    code, kind = nature_of(seed)
    material = _look(seed)
    town = _found_town(rng, land)
    lots = deal_lots(rng, land, town=town)
    canvas = _countryside(rng, land, town)
    grown = float(np.clip((date.year + date.timetuple().tm_yday / 366 - 2014) / 12, 0, 1))
    site = _Site(seed, canvas, land, lots, material, kind, 0.72 + 0.28 * grown)
    chosen = set(COMPONENT_NAMES) if every else _choose(rng, material)
    masks = _build(site, chosen)
    bits = np.zeros(size, np.uint16)
    for name, mask in masks.items():
        bits[mask] |= np.uint16(bits_of([name]))
    bands = _observe(np.random.default_rng([seed, date.toordinal()]), canvas, land)
    return DrawnMine(
        f"mine_{seed:04d}", seed, date, code, kind, bands, BAND_SETS["m+s"].bands,
        drawn_geobox(seed, size), bits,
    )  # fmt: skip


@dataclass(frozen=True)
class _Site:
    """What the parts are drawn on and from."""

    seed: int
    canvas: Canvas
    land: Terrain
    lots: Lots
    material: Material
    kind: str
    grown: float

    def rng(self, part: int) -> np.random.Generator:
        """Randomness of a part's own, the same at every date, whatever else is drawn."""
        return np.random.default_rng([self.seed, 16, part])


def nature_of(seed: int) -> tuple[str, str]:
    """Tell the raw material and the type of a drawn mine: codes as ``DrawnMine`` has them.

    Materials come in turn, so that three sites have all three.
    """
    kind = np.random.default_rng([seed, 18]).choice(_look(seed).types)
    return _code(seed), str(kind)


def _code(seed: int) -> str:
    return ("MO", "CL", "RR")[seed % 3]


def _look(seed: int) -> Material:
    looks = MATERIALS[_code(seed)]
    return looks[int(np.random.default_rng([seed, 17]).integers(len(looks)))]


def _choose(rng: np.random.Generator, material: Material) -> set[str]:
    dice = dict(zip(COMPONENT_NAMES, rng.random(len(COMPONENT_NAMES)), strict=True))
    often = {**_SOMETIMES, **material.often}
    return {name for name, die in dice.items() if die < often.get(name, 1.0)}


def _found_town(rng: np.random.Generator, land: Terrain) -> cover.Town:
    """Choose a place on the narrow side of the river."""
    height, width = land.elevation.shape
    side = min(height, width)
    v = np.sign(land.river_v) * rng.uniform(0.36, 0.44) * side
    row, col = land.axes.place(rng.uniform(-0.35, 0.35) * side, float(v))
    return cover.Town(row, col, rng.uniform(0.08, 0.12) * side)


def _countryside(rng: np.random.Generator, land: Terrain, town: cover.Town) -> Canvas:
    """All that is no mine."""
    canvas = Canvas((land.elevation.shape[0], land.elevation.shape[1]), "grass_dry", inks=INKS)
    dryness, farmed = _STYLES[int(rng.integers(len(_STYLES)))]
    cover.draw_vegetation(rng, canvas, land, dryness=dryness + rng.uniform(-0.08, 0.08))
    cover.draw_fields(rng, canvas, land, share=farmed)
    cover.draw_roads(rng, canvas, land, town)
    cover.draw_water(rng, canvas, land)
    cover.draw_town(rng, canvas, land, town)
    return canvas


def _build(site: _Site, chosen: set[str]) -> dict[str, BoolArray]:
    """Draw the mine, part after part, each where the earlier ones left room."""
    lots, ore = site.lots, site.material.ore
    stops = [(lot.row, lot.col) for lot in (lots.yard, lots.excavation, lots.dump, lots.tailings)]
    mine.draw_haul_roads(site.rng(0), site.canvas, [*stops, (0.0, 0.0)], ore)
    masks = {name: np.zeros(site.canvas.relief.shape, bool) for name in COMPONENT_NAMES}
    taken = np.asarray(site.land.river < 3)
    found = _dig(site, masks, taken, chosen)
    if "tailings_storage_facility" in chosen:
        _impound(site, masks, taken, dam="dam" in chosen)
    if "dumping_ground" in chosen:
        heap = mine.draw_dump(
            site.rng(3), site.canvas, site.land, lots.dump.place(site.grown), _spoil(site.material),
            room_px=room_of(taken, gap_px=2),
        )  # fmt: skip
        _claim(masks, "dumping_ground", heap.mask, taken)
    _equip(site, masks, taken, chosen)
    if "preparatory_work_area" in chosen:
        lot = lots.excavation
        masks["preparatory_work_area"] |= workings.draw_stripped(
            site.rng(7), site.canvas, found, lot.place(site.grown),
            width_px=max(3.5, 0.24 * lot.radius_px), room=~taken,
        )  # fmt: skip
    return masks


def _dig(
    site: _Site, masks: dict[str, BoolArray], taken: BoolArray, chosen: set[str]
) -> workings.Workings:
    kind = workings.MINE_TYPES[site.kind]
    digging = workings.Digging(
        kind=replace(kind, spoiled=kind.spoiled and "dumping_ground" in chosen),
        ore=site.material.ore,
        spoil=site.material.spoil,
        face="exploitation_slope" in chosen,
        ramp="transportation_slope" in chosen,
    )
    found = workings.draw_excavation(
        site.rng(1),
        site.canvas,
        site.land,
        site.lots.excavation.place(site.grown),
        digging,
        room_px=np.minimum(room_of(taken, gap_px=2), _beside(site.lots, taken.shape)),
    )
    masks["exploitation_slope"] |= found.exploitation
    masks["transportation_slope"] |= found.transportation
    masks["dumping_ground"] |= found.spoil
    _claim(masks, "excavation", found.crest.mask, taken)
    return found


def _impound(site: _Site, masks: dict[str, BoolArray], taken: BoolArray, *, dam: bool) -> None:
    """Build the storage; without ``dam`` there is one all the same, but nobody told it apart."""
    found = mine.draw_tailings(
        site.rng(2), site.canvas, site.land, site.lots.tailings.place(site.grown),
        site.material.ore, room_px=room_of(taken, gap_px=10),
    )  # fmt: skip
    wall = found.dam & ~taken
    _claim(masks, "tailings_storage_facility", found.storage.mask, taken)
    if dam:
        masks["dam"] |= wall
    taken |= wall


def _equip(site: _Site, masks: dict[str, BoolArray], taken: BoolArray, chosen: set[str]) -> None:
    """Put up the yard, and around it the stockpiles and ponds, of which each year has more."""
    yard = yards.draw_yard(
        site.rng(4), site.canvas, site.lots.yard.place(site.grown), room_px=room_of(taken)
    )
    _claim(masks, "infrastructure", yard, taken)
    rng, material = site.rng(5), site.material
    for lot in site.lots.stockpiles if "stockpile" in chosen else ():
        pile = yards.draw_stockpile(
            rng, site.canvas, lot.place(site.grown), material.stock, room_px=room_of(taken)
        )
        _claim(masks, "stockpile", pile, taken)
    rng = site.rng(6)
    for lot in site.lots.ponds if "settling_pond" in chosen else ():
        pond = yards.draw_pond(
            rng, site.canvas, lot.place(site.grown), material.pond, room_px=room_of(taken)
        )
        _claim(masks, "settling_pond", pond, taken)


def _claim(masks: dict[str, BoolArray], name: str, mask: BoolArray, taken: BoolArray) -> None:
    masks[name] |= mask
    taken |= mask


def _spoil(material: Material) -> mine.Ore:
    return replace(material.ore, rock=material.spoil, seam=material.spoil)


def _beside(lots: Lots, shape: tuple[int, ...]) -> FloatArray:
    """How far a pixel is from the lots that the excavation must leave alone, (H, W)."""
    others = (lots.dump, lots.tailings, lots.yard, *lots.stockpiles, *lots.ponds)
    size = (shape[0], shape[1])
    room = [lot.far(size) - np.float32(lot.radius_px) for lot in others]
    return np.asarray(np.min(room, axis=0), np.float32)


def _observe(rng: np.random.Generator, canvas: Canvas, land: Terrain) -> FloatArray:
    """Light the land and measure it from both satellites, (15, H, W)."""
    relief = np.asarray(land.elevation + canvas.relief, np.float32)
    azimuth, sun = float(rng.uniform(30, 65)), float(rng.uniform(42, 60))
    shade = hillshade(relief, azimuth_deg=azimuth, sun_elevation_deg=sun)
    ground = optics.light_up(canvas.reflectance[OPTICAL], shade)
    air = 1 + rng.normal(0, 0.03, (12, 1, 1)).astype(np.float32)  # what correction leaves
    light = optics.measure(rng, ground * air).astype(np.float32) / np.float32(10_000)
    power = canvas.reflectance[RADAR]
    radar = measure_radar(rng, power, relief, ascending=bool(rng.random() < 0.5))
    return np.concatenate([light, np.round(radar, 2)])
