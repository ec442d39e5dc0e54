"""Small bundles and drawn scenes for mapping."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from torch import nn

from headframe.core.classmap import ClassInfo, ClassMap, binary_class_map
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.engine.bundle import Bundle

INPUTS = InputSpec(
    sensor="sentinel-2-l1c",
    bands=("red", "green", "blue"),
    gsd_m=10.0,
    mean=(0.12, 0.10, 0.09),
    std=(0.05, 0.04, 0.03),
    percentiles=((0.03, 0.10, 0.3), (0.03, 0.09, 0.3), (0.03, 0.08, 0.3)),
)
UTM = Affine(10, 0, 600_000, 0, -10, 7_800_000)


def _small_net(layers: int = 1, seed: int = 0) -> nn.Module:
    """Random network without strides that sees 5 pixels around each."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(8, layers, 3, padding=1),
    ).eval()
    with torch.no_grad():
        # about what drawn scenes hold, with their noise
        middle = torch.tensor([-0.34, -0.07, 0.03]).view(1, 3, 1, 1)
        probe = network(torch.randn(1, 3, 64, 64) * 0.45 + middle)
        network[-1].weight *= 2 / probe.std()
        network[-1].bias -= probe.mean((0, 2, 3)) * 2 / probe.std()
    return network


def _bundle_of(network: nn.Module, *, layers: int = 1, flips: int = 1) -> Bundle:
    colors = [(0, 0, 0), (230, 85, 13), (30, 90, 200), (250, 250, 0)]
    names = ["background", "pit", "dump", "pond"]
    classes = (
        binary_class_map("tailings")
        if layers == 1
        else ClassMap(tuple(ClassInfo(i, names[i], colors[i]) for i in range(layers)))
    )
    spec = ModelSpec(
        "test", "unet", {}, INPUTS, classes, patch_px=64, threshold=0.5, test_flips=flips
    )
    return Bundle(spec, network)


def _draw_scene(
    path: Path, shape=(150, 203), *, transform=UTM, crs="EPSG:32723", seed=0, holes=True, **profile
) -> Path:
    """Write a smooth, asymmetric reflectance scene (blue, green, red; x 10000; nodata 0)."""
    rng = np.random.default_rng(seed)
    height, width = shape
    y, x = np.mgrid[:height, :width]
    waves = sum(
        np.sin(x / rng.uniform(4, 30) + y / rng.uniform(4, 30) + rng.uniform(0, 6))
        for _ in range(6)
    )
    bands = np.stack([800 + 90 * waves + 60 * i + x / width * 200 for i in range(3)])
    bands = np.clip(bands + rng.normal(0, 40, bands.shape), 200, 4000).astype(np.uint16)
    if holes:
        bands[:, : height // 2, : width // 2] = 0
        bands[1, height // 2, 5:25] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=3,
        dtype="uint16",
        nodata=0,
        crs=crs,
        transform=transform,
        **profile,
    ) as file:
        file.write(bands)
        file.descriptions = ("B02", "B03", "B04")
    return path


@pytest.fixture(scope="session")
def small_net():
    return _small_net


@pytest.fixture(scope="session")
def bundle_of():
    return _bundle_of


@pytest.fixture(scope="session")
def draw_scene():
    return _draw_scene


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return _draw_scene(tmp_path / "in" / "s2_20200305.tif")
