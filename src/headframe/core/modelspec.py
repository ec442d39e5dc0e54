"""What a model needs and promises: the content of ``model.json`` as a value."""

from dataclasses import dataclass, field
from typing import Any

from headframe.core.classmap import ClassMap


@dataclass(frozen=True)
class InputSpec:
    """The pixels a model was trained on.

    Attributes:
        sensor: name in ``core.sensors.SENSORS``, e.g. ``sentinel-2-l1c``.
        bands: common names in the order of the model's channels, e.g. ``("red", "green", "blue")``.
        gsd_m: ground sample distance of training pixels, metres.
        mean: per band, in the sensor's physical unit (reflectance 0-1, or dB).
        std: per band, in the same unit, > 0.
        percentiles: per band (1st, 50th, 99th) over the training pixels, in the same unit.
    """

    sensor: str
    bands: tuple[str, ...]
    gsd_m: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    percentiles: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class BaseSpec:
    """The published weights that a partly trained model stands on; its bundle does not hold them.

    Attributes:
        source: what finds them: ``litemedsam``, a file, or ``hf://owner/name/file``.
        architecture: name of the base in ``models.sam``, e.g. ``litemedsam``, ``vit_b``.
        sha256: of the file, 64 hex digits.
    """

    source: str
    architecture: str
    sha256: str


@dataclass(frozen=True)
class ModelSpec:
    """One trained model, without its tensors.

    Attributes:
        name: bundle name, e.g. ``tailings-s2-rgb``.
        architecture: name in ``models.registry.BUILDERS``.
        options: keyword arguments of the builder (plain JSON values).
        inputs: the pixels it needs.
        classes: what it writes; index 0 is background.
        patch_px: side of the square tiles it is mapped with.
        threshold: with two classes, the score from which a pixel is the target.
        test_flips: number of dihedral views averaged at test, 1, 2, 4 or 8.
        test_zoom: tiles are resized by this factor before the network sees them, and its scores
            back; below 1 the network sees more of the surroundings.
        metrics: measured figures, with what they were measured on.
        training: data set, sites, recipe and seed it was trained with.
        license: SPDX name of the weights' licence.
        base: weights that are not in the bundle, which then holds the trained ones only; None
            where it holds all.
    """

    name: str
    architecture: str
    options: dict[str, Any]
    inputs: InputSpec
    classes: ClassMap
    patch_px: int
    threshold: float = 0.5
    test_flips: int = 1
    test_zoom: float = 1.0
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    license: str = "unspecified"
    base: BaseSpec | None = None
