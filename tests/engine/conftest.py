"""A data set in memory and networks of one threshold, for tests of evaluation: ``fakes``; a data
set of bright squares on disk, for tests of training: ``raw_dataset``."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin
from torch import nn

from headframe.core.classmap import ClassInfo, ClassMap, binary_class_map
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.datasets.chips import Chip, ChipArrays
from headframe.engine.bundle import Bundle
from headframe.engine.training import train

BANDS = ("blue", "green", "red")
SITES = ("alfa", "bravo", "charlie", "delta")


class FirstChannel(nn.Module):
    """Logit of the target: how far the first band is above its mean."""

    def forward(self, x):
        assert x.shape[2] % 32 == 0
        assert x.shape[3] % 32 == 0
        return 20 * x[:, :1]


class ThreeClasses(nn.Module):
    """Class 2 where the first band is high, else class 1 where the second is, else 0."""

    def forward(self, x):
        return torch.stack([torch.zeros_like(x[:, 0]), 20 * x[:, 1], 40 * x[:, 0]], dim=1)


def spec(**changes):
    values = {
        "name": "fake",
        "architecture": "fake",
        "options": {},
        "inputs": InputSpec(
            "sentinel-2-l1c",
            ("red", "green"),
            10.0,
            (0.5, 0.5),
            (0.25, 0.25),
            ((0.0, 0.5, 1.0),) * 2,
        ),
        "classes": binary_class_map("tailings"),
        "patch_px": 64,
    }
    return ModelSpec(**{**values, **changes})


def bundle(network=None, **changes):
    return Bundle(spec(**changes), network or FirstChannel())


def three_classes():
    return ClassMap(
        (
            ClassInfo(0, "background", (0, 0, 0)),
            ClassInfo(1, "cloud", (0, 200, 0)),
            ClassInfo(2, "tailings", (0, 0, 200)),
        )
    )


class FakeDataset:
    """Chips of a given red band and truth, (H, W) each; green and blue are ramps."""

    def __init__(self, chips, *, identifier="fake-1", sensor="sentinel-2-l1c", bands=BANDS):
        self.root = Path("/data/fake")
        self.identifier = identifier
        self.bands = bands
        self.manifest = SimpleNamespace(
            sensor=sensor, class_map=three_classes(), gsd_m=10.0, labels="index"
        )
        self._arrays = {}
        self._chips = []
        for number, (site, split, red, truth) in enumerate(chips):
            image = Path(f"/data/fake/{site}/{number:05d}.tif")
            chip = Chip(site=site, split=split, image=image, label=image, valid=None)
            self._chips.append(chip)
            ramp = np.linspace(0, 1, red.size, dtype=np.float32).reshape(red.shape)
            planes = {"blue": ramp, "green": ramp[::-1], "red": red.astype(np.float32)}
            stacked = np.stack([planes[band] for band in bands])
            stacked[:, np.isnan(red)] = np.nan
            self._arrays[image] = (stacked, truth.astype(np.uint8))

    def chips(self, split=None):
        return tuple(c for c in self._chips if split is None or c.split == split)

    def read(self, chip, *, target):
        image, truth = self._arrays[chip.image]
        if target == "full":
            truth = np.where(truth == 1, 2, truth)
        return ChipArrays(image=image, label=truth, geobox=None)


@pytest.fixture(scope="session")
def raw_dataset(tmp_path_factory):
    """Four far-apart sites of one 64 px chip: bright squares are the target."""
    root = tmp_path_factory.mktemp("data") / "squares"
    rng = np.random.default_rng(5)
    for number, site in enumerate(SITES):
        mask = np.zeros((64, 64), np.uint8)
        row, col = rng.integers(4, 30, 2)
        mask[row : row + 24, col : col + 28] = 1
        image = (800 + 1500.0 * mask + rng.normal(0, 60, (3, 64, 64))).astype(np.uint16)
        profile = {
            "driver": "GTiff",
            "height": 64,
            "width": 64,
            "crs": "EPSG:32723",
            "transform": from_origin(500_000 + 50_000 * number, 7_800_000, 10, 10),
            "nodata": 0,
        }
        for kind, array in (("images", image), ("masks", mask[None])):
            path = root / kind / site / "00000.tif"
            path.parent.mkdir(parents=True)
            options = profile | {"dtype": array.dtype, "count": len(array)}
            if kind == "masks":
                del options["nodata"]
            with rasterio.open(path, "w", **options) as file:
                file.write(array)
                if kind == "images":
                    file.descriptions = ("B02", "B03", "B04")
    return root


@pytest.fixture
def fakes():
    """What this file makes, since tests cannot import each other."""
    return SimpleNamespace(
        FakeDataset=FakeDataset,
        ThreeClasses=ThreeClasses,
        bundle=bundle,
        spec=spec,
        three_classes=three_classes,
    )


class _PowerCutError(Exception):
    """The power fails."""


class _FailAfter:
    """A progress listener that raises in the middle of a run."""

    def __init__(self, steps):
        self.left = steps
        self.training = False

    def start(self, label, total):
        self.training = label.startswith("Training")

    def advance(self, n=1):
        if self.training and n == 1:
            self.left -= 1
            if self.left == 0:
                raise _PowerCutError

    def finish(self):
        pass


def _cut_and_resumed(recipe, folder):
    """Train once in one go, once cut after two steps and resumed; the lines of both logs."""
    train(recipe, out=folder / "plain")
    with pytest.raises(_PowerCutError):
        train(recipe, out=folder / "cut", progress=_FailAfter(2))
    train(recipe, out=folder / "cut", resume=True)
    logs = []
    for name in ("plain", "cut"):
        with (folder / name / "metrics.csv").open(newline="") as file:
            logs.append(list(csv.DictReader(file)))
    return logs


@pytest.fixture
def power_cut():
    """A progress listener that fails after some steps of training, its error, and a run of both."""
    return SimpleNamespace(Error=_PowerCutError, After=_FailAfter, logs=_cut_and_resumed)
