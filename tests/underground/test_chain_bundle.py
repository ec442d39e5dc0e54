"""Chains on disk: there and back, each damage named, sizes, names."""

import json
import shutil

import numpy as np
import pytest
import torch

from headframe.core.errors import (
    BundleError,
    InputError,
    MissingFileError,
    RecipeError,
    UnknownNameError,
)
from headframe.engine.box_sam_bundle import BoxSamBundle, build_box_sam
from headframe.engine.detector_bundle import DetectorBundle, save_detector
from headframe.engine.detectors import build_detector
from headframe.engine.enhancer_bundle import EnhancerBundle
from headframe.engine.enhancing import EnhanceOptions
from headframe.models.kind import KinDEnhancer, KinDOptions
from headframe.underground import chain_bundle as module
from headframe.underground.chain import ChainOptions
from headframe.underground.chain_bundle import (
    ChainParts,
    build_chain,
    load_chain,
    read_chain,
    save_chain,
)
from headframe.underground.chain_names import is_chain, shipped_chains
from headframe.underground.fusion import FusionOptions, Gate, Guard
from headframe.underground.fusion.gate import FEATURES

OPTIONS = {"channels": 8, "frozen_norm": False, "min_px": 48, "max_px": 64, "anchor_px": 8,
           "proposals": 20, "sampled": 16}  # fmt: skip
CLASSES = ("person", "road")


def detector(prepare="stretch", **training):
    torch.manual_seed(2)
    network = build_detector("maskrcnn", OPTIONS, classes=2).eval()
    return DetectorBundle(
        "found", "maskrcnn", OPTIONS, CLASSES, prepare, network, training=training
    )


def enhancer():
    torch.manual_seed(3)
    network = KinDEnhancer(KinDOptions(width=4, restoration_width=4))
    return EnhancerBundle("lit", network, EnhanceOptions(ratio=3.0, core_px=64))


def sam():
    torch.manual_seed(4)
    network, sha256 = build_box_sam(2, base="tiny")
    with torch.no_grad():
        network.table.weight[1] = 0.5
    return BoxSamBundle("asked", "tiny", sha256, "decoder", 4, CLASSES, network.eval())


@pytest.fixture(scope="module")
def whole():
    return ChainParts(
        "whole",
        detector(),
        "enhancer",
        enhancer(),
        sam(),
        FusionOptions(
            method="gate",
            guard=Guard(features=400, shift=0.02),
            gate=Gate(tuple(0.1 * n for n in range(len(FEATURES))), -0.1),
            min_overlap=None,
        ),
        ChainOptions(short_side_px=48, min_score=0.1, sam_score=0.2),
        metrics={"ap50": 0.5},
        training={"seed": 1},
    )


@pytest.fixture(scope="module")
def saved(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain") / "whole"
    assert save_chain(whole, folder) == sum(
        p.stat().st_size for p in folder.rglob("*") if p.is_file()
    )
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def photograph():
    rng = np.random.default_rng(0)
    return rng.random((3, 50, 70)).astype(np.float32)


def test_there_and_back(whole, saved, tmp_path):
    again = read_chain(saved)
    for name in ("name", "prepare", "fusion", "options", "metrics", "training"):
        assert getattr(again, name) == getattr(whole, name), name
    assert isinstance(again.fusion.guard.features, int)
    assert again.sam.network.table.weight[1, 7] == 0.5
    first = load_chain(str(saved), device="cpu").look(photograph())
    save_chain(again, tmp_path / "again")
    second = load_chain(str(tmp_path / "again"), device="cpu").look(photograph())
    assert len(first.stages["fuse"]) > 0
    np.testing.assert_array_equal(first.detections.masks, second.detections.masks)
    np.testing.assert_array_equal(first.detections.scores, second.detections.scores)
    # fp16 on disk, float32 in memory: nearly what was saved
    before = build_chain(whole).look(photograph())
    np.testing.assert_allclose(before.shown, first.shown, atol=5e-3)


def test_parts_are_optional(tmp_path):
    for number, parts in enumerate(
        (
            ChainParts("a", detector(), "none"),
            ChainParts("b", detector(), "clahe", sam=sam()),
            ChainParts("c", detector(), "stretch", sam=sam(), fusion=FusionOptions()),
        )
    ):
        folder = tmp_path / str(number)
        save_chain(parts, folder)
        chain = load_chain(str(folder))
        assert (chain.sam is None) == (parts.sam is None)
        assert chain.fusion == parts.fusion
        assert chain.categories == CLASSES
        assert not (folder / "enhancer").exists()


def test_a_detector_alone(tmp_path):
    recipe = {"photographs": {"short_side_px": 40}}
    save_detector(detector(recipe=recipe), tmp_path / "run" / "bundle")
    chain = load_chain(str(tmp_path / "run"))
    assert chain.options.short_side_px == 40
    assert chain.look(photograph()).shown.shape == (3, 40, 56)
    save_detector(detector(prepare="no-such-light"), tmp_path / "other")
    with pytest.raises(UnknownNameError, match="no-such-light"):
        load_chain(str(tmp_path / "other"))


def edit(folder, change):
    path = folder / "dismine.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.pop("name"), "name: Field required"),
        (lambda told: told.update(format=2), "format"),
        (lambda told: told.update(extra=1), "extra"),
        (lambda told: told.update(prepare="magic"), "prepare is 'magic'|unknown prepare"),
        (lambda told: told["fusion"].update(method="magic"), "unknown fusion 'magic'"),
        (lambda told: told["fusion"].update(weight=3), "weight is 3"),
        (lambda told: told["fusion"]["gate"].update(weights=[1.0]), "a gate with 1 weights"),
        (lambda told: told["options"].update(sam_score=7), "sam_score is 7"),
    ],
)
def test_a_damaged_description_is_named(copy, change, said):
    edit(copy, change)
    with pytest.raises(BundleError, match=said) as caught:
        read_chain(copy)
    assert "dismine.json" in str(caught.value)


@pytest.mark.parametrize("part", ["detector", "enhancer", "sam"])
def test_a_damaged_part_is_named(copy, part):
    weights = copy / part / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match=f"{part}/model.safetensors: the weights are corrupted"):
        read_chain(copy)
    shutil.rmtree(copy / part)
    with pytest.raises(MissingFileError, match=part):
        read_chain(copy)


def test_half_a_chain_is_no_chain(copy, whole, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_box_sam", full)
    with pytest.raises(OSError, match="No space"):
        save_chain(whole, copy)
    with pytest.raises(MissingFileError, match=r"no dismine\.json in it, so it is no chain"):
        read_chain(copy)


def test_another_base_is_refused(copy):
    path = copy / "sam" / "boxsam.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"sha256": "ab" * 32}))
    with pytest.raises(BundleError, match="trained on a tiny of SHA-256 abababababab"):
        read_chain(copy)
    path.write_text(json.dumps(told | {"peft": "magic"}))
    with pytest.raises(BundleError, match="magic"):
        read_chain(copy)
    path.write_text(json.dumps(told | {"categories": ["person"]}))
    with pytest.raises(BundleError, match="does not fit its description"):
        read_chain(copy)


def test_names(tmp_path, saved, monkeypatch):
    with pytest.raises(UnknownNameError, match="unknown chain 'dis-mine-persn'"):
        load_chain("dis-mine-persn")
    with pytest.raises(MissingFileError, match=r"no such chain.*dismine\.json"):
        load_chain("runs/not-there")
    with pytest.raises(MissingFileError, match=r"no detector\.json"):
        load_chain(str(tmp_path))
    with pytest.raises(InputError, match="--device cuda:99"):
        load_chain(str(saved), device="cuda:99")
    monkeypatch.setattr(module.resources, "files", lambda _: tmp_path)
    assert shipped_chains() == ()
    shutil.copytree(saved, tmp_path / "bundles" / "dis-mine-tiny")
    (tmp_path / "bundles" / "other").mkdir()
    assert shipped_chains() == ("dis-mine-tiny",)
    assert is_chain("dis-mine-tiny")
    assert is_chain(str(saved))
    assert not is_chain(str(tmp_path))
    assert load_chain("dis-mine-tiny").name == "whole"


def test_shipped_chains_are_small():
    root = module.resources.files("headframe") / "bundles"
    for name in shipped_chains():
        with module.resources.as_file(root / name) as folder:
            assert module.chain_bytes(folder) <= module.LARGEST_MB * 1_000_000


def test_parts_that_do_not_fit():
    with pytest.raises(RecipeError, match="prepare is 'enhancer'"):
        ChainParts("x", detector(), "enhancer")
    with pytest.raises(UnknownNameError, match="unknown prepare 'brighter'"):
        ChainParts("x", detector(), "brighter")
    other = sam()
    object.__setattr__(other, "categories", ("road", "person"))
    with pytest.raises(RecipeError, match="SAM was told road, person; the detector finds person"):
        ChainParts("x", detector(), sam=other)
