from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

from headframe.core.errors import DatasetError
from headframe.datasets.chips import Chip
from headframe.engine.recipe import DataSection, FoldSection
from headframe.engine.samples import (
    band_order,
    choose_parts,
    class_balance,
    model_classes,
    open_labelled,
)
from headframe.engine.sampling import Sample


class Named:
    """Ten sites of one chip each, by turns RR and CL; the last two in val and test."""

    root = Path("/data/named")

    def __init__(self, splits=True):
        self.manifest = SimpleNamespace(
            sites={f"s{i}": {"material": "RR" if i % 2 else "CL"} for i in range(10)}
        )
        names = {8: "val", 9: "test"}
        image = Path("0.tif")
        self._chips = tuple(
            Chip(f"s{i}", names.get(i, "train") if splits else None, image, image, None)
            for i in range(10)
        )

    def chips(self, split=None):
        return tuple(c for c in self._chips if split is None or c.split == split)

    def site_groups(self, *, by_looks=False):
        return {chip.site: chip.site for chip in self._chips}


def test_a_recipe_names_what_a_bare_folder_shows(tmp_path):
    """Of the fine labels and the coarse ones alike; the model is then one of that class."""
    for root in (tmp_path / "fine", tmp_path / "coarse"):
        for part, kind in (("images", np.uint16), ("masks", np.uint8)):
            (root / part).mkdir(parents=True)
            count = 3 if part == "images" else 1
            size = {"count": count, "height": 8, "width": 8, "dtype": kind, "driver": "GTiff"}
            with rasterio.open(root / part / "a.tif", "w", **size) as file:
                file.descriptions = ("red", "green", "blue")[:count]
                file.write(np.ones((count, 8, 8), kind))
    roots = {"dataset": str(tmp_path / "fine"), "coarse": str(tmp_path / "coarse")}
    data = DataSection(**roots, sensor="sentinel-2-l2a", class_name="water")
    for coarse in (False, True):
        opened = open_labelled(data, coarse=coarse)
        assert opened.root == tmp_path / ("coarse" if coarse else "fine")
        assert opened.manifest.sensor == "sentinel-2-l2a"
        assert model_classes(opened, data).names == ("background", "water")


def sites(chips):
    return {chip.site for chip in chips}


def test_where_keeps_sites_in_every_part():
    parts = choose_parts(Named(), DataSection(where={"material": "RR"}))
    assert sites(parts.train) == {"s1", "s3", "s5", "s7"}
    assert parts.validation == ()
    assert sites(parts.test) == {"s9"}
    both = choose_parts(Named(), DataSection(where={"material": ("RR", "CL")}))
    assert both == choose_parts(Named(), DataSection())


def test_where_does_not_change_the_deal_into_folds():
    fold = FoldSection(index=1, of=3, seed=7)
    whole = choose_parts(Named(), DataSection(fold=fold))
    part = choose_parts(Named(), DataSection(fold=fold, where={"material": "CL"}))
    cl = {f"s{i}" for i in range(0, 10, 2)}
    assert sites(part.test) == sites(whole.test) & cl
    assert sites(part.train) == sites(whole.train) & cl
    assert part.test
    assert sites(whole.train) | sites(whole.test) == {f"s{i}" for i in range(10)}


def test_a_general_model_is_tested_on_one_kind_of_site():
    whole = choose_parts(Named(), DataSection())
    parts = choose_parts(Named(), DataSection(test_where={"material": "CL"}))
    assert parts.train == whole.train
    assert parts.validation == whole.validation
    assert parts.test == ()  # the only test site, s9, is RR
    kept = choose_parts(Named(), DataSection(test_where={"material": "RR"}))
    assert kept == whole


def test_where_that_leaves_nothing_to_train_on():
    dataset = Named()
    dataset.manifest.sites["s9"]["material"] = "MO"
    with pytest.raises(DatasetError, match="no chip to train on"):
        choose_parts(dataset, DataSection(where={"material": "MO"}))


def test_bands_are_found_by_any_of_their_names():
    dataset = SimpleNamespace(
        root=Path("ds"),
        bands=("red", "nir08", "vv", "height"),
        manifest=SimpleNamespace(sensor="landsat-oli+sentinel-1-grd"),
    )
    assert band_order(dataset, ("vv", "nir", "height", "B4")) == [2, 1, 3, 0]
    with pytest.raises(DatasetError, match=r"has bands red, nir08, vv, height; blue missing"):
        band_order(dataset, ("blue",))


def test_classes_are_balanced_by_the_root_of_their_inverse_frequency():
    label = np.full((4, 5), 255, np.uint8)
    label[0] = [0, 0, 0, 0, 2]
    label[1] = [0, 0, 0, 0, 0]
    samples = [Sample(np.zeros((1, 4, 5), np.float32), label, "a")]
    weights = class_balance(samples, classes=4)
    assert weights[2] / weights[0] == pytest.approx(3, rel=1e-5)  # 9 pixels against 1
    assert (9 * weights[0] + weights[2]) / 10 == pytest.approx(1, rel=1e-5)
    assert weights[1] == weights[3] == 0
