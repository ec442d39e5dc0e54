"""How `data.normalize` becomes the mean and deviation of a model's inputs."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from headframe.core.errors import DatasetError
from headframe.datasets.chips import Chip
from headframe.datasets.minesegsat import metadata_file, tile_manifest
from headframe.engine.samples import ChipStore, DataSection, measure_inputs


class Held:
    """Two chips of three bands in memory."""

    def __init__(self, root=Path("/held"), kind="split", scale=1.0):
        self.root = root
        self.layout = SimpleNamespace(kind=kind)
        self.manifest = tile_manifest()
        self.bands = ("red", "green", "blue")
        rng = np.random.default_rng(3)
        self.images = rng.uniform(0, scale, (2, 3, 40, 50)).astype(np.float32)
        self.images[1, 2, 7, 9] = 3.5  # one bright pixel, which regular steps may miss
        self.images[0, :, 0, 0] = np.nan

    def chips(self):
        return [Chip("a", None, Path(f"{k}.tif"), Path(f"{k}.tif"), None) for k in (0, 1)]

    def read(self, chip, target="binary"):
        image = self.images[int(chip.image.stem)]
        return SimpleNamespace(image=image, label=np.zeros(image.shape[1:], np.uint8))


def test_minmax_is_zero_to_the_largest_pixel():
    held = Held()
    spec = measure_inputs(held, held.chips(), ("blue", "red"), normalize="minmax")
    assert spec.mean == (0.0, 0.0)
    assert spec.std == pytest.approx((3.5, float(np.nanmax(held.images[:, 0]))), abs=1e-6)
    store = ChipStore(
        held, held.chips(), data=DataSection(bands=("blue", "red"), normalize="minmax"), inputs=spec
    )
    assert np.nanmax(store[1].pixels[0]) == pytest.approx(1.0)
    assert np.nanmin(store[0].pixels) >= 0


def test_standard_is_untouched():
    held = Held()
    spec = measure_inputs(held, held.chips(), ("red",))
    assert spec == measure_inputs(held, held.chips(), ("red",), normalize="standard")
    values = held.images[:, 0][~np.isnan(held.images[:, 0])].astype(np.float64)
    assert spec.mean == pytest.approx((values.mean(),), abs=1e-6)
    assert spec.std == pytest.approx((values.std(),), abs=1e-6)
    whole = measure_inputs(held, held.chips(), ("red",), normalize="minmax")
    assert whole.percentiles == spec.percentiles


def test_minmax_takes_the_maxima_of_the_sets_metadata(tmp_path):
    path = metadata_file(tmp_path, "B04")
    path.parent.mkdir()
    path.write_text(json.dumps({"min": 0, "max": 20_000, "mean": 1, "std": 1}))
    held = Held(tmp_path, "tiles")
    spec = measure_inputs(held, held.chips(), ("blue", "red"), normalize="minmax")
    assert spec.std == pytest.approx((3.5, 2.0))


def test_minmax_needs_positive_values():
    held = Held()
    held.images[:, 1] -= 20
    with pytest.raises(DatasetError, match="band green has the maximum -19"):
        measure_inputs(held, held.chips(), ("red", "green"), normalize="minmax")
