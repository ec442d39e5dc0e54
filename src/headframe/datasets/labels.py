"""Labels of a data set: as they are stored, and as a model learns them."""

from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from headframe.core.classmap import IGNORE_INDEX, ClassMap, binary_class_map
from headframe.core.components import (
    CLASS_SETS,
    FULL,
    ClassSet,
    ClassSetName,
    build_target,
    class_set_of,
    get_class_set,
    is_class_set,
)
from headframe.core.errors import DatasetError, FormatError
from headframe.datasets.manifest import Manifest
from headframe.datasets.pixels import read_mask
from headframe.io.bitmask import read_bits
from headframe.io.labels import read_label_png

Target = Literal["binary", "full", ClassSetName]
"""``binary``: target or not (with component masks: any component); ``full``: all classes;
``components-1`` to ``components-4``: one class set of component masks."""

StoredLabel = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
_MASK_TARGET = 2
"""Class of 1 in {0, 1} masks, by the numbering of label PNGs."""


def read_label(path: Path, manifest: Manifest) -> StoredLabel:
    """Read a label, PNG or raster.

    Returns:
        (H, W): uint8 classes of the manifest's class map, 255 = ignore; with ``labels: bits``
        uint16 masks of components, ``core.components.NODATA_BITS`` = ignore.

    Raises:
        MissingFileError: no such file.
        FormatError: not readable, or a value that is no class.
    """
    if manifest.labels == "bits":
        return read_bits(path).values
    if path.suffix.lower() == ".png" and manifest.labels == "index":
        return read_label_png(path, manifest.class_map).copy()
    values = read_mask(path, signed=manifest.labels == "signed-mask")
    masks = manifest.labels in ("mask", "signed-mask")
    top = 1 if masks else len(manifest.classes) - 1
    alien = np.setdiff1d(values, [*range(top + 1), IGNORE_INDEX])
    if alien.size:
        raise FormatError(
            f"{path}: value {alien[0]} is no class; it may hold 0 to {top}. "
            "Correct the label or the class map in dataset.json."
        )
    if masks:
        return np.where(values == 1, np.uint8(_MASK_TARGET), values)
    return values


def as_target(label: StoredLabel, manifest: Manifest, target: Target) -> npt.NDArray[np.uint8]:
    """Turn a label as ``read_label`` gives it into what a model learns.

    Returns:
        (H, W) uint8, a new array: indices of ``target_classes``, 255 = ignore. ``binary`` ignores
        cloud; ``full`` keeps all classes, of component masks the smaller object where they overlap.

    Raises:
        DatasetError: a class set is asked for, and the labels are no component masks.
    """
    check_target(manifest, target)
    if manifest.labels == "bits":
        return build_target(label.astype(np.uint16, copy=False), _class_set(target))
    classes = label.astype(np.uint8)
    if target == "full":
        return classes
    names = manifest.class_map.names
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for index, name in enumerate(names):
        table[index] = IGNORE_INDEX if name == "cloud" else int(index == len(names) - 1)
    return np.asarray(table[classes])


def target_classes(manifest: Manifest, target: Target) -> ClassMap:
    """Classes that a model of a target writes: background and target, a class set, or all.

    Raises:
        DatasetError: as ``as_target``.
    """
    check_target(manifest, target)
    if manifest.labels == "bits":
        return _class_set(target).class_map
    if target == "full":
        return manifest.class_map
    return binary_class_map(manifest.class_map.names[-1])


def target_of_classes(classes: ClassMap, manifest: Manifest) -> Target | None:
    """Tell from a model's classes how labels are to be read for it.

    Component masks are read as the class set the model's class names are; any other model of two
    classes meets ``binary`` labels. Else the classes must be the data set's own.

    Returns:
        The target, or None where the model's classes cannot be read from these labels.
    """
    class_set = class_set_of(classes.names) if manifest.labels == "bits" else None
    if class_set is not None:
        return cast(ClassSetName, class_set.name)
    if len(classes) == 2:
        return "binary"
    return "full" if classes.names == manifest.class_map.names else None


def check_target(manifest: Manifest, target: Target) -> None:
    """Check that labels can be read as a target.

    Raises:
        DatasetError: a class set is asked for, and the labels are no component masks.
    """
    if is_class_set(target) and manifest.labels != "bits":
        raise DatasetError(
            f"target {target!r} needs labels of mine components, but these are of classes "
            f"{', '.join(manifest.class_map.names)}. Label with `headframe label --preset "
            "components`, or set data.target to binary or full."
        )


def _class_set(target: Target) -> ClassSet:
    if target == "binary":
        return CLASS_SETS["components-4"]
    return FULL if target == "full" else get_class_set(target)
