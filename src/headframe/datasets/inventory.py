"""Published data sets as tables: which sites they have, in which split, with how many chips."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headframe.core.errors import UnknownNameError
from headframe.datasets.layout import SPLITS, Files, base_site

_REGION = re.compile(r"_agm_region_\d+$")
_STEM = re.compile(r"\d{5}")


@dataclass(frozen=True)
class InventorySite:
    """One base site of a published data set.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        continent: as printed.
        country: as printed.
        name: base site as printed.
        chips: images of all its regions.
    """

    split: str
    continent: str
    country: str
    name: str
    chips: int

    @property
    def key(self) -> str:
        """Name as folders carry it, without ``_agm_region_<k>``."""
        return base_site(self.name)


@dataclass(frozen=True)
class Inventory:
    """A published data set.

    Attributes:
        name: key in ``INVENTORIES``.
        title: as its authors call it.
        source: where the table is printed.
        bands: bands of every image.
        sites: in the order of the table; every base site in one split only.
    """

    name: str
    title: str
    source: str
    bands: int
    sites: tuple[InventorySite, ...]

    def chips(self, split: str | None = None) -> int:
        """Count the chips of one split, or of all."""
        return sum(site.chips for site in self.sites if split in (None, site.split))

    def base_sites(self, split: str | None = None) -> tuple[InventorySite, ...]:
        """Base sites of one split, or all."""
        return tuple(site for site in self.sites if split in (None, site.split))


@dataclass(frozen=True)
class Difference:
    """One point in which a data set is not what its table says.

    Attributes:
        kind: ``count`` (chips of a site or split), ``site`` (missing, unknown or elsewhere) or
            ``layout``.
        where: site, file or split.
        message: what is different.
    """

    kind: Literal["count", "site", "layout"]
    where: str
    message: str


def _rows(split: str, text: str) -> tuple[InventorySite, ...]:
    lines = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
    return tuple(
        InventorySite(split, continent, country, name, int(chips))
        for continent, country, name, chips in lines
    )


GLOBAL_MINING = Inventory(
    name="global-mining",
    title="Global Mining Dataset",
    source="papers/001, Table 1",
    bands=7,
    sites=(
        *_rows(
            "train",
            """
            Africa | Cameroon | Cameroon Kadei River Batouri | 201
            Africa | Mali | Mali Faleme Upper | 271
            Africa | Mozambique | Mozambique Manica | 365
            Asia | Indonesia | Indonesia Madreng | 326
            Asia | Indonesia | Indonesia Batang Hari Bedaro | 14
            Asia | Indonesia | Indonesia West Kalimantan Selimbau | 6
            Asia | Myanmar | Myanmar Chindwin River Hkamti | 857
            Asia | Myanmar | Myanmar Chindwin River Ningbyen | 775
            Asia | Myanmar | Myanmar Namsi Awng | 392
            Asia | Myanmar | Myanmar Theinkun | 386
            Asia | Myanmar | Myanmar Kawbyin | 319
            Asia | Russia | Russia Novotroitsk | 80
            Asia | Russia | Russia Tumnin | 65
            Asia | Russia | Russia Koryak Plateau | 26
            Asia | Russia | Russia Tumnin Tributary | 13
            Asia | Russia | Russia Edakuy | 9
            South America | Peru | Peru La Pampa South | 161
            South America | Peru | Peru La Pampa North | 67
            South America | Peru | Peru Rio Inambari Channel | 44
            South America | Peru | Peru Tournavista | 11
            """,
        ),
        *_rows(
            "val",
            """
            Africa | DR Congo | DRC Lindi River Upper | 150
            Africa | Nigeria | Nigeria Ijesa | 163
            Asia | Indonesia | Indonesia Kulu | 249
            Asia | Myanmar | Myanmar Maw Luu | 218
            Asia | Russia | Russia Mongolia Border | 105
            South America | Peru | Peru Rio Quimiri Downstream | 75
            """,
        ),
        *_rows(
            "test",
            """
            Africa | Senegal | Senegal River Gambie | 49
            Africa | Sierra Leone | Sierra Leone Pampan River Gold Diamond | 144
            Asia | Mongolia | Mongolia Gatsuurt | 57
            Asia | Philippines | Philippines Quiniput Downstream | 9
            South America | French Guiana | French Guiana Deux Branches | 11
            South America | Venezuela | Venezuela Yapacana South | 130
            North America | Nicaragua | Nicaragua Somotillo | 52
            """,
        ),
    ),
)
"""Table 1 of papers/001: 5,800 Landsat chips of 33 base sites. The paper's text has training and
validation share sites; its table has them apart, and the table is what is kept to here."""

INVENTORIES: dict[str, Inventory] = {GLOBAL_MINING.name: GLOBAL_MINING}


def get_inventory(name: str) -> Inventory:
    """Look a published data set up.

    Raises:
        UnknownNameError: no such one.
    """
    if name not in INVENTORIES:
        raise UnknownNameError.of("published data set", name, INVENTORIES)
    return INVENTORIES[name]


def recognise(files: Sequence[Files]) -> Inventory | None:
    """Tell which published data set lies in a folder, if any.

    It is one where sites lie in folders ``<site>_agm_region_<k>`` and at least half of their base
    sites are in its table: sets of one's own in the same layout are nobody's.
    """
    keys = {base_site(one.site) for one in files if _REGION.search(one.site)}
    for inventory in INVENTORIES.values():
        if keys and 2 * len(keys & {site.key for site in inventory.sites}) >= len(keys):
            return inventory
    return None


def compare(
    inventory: Inventory, files: Sequence[Files], bands: Mapping[str, int], *, mapped: bool
) -> Iterator[Difference]:
    """Name every point in which a data set differs from a published one.

    Args:
        inventory: the table.
        files: what was found, with splits.
        bands: bands by image, as messages name it; only those of another number are told.
        mapped: whether there is a ``filename_mapping.csv``.

    Yields:
        Layout first, then sites in the order of the table, then splits and the total.
    """
    images = [one for one in files if one.image is not None]
    yield from _layout(inventory, images, bands, mapped=mapped)
    found = Counter((base_site(one.site), one.part.split or "no split") for one in images)
    for site in inventory.sites:
        yield from _site(site, {split: n for (key, split), n in found.items() if key == site.key})
    known = {site.key for site in inventory.sites}
    for key, split in sorted(found):
        if key not in known:
            text = f"{found[key, split]} chips of a site that {inventory.source} does not have"
            yield Difference("site", f"{split}/{key}", text)
    for split in SPLITS:
        have = sum(n for (_, where), n in found.items() if where == split)
        want = inventory.chips(split)
        if have != want:
            yield Difference("count", split, f"has {have} chips, {inventory.source} {want}")
    if len(images) != inventory.chips():
        text = f"{len(images)} chips in all, {inventory.source} has {inventory.chips()}"
        yield Difference("count", inventory.title, text)


def _site(site: InventorySite, found: Mapping[str, int]) -> Iterator[Difference]:
    where = f"{site.split}/{site.key}"
    if not found:
        yield Difference("site", where, f"is missing; the table has {site.chips} chips of it")
        return
    for split, count in sorted(found.items()):
        if split != site.split:
            text = f"{count} chips are in {split}; the table has the site in {site.split}"
            yield Difference("site", where, text)
    here = found.get(site.split, 0)
    if here not in (0, site.chips):
        yield Difference("count", where, f"has {here} chips, the table {site.chips}")


def _layout(
    inventory: Inventory, images: Sequence[Files], bands: Mapping[str, int], *, mapped: bool
) -> Iterator[Difference]:
    """Folders, names and suffixes as Figure 1 of papers/001 draws them."""
    for folder in sorted({one.site for one in images if not _REGION.search(one.site)}):
        yield Difference("layout", folder, "is not called <site>_agm_region_<k>")
    for one in images:
        where = f"{one.site}/{one.stem}"
        if not _STEM.fullmatch(one.stem):
            yield Difference("layout", where, "is not called by five digits")
        if one.label is not None and one.label.suffix.lower() != ".png":
            yield Difference("layout", where, f"its label is {one.label.suffix}, not .png")
    for where, count in bands.items():
        if count != inventory.bands:
            yield Difference("layout", where, f"has {count} bands, not {inventory.bands}")
    if not mapped:
        yield Difference("layout", "filename_mapping.csv", "is missing")
