"""What was found on one frame, in the pixels of the photograph, as it goes into files."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from faster_coco_eval.core import mask as rle_tools

from headframe.core.detections import Detections

Mask = npt.NDArray[np.bool_]
PERSON, PERSON_ID = "person", 1
PEOPLE = (PERSON, "people", "persons", "miner", "miners", "human")
"""What data sets call people; all of it is written as ``person``, category 1."""


@dataclass(frozen=True)
class Found:
    """One object.

    Attributes:
        category_id: as in ``instances.json``.
        score: 0-1.
        bbox: x, y, width, height in pixels of the photograph, within it.
        area: pixels of the mask.
        segmentation: the mask in COCO's compressed run lengths.
        source: ``rgb``, ``thermal`` or ``both``.
        track_id: which object of a video it is, 1 and up; None on photographs.
    """

    category_id: int
    score: float
    bbox: tuple[float, float, float, float]
    area: int
    segmentation: Mapping[str, Any]
    source: str = "rgb"
    track_id: int | None = None

    def mask(self) -> Mask:
        """Give the mask on the photograph's pixels, (H, W)."""
        return np.asarray(rle_tools.decode(dict(self.segmentation)), np.bool_)


@dataclass(frozen=True)
class FrameRecord:
    """One photograph, or one frame of a video.

    Attributes:
        file_name: relative to the input; of a frame ``video.mp4#000012``.
        width: of the upright photograph, pixels.
        height: of the upright photograph, pixels.
        objects: what was found, the surest first.
        summary: figures of the frame (``segment.summary``).
        seconds: what the chain's parts took.
        video: of a frame the video's name, else None.
        frame: of a frame its number among the readable ones, from 0.
        at_s: of a frame its time.
    """

    file_name: str
    width: int
    height: int
    objects: tuple[Found, ...]
    summary: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)
    video: str | None = None
    frame: int | None = None
    at_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Give plain values; ``record_of`` reads them."""
        return asdict(self)

    def of_video(self, video: str, frame: int, at_s: float) -> "FrameRecord":
        """Give it as a frame of a video."""
        return replace(self, video=video, frame=frame, at_s=at_s)

    def tracked(self, tracks: Sequence[int]) -> "FrameRecord":
        """Give it with the numbers of its objects' tracks."""
        pairs = zip(self.objects, tracks, strict=True)
        return replace(self, objects=tuple(replace(o, track_id=t) for o, t in pairs))


def record_of(value: Mapping[str, Any]) -> FrameRecord:
    """Read what ``FrameRecord.to_json`` gave; TypeError or KeyError of anything else."""
    objects = tuple(Found(**{**o, "bbox": tuple(o["bbox"])}) for o in value["objects"])
    return FrameRecord(**{**value, "objects": objects})


def output_categories(categories: Sequence[str]) -> tuple[dict[str, int], tuple[int, ...]]:
    """Number classes for ``instances.json``: people first, as ``person``, the rest in order.

    Args:
        categories: names of the chain's classes 1, 2, ….

    Returns:
        Name to number, 1 and up; and the number of each of the chain's classes, in their order. A
        chain that does not know people has no ``person``, and its classes begin at 2.
    """
    names = [PERSON if name.lower() in PEOPLE else name for name in categories]
    others = [name for name in dict.fromkeys(names) if name != PERSON]
    numbers = {PERSON: PERSON_ID} if PERSON in names else {}
    numbers |= {name: number for number, name in enumerate(others, start=2)}
    return numbers, tuple(numbers[name] for name in names)


def describe(
    detections: Detections,
    size: tuple[int, int],
    *,
    ids: Sequence[int],
    sources: Sequence[str] | None = None,
) -> tuple[Found, ...]:
    """Bring objects to the photograph's own pixels.

    Args:
        detections: on the photograph as the chain reduced it.
        size: (H, W) of the photograph.
        ids: number in the output of each of the chain's classes 1, 2, ….
        sources: of each object; None: all ``rgb``.

    Returns:
        In their order; objects whose mask is empty are left out.
    """
    height, width = size
    scale = np.array([width / detections.size[1], height / detections.size[0]] * 2)
    limit = np.array([width, height] * 2)
    boxes = (detections.boxes.astype(np.float64) * scale).clip(0, limit)
    found = []
    for number, mask in enumerate(detections.masks):
        rle = run_lengths(mask, size)
        area = int(rle_tools.area(rle))
        if not area:
            continue
        x0, y0, x1, y1 = (round(float(value), 2) for value in boxes[number])
        found.append(
            Found(
                category_id=ids[int(detections.labels[number]) - 1],
                score=round(float(detections.scores[number]), 6),
                bbox=(x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)),
                area=area,
                segmentation=rle,
                source="rgb" if sources is None else sources[number],
            )
        )
    return tuple(found)


def run_lengths(mask: Mask, size: tuple[int, int]) -> dict[str, Any]:
    """Give a mask, enlarged or reduced to (H, W), in COCO's compressed run lengths.

    Only the part where the object is is ever drawn, so that a photograph's size costs nothing.
    """
    return _runs(*enlarged(mask, size), size)


def _runs(window: tuple[slice, slice], part: Mask, size: tuple[int, int]) -> dict[str, Any]:
    """Code what is drawn in a window of (H, W): COCO counts down the columns, zeros first."""
    height, width = size
    columns = np.zeros((part.shape[1], part.shape[0] + 2), np.int8)
    columns[:, 1:-1] = part.T
    steps = np.diff(columns, axis=1)  # 1 where a run begins, -1 behind its end
    first = (np.arange(part.shape[1]) + window[1].start) * height + window[0].start
    places = [np.divmod(np.flatnonzero(steps == step), steps.shape[1]) for step in (1, -1)]
    starts, stops = (first[column] + row for column, row in places)
    apart = starts[1:] != stops[:-1]  # a run that reaches the foot goes on in the next column
    starts = starts[np.concatenate([[True], apart])[: len(starts)]]
    stops = stops[np.concatenate([apart, [True]])[: len(stops)]]
    edges = np.stack([starts, stops], axis=1).ravel()
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    if counts[-1] == 0 and len(counts) > 1:
        counts = counts[:-1]
    coded = rle_tools.frPyObjects({"size": [height, width], "counts": counts.tolist()}, *size)
    told = coded["counts"]
    return {
        "size": [int(height), int(width)],
        "counts": told.decode("ascii") if isinstance(told, bytes) else told,
    }


def enlarged(mask: Mask, size: tuple[int, int]) -> tuple[tuple[slice, slice], Mask]:
    """Bring a mask to another size with smooth outlines, working only where it is.

    Args:
        mask: (h, w).
        size: (H, W) of the result.

    Returns:
        Rows and columns of the part that may hold the object, and the mask there. A mask of the
        wanted size is cut, and else unchanged.
    """
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.bool_)
    ends = []
    for places, old, new in zip((rows, cols), mask.shape, size, strict=True):
        first = max(int((places[0] - 1) * new / old), 0)
        last = min(int(np.ceil((places[-1] + 2) * new / old)), new)
        ends.append(slice(first, last))
    window = ends[0], ends[1]
    if mask.shape == size:
        return window, mask[window]
    shares = [old / new for old, new in zip(mask.shape, size, strict=True)]
    starts = [(end.start + 0.5) * share - 0.5 for end, share in zip(ends, shares, strict=True)]
    matrix = np.array([[shares[1], 0, starts[1]], [0, shares[0], starts[0]]])
    drawn = cv2.warpAffine(
        np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255),
        matrix,
        (ends[1].stop - ends[1].start, ends[0].stop - ends[0].start),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return window, np.asarray(drawn >= 128, np.bool_)
