"""Facts about sites (raw material, type of mine, …): joining them and choosing sites by them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headframe.core.errors import DatasetError, SiteError, UnknownNameError
from headframe.datasets.chips import ChipDataset
from headframe.datasets.layout import base_site
from headframe.io.places import Fact, Place
from headframe.io.vector import named

Facts = dict[str, dict[str, Fact]]
Conditions = Mapping[str, object]
"""Field to the value, or the values, that a site must have."""


@dataclass(frozen=True)
class FactReport:
    """What came of joining a table with a data set.

    Attributes:
        facts: facts of every site of the data set, old and new.
        fields: fields that the table brought.
        missing: sites of the data set that the table does not name.
        unknown: sites of the table that the data set does not have.
    """

    facts: Facts
    fields: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]


def join_facts(dataset: ChipDataset, table: Sequence[Place], *, source: str) -> FactReport:
    """Bring the facts of a table to the sites of a data set.

    Names meet as ``layout.base_site`` writes them: without case, accents, punctuation and
    ``_agm_region_<k>``. A fact that the data set had under the same name is replaced.

    Args:
        dataset: whose sites.
        table: from ``io.places.read_places``.
        source: the table's name, for messages.

    Raises:
        SiteError: the table and the data set have no site in common.
    """
    by_name = {base_site(place.site): place for place in table}
    facts: Facts = {site: dict(found) for site, found in dataset.manifest.sites.items()}
    missing, met = [], set()
    for site in sorted({chip.site for chip in dataset.chips()}):
        place = by_name.get(base_site(site))
        if place is None:
            missing.append(site)
            continue
        met.add(place.site)
        facts[site] = {**facts.get(site, {}), **place.facts}
    if not met:
        raise SiteError(
            f"{source}: none of its {len(table)} sites ({named([p.site for p in table])}) is in "
            f"{dataset.root} ({named(missing)}). Name the sites as the data set does."
        )
    return FactReport(
        facts=facts,
        fields=tuple(dict.fromkeys(field for place in table for field in place.facts)),
        missing=tuple(missing),
        unknown=tuple(place.site for place in table if place.site not in met),
    )


def sites_where(
    facts: Mapping[str, Mapping[str, Fact]], where: Conditions, *, source: object
) -> frozenset[str]:
    """Choose sites by their facts.

    Args:
        facts: by site, from a manifest.
        where: field to value or values; a site must meet all. Values are compared as text
            without case, so that ``rr`` finds ``RR`` and ``2019`` the number.
        source: the data set, for messages.

    Returns:
        Names of the sites; all of them where ``where`` is empty.

    Raises:
        UnknownNameError: no site has a fact of that name.
        DatasetError: no site has such a value, or none meets all conditions.
    """
    chosen = set(facts)
    for field, wanted in where.items():
        values = [wanted] if not isinstance(wanted, list | tuple) else list(wanted)
        known = fact_values(facts, field)
        if not known:
            fields = {name for row in facts.values() for name in row}
            raise UnknownNameError.of(f"fact of the sites of {source}", field, fields)
        texts = {_text(value) for value in values}
        if not texts & {_text(value) for value in known}:
            shown = ", ".join(map(str, values))
            raise DatasetError(
                f"{source}: no site has {field} = {shown}; there is {named(known)}. "
                "Choose one of these, or give the sites facts with `headframe dataset sites`."
            )
        chosen &= {site for site, row in facts.items() if _text(row.get(field)) in texts}
    if not chosen and where:
        shown = " and ".join(f"{field} = {value}" for field, value in where.items())
        raise DatasetError(f"{source}: no site has {shown} together. Drop one condition.")
    return frozenset(chosen)


def fact_values(facts: Mapping[str, Mapping[str, Fact]], field: str) -> tuple[str, ...]:
    """List the values that a fact takes, as text, sorted; sites without one are left out."""
    found = (row.get(field) for row in facts.values())
    return tuple(sorted({str(value) for value in found if value is not None}))


def parse_conditions(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read ``material=RR`` or ``material=RR,MO`` as conditions.

    Raises:
        DatasetError: no ``=``, or nothing on one side of it.
    """
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        field, _, values = word.partition("=")
        parts = tuple(part.strip() for part in values.split(",") if part.strip())
        if not field.strip() or not parts:
            raise DatasetError(f"--where {word}: write FIELD=VALUE, e.g. material=RR.")
        found[field.strip()] = parts
    return found


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def only_sites(dataset: ChipDataset, where: Conditions) -> ChipDataset:
    """View of a data set with the sites that have certain facts; see ``sites_where``.

    It keeps the identifier of the whole, so that a model still knows its own data set.
    """
    sites = sites_where(dataset.manifest.sites, where, source=dataset.root)
    return dataset.of_sites(sites)
