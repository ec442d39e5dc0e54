import json

import numpy as np
import pytest

from headframe.core.errors import DatasetError, FormatError, MissingFileError
from headframe.underground.fusion import Gate, load_gate, save_gate
from headframe.underground.fusion.gate import FEATURES, features, gated
from headframe.underground.fusion.gate_fit import GateSamples, fit_gate, gate_samples
from headframe.underground.fusion.pair import Pair


def gate(bias=0.0, **weights):
    return Gate(tuple(weights.get(name.replace(" ", "_"), 0.0) for name in FEATURES), bias)


def pair():
    detector = np.zeros((9, 12), bool)
    detector[2:7, 3:8] = True
    sam = np.zeros((9, 12), bool)
    sam[2:7, 4:9] = True
    return Pair(detector, sam, score=0.5, quality=0.75)


def test_features_by_hand():
    values = features(pair())[:, 4]  # the middle row
    assert values.shape == (7, 12)
    expected = {
        "detector": [-1, 1, 1, -1],
        "sam": [-1, -1, 1, 1],
        "edge": [-0.2, 0.2, 0.6, -0.2],
        "near x sam": [-0.8, -0.8, 0.4, 0.8],
        "quality x sam": [-0.75, -0.75, 0.75, 0.75],
        "overlap x sam": [-2 / 3, -2 / 3, 2 / 3, 2 / 3],  # 20 of 30 pixels
        "score x detector": [-0.5, 0.5, 0.5, -0.5],
    }
    for name, plane in zip(FEATURES, values, strict=True):
        assert plane[[2, 3, 5, 8]] == pytest.approx(expected[name], abs=0.02), name


def test_a_gate_can_be_either_network_or_both():
    said = pair()
    assert np.array_equal(gated(said, gate(detector=1)), said.detector)
    assert np.array_equal(gated(said, gate(sam=2)), said.sam)
    assert np.array_equal(gated(said, gate(bias=-1, detector=1, sam=1)), said.detector & said.sam)
    assert not gated(said, gate(bias=-1)).any()


def test_it_is_kept_as_named_numbers(tmp_path):
    path = tmp_path / "gate.json"
    kept = Gate(tuple(np.linspace(-1, 2, len(FEATURES))), 0.25)
    save_gate(kept, path)
    assert load_gate(path) == kept
    content = json.loads(path.read_text())
    assert set(content["gate"]["weights"]) == set(FEATURES)
    content["gate"]["weights"]["colour"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=r"gate\.json: is a gate of other features \('colour'\)"):
        load_gate(path)
    for text in ("[]", '{"gate": {"weights": [], "bias": 0}}', "{", '{"gate": {"bias": "x"}}'):
        path.write_text(text)
        with pytest.raises(FormatError, match="is no gate"):
            load_gate(path)
    with pytest.raises(MissingFileError, match="Fit a gate first"):
        load_gate(tmp_path / "absent.json")


def test_numbers_that_cannot_be_used_are_refused():
    with pytest.raises(FormatError, match="takes 7 features"):
        Gate((1.0,), 0)
    with pytest.raises(FormatError, match="finite"):
        Gate((float("nan"),) * len(FEATURES), 0)


def three(found):
    """Mask R-CNN's objects two pixels too far right, SAM's right; the third is nothing."""
    truth = np.zeros((2, 40, 60), bool)
    truth[0, 5:25, 4:20] = True
    truth[1, 12:35, 30:52] = True
    detector = np.concatenate([np.roll(truth, 2, axis=2), truth[:1]])
    sam = np.concatenate([truth, truth[:1]])
    return (
        found(detector, labels=[1, 2, 2]),
        found(sam, labels=[1, 2, 2]),
        found(truth, labels=[1, 2]),
    )


def test_pixels_to_learn_from(found):
    detector, sam, truth = three(found)
    samples = gate_samples(detector, sam, truth, per_object=200)
    # the third is of class 2, and no true object of that class is there
    assert samples.values.shape == (400, len(FEATURES))
    again = gate_samples(detector, sam, truth, per_object=200)
    assert np.array_equal(samples.values, again.values)
    every = gate_samples(detector, sam, truth, per_object=10**6)
    assert len(every.inside) == 20 * 18 + 23 * 24  # of both masks together
    assert every.inside.sum() == truth.masks.sum()
    assert (every.values[:, :2].max(axis=1) > 0).all()
    nothing = gate_samples(found(np.zeros((0, 9, 9))), found(np.zeros((0, 9, 9))), truth)
    assert nothing.values.shape == (0, len(FEATURES))


def test_the_gate_learns_whom_to_believe(found):
    detector, sam, truth = three(found)
    fitted = fit_gate([gate_samples(detector, sam, truth)])
    assert fitted == fit_gate([gate_samples(detector, sam, truth)])
    said = Pair(detector.masks[0], sam.masks[0], score=0.9, quality=0.9)
    decided = gated(said, fitted) & (said.detector | said.sam)
    assert np.array_equal(decided, truth.masks[0])


def test_pixels_of_one_kind_teach_nothing():
    values = np.zeros((5, len(FEATURES)), np.float32)
    with pytest.raises(DatasetError, match="5 pixels, 5 of them inside"):
        fit_gate([GateSamples(values, np.ones(5, bool))])
    with pytest.raises(DatasetError, match="0 pixels"):
        fit_gate([])
