"""Draw the pictures of the documentation into docs/pictures, which is never committed.

Real imagery is drawn where ../shared/data is present, a drawn landscape otherwise. A picture that
cannot be drawn is left out; its page then says so.
"""

import csv
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from scipy import ndimage

from headframe.core.detections import Detections, boxes_of
from headframe.core.errors import HeadframeError
from headframe.core.modelspec import InputSpec
from headframe.datasets.chips import Chip, ChipDataset, open_dataset
from headframe.datasets.darken import DimCamera, darken_as_camera
from headframe.datasets.drawn.landscape import draw_landscape
from headframe.datasets.drawn.tunnel import CLASSES, draw_picture
from headframe.engine.attention import draw_attention
from headframe.engine.bundle import load_bundle
from headframe.engine.prediction import score_chip
from headframe.engine.recipe import FoldSection, load_recipe
from headframe.engine.samples import band_order, choose_parts, open_labelled
from headframe.engine.training import train
from headframe.geo.window import Window
from headframe.io.scene import SceneOptions, open_scene
from headframe.surface.assist import assist
from headframe.underground.fusion import FusionOptions, fuse

plt.switch_backend("Agg")  # no window
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
PICTURES = ROOT / "docs" / "pictures"
RGB = ("red", "green", "blue")
INPUTS = InputSpec("sentinel-2-l1c", RGB, 10.0, (0.1,) * 3, (0.1,) * 3, ((0.01, 0.1, 0.4),) * 3)
_TAILINGS = "tailings-s2-rgb"
_GATE_STEPS = 200
_log = logging.getLogger("headframe.docs")

Pixels = NDArray[np.float32]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Example:
    """A chip: reflectance (3, H, W) in red, green, blue, its mask (H, W) of 0 and 1, its name."""

    image: Pixels
    mask: Mask
    name: str


def examples(count: int) -> list[Example]:
    """Give chips with a fair share of target: real ones where they are to be had."""
    folder = SHARED / "tailings-brazil"
    if not folder.is_dir():
        return [drawn(seed) for seed in range(count)]
    found: list[Example] = []
    for path in sorted((folder / "masks").glob("*/00000.tif")):
        with rasterio.open(path) as file:
            mask = file.read(1)
        if not 0.05 < float((mask == 1).mean()) < 0.4:
            continue
        site = path.parent.name
        source = str(folder / "images" / site / path.name)
        with open_scene(source, inputs=INPUTS, options=SceneOptions()) as chip:
            found.append(Example(chip.read(Window(0, 0, *chip.shape)), mask, site))
        if len(found) == count:
            break
    return found


def drawn(seed: int) -> Example:
    scene = draw_landscape(seed, size=(256, 256))
    blue, green, red = (scene.bands[i].astype(np.float32) / 10_000 for i in (1, 2, 3))
    mask = (scene.truth == 1).astype(np.uint8)
    return Example(np.stack([red, green, blue]), mask, f"drawn landscape {seed}")


def colours(image: Pixels) -> Pixels:
    """Stretch (3, H, W) reflectance to (H, W, 3) in 0-1 by its 1st and 99th percentiles."""
    low, high = np.nanpercentile(image, [1, 99], axis=(1, 2), keepdims=True)
    scaled = (image - low) / np.maximum(high - low, 1e-6)
    return np.asarray(np.nan_to_num(scaled).clip(0, 1).transpose(1, 2, 0), np.float32)


def overlay(image: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    shown = colours(image)
    shown[mask] = 0.45 * shown[mask] + 0.55 * np.array([0.9, 0.33, 0.05], np.float32)
    return shown


def save(
    name: str,
    panels: Sequence[tuple[str, NDArray[Any]]],
    *,
    columns: int,
    row_in: float = 3.2,
) -> None:
    rows = -(-len(panels) // columns)
    size = (3 * columns, row_in * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, picture) in zip(axes.flat, panels, strict=False):
        axis.imshow(picture, cmap="viridis", interpolation="nearest")
        axis.set_title(title, fontsize=9)
    figure.savefig(PICTURES / name, dpi=110)
    plt.close(figure)


def tailings() -> None:
    chips = examples(4)
    panels = [(c.name, colours(c.image)) for c in chips]
    panels += [("labelled", overlay(c.image, c.mask == 1)) for c in chips]
    save("tailings.png", panels, columns=4)


def labels() -> None:
    chip = examples(2)[-1]
    label = 2 * (chip.mask == 1).astype(np.float32)
    together = overlay(chip.image, chip.mask == 1)
    panels = [("image", colours(chip.image)), ("label", label), ("together", together)]
    save("labels.png", panels, columns=3)


def contact() -> None:
    save("contact.png", [(c.name, overlay(c.image, c.mask == 1)) for c in examples(12)], columns=6)


def scene() -> None:
    path = SHARED / "scenes" / "s2_l1c_20181013_uint8.tif"
    if not path.is_file():
        save("scene.png", [("drawn", colours(drawn(11).image))], columns=1)
        return
    with rasterio.open(path) as file:
        shape = (file.height // 4, file.width // 4)
        image = file.read([4, 3, 2], out_shape=(3, *shape)).astype(np.float32)
    image[:, (image == 0).all(axis=0)] = np.nan
    save("scene.png", [("Sentinel-2 L1C, 13 October 2018", colours(image))], columns=1)


def mapped() -> None:
    bundle = load_bundle(_TAILINGS)
    panels = []
    for chip in examples(3):
        score = score_chip(bundle, chip.image)
        panels += [
            (chip.name, colours(chip.image)),
            ("score", score[0]),
            ("mapped", overlay(chip.image, bundle.classes_of(score) == 1)),
        ]
    save("map.png", panels, columns=3)


def attended() -> None:
    """What a model would pass on as a teacher, in two real chips."""
    folder = SHARED / "tailings-brazil"
    if not folder.is_dir():
        return
    dataset = open_dataset(folder)
    chips = dataset.of_sites(("brazil_004", "brazil_006")).chips()
    rows = [(chip.site, chip) for chip in chips if chip.key.endswith("00000")]
    draw_attention(load_bundle(_TAILINGS), dataset, rows, PICTURES / "attention.png")


def gates() -> None:
    """What a ProCANet's two encoders attend to in chips that it did not learn; a minute's training.

    Near infrared alone in the second encoder, as the paper found best.
    """
    folder = SHARED / "water-chips"
    if not folder.is_dir():
        return
    plan = load_recipe(ROOT / "recipes" / "water" / "screen" / "rgb-nir-dual-both.yaml")
    plan = plan.with_data(dataset=str(folder), fold=FoldSection()).with_train(steps=_GATE_STEPS)
    network = plan.model.model_copy(update={"options": {**plan.model.options, "width": 8}})
    plan = plan.model_copy(update={"model": network})
    dataset = open_labelled(plan.data)
    held = {chip.key: chip for chip in choose_parts(dataset, plan.data).test}
    with TemporaryDirectory() as room:
        bundle = load_bundle(train(plan, out=Path(room) / "run").bundle)
    rows = [(key, held[key]) for key in sorted(held) if _share(dataset, held[key]) > 0.15]
    draw_attention(bundle, dataset, rows[:2], PICTURES / "gates.png")


def _share(dataset: ChipDataset, chip: Chip) -> float:
    return float((dataset.read(chip).label == 1).mean())


def flood() -> None:
    """The one real chip of Sen1Floods11 with Sentinel-2 at hand, mapped by the shipped model."""
    folder = SHARED / "sen1floods11"
    if not folder.is_dir():
        return
    bundle = load_bundle("water-s2-6band")
    dataset = open_dataset(folder, sensor="sentinel-2-l1c")
    (chip,) = dataset.chips()
    arrays = dataset.read(chip)
    order = band_order(dataset, bundle.spec.inputs.bands)
    score = score_chip(bundle, arrays.image[order])
    shown = arrays.image[band_order(dataset, RGB)]
    panels = [
        (chip.site, colours(shown)),
        ("labelled water", overlay(shown, arrays.label == 1)),
        ("score", score[0]),
        ("mapped water", overlay(shown, bundle.classes_of(score) == 1)),
    ]
    save("flood.png", panels, columns=4)


def assisted() -> None:
    """What `headframe label --assist` proposes."""
    real = SHARED / "tailings-brazil" / "images" / "brazil_004" / "00001.tif"
    with TemporaryDirectory() as folder:
        path = real if real.is_file() else write_landscape(Path(folder) / "landscape.tif")
        report = assist([str(path)], model=_TAILINGS, out=Path(folder) / "review.gpkg")
        shutil.copy(report.pictures[0], PICTURES / "assist.png")


def write_landscape(path: Path) -> Path:
    bands = draw_landscape(11, size=(384, 384), cloudy=False).bands[[3, 2, 1]]
    place = {"crs": "EPSG:32723", "transform": from_origin(623_000, 7_796_000, 10, 10)}
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=384, width=384, dtype="uint16", **place
    ) as file:
        file.write(bands)
        file.descriptions = ("B04", "B03", "B02")
    return path


def fusion() -> None:
    """The steps of fusion on a drawn miner: a coarse mask, and a sharp one that strays."""
    rows, cols = np.mgrid[:240, :200]
    head = (rows - 50) ** 2 + (cols - 100) ** 2 < 26**2
    body = (abs(cols - 100) < 22 + (rows - 70) * 0.22) & (rows > 70) & (rows < 212)
    person = head | body
    soft = ndimage.zoom(ndimage.zoom(person.astype(float), 28 / 240, order=1), 240 / 28, order=1)
    soft = np.pad(soft, [(0, 240 - soft.shape[0]), (0, 200 - soft.shape[1])], mode="edge")
    soft = ndimage.gaussian_filter(soft, 4)
    grain = np.random.default_rng(2).random(person.shape) < 0.01
    lamp = (rows > 150) & (rows < 170) & (cols > 110) & (cols < 185)
    strayed = ((person | lamp) & ~grain) | (grain & (cols < 40))
    both = [
        Detections(boxes_of(m[None]), np.ones(1, np.int64), np.ones(1, np.float32), m[None])
        for m in (soft > 0.5, strayed)
    ]
    bare = FusionOptions(align=False, close=False, open_=False)
    ways = [
        ("intersection", bare),
        ("closed and opened", FusionOptions(align=False, kernel_px=21)),
        ("boundary: SAM near the outline", replace(bare, method="boundary", band=0.1)),
    ]
    panels = [("drawn", person), ("Mask R-CNN's", soft > 0.5), ("SAM's", strayed)]
    panels += [(name, fuse(*both, options=o).detections.masks[0]) for name, o in ways]
    save("fusion.png", [(name, mask.astype(np.float32)) for name, mask in panels], columns=6)


def tunnels() -> None:
    """Drawn tunnels: in good light, in a tenth of it, and what is what."""
    inks = [(0.6, 0.4, 0.2), (0.2, 0.4, 0.8), (0.2, 0.7, 0.5), (0.9, 0.1, 0.1), (1, 0.8, 0.1)]
    colour = np.array([*inks, (0.7, 0.2, 0.8)], np.float32)
    panels: list[list[tuple[str, Pixels]]] = [[], [], []]
    for tunnel in (1, 3, 5, 6, 9, 11):
        picture = draw_picture(7, tunnel=tunnel, number=0, size=(240, 320))
        dim = darken_as_camera(picture.bright, seed=tunnel, camera=DimCamera(light=0.1))
        kinds = np.array([CLASSES.index(thing.category) for thing in picture.instances])
        bright = picture.bright.astype(np.float32) / 255
        what = 0.45 * bright + 0.55 * colour[kinds[picture.labels]]
        dark = (dim.astype(np.float32) * 3 / 255).clip(0, 1)
        for row, (name, shown) in zip(
            panels, (("bright", bright), ("dark, x 3", dark), ("classes", what)), strict=True
        ):
            row.append((name, shown))
    save("tunnels.png", [panel for row in panels for panel in row], columns=6)


def results() -> None:
    """One picture of bars for every table of measured figures."""
    for path in sorted((ROOT / "docs" / "results").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        figure, axes = plt.subplots(figsize=(7, 0.9 + 0.34 * len(rows)), layout="constrained")
        places = np.arange(len(rows))[::-1]
        values = [float(row["iou"]) for row in rows]
        axes.barh(places, values, color="C0", alpha=0.8)
        low, high = ([float(row[end]) for row in rows] for end in ("low", "high"))
        axes.hlines(places, low, high, color="0.2", linewidth=1.5)
        for place, value in zip(places, values, strict=True):
            axes.text(0.005, place, f"{value:.3f}", va="center", color="white", fontsize=8)
        axes.set_yticks(places, [row["what"] for row in rows], fontsize=8)
        axes.set(xlabel="pooled IoU of held-out chips (line: 95 % bootstrap over sites)")
        axes.set_xlim(left=0)
        figure.savefig(PICTURES / f"results-{path.stem}.png", dpi=110)
        plt.close(figure)


def main() -> None:
    drawers: tuple[Callable[[], None], ...] = (
        tailings,
        labels,
        contact,
        scene,
        mapped,
        attended,
        gates,
        flood,
        assisted,
        fusion,
        tunnels,
        results,
    )
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    for draw in drawers:
        try:
            draw()
        except HeadframeError as exc:
            _log.warning("no picture by %s: %s", draw.__name__, exc)


if __name__ == "__main__":
    main()
