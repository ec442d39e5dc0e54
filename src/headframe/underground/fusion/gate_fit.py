"""Learning the gate from photographs whose objects are known."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from headframe.core.detections import Detections, Floats, Masks
from headframe.core.errors import DatasetError
from headframe.underground.fusion.fuse import align_sets, pairs
from headframe.underground.fusion.gate import FEATURES, Gate, features
from headframe.underground.fusion.options import FusionOptions
from headframe.underground.fusion.pair import disagree


@dataclass(frozen=True, eq=False)
class GateSamples:
    """Pixels to learn from.

    Attributes:
        values: (N, F) float32, columns in the order of ``FEATURES``.
        inside: (N,) bool, whether the pixel is the object's.
    """

    values: Floats
    inside: npt.NDArray[np.bool_]


def gate_samples(
    detected: Detections,
    sam: Detections,
    truth: Detections,
    *,
    options: FusionOptions | None = None,
    per_object: int = 1000,
    seed: int = 0,
) -> GateSamples:
    """Draw pixels of one photograph that at least one network takes for an object.

    Only those does the gate decide about. An object is learned from where a true one of its class
    has an IoU of at least 0.5 with either network's mask; pairs that fusion would not fuse are
    left out, as are pixels beyond the photograph. Objects count alike up to ``per_object``.

    Args:
        detected: Mask R-CNN's objects, from a network that was not trained on this photograph.
        sam: SAM's answers, in their order.
        truth: the labels.
        options: how SAM's masks are aligned, and the rule of overlap.
        per_object: most pixels of an object.
        seed: of the drawing.
    """
    options = options or FusionOptions()
    rng = np.random.default_rng(seed)
    alignment = align_sets(detected, sam, options)
    values, inside = [np.zeros((0, len(FEATURES)), np.float32)], [np.zeros(0, np.bool_)]
    for number, window, pair in pairs(detected, sam, alignment, margin_px=1):
        if disagree(pair, options.min_overlap or 0.0):
            continue
        alike = truth.masks[truth.labels == detected.labels[number]]
        true = _best(alike, detected.masks[number], sam.masks[number])
        if true is None:
            continue
        places = np.flatnonzero(pair.detector | pair.sam)
        chosen = rng.permutation(places)[:per_object]
        values.append(features(pair).reshape(len(FEATURES), -1)[:, chosen].T)
        inside.append(true[window].ravel()[chosen])
    return GateSamples(np.concatenate(values), np.concatenate(inside))


def fit_gate(samples: list[GateSamples], *, strength: float = 1.0) -> Gate:
    """Fit the logistic model (scikit-learn, L2).

    Args:
        samples: of many photographs.
        strength: inverse of the penalty.

    Returns:
        The gate; the same samples give the same numbers.

    Raises:
        DatasetError: no pixels, or all inside or all outside the objects.
    """
    values = np.concatenate(
        [np.zeros((0, len(FEATURES)), np.float32)] + [s.values for s in samples]
    )
    inside = np.concatenate([np.zeros(0, np.bool_)] + [s.inside for s in samples])
    if len(np.unique(inside)) < 2:
        raise DatasetError(
            f"a gate cannot be fitted to {len(inside)} pixels, {int(inside.sum())} of them inside "
            "objects; it needs pixels of both kinds. Give more photographs."
        )
    model = LogisticRegression(C=strength, max_iter=1000).fit(values.astype(np.float64), inside)
    return Gate(tuple(float(value) for value in model.coef_[0]), float(model.intercept_[0]))


def _best(truths: Masks, *masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    """The true mask most like one of ``masks``; None below an IoU of 0.5."""
    found, best = None, 0.5
    for true in truths:
        for mask in masks:
            either = int(np.count_nonzero(true | mask))
            share = int(np.count_nonzero(true & mask)) / either if either else 0.0
            if share >= best:
                found, best = true, share
    return found
