"""Small data sets on disk: asymmetric chips in a metric CRS with real band names."""

import sys

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from headframe.core.classmap import label_class_map
from headframe.datasets.manifest import Manifest, write_manifest
from headframe.io.labels import write_label_png, write_rgb_png, write_valid_png

CLASSES = label_class_map("tailings")
SHAPE = (20, 30)


def manifest(**changes):
    facts = {"sensor": "sentinel-2-l1c", "bands": ("blue", "green", "red"), "gsd_m": 10.0}
    return Manifest(classes=CLASSES, **{**facts, **changes})


def pixels(seed, bands=3):
    return np.random.default_rng(seed).integers(200, 3000, (bands, *SHAPE)).astype(np.uint16)


def write_image(path, values, *, place=0, names=("B02", "B03", "B04"), crs="EPSG:32721", nodata=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=values.shape[0],
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        crs=crs,
        transform=from_origin(500_000 + 300 * place, 8_000_000, 10, 10),
        nodata=nodata,
    ) as sink:
        sink.write(values)
        for i, name in enumerate(names):
            if name:
                sink.set_band_description(i + 1, name)


def label(rows=3, cols=5):
    values = np.zeros(SHAPE, np.uint8)
    values[2 : 2 + rows, 1 : 1 + cols] = 2
    values[15:, 25:] = 1
    return values


def write_chip(home, site, stem, *, seed, place, values=None, sidecars=True):
    stored = pixels(seed) if values is None else values
    write_image(home / "images" / site / f"{stem}.tif", stored, place=place)
    write_label_png(home / "labels" / site / f"{stem}.png", label(1 + seed % 7), CLASSES)
    if sidecars:
        rgb = np.zeros((*SHAPE, 3), np.uint8)
        write_rgb_png(home / "rgb" / site / f"{stem}.png", rgb)
        write_valid_png(home / "valid" / site / f"{stem}.png", np.ones(SHAPE, bool))


def write_dataset(root, *, sites=8, nested=False, described=True):
    """Two chips a site, side by side; every site apart from the next; all but two in train."""
    splits = {"train": [], "val": [], "test": []}
    rows = ["old,new"]
    for i in range(sites):
        split = {sites - 1: "test", sites - 2: "val"}.get(i, "train")
        home = root / "train" / split if nested and split != "train" else root / split
        site = f"site_{i:02d}"
        splits[split].append(site)
        for k in range(2):
            write_chip(home, site, f"{k:05d}", seed=10 * i + k, place=10 * i + k)
            new = (home / "images" / site / f"{k:05d}.tif").relative_to(root).as_posix()
            rows.append(f"raw/{i}-{k}.tif,{new}")
    (root / "filename_mapping.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    if described:
        write_manifest(root, manifest(splits={k: tuple(v) for k, v in splits.items()}))
    return root


@pytest.fixture(scope="session")
def fakes():
    """The makers of this file: test modules cannot import it by name."""
    return sys.modules[__name__]
