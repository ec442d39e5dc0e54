"""From the names of rules to the set that one map keeps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from odc.geo.geobox import GeoBox

from headframe.core.errors import InputError, UnknownNameError
from headframe.core.modelspec import ModelSpec
from headframe.core.sensors import get_sensor
from headframe.engine.mapping.ensemble import bit_legend, union_inputs
from headframe.engine.mapping.rules import Guard
from headframe.io.bitrows import BitRows
from headframe.io.scene import Scene
from headframe.surface.component_rules import RULES, LandCover, Rule
from headframe.surface.snow_cloud import SnowCloud, lacking_bands

_GUARD, _COVER = "snow-cloud", "land-cover"
RULE_NAMES = (_GUARD, _COVER, *RULES)
"""Every rule, in the order in which they apply."""


@dataclass(frozen=True)
class RuleSources:
    """Rasters that rules may use.

    Attributes:
        land_cover: raster of land-cover classes; None for none.
        excluded: its classes that are never part of a mine.
        scl: raster of Sentinel-2's scene classification; None for none.
    """

    land_cover: str | None = None
    excluded: tuple[int, ...] = ()
    scl: str | None = None


@dataclass(frozen=True)
class ComponentRules:
    """The rules of one map; implements ``engine.mapping.rules.MapRules``.

    Attributes:
        rules: in the order in which they apply.
        snow_cloud: guards what models may say; None for none.
        bands: what the guard needs beside the models' bands, common names.
        skipped: name of a rule to why it does nothing here.
    """

    rules: tuple[Rule, ...] = ()
    snow_cloud: SnowCloud | None = None
    bands: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Give plain values of all that decides what the rules do."""
        facts: dict[str, Any] = {rule.name: rule.facts() for rule in self.rules}
        if self.snow_cloud is not None:
            facts[_GUARD] = self.snow_cloud.facts()
        return {"rules": facts, "skipped": dict(self.skipped)}

    @contextmanager
    def guard(self, scene: Scene, bands: Sequence[str]) -> Iterator[Guard | None]:
        """Open the guard for a scene whose channels are ``bands``; None where there is none."""
        if self.snow_cloud is None:
            yield None
            return
        with self.snow_cloud.guard(scene, bands) as guard:
            yield guard

    def apply(
        self,
        rows: BitRows,
        bit_of: Mapping[str, int],
        *,
        geobox: GeoBox | None,
        guarded_px: int,
    ) -> list[dict[str, Any]]:
        """Apply the rules in order.

        Returns:
            One entry a rule: ``pixels`` and ``objects`` by component, or ``nodata_pixels`` of the
            guard, or ``skipped`` with the reason.
        """
        report: list[dict[str, Any]] = []
        if self.snow_cloud is not None:
            report.append({"rule": _GUARD, "nodata_pixels": guarded_px})
        report += [rule(rows, bit_of, geobox=geobox).to_json() for rule in self.rules]
        report += [{"rule": name, "skipped": why} for name, why in self.skipped.items()]
        return sorted(report, key=lambda entry: RULE_NAMES.index(entry["rule"]))


def choose_rules(
    text: str, specs: Sequence[ModelSpec], *, sources: RuleSources | None = None
) -> ComponentRules | None:
    """Choose rules by their names.

    Args:
        text: ``none``, ``all``, or names of ``RULE_NAMES`` with commas between. ``all`` leaves
            out what these models or sources do not allow and notes why; a rule asked for by name
            must be possible, and the guard's bands are then read beside those of the models.
        specs: the models of the map.
        sources: rasters that rules use.

    Returns:
        None for ``none``.

    Raises:
        UnknownNameError: no such rule.
        InputError: a rule asked for by name cannot work, or a raster is given that no rule uses.
        BandError: the sensor lacks what the guard needs.
    """
    sources = sources or RuleSources()
    names = [name.strip() for name in text.split(",") if name.strip()]
    every = names == ["all"]
    wanted = [] if names == ["none"] else list(RULE_NAMES) if every else names
    for name in wanted:
        if name not in RULE_NAMES:
            raise UnknownNameError.of("rule", name, [*RULE_NAMES, "all", "none"])
    _refuse_idle(sources, wanted)
    if not wanted:
        return None
    skipped: dict[str, str] = {}
    rules: list[Rule] = []
    bit_of = bit_legend(specs).bit_of
    for name, rule in _component_rules(wanted, sources).items():
        if rule is None:
            skipped[name] = "no --land-cover is given"
        elif (lack := rule.lacks(bit_of)) is not None:
            skipped[name] = f"no model finds {lack}"
        else:
            rules.append(rule)
    guard: SnowCloud | None = None
    bands: tuple[str, ...] = ()
    if _GUARD in wanted:
        guard, bands = _guard(specs, sources, every=every, skipped=skipped)
    if skipped and not every:
        name, why = next(iter(skipped.items()))
        raise InputError(f"--rules {name}: {why}. Leave it out, or give what it needs.")
    return ComponentRules(tuple(rules), guard, bands, skipped)


def _component_rules(wanted: Sequence[str], sources: RuleSources) -> dict[str, Rule | None]:
    """List the rules on components among those wanted, in order; None without its raster."""
    found: dict[str, Rule | None] = {}
    if _COVER in wanted:
        path = sources.land_cover
        found[_COVER] = None if path is None else LandCover(path, sources.excluded)
    return found | {name: rule for name, rule in RULES.items() if name in wanted}


def _guard(
    specs: Sequence[ModelSpec],
    sources: RuleSources,
    *,
    every: bool,
    skipped: dict[str, str],
) -> tuple[SnowCloud | None, tuple[str, ...]]:
    """Choose the guard and the bands that it needs beside the models'."""
    guard = SnowCloud(scl=sources.scl)
    inputs = union_inputs(specs)
    sensor = get_sensor(inputs.sensor)
    lack = lacking_bands(guard, sensor, inputs.bands) if every else None
    if lack is not None:
        skipped[_GUARD] = f"{lack}, and no --scl is given"
        return None, ()
    needed = guard.bands(sensor, inputs.bands)
    return guard, tuple(band for band in needed if band not in inputs.bands)


def _refuse_idle(sources: RuleSources, wanted: Sequence[str]) -> None:
    for option, value, rule in (
        ("--land-cover", sources.land_cover, _COVER),
        ("--scl", sources.scl, _GUARD),
    ):
        if value is not None and rule not in wanted:
            raise InputError(f"{option} {value} is for rule {rule}. Add it to --rules.")
    if sources.excluded and sources.land_cover is None:
        raise InputError("--land-cover-exclude is given without --land-cover FILE. Name the file.")
