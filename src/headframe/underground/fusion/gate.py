"""A learned gate: a logistic model that says pixel by pixel which network to believe.

A few numbers on what the two networks say, how far the outline is, how sure each is and how well
they agree. Ours; ``gate_fit`` learns them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headframe.core.detections import Floats
from headframe.core.errors import FormatError, MissingFileError
from headframe.io.files import write_json
from headframe.underground.fusion.pair import LIMIT, Mask, Pair
from headframe.underground.fusion.soft import signed_distance

FEATURES = (
    "detector",
    "sam",
    "edge",
    "near x sam",
    "quality x sam",
    "overlap x sam",
    "score x detector",
)
"""``detector`` and ``sam``: logits over their limit, -1 to 1. ``edge``: signed distance to Mask
R-CNN's outline over the root of its area, positive inside, -1 to 1; ``near``: 1 - |``edge``|.
``quality``: IoU that SAM expects. ``overlap``: IoU of the two masks. ``score``: Mask R-CNN's."""


@dataclass(frozen=True)
class Gate:
    """Parameters of the logistic model.

    Attributes:
        weights: one for each of ``FEATURES``.
        bias: what is added.
    """

    weights: tuple[float, ...]
    bias: float

    def __post_init__(self) -> None:
        """Check the numbers; raises FormatError."""
        if len(self.weights) != len(FEATURES):
            raise FormatError(
                f"a gate with {len(self.weights)} weights cannot be used; it takes "
                f"{len(FEATURES)} features. Fit it again."
            )
        if not np.isfinite([*self.weights, self.bias]).all():
            raise FormatError("a gate's weights must be finite numbers. Fit it again.")


def features(pair: Pair) -> Floats:
    """Describe each pixel around an object.

    Returns:
        (F, h, w) float32 in the order of ``FEATURES``, each in [-1, 1].
    """
    detector = pair.soft_detector() / np.float32(LIMIT)
    sam = pair.soft_sam() / np.float32(LIMIT)
    reach = np.float32(np.sqrt(max(int(np.count_nonzero(pair.detector)), 1)))
    edge = (signed_distance(pair.detector) / reach).clip(-1, 1)
    planes = (
        detector,
        sam,
        edge,
        (1 - np.abs(edge)) * sam,
        np.float32(pair.quality) * sam,
        np.float32(pair.overlap()) * sam,
        np.float32(pair.score) * detector,
    )
    return np.stack([np.asarray(plane, np.float32) for plane in planes])


def gated(pair: Pair, gate: Gate) -> Mask:
    """Take what the gate finds more likely than not the object."""
    weights = np.array(gate.weights, np.float32)
    found = np.tensordot(weights, features(pair), axes=1) + np.float32(gate.bias)
    return np.asarray(found > 0, np.bool_)


def save_gate(gate: Gate, path: Path) -> None:
    """Write a gate as JSON, features by name."""
    weights = dict(zip(FEATURES, gate.weights, strict=True))
    write_json(path, {"gate": {"bias": gate.bias, "weights": weights}})


def load_gate(path: Path) -> Gate:
    """Read a gate.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is no gate, or one of other features.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. Fit a gate first, or check the path.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))["gate"]
        weights = {str(name): float(value) for name, value in content["weights"].items()}
        bias = float(content["bias"])
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise FormatError(f"{path}: is no gate ({exc!r}). Fit it again.") from exc
    if set(weights) != set(FEATURES):
        strange = sorted(set(weights) ^ set(FEATURES))
        raise FormatError(f"{path}: is a gate of other features ({strange[0]!r}). Fit it again.")
    return Gate(tuple(weights[name] for name in FEATURES), bias)
