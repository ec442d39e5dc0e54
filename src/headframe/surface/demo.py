"""The whole way through on drawn landscapes: draw, label, train, map, score, report.

Nothing is fetched. Every step leaves files in the output folder and is skipped by the next run
where they are complete.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from headframe import __version__
from headframe.core.errors import OutputError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.drawn import (
    DrawnScene,
    draw_landscape,
    write_kml,
    write_scene,
    write_truth,
)
from headframe.engine.bundle import find_bundle, load_bundle, read_spec, shipped_bundles
from headframe.engine.mapping import MapOptions, map_scenes
from headframe.engine.recipe import Recipe, parse_recipe
from headframe.engine.training import train
from headframe.geo.area import geodesic_measures
from headframe.io.files import write_json
from headframe.metrics.confusion import confusion, total
from headframe.metrics.scores import scores
from headframe.surface.label_inputs import LabelOptions
from headframe.surface.labelling import label_images

DATES = (date(2017, 7, 14), date(2025, 8, 3))
"""Days on which every drawn place is seen."""

BACKBONE = "tailings-s2-rgb"
"""Shipped bundle that training starts from; ImageNet weights where it is not installed."""


@dataclass(frozen=True)
class DemoOptions:
    """How large the demonstration is.

    Attributes:
        seed: which landscapes are drawn, >= 0.
        fast: a smaller run for tests and the impatient: its map is poor.
    """

    seed: int = 1
    fast: bool = False

    @property
    def sites(self) -> int:
        """Training places, half of them at each date."""
        return 10 if self.fast else 26

    @property
    def chip(self) -> tuple[int, int]:
        """Size (H, W) of a training chip, pixels."""
        return (160, 176) if self.fast else (352, 384)

    @property
    def scene(self) -> tuple[int, int]:
        """Size (H, W) of the held-out scene, pixels."""
        return (224, 256) if self.fast else (480, 576)

    @property
    def steps(self) -> int:
        """Steps of training."""
        return 6 if self.fast else 90

    @property
    def heldout_seed(self) -> int:
        """Seed of the place that is mapped; no training site has it."""
        return self.seed * 40


@dataclass(frozen=True)
class MappedDate:
    """The held-out place at one date: what was drawn and what was mapped.

    Attributes:
        scene: as drawn.
        classes: mapped classes, (H, W), uint8: 0 background, 1 tailings, 255 no data.
        iou: of tailings.
        precision: of tailings.
        recall: of tailings.
        mapped_ha: area mapped as tailings, hectares.
        true_ha: geodesic area of the drawn polygons, hectares.
        outputs: kind of output to its file.
    """

    scene: DrawnScene
    classes: NDArray[np.uint8]
    iou: float
    precision: float
    recall: float
    mapped_ha: float
    true_ha: float
    outputs: dict[str, str]


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made.

    Attributes:
        out: its folder.
        dates: the held-out place, earliest first.
        iou: of tailings, pooled over the dates.
        start: what training started from.
        chips: labelled chips, by split.
        steps: steps of training.
        losses: loss of each step.
        validation_iou: on the validation sites, where there are some.
        seconds: step of the demonstration to the seconds it took when it was done.
        files: file or folder below ``out`` to what it is.
    """

    out: Path
    dates: tuple[MappedDate, ...]
    iou: float
    start: str
    chips: dict[str, int]
    steps: int
    losses: tuple[float, ...]
    validation_iou: float | None
    seconds: dict[str, float]
    files: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give plain values, without pictures."""
        places = [
            {k: v for k, v in vars(d).items() if k not in ("scene", "classes")}
            | {"date": d.scene.date.isoformat(), "site": d.scene.site}
            for d in self.dates
        ]
        kept = {k: v for k, v in vars(self).items() if k not in ("dates", "losses", "out")}
        return {"drawn": True, "out": str(self.out), "dates": places, **kept}


def run_demo(
    out: Path, *, options: DemoOptions | None = None, progress: Progress = SILENT
) -> DemoResult:
    """Draw, label, train, map and score; the caller writes the report.

    Args:
        out: folder, new or left by a run with the same options.
        options: how large.
        progress: told of every step of the work.

    Raises:
        OutputError: ``out`` holds something else, or cannot be written.
    """
    options = options or DemoOptions()
    _claim(out, options)
    clock = _Clock(out / "timings.json")
    with clock.step("draw"):
        _draw(out, options, progress)
    with clock.step("label"):
        report = label_images(
            [out / "scenes" / "images"],
            polygons=out / "scenes" / "tailings.kml",
            out=out / "dataset",
            options=LabelOptions(preset="plain", target="tailings", seed=options.seed),
            progress=progress,
        )
    recipe, start = demo_recipe(out / "dataset", options)
    with clock.step("train"):
        trained = train(recipe, out=out / "run", resume=True, progress=progress)
    with clock.step("map"):
        sources = [str(_heldout(out, day)) for day in DATES]
        mapped = map_scenes(
            sources,
            bundle=load_bundle(trained.bundle),
            out=out / "maps",
            options=MapOptions(scores=True, min_area_ha=0.3),
            progress=progress,
        )
    places = draw_heldout(options)
    dates = tuple(
        _score(scene, m.outputs, m.area_ha) for scene, m in zip(places, mapped, strict=True)
    )
    pooled = total((confusion(d.classes, d.scene.truth, 2) for d in dates), 2)
    return DemoResult(
        out=out,
        dates=dates,
        iou=scores([pooled]).of(1)["iou"],
        start=start,
        chips=dict(report.chips),
        steps=recipe.train.steps,
        losses=_losses(out / "run" / "metrics.csv"),
        validation_iou=trained.metrics.get("validation_iou"),
        seconds=dict(clock.seconds),
        files=_FILES,
    )


def draw_heldout(options: DemoOptions) -> tuple[DrawnScene, ...]:
    """Draw the place that is mapped, at both dates."""
    return tuple(
        draw_landscape(options.heldout_seed, size=options.scene, date=day) for day in DATES
    )


def demo_recipe(dataset: Path, options: DemoOptions) -> tuple[Recipe, str]:
    """Build the recipe, and say what its weights start from."""
    if BACKBONE in shipped_bundles():
        spec = read_spec(find_bundle(BACKBONE))
        model = {"architecture": spec.architecture, "options": spec.options, "init": BACKBONE}
        start, bands, rate = f"the shipped model {BACKBONE}", spec.inputs.bands, 5e-4
    else:
        model = {"architecture": "unet", "init": "imagenet"}
        start, bands, rate = "ImageNet weights", ("red", "green", "blue"), 1.5e-3
    value = {
        "name": "demo",
        "model": model,
        "data": {"dataset": str(dataset), "bands": list(bands)},
        "train": {
            "steps": options.steps,
            "batch": 2 if options.fast else 6,
            "crop_px": 128 if options.fast else 224,
            "lr": rate,
            "seed": options.seed,
            "checkpoint_every": 15,
        },
        "augment": {"gain": 0.1, "band_gain": 0.05, "scale": 1.3},
        "output": {"name": "demo-tailings", "test_flips": 1 if options.fast else 4},
    }
    return parse_recipe(value, source="the demo's recipe"), start


_FILES = {
    "report.html": "this report, complete in one file",
    "scenes/": "drawn training scenes, 12 bands, with their polygons in tailings.kml",
    "heldout/": "the drawn place that was mapped, at two dates, and its truth",
    "dataset/": "what headframe label made of scenes and polygons",
    "run/": "training: resolved recipe, losses, curves, and the model in run/bundle",
    "maps/": "classes and scores (COG), polygons (GeoPackage, GeoParquet), quick look, STAC item",
    "demo.json": "every figure of this report, to be read by a machine",
}


class _Clock:
    """Seconds a step took when its work was done, kept over reruns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = {}
        if path.is_file():
            self.seconds = dict(json.loads(path.read_text(encoding="utf-8")))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; a later, shorter repetition does not count."""
        start = time.perf_counter()
        yield
        taken = round(time.perf_counter() - start, 2)
        if name not in self.seconds:
            self.seconds[name] = taken
            write_json(self.path, self.seconds)


def _claim(out: Path, options: DemoOptions) -> None:
    """Take ``out`` for these options, or say why not."""
    mark = out / "options.json"
    start = BACKBONE if BACKBONE in shipped_bundles() else "imagenet"
    wanted = {**asdict(options), "start": start, "headframe": __version__}
    if mark.is_file():
        if json.loads(mark.read_text(encoding="utf-8")) != wanted:
            raise OutputError(
                f"{out}: holds a demo with other options. Choose another --out or remove it."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise OutputError(f"{out}: is not empty and holds no demo. Choose another --out.")
    else:
        write_json(mark, wanted)


def _draw(out: Path, options: DemoOptions, progress: Progress) -> None:
    """Write training scenes, the held-out scenes, and the polygons last."""
    kml = out / "scenes" / "tailings.kml"
    if kml.is_file():
        return
    jobs = [(options.heldout_seed + 1 + n, DATES[n % len(DATES)]) for n in range(options.sites)]
    frames = []
    progress.start("drawing", len(jobs) + len(DATES))
    for seed, day in jobs:
        scene = draw_landscape(seed, size=options.chip, date=day)
        write_scene(scene, out / "scenes" / "images" / scene.site / f"{day:%Y%m%d}.tif")
        frames.append(scene.tailings)
        progress.advance()
    for scene in draw_heldout(options):
        path = _heldout(out, scene.date)
        write_scene(scene, path)
        write_truth(scene, path.with_name(f"truth_{scene.date:%Y%m%d}.tif"))
        progress.advance()
    write_kml(frames, kml)
    progress.finish()


def _heldout(out: Path, day: date) -> Path:
    return out / "heldout" / f"heldout_{day:%Y%m%d}.tif"


def _score(
    scene: DrawnScene, outputs: dict[str, str], area_ha: dict[str, float] | None
) -> MappedDate:
    """Compare one map with what was drawn."""
    with rasterio.open(outputs["classes"]) as source:
        classes = source.read(1)
    own = scores([confusion(classes, scene.truth, 2)]).of(1)
    areas_m2, _ = geodesic_measures(list(scene.tailings.to_crs("EPSG:4326").geometry))
    return MappedDate(
        scene=scene,
        classes=classes,
        iou=own["iou"],
        precision=own["precision"],
        recall=own["recall"],
        mapped_ha=(area_ha or {}).get("tailings", 0.0),
        true_ha=float(areas_m2.sum()) / 1e4,
        outputs=dict(outputs),
    )


def _losses(path: Path) -> tuple[float, ...]:
    lines = path.read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("loss")
    return tuple(float(line.split(",")[column]) for line in lines[1:])
