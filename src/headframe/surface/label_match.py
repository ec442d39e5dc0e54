"""Which polygons belong to which image."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headframe.core.errors import GeometryError, SiteError
from headframe.io.vector import PolygonLayer, named
from headframe.surface.label_inputs import LabelOptions
from headframe.surface.label_presets import Preset
from headframe.surface.sites import group_by_key, match_site, normalise_site, region_of


class Matcher(Protocol):
    """Brings images and polygons together."""

    def site_of(self, source: Path, *, is_top: bool) -> tuple[str, str | None]:
        """Site of an image as it is written, and the key of its polygons (or None)."""
        ...

    def finish(self) -> None:
        """Complain about what does not meet."""
        ...

    def rows(self) -> dict[str, NDArray[np.intp]]:
        """Rows of the layer's frame by key of polygons."""
        ...

    def report(self) -> list[str]:
        """Tell what a person should know, one line each."""
        ...


class PlaceMatcher:
    """Takes polygons by place alone: any image may have any of them, whatever its site."""

    def __init__(self, layer: PolygonLayer) -> None:
        self._count = len(layer.frame)

    def site_of(self, source: Path, *, is_top: bool) -> tuple[str, str | None]:
        """Site is the folder's name; of a file right in the folder given, its own name.

        A trailing number, such as a date's, is left out of that.
        """
        if not is_top:
            return source.parent.resolve().name, ""
        return source.stem.rstrip("0123456789").rstrip("_- ") or source.stem, ""

    def finish(self) -> None:
        """Complain about nothing."""

    def rows(self) -> dict[str, NDArray[np.intp]]:
        """All of them, under one key."""
        return {"": np.arange(self._count)}

    def report(self) -> list[str]:
        """Nothing: which polygons lie on no image is told by the plan."""
        return []


class SiteMatcher:
    """Brings sites of images and of polygons together, and collects what does not meet."""

    def __init__(self, layer: PolygonLayer, preset: Preset, options: LabelOptions) -> None:
        self._layer = layer
        self._preset = preset
        self._groups = group_by_key(layer.sites)
        self._flat = group_by_key(layer.empty_sites)
        self._allowed = {normalise_site(name) for name in options.allow_empty}
        self._used: dict[str, str] = {}
        self._missing: dict[str, None] = {}

    def site_of(self, source: Path, *, is_top: bool) -> tuple[str, str | None]:
        """Site of an image as it is written, and the polygons' site it matches (or None).

        The site is the parent folder's name; where chips carry regions and the file name says
        its own, that. A file right in the folder given whose folder has no polygons goes by its
        own name, with and without a trailing index.
        """
        names = [source.parent.resolve().name]
        if self._preset.regions and region_of(source.stem) is not None:
            names.insert(0, source.stem)
        if is_top:
            names += [source.stem, source.stem.rstrip("0123456789").rstrip("_- ")]
        known = {*self._groups, *self._flat}
        for name in names:
            key = match_site(name, known)
            if key is not None:
                self._check_area(key)
                self._used.setdefault(name, key)
                return name, key
            if normalise_site(name) in self._allowed:
                return name, None
        self._missing[names[0] if not is_top else source.name] = None
        return names[0], None

    def finish(self) -> None:
        """Complain about images without polygons."""
        if self._missing:
            raise SiteError(
                f"no polygons for site(s) of images: {named(list(self._missing))}. "
                f"Polygons know {named(self._layer.sites)}. Name them alike, choose another "
                "--site-field, or list the site with --allow-empty."
            )

    def rows(self) -> dict[str, NDArray[np.intp]]:
        """Rows of the layer's frame of every site that some image has."""
        keys = np.array([normalise_site(site) for site in self._layer.frame["site"]])
        return {key: np.flatnonzero(keys == key) for key in sorted(set(self._used.values()))}

    def report(self) -> list[str]:
        """Tell which polygons were not used, and which names only began alike."""
        lines = []
        unused = [
            name
            for key, names in self._groups.items()
            if key and key not in self._used.values()
            for name in names
        ]
        if unused:
            lines.append(f"{len(unused)} site(s) of polygons in no image: {', '.join(unused)}.")
        nameless = int((self._layer.frame["site"].map(normalise_site) == "").sum())
        if nameless:
            lines.append(f"{nameless} polygon(s) without a site left out.")
        loose = [f"{n} took {k}" for n, k in self._used.items() if normalise_site(n) != k]
        if loose:
            lines.append(f"{len(loose)} site(s) matched by the start of the name: {named(loose)}.")
        return lines

    def _check_area(self, key: str) -> None:
        if key in self._flat and key not in self._groups:
            raise GeometryError(
                f"site {self._flat[key][0]!r}: its only polygon has zero area. Draw it again."
            )
