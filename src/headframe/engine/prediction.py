"""Whole chips through a bundle: any size in, one class map out."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import BandError, DatasetError
from headframe.core.modelspec import InputSpec
from headframe.datasets.chips import Chip, ChipArrays, ChipDataset
from headframe.datasets.labels import target_of_classes
from headframe.engine.bundle import Bundle

_MULTIPLE_PX = 32
"""Sides a network takes are multiples of this: five halvings."""
_MOST_ZOOM = 8


def channels_of(inputs: InputSpec, bands: Sequence[str], *, source: str) -> list[int]:
    """Positions of a model's bands among ``bands``, by common name.

    Raises:
        BandError: one is missing; names it, and what there is.
    """
    missing = [band for band in inputs.bands if band not in bands]
    if missing:
        raise BandError(
            f"{source} has bands {', '.join(bands)}; the model needs {', '.join(missing)} too. "
            "Choose a model that needs only these, or name the files' bands."
        )
    return [list(bands).index(band) for band in inputs.bands]


def at_own_gsd(bundle: Bundle, gsd_m: float) -> Bundle:
    """Make a model see images of another pixel size at about the size that it learnt.

    Images are resized before the network and its scores back; sides are rounded to multiples of
    32 pixels. A model that looks closer by itself (``test_zoom``) does so here too.

    Args:
        bundle: the model.
        gsd_m: side of the images' pixels, metres, > 0.

    Returns:
        A copy.

    Raises:
        DatasetError: the sizes are more than eight times apart.
    """
    zoom = gsd_m / bundle.spec.inputs.gsd_m
    if not 1 / _MOST_ZOOM <= zoom <= _MOST_ZOOM:
        raise DatasetError(
            f"pixels of {gsd_m:g} m are too far from the {bundle.spec.inputs.gsd_m:g} m of model "
            f"{bundle.spec.name}. Choose another model, or leave --own-gsd out."
        )
    return bundle.with_options(test_zoom=bundle.spec.test_zoom * zoom)


def score_chip(bundle: Bundle, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Score one chip in one piece, on the device of the bundle's network.

    The chip is padded to a multiple of 32 by reflection at the bottom and right, and the padding
    cut off again.

    Args:
        bundle: the model.
        image: (C, H, W), the model's bands in its order, physical unit, NaN for nodata.

    Returns:
        (K, H, W) in [0, 1], K as in ``Bundle.scores``; NaN where any band is nodata.
    """
    height, width = image.shape[1:]
    padding = ((0, 0), (0, -height % _MULTIPLE_PX), (0, -width % _MULTIPLE_PX))
    padded = np.pad(image, padding, mode="reflect")
    first = next(iter(bundle.network.parameters()), None)
    device = torch.device("cpu") if first is None else first.device
    batch = torch.from_numpy(padded[None]).to(device)  # (1, C, H', W')
    scores = bundle.scores(batch)[0, :, :height, :width].cpu().numpy()
    return np.where(np.isnan(image).any(axis=0), np.float32(np.nan), scores)


def predict_chip(bundle: Bundle, image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Decide the classes of one chip.

    Args:
        bundle: the model.
        image: as in ``score_chip``.

    Returns:
        (H, W) class indices, 255 where any band is nodata.
    """
    scores = score_chip(bundle, image)
    nodata = np.isnan(scores[0])
    classes = bundle.classes_of(np.where(nodata, np.float32(0), scores))
    return np.where(nodata, np.uint8(IGNORE_INDEX), classes)


def predicted(
    bundle: Bundle, dataset: ChipDataset, chip: Chip
) -> tuple[ChipArrays, NDArray[np.uint8]]:
    """Read one chip of a data set and predict it.

    A model of a class set meets component masks as that set (see ``target_of_classes``), any other
    of two classes labels of two (cloud ignored), any other the data set's own.

    Returns:
        The chip as read, all bands of the data set; the prediction (H, W), 255 where nodata.

    Raises:
        BandError: the data set lacks a band of the model.
    """
    order = channels_of(bundle.spec.inputs, dataset.bands, source=str(dataset.root))
    target = target_of_classes(bundle.spec.classes, dataset.manifest)
    arrays = dataset.read(chip, target=target or "full")
    return arrays, predict_chip(bundle, arrays.image[order])
