"""Folders of photographs made dark: the brighter ones chosen, each darkened by its own seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headframe.core.errors import OutputError, RecipeError, UnknownNameError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.darken import (
    DimCamera,
    Photograph,
    darken_as_camera,
    darken_as_paper,
    seed_of,
)
from headframe.datasets.sensor_noise import darken_as_sensor
from headframe.io.files import write_json
from headframe.io.images import find_images, read_image, write_image

REPORT = "darkened.json"
WAYS = ("camera", "paper", "sensor")


@dataclass(frozen=True)
class DarkenOptions:
    """How photographs are darkened.

    Attributes:
        way: ``camera``, ``paper`` or ``sensor``; see ``datasets.darken``.
        light: share of the light, for ``camera``.
        seed: with a file's name it decides its noise.
        brightest: share of the photographs kept, by mean value.
    """

    way: str = "camera"
    light: float = 0.03
    seed: int = 0
    brightest: float = 1.0

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise UnknownNameError.of("way to darken", self.way, WAYS)
        if not 0 < self.brightest <= 1:
            raise RecipeError(f"--brightest is {self.brightest}; give above 0, at most 1.")
        DimCamera(light=self.light)

    def function(self) -> Callable[[Photograph, int], Photograph]:
        """Give what darkens one photograph with a seed."""
        if self.way == "camera":
            camera = DimCamera(light=self.light)
            return lambda image, seed: darken_as_camera(image, seed=seed, camera=camera)
        work = darken_as_paper if self.way == "paper" else darken_as_sensor
        return lambda image, seed: work(image, seed=seed)


def darken_files(
    sources: Sequence[Path], *, out: Path, options: DarkenOptions, progress: Progress = SILENT
) -> list[Path]:
    """Darken photographs into ``out`` as PNG, names kept, with ``darkened.json`` beside them.

    Args:
        sources: files and folders.
        out: folder to write.
        options: how.
        progress: told of every photograph, twice where the brighter ones are chosen.

    Returns:
        Files written, by name.

    Raises:
        MissingFileError: a source is not there.
        FormatError: no photograph, or one that cannot be read.
        OutputError: two photographs have one name, or one would be written over.
    """
    places = _places(find_images(sources), out)
    if options.brightest < 1:
        places = _brighter(places, options.brightest, progress)
    darken = options.function()
    progress.start("Darkening", len(places))
    for path, place in places.items():
        image = read_image(path)
        write_image(place, darken(image, seed_of(place.name, options.seed)))
        progress.advance()
    progress.finish()
    write_json(
        out / REPORT, {**vars(options), "files": {q.name: p.name for p, q in places.items()}}
    )
    return list(places.values())


def _places(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    places = {path: out / f"{path.stem}.png" for path in paths}
    taken: dict[Path, Path] = {}
    for path, place in places.items():
        if place in taken:
            raise OutputError(
                f"{taken[place]} and {path} would both become {place}. Darken them apart."
            )
        if place.resolve() == path.resolve():
            raise OutputError(f"{path}: would be written over. Choose another --out.")
        taken[place] = path
    return places


def _brighter(places: dict[Path, Path], share: float, progress: Progress) -> dict[Path, Path]:
    progress.start("Choosing the brighter ones", len(places))
    means = []
    for path in places:
        means.append(float(read_image(path).mean()))
        progress.advance()
    keep = max(1, round(share * len(places)))
    chosen = set(np.argsort(-np.array(means), kind="stable")[:keep].tolist())
    return {path: place for i, (path, place) in enumerate(places.items()) if i in chosen}
