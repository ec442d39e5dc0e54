"""Faces found and made unrecognisable, so that no one is published against their will.

The detectors are OpenCV's Haar cascades, frontal and profile, that come with the package
``opencv-python-headless`` below version 5. They find upright faces of some 20 pixels and more in
fair light; they miss faces that are dark, turned away, tilted, masked or behind a lamp's glare, and
take some textures for faces. What they find nothing in must still be looked at by a person before
it is published.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from headframe.io.images import Pixels

SIDE_PX = 960
"""Frames are looked at this long at most, in pixels; larger ones are reduced."""
LEAST_PX = 20
"""Smallest face looked for, in pixels of the reduced frame."""

_TICK_S = 1e-3
_FRONTAL = "haarcascade_frontalface_alt2.xml"
_PROFILE = "haarcascade_profileface.xml"


@dataclass(frozen=True)
class Face:
    """A box around a face, in pixels of the frame; x to the right, y down.

    Attributes:
        x: left edge.
        y: upper edge.
        width: extent to the right.
        height: extent downwards.
    """

    x: int
    y: int
    width: int
    height: int


def find_faces(pixels: Pixels, *, neighbours: int = 4) -> tuple[Face, ...]:
    """Find faces, frontal and from both sides.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        neighbours: how many overlapping hits make a face; more finds fewer and errs less.

    Returns:
        Boxes in pixels of ``pixels``, those that overlap much only once, from the left.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, SIDE_PX / max(height, width))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if scale < 1.0:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    even = np.asarray(cv2.createCLAHE(2.0, (8, 8)).apply(grey), np.uint8)
    boxes = _hits(_FRONTAL, even, neighbours) + _hits(_PROFILE, even, neighbours)
    for x, y, wide, tall in _hits(_PROFILE, np.ascontiguousarray(even[:, ::-1]), neighbours):
        boxes.append((even.shape[1] - x - wide, y, wide, tall))
    kept = _once(boxes)
    return tuple(
        sorted(
            (Face(*(round(value / scale) for value in box)) for box in kept),
            key=lambda face: (face.x, face.y),
        )
    )


def hide_faces(pixels: Pixels, faces: tuple[Face, ...], *, margin: float = 0.35) -> Pixels:
    """Make faces unrecognisable: averaged over a sixth of the box, then smoothed.

    Nothing outside the widened boxes changes, and the size stays.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        faces: boxes in its pixels.
        margin: by which share of its sides a box is widened on each side.

    Returns:
        A new picture.
    """
    out = pixels.copy()
    for face in faces:
        dx, dy = round(face.width * margin), round(face.height * margin)
        top, left = max(face.y - dy, 0), max(face.x - dx, 0)
        part = out[top : face.y + face.height + dy, left : face.x + face.width + dx]
        if part.size == 0:
            continue
        coarse = cv2.resize(part, (6, 6), interpolation=cv2.INTER_AREA)
        size = (part.shape[1], part.shape[0])
        part[:] = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    return out


def head_of(person: Face) -> Face:
    """Give where a person's head may be: the uppermost of the person's box.

    A third of its height, for one who sits or is seen by half has a large head; but no more than
    its width, which is that of the shoulders at least.
    """
    return Face(person.x, person.y, person.width, min(round(person.height / 3), person.width))


class Veil:
    """Hides faces through a film; who is not recognised for a moment stays hidden.

    Faces are looked for in the picture that is shown: what was made bright for the eye is bright
    for the detector too.
    """

    def __init__(self, *, hold_s: float = 0.5, look_s: float = 0.2) -> None:
        """Start with nothing to hide.

        Args:
            hold_s: a place stays hidden for so long after the face was last found.
            look_s: faces are looked for so long after the last look, for a look takes longer than
                most of the rest; known heads are hidden on every picture.
        """
        self._hold_s = hold_s
        self._look_s = look_s
        self._due_s = float("-inf")
        self._held: list[tuple[float, Face]] = []

    def hide(self, picture: Pixels, heads: tuple[Face, ...], *, at_s: float) -> Pixels:
        """Hide the faces of a picture.

        Args:
            picture: (H, W, 3) uint8, RGB.
            heads: places to be hidden whatever is found.
            at_s: its time; pictures come in the order of time.

        Returns:
            A new picture.
        """
        self._held = [(seen, face) for seen, face in self._held if at_s - seen <= self._hold_s]
        if at_s >= self._due_s - _TICK_S:
            self._due_s = at_s + self._look_s
            self._held += [(at_s, face) for face in find_faces(picture)]
        self._held += [(at_s, face) for face in heads]
        return hide_faces(picture, tuple(face for _, face in self._held))


@cache
def _detector(name: str) -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / name))


def _hits(
    name: str, grey: npt.NDArray[np.uint8], neighbours: int
) -> list[tuple[int, int, int, int]]:
    found = _detector(name).detectMultiScale(
        grey, scaleFactor=1.15, minNeighbors=neighbours, minSize=(LEAST_PX, LEAST_PX)
    )
    return [(int(x), int(y), int(wide), int(tall)) for x, y, wide, tall in found]


def _once(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    if not boxes:
        return []
    sizes = [float(wide * tall) for _, _, wide, tall in boxes]
    kept = cv2.dnn.NMSBoxes([list(map(float, box)) for box in boxes], sizes, 0.0, 0.3)
    return [boxes[int(index)] for index in kept]
