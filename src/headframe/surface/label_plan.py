"""What `label` is going to do: images, their sites, polygons, splits and new names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import BandError
from headframe.datasets.splits import group_sites, split_sites
from headframe.io.burn import footprint
from headframe.io.stored import StoredHeader, read_header
from headframe.io.vector import PolygonLayer, named
from headframe.surface.label_inputs import LabelOptions, find_images
from headframe.surface.label_match import Matcher, PlaceMatcher, SiteMatcher
from headframe.surface.label_presets import BandPlan, get_preset, plan_bands
from headframe.surface.sites import normalise_site, region_of


@dataclass(frozen=True)
class PlannedChip:
    """One image with its place in the data set.

    Attributes:
        source: the image.
        old_name: its path below the folder that was given.
        header: what it says about itself.
        bands: what its bands do.
        outline: its outline in EPSG:4326.
        site: its site as it is written in the data set.
        key: its site as splits know it.
        polygons_of: normalised site of its polygons, or None where it may have none.
        folder: folder of its site in the data set.
    """

    source: Path
    old_name: str
    header: StoredHeader
    bands: BandPlan
    outline: BaseGeometry
    site: str
    key: str
    polygons_of: str | None
    folder: str


@dataclass(frozen=True)
class LabelPlan:
    """All of it.

    Attributes:
        chips: in sorted input order.
        stems: new name of each chip, five digits, counted by folder.
        split_of: split of each site (by ``PlannedChip.key``).
        polygons: what may lie on the images, by normalised site (``""`` where they go by place).
        facts: what is known of each site, by ``PlannedChip.key``.
        report: what a person should know, one line each.
    """

    chips: tuple[PlannedChip, ...]
    stems: tuple[str, ...]
    split_of: Mapping[str, str]
    polygons: Mapping[str, "SitePolygons"]
    facts: Mapping[str, dict[str, Any]]
    report: tuple[str, ...] = field(default=())

    def place(self, index: int, kind: str, suffix: str) -> Path:
        """Path of one file of one chip below the data set's folder."""
        chip = self.chips[index]
        name = self.stems[index] + suffix
        return Path(self.split_of[chip.key]) / kind / chip.folder / name

    def polygons_near(self, index: int) -> tuple[tuple[bytes, int], ...]:
        """WKB and mask of components of a chip's polygons that come near its outline."""
        chip = self.chips[index]
        if chip.polygons_of is None:
            return ()
        west, south, east, north = chip.outline.bounds
        near = chip.outline.buffer(0.01 * max(east - west, north - south))
        known = self.polygons[chip.polygons_of]
        return tuple((shapely.to_wkb(known.shapes[i]), known.bits[i]) for i in known.on(near))


@dataclass(frozen=True)
class SitePolygons:
    """Polygons of one site.

    Attributes:
        shapes: geometries in EPSG:4326.
        bits: mask of components of each; 0 without the preset ``components``.
    """

    shapes: tuple[BaseGeometry, ...]
    bits: tuple[int, ...]

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.shapes)

    def on(self, area: BaseGeometry) -> list[int]:
        """Places of the shapes that meet an area, in order."""
        return sorted(int(i) for i in self._tree.query(area, predicate="intersects"))


def make_plan(
    images: Sequence[Path],
    layer: PolygonLayer,
    *,
    out: Path,
    options: LabelOptions,
    bits: Sequence[int] | None = None,
) -> LabelPlan:
    """Work out sites, splits and names, reading headers only; deterministic.

    Args:
        images: files or folders (searched through).
        layer: the polygons.
        out: folder of the data set, never searched for images.
        options: how.
        bits: mask of components of each polygon of the layer; 0 leaves it out. None: no classes.

    Raises:
        MissingFileError: no images.
        FormatError: an image that is no GeoTIFF.
        CrsError: an image without a place on Earth.
        BandError: bands missing or too many, or unlike those of the other images.
        SiteError: sites that do not meet.
        GeometryError: a site whose only polygons have no area.
    """
    preset = get_preset(options.preset)
    sources = find_images(images, out)
    matcher: Matcher = (
        PlaceMatcher(layer) if options.by_place else SiteMatcher(layer, preset, options)
    )
    chips = []
    for source, old_name, is_top in sources:
        header = read_header(source)
        bands = plan_bands(header, preset, sensor=options.sensor, source=str(source))
        site, polygons_of = matcher.site_of(source, is_top=is_top)
        chips.append(
            PlannedChip(
                source=source,
                old_name=old_name,
                header=header,
                bands=bands,
                outline=footprint(header.geobox),
                site=site,
                key=normalise_site(site) if preset.regions else site,
                polygons_of=polygons_of,
                folder=_region_folder(site, source) if preset.regions else site,
            )
        )
    matcher.finish()
    _check_alike(chips)
    polygons = _polygons(layer, matcher.rows(), bits)
    facts = _facts(chips, layer, polygons=polygons, stratify=options.stratify)
    split_of, merged = _split(chips, facts, options)
    lost = _elsewhere(chips, polygons)
    if options.by_place:
        lost = _unmet(chips, polygons[""])
    report = (*layer.report, *matcher.report(), *merged, *lost)
    return LabelPlan(tuple(chips), _number(chips), split_of, polygons, facts, report)


def _polygons(
    layer: PolygonLayer, rows: Mapping[str, NDArray[np.intp]], bits: Sequence[int] | None
) -> dict[str, SitePolygons]:
    shapes = list(layer.frame.geometry)
    masks = [0] * len(shapes) if bits is None else bits
    kept = {key: [int(i) for i in found if bits is None or masks[i]] for key, found in rows.items()}
    return {
        key: SitePolygons(tuple(shapes[i] for i in found), tuple(masks[i] for i in found))
        for key, found in kept.items()
    }


def _region_folder(site: str, source: Path) -> str:
    """``<site>_agm_region_<k>``; k is the name's own, else 1."""
    region = region_of(source.stem) or region_of(site) or region_of(source.parent.name) or 1
    return f"{normalise_site(site)}_agm_region_{region}"


def _number(chips: Iterable[PlannedChip]) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    stems = []
    for chip in chips:
        number = counts.get(chip.folder, 0)
        counts[chip.folder] = number + 1
        stems.append(f"{number:05d}")
    return tuple(stems)


def _check_alike(chips: Sequence[PlannedChip]) -> None:
    first = chips[0]
    for chip in chips[1:]:
        if chip.bands.names != first.bands.names:
            raise BandError(
                f"{chip.source} has bands {', '.join(chip.bands.names)}, but {first.source} has "
                f"{', '.join(first.bands.names)}. A data set has one kind of image: label apart."
            )


def _facts(
    chips: Sequence[PlannedChip],
    layer: PolygonLayer,
    *,
    polygons: Mapping[str, SitePolygons],
    stratify: str | None,
) -> dict[str, dict[str, Any]]:
    """Facts by site: chips, polygons, place, and the polygons' stratum where one was asked for."""
    strata: dict[str, str] = {}
    if "stratum" in layer.frame:
        for site, value in zip(layer.frame["site"], layer.frame["stratum"], strict=True):
            strata.setdefault(normalise_site(site), str(value))
    facts: dict[str, dict[str, Any]] = {}
    for chip in chips:
        fact = facts.get(chip.key)
        if fact is None:
            centre = chip.outline.centroid
            fact = facts[chip.key] = {
                "chips": 0,
                "polygons": _count(chips, chip, polygons),
                "longitude": round(centre.x, 4),
                "latitude": round(centre.y, 4),
            }
            if stratify:
                fact[stratify] = strata.get(chip.polygons_of or "", "")
        fact["chips"] += 1
    return facts


def _count(
    chips: Sequence[PlannedChip], first: PlannedChip, polygons: Mapping[str, SitePolygons]
) -> int:
    """Polygons of a site: those of its name, or where they go by place those on its images."""
    if first.polygons_of is None:
        return 0
    known = polygons[first.polygons_of]
    if first.polygons_of:
        return len(known.shapes)
    return len({i for c in chips if c.key == first.key for i in known.on(c.outline)})


def _unmet(chips: Sequence[PlannedChip], polygons: SitePolygons) -> list[str]:
    """Count polygons that lie on no image, and images with none."""
    on = {chip.old_name: polygons.on(chip.outline) for chip in chips}
    met = {place for found in on.values() for place in found}
    bare = [name for name, found in on.items() if not found]
    lines = []
    if len(met) < len(polygons.shapes):
        lines.append(f"{len(polygons.shapes) - len(met)} polygon(s) lie on no image.")
    if bare:
        lines.append(f"{len(bare)} image(s) without any polygon: {named(bare)}.")
    return lines


def _elsewhere(chips: Sequence[PlannedChip], polygons: Mapping[str, SitePolygons]) -> list[str]:
    """Name sites that have polygons, none of them on any of their images."""
    met: dict[str, bool] = {}
    for chip in chips:
        if chip.polygons_of is not None:
            hit = met.get(chip.site, False) or bool(polygons[chip.polygons_of].on(chip.outline))
            met[chip.site] = hit
    lost = [site for site, hit in met.items() if not hit]
    if not lost:
        return []
    return [f"{len(lost)} site(s) whose polygons lie on none of their images: {named(lost)}."]


def _split(
    chips: Sequence[PlannedChip], facts: Mapping[str, dict[str, Any]], options: LabelOptions
) -> tuple[dict[str, str], list[str]]:
    """Split of every site; sites whose outlines overlap stay together."""
    outlines: dict[str, list[BaseGeometry]] = {}
    for chip in chips:
        outlines.setdefault(chip.key, []).append(chip.outline)
    groups = group_sites(outlines)
    strata = None
    if options.stratify:
        strata = {site: str(fact[options.stratify]) for site, fact in facts.items()}
    split_of = split_sites(
        groups,
        chips={site: len(shapes) for site, shapes in outlines.items()},
        fractions=options.fractions,
        seed=options.seed,
        strata=strata,
    )
    together: dict[str, list[str]] = {}
    for site, group in groups.items():
        together.setdefault(group, []).append(site)
    merged = [" and ".join(sites) for sites in together.values() if len(sites) > 1]
    lines = [f"sites that overlap share a split: {named(merged)}."] if merged else []
    return split_of, lines
