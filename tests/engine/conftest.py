"""A data set in memory and networks of one threshold, for tests of evaluation: ``fakes``."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from headframe.core.classmap import ClassInfo, ClassMap, binary_class_map
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.datasets.chips import Chip, ChipArrays
from headframe.engine.bundle import Bundle

BANDS = ("blue", "green", "red")


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
