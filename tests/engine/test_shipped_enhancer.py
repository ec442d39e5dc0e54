"""The enhancer that comes with the package."""

import numpy as np
import pytest

from headframe.engine.enhancer_bundle import (
    describe_enhancer,
    find_enhancer,
    load_enhancer,
    shipped_enhancers,
)
from headframe.engine.enhancing import NetworkEnhancer
from headframe.io.images import find_images, read_float
from headframe.metrics.enhancement import psnr_db, ssim
from headframe.models.kind import KinDEnhancer, KinDOptions


def test_it_is_small_and_brings_all_three_nets():
    assert shipped_enhancers() == ("kind-s",)
    told = describe_enhancer("kind-s")
    assert told["megabytes"] <= 8
    assert told["mode"] == "kind"
    for net in ("decomposition", "adjustment", "restoration"):
        assert told[f"{net}_parameters"] > 10_000


def test_a_dark_picture_comes_back_bright_and_in_its_colours():
    rows, columns = np.mgrid[0:96, 0:144]
    picture = np.stack([0.3 + 0.5 * columns / 144, 0.3 + 0.4 * rows / 96, np.full((96, 144), 0.4)])
    dark = (0.05 * picture).astype(np.float32)
    bright = load_enhancer("kind-s", device="cpu")(dark)
    assert bright.mean() > 5 * dark.mean()
    order = [int(dark[:, y, x].argmax()) for y, x in ((10, 130), (85, 10))]
    assert [int(bright[:, y, x].argmax()) for y, x in ((10, 130), (85, 10))] == order == [0, 1]


@pytest.mark.realdata
def test_it_is_better_on_lol_than_chains_without_a_restoration_net(shared_data):
    """Pairs it never saw; the authors published no restoration net, its own is taken away."""
    bundle = find_enhancer("kind-s")
    told = bundle.network.options
    bare = KinDEnhancer(KinDOptions(told.mode, told.width, 0, leaky_head=told.leaky_head))
    kept = bare.state_dict().keys()
    bare.load_state_dict({n: v for n, v in bundle.network.state_dict().items() if n in kept})
    authors = shared_data / "weights/kind_official_decomposition_adjustment.safetensors"
    enhancers = {
        "whole": load_enhancer("kind-s", device="cpu"),
        "bare": NetworkEnhancer(bare, bundle.options, name="bare", device="cpu"),
        "authors": load_enhancer(str(authors), device="cpu"),
    }
    pairs = shared_data / "lol-pairs" / "test"
    found = {name: [] for name in enhancers}
    for path in find_images([pairs / "imgs"]):
        dark, truth = read_float(path), read_float(pairs / "targets" / path.name)
        for name, enhancer in enhancers.items():
            image = np.asarray(enhancer(dark))
            found[name].append([psnr_db(image, truth), ssim(image, truth)])
    psnr, likeness = (
        {name: np.mean([row[place] for row in rows]) for name, rows in found.items()}
        for place in (0, 1)
    )
    assert likeness["whole"] > likeness["bare"] + 0.01 > likeness["authors"] + 0.05
    assert psnr["whole"] > psnr["authors"] + 0.5
