"""Where to cut a normalised difference index into water and land."""

import numpy as np
import numpy.typing as npt

from headframe.core.errors import MissingExtraError

try:
    from skimage.filters import threshold_otsu
except ImportError as exc:
    raise MissingExtraError(
        "Otsu's threshold needs scikit-image. Install it with: pip install 'headframe[train]'."
    ) from exc

_BINS = 512


def otsu(index: npt.NDArray[np.float64]) -> float:
    """Otsu's threshold (1979) of the finite values, cut to -1 to 1; 0 where they are all one."""
    values = index[np.isfinite(index)].clip(-1, 1)
    if values.size == 0 or values.min() == values.max():
        return 0.0
    return float(threshold_otsu(values, nbins=_BINS))  # type: ignore[no-untyped-call]  # skimage has no types
