"""Names of sites: how those of images and those of polygons meet."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from headframe.core.errors import SiteError

_REGION = re.compile(r"(?:_agm_region_(\d+)(?:_\d+)?)+$")


def normalise_site(name: str) -> str:
    """Bring a site's name to the form in which names are compared.

    Lower case, accents dropped, every run of other characters one ``_``, and a trailing
    ``_agm_region_<n>`` with its chip index cut off. Idempotent.
    """
    return _REGION.sub("", _plain(name))


def region_of(name: str) -> int | None:
    """Read <k> of a trailing ``_agm_region_<k>`` (a chip index may follow), or None."""
    found = _REGION.search(_plain(name))
    return int(found.group(1)) if found else None


def match_site(name: str, keys: Iterable[str]) -> str | None:
    """Find the polygons' site that an image's site means.

    Args:
        name: the image's site as it is written.
        keys: normalised names of the polygons' sites.

    Returns:
        The equal key; else the only one of which one name begins the other (never cutting a
        number in two: ``mine_1`` is not ``mine_10``); None where there is none.

    Raises:
        SiteError: several begin alike.
    """
    wanted = normalise_site(name)
    known = sorted(key for key in set(keys) if key)
    if wanted in known:
        return wanted
    if not wanted:
        return None
    found = [key for key in known if _begins(key, wanted) or _begins(wanted, key)]
    if len(found) > 1:
        raise SiteError(
            f"site {name!r} of the images could be {', '.join(map(repr, found[:4]))} of the "
            "polygons. Name its folder as one of them."
        )
    return found[0] if found else None


def group_by_key(names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Group names as written by their normalised name, in order of first appearance."""
    groups: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(names):
        key = normalise_site(name)
        groups[key] = (*groups.get(key, ()), name)
    return groups


def _plain(name: str) -> str:
    # Twice: taking letters apart may give capitals, and lower-casing letters to take apart.
    text = _letters(_letters(name))
    return re.sub(r"[\W_]+", "_", text).strip("_")


def _letters(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in apart if not unicodedata.combining(c))


def _begins(short: str, long: str) -> bool:
    if not long.startswith(short):
        return False
    rest = long[len(short) :]
    return not (short[-1].isdigit() and rest[:1].isdigit())
