"""A whole data set of drawn tunnels: dark photographs, their bright versions, labels, films."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headframe.core.errors import DatasetError, OutputError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.coco import write_coco
from headframe.datasets.darken import DimCamera, darken_as_camera, seed_of
from headframe.datasets.drawn.tunnel.film import FilmOptions, draw_film
from headframe.datasets.drawn.tunnel.outlines import regions_of
from headframe.datasets.drawn.tunnel.picture import Picture, take
from headframe.datasets.drawn.tunnel.plan import make_plan
from headframe.datasets.drawn.tunnel.readme import describe
from headframe.datasets.drawn.tunnel.scene import CLASSES, stage
from headframe.datasets.drawn.tunnel.site import Site, make_site
from headframe.datasets.instances import InstanceSet, LabelledImage, Region, numbered
from headframe.datasets.via import write_via
from headframe.io.claimed import begin, held
from headframe.io.files import make_folder, write_text
from headframe.io.images import write_image

REQUEST_NAME = "draw.json"
"""What was asked for; there from the first file on, so that a rerun can tell."""
LEAST_PX, MOST_PX = 64, 4096
MAX_TUNNELS = 10_000

_LOCK_NAME = ".draw.lock"
_NOTES = ".drawn"
_OUTPUTS = ("images", "bright", "films", "instances.json", "via.json")
_KEPT_SITES = 4


@dataclass(frozen=True)
class TunnelOptions:
    """How much is drawn.

    Attributes:
        images: photographs.
        tunnels: they are taken in, in turn.
        size: height, width in pixels.
        light: share of the light left in ``images``, above 0 and at most 1.
        seed: which tunnels, >= 0.
        films: how many, each in a tunnel that no photograph shows.
        seconds: length of a film.
        rate: frames a second.
    """

    images: int = 60
    tunnels: int = 12
    size: tuple[int, int] = (480, 640)
    light: float = 0.1
    seed: int = 0
    films: int = 0
    seconds: float = 4.0
    rate: int = 10

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            DatasetError: a number out of range.
            RecipeError: the light is.
        """
        for name, value, low, high in (
            ("--images", self.images, 1, 1_000_000),
            ("--tunnels", self.tunnels, 1, MAX_TUNNELS),
            ("--size", min(self.size), LEAST_PX, MOST_PX),
            ("--size", max(self.size), LEAST_PX, MOST_PX),
            ("--seed", self.seed, 0, 10**9),
            ("--films", self.films, 0, 1000),
            ("--seconds", self.seconds, 0.1, 3600),
            ("--rate", self.rate, 1, 60),
        ):
            if not low <= value <= high:
                raise DatasetError(f"{name} {value}: must be {low} to {high}. Choose another.")
        DimCamera(light=self.light)


@dataclass(frozen=True)
class TunnelReport:
    """What a data set of drawn tunnels holds.

    Attributes:
        out: its folder.
        images: photographs.
        drawn: those that this call drew; the others were there.
        films: videos.
        regions: labels of each class in the photographs.
        seen: photographs that show each class.
    """

    out: Path
    images: int
    drawn: int
    films: int
    regions: dict[str, int]
    seen: dict[str, int]


def tunnel_name(number: int) -> str:
    """Give a tunnel's folder."""
    return f"tunnel_{number:04d}"


def image_names(options: TunnelOptions) -> list[str]:
    """List photographs by tunnel, relative to ``images/``."""
    counts = np.bincount(np.arange(options.images) % options.tunnels)
    return [
        f"{tunnel_name(tunnel)}/{number:04d}.png"
        for tunnel, count in enumerate(counts)
        for number in range(count)
    ]


def draw_picture(
    seed: int, *, tunnel: int, number: int, size: tuple[int, int] = (480, 640)
) -> Picture:
    """Draw one photograph of a tunnel; equal arguments give equal pixels.

    Args:
        seed: of the whole set.
        tunnel: which tunnel.
        number: which photograph of it: another place, other people and machines, other light.
        size: height, width in pixels.
    """
    site = _site(seed, tunnel)
    plan = make_plan(site, seed_of(f"{tunnel}/{number}", seed) % 2**32)
    return take(stage(site, plan, size=size), plan)


def draw_tunnels(out: Path, options: TunnelOptions, *, progress: Progress = SILENT) -> TunnelReport:
    """Draw a data set of dark tunnels with exact labels of six classes.

    Writes ``images/`` (dark), ``bright/`` (the same, well exposed), ``instances.json`` (COCO),
    ``via.json``, ``films/`` and ``README.md``. A killed run goes on where it stopped; equal
    options give equal files.

    Args:
        out: folder, new or left by a run with the same options.
        options: how much.
        progress: told of every photograph and every frame.

    Raises:
        OutputError: ``out`` holds something else, is in use, or cannot be written.
    """
    names = image_names(options)
    request = json.loads(json.dumps(asdict(options)))
    with held(out, lock=_LOCK_NAME, busy="another run is drawing into it. Wait for it to end."):
        begin(out / REQUEST_NAME, request, key="options", foreign=_OUTPUTS, kind="a data set")
        progress.start("Drawing tunnels", len(names))
        drawn = 0
        for name in names:
            if not _note(out, name).is_file():
                _draw(out, name, options)
                drawn += 1
            progress.advance()
        progress.finish()
        for number in range(options.films):
            _film(out, number, options, progress)
        labels = InstanceSet(tuple(_labelled(out, names, options)), numbered(CLASSES))
        write_coco(labels, out / "instances.json")
        write_via(labels, out / "via.json", indent=None)
        seen = {
            name: sum(any(r.category == name for r in i.regions) for i in labels.images)
            for name in CLASSES
        }
        write_text(out / "README.md", describe(request, labels.count(), seen))
    return TunnelReport(out, len(names), drawn, options.films, labels.count(), seen)


@lru_cache(maxsize=_KEPT_SITES)
def _site(seed: int, tunnel: int) -> Site:
    return make_site(seed, tunnel)


def _note(out: Path, name: str) -> Path:
    return out / _NOTES / Path(name).with_suffix(".json")


def _draw(out: Path, name: str, options: TunnelOptions) -> None:
    folder, _, file = name.partition("/")
    picture = draw_picture(
        options.seed, tunnel=int(folder[-4:]), number=int(file[:-4]), size=options.size
    )
    write_image(out / "bright" / name, picture.bright)
    write_image(out / "images" / name, darkened(picture.bright, name, options))
    regions = regions_of(picture.labels, picture.instances)
    note = _note(out, name)
    make_folder(note.parent)
    write_text(note, json.dumps([_told(region) for region in regions]))


def darkened(bright: NDArray[np.uint8], name: str, options: TunnelOptions) -> NDArray[np.uint8]:
    """Photograph again in ``options.light``, with noise that the name and the seed decide."""
    camera = DimCamera(light=options.light)
    return darken_as_camera(bright, seed=seed_of(name, options.seed), camera=camera)


def _told(region: Region) -> dict[str, Any]:
    return {
        "category": region.category,
        "rings": region.rings,
        "rle": region.rle,
        "via": region.via,
    }


def _labelled(out: Path, names: Sequence[str], options: TunnelOptions) -> Iterator[LabelledImage]:
    for name in names:
        try:
            notes = json.loads(_note(out, name).read_text(encoding="utf-8"))
            size = (out / "images" / name).stat().st_size
        except (OSError, ValueError) as exc:
            raise OutputError(
                f"{_note(out, name)}: damaged ({exc}). Delete it, run again."
            ) from exc
        regions = tuple(
            Region(
                note["category"],
                tuple(tuple((x, y) for x, y in ring) for ring in note["rings"]),
                note["rle"],
                via=note["via"],
            )
            for note in notes
        )
        via = {"size": size, "file_attributes": {"tunnel": name.partition("/")[0]}}
        yield LabelledImage(name, *options.size, regions, via)


def _film(out: Path, number: int, options: TunnelOptions, progress: Progress) -> None:
    path = out / "films" / f"film_{number:03d}.mp4"
    if path.with_suffix(".json").is_file() and path.is_file():
        return
    make_folder(path.parent)
    film = FilmOptions(options.size, options.seconds, options.rate, options.light)
    site = _site(options.seed, MAX_TUNNELS + number)
    labels = draw_film(site, path, seed=options.seed, options=film, progress=progress)
    write_coco(InstanceSet(labels, numbered(CLASSES)), path.with_suffix(".json"))
