"""What can be measured of one frame: light, sharpness, grey levels, likeness to another."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import cv2
import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.metrics import structural_similarity

from headframe.io.images import Pixels
from headframe.underground.faces import Face, find_faces

WORK_PX = 1024
"""Sharpness is measured on frames this long at most, so that a threshold means one thing."""
SMALL_PX = 256
"""SSIM is measured on frames this long."""

Grey = npt.NDArray[np.uint8]
FloatGrey = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FrameScores:
    """Measures of one frame.

    Attributes:
        height: pixels.
        width: pixels.
        mean_luma: mean of the luma, 0-255.
        p95_luma: its 95th percentile.
        levels: how many of the 256 grey levels occur.
        sharpness: variance of the Laplacian of the normalised luma, long side ``WORK_PX``.
        lit_share: share of 16 x 16 cells whose mean luma reaches the threshold of darkness.
        dhash: 64-bit difference hash, 16 hexadecimal digits.
        faces: boxes, as (x, y, width, height).
    """

    height: int
    width: int
    mean_luma: float
    p95_luma: float
    levels: int
    sharpness: float
    lit_share: float
    dhash: str
    faces: tuple[tuple[int, int, int, int], ...]

    @property
    def found(self) -> tuple[Face, ...]:
        """The faces as boxes."""
        return tuple(Face(*box) for box in self.faces)


def measure_frame(pixels: Pixels, *, dark_mean: float, faces: bool) -> FrameScores:
    """Measure a frame.

    The luma is that of BT.601. For sharpness it is reduced to ``WORK_PX`` by areas and stretched
    so that its 1st percentile is 0 and its 99th 255: a dark frame is then not a blurred one.
    Grain survives the stretch and counts as detail, the more the darker the frame is.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        dark_mean: luma from which a cell counts as lit, 0-255.
        faces: look for faces too.

    Returns:
        The scores; of a frame of one value sharpness is 0.
    """
    luma = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    cells = cv2.resize(luma.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
    counts = _histogram(luma)
    work = _reduced(luma, WORK_PX)
    even = normalised(work)
    return FrameScores(
        height=luma.shape[0],
        width=luma.shape[1],
        mean_luma=float(counts @ np.arange(256) / luma.size),
        p95_luma=_percentile(counts, 95),
        levels=int(np.count_nonzero(counts)),
        sharpness=float(cv2.Laplacian(even, cv2.CV_32F).var()),
        lit_share=float((cells >= dark_mean).mean()),
        dhash=str(imagehash.dhash(Image.fromarray(work), hash_size=8)),
        faces=tuple((f.x, f.y, f.width, f.height) for f in (find_faces(pixels) if faces else ())),
    )


def normalised(luma: Grey) -> FloatGrey:
    """Stretch a luma (H, W) so that its 1st percentile is 0 and its 99th 255, clipped."""
    counts = _histogram(luma)
    low, high = _percentile(counts, 1), _percentile(counts, 99)
    if high - low < 1:
        return np.zeros(luma.shape, np.float32)
    spread = (luma.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.asarray(np.clip(spread, 0, 255), np.float32)


def small_grey(pixels: Pixels) -> FloatGrey:
    """Reduce a frame to the normalised luma, ``SMALL_PX`` long, that SSIM compares.

    Normalised, since SSIM takes any two dark frames for alike.
    """
    luma = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    return normalised(_reduced(luma, SMALL_PX))


def likeness(first: FloatGrey, second: FloatGrey) -> float:
    """Give the SSIM (window 7) of two small frames, at most 1; 0 where their sizes differ."""
    if first.shape != second.shape or min(first.shape) < 7:
        return float(np.array_equal(first, second))
    compare: Callable[..., float] = structural_similarity
    return float(compare(first, second, data_range=255.0))


def hash_distance(first: str, second: str) -> int:
    """Count the bits (0-64) in which two hashes differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count()


def to_json(scores: FrameScores) -> dict[str, object]:
    """Give the scores as plain values that ``from_json`` takes."""
    return asdict(scores)


def from_json(values: dict[str, object]) -> FrameScores:
    """Rebuild scores; raises TypeError where a name is missing or unknown."""
    scores = FrameScores(**values)  # type: ignore[arg-type] # checked by the dataclass's names
    return replace(scores, faces=tuple((x, y, w, h) for x, y, w, h in scores.faces))


def _histogram(luma: Grey) -> npt.NDArray[np.int64]:
    """Count the 256 levels; a frame of 4K has them in a hundredth of the time of a sort."""
    return cv2.calcHist([luma], [0], None, [256], [0, 256]).ravel().astype(np.int64)


def _percentile(counts: npt.NDArray[np.int64], percent: float) -> float:
    """Give what ``np.percentile`` gives of the values counted."""
    below = np.cumsum(counts)
    place = (below[-1] - 1) * percent / 100
    first = np.floor(place)
    low, high = np.searchsorted(below, [first, min(first + 1, below[-1] - 1)], side="right")
    return float(low + (high - low) * (place - first))


def _reduced(luma: Grey, side: int) -> Grey:
    scale = side / max(luma.shape)
    if scale >= 1:
        return luma
    size = (max(round(luma.shape[1] * scale), 1), max(round(luma.shape[0] * scale), 1))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
