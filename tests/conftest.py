"""What every test may use."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# Examples are judged by what they give, never by how long a busy machine takes for them.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data that developers and CI have; skips where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: ../shared/data is absent")
    return folder


@pytest.fixture
def squares(tmp_path):
    """A folder of six photographs with a bright square on each, and a crowd on the first."""
    from headframe.datasets.coco import write_coco  # noqa: PLC0415 - after the threads are set
    from headframe.datasets.instances import (  # noqa: PLC0415 - likewise
        InstanceSet,
        LabelledImage,
        Region,
    )

    rng = np.random.default_rng(1)
    (tmp_path / "data" / "images").mkdir(parents=True)
    images = []
    for number in range(6):
        pixels = rng.integers(20, 60, (48, 56, 3), dtype=np.uint8)
        top, left = int(rng.integers(4, 20)), int(rng.integers(4, 28))
        pixels[top : top + 20, left : left + 16] = (220, 200, 60)
        Image.fromarray(pixels).save(tmp_path / "data" / "images" / f"{number}.png")
        ring = ((left, top), (left + 16, top), (left + 16, top + 20), (left, top + 20))
        crowd = ((0, 0), (4, 0), (4, 4), (0, 4))
        more = (Region("person", rings=(crowd,), crowd=True),) if not number else ()
        regions = (Region("person", rings=(ring,)), *more)
        images.append(LabelledImage(f"{number}.png", 48, 56, regions))
    write_coco(InstanceSet(tuple(images), {"person": 1}), tmp_path / "data" / "instances.json")
    return tmp_path / "data"
