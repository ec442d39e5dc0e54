"""What `label` is going to do: images, their sites, polygons, splits and new names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import BandError
from headframe.datasets.splits import group_sites, split_sites
from headframe.io.burn import footprint
from headframe.io.stored import StoredHeader, read_header
from headframe.io.vector import PolygonLayer, named
from headframe.surface.label_inputs import LabelOptions, find_images
from headframe.surface.label_match import SiteMatcher
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
        polygons: geometries in EPSG:4326 by normalised site.
        facts: what is known of each site, by ``PlannedChip.key``.
        report: what a person should know, one line each.
    """

    chips: tuple[PlannedChip, ...]
    stems: tuple[str, ...]
    split_of: Mapping[str, str]
    polygons: Mapping[str, tuple[BaseGeometry, ...]]
    facts: Mapping[str, dict[str, Any]]
    report: tuple[str, ...] = field(default=())

    def place(self, index: int, kind: str, suffix: str) -> Path:
        """Path of one file of one chip below the data set's folder."""
        chip = self.chips[index]
        name = self.stems[index] + suffix
        return Path(self.split_of[chip.key]) / kind / chip.folder / name

    def polygons_near(self, index: int) -> tuple[bytes, ...]:
        """WKB of the polygons of a chip's site that come near its outline."""
        chip = self.chips[index]
        if chip.polygons_of is None:
            return ()
        west, south, east, north = chip.outline.bounds
        near = chip.outline.buffer(0.01 * max(east - west, north - south))
        shapes = self.polygons[chip.polygons_of]
        return tuple(shapely.to_wkb(shape) for shape in shapes if shape.intersects(near))


def make_plan(
    images: Sequence[Path], layer: PolygonLayer, *, out: Path, options: LabelOptions
) -> LabelPlan:
    """Work out sites, splits and names, reading headers only; deterministic.

    Args:
        images: files or folders (searched through).
        layer: the polygons.
        out: folder of the data set, never searched for images.
        options: how.

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
    matcher = SiteMatcher(layer, preset, options)
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
    polygons = matcher.polygons()
    facts = _facts(chips, layer, polygons=polygons, stratify=options.stratify)
    split_of, merged = _split(chips, facts, options)
    report = (*layer.report, *matcher.report(), *merged, *_elsewhere(chips, polygons))
    return LabelPlan(tuple(chips), _number(chips), split_of, polygons, facts, report)


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
    polygons: Mapping[str, tuple[BaseGeometry, ...]],
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
                "polygons": len(polygons.get(chip.polygons_of or "", ())),
                "longitude": round(centre.x, 4),
                "latitude": round(centre.y, 4),
            }
            if stratify:
                fact[stratify] = strata.get(chip.polygons_of or "", "")
        fact["chips"] += 1
    return facts


def _elsewhere(
    chips: Sequence[PlannedChip], polygons: Mapping[str, tuple[BaseGeometry, ...]]
) -> list[str]:
    """Name sites that have polygons, none of them on any of their images."""
    met: dict[str, bool] = {}
    for chip in chips:
        if chip.polygons_of is not None:
            hit = met.get(chip.site, False) or any(
                shape.intersects(chip.outline) for shape in polygons[chip.polygons_of]
            )
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
