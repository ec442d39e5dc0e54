"""Labelled photographs in memory: reduced, in one set of classes, dark or bright."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from headframe.core.detections import boxes_of
from headframe.core.errors import DatasetError, FormatError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.darken import DimCamera, Photograph, darken_as_camera, seed_of
from headframe.datasets.instances import InstanceSet, LabelledImage, region_mask
from headframe.datasets.light_pairs import reduced
from headframe.io.images import read_image

_HALF = 128


@dataclass(frozen=True, eq=False)
class InstancePhotograph:
    """One photograph and the objects on it.

    Attributes:
        name: relative to the folder of photographs.
        group: what must not be divided between training and test, e.g. the tunnel.
        image: (H, W, 3) uint8 RGB.
        masks: (n, H, W) bool, none of them empty.
        labels: (n,) int64, 1 and up.
        crowd: (n,) bool, groups that were not told apart: neither learnt from nor counted.
    """

    name: str
    group: str
    image: Photograph
    masks: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]

    @property
    def boxes(self) -> npt.NDArray[np.float32]:
        """(n, 4) float32, x0 y0 x1 y1 around the masks, in pixels."""
        return boxes_of(self.masks)

    def mirrored(self) -> "InstancePhotograph":
        """Give it with left and right exchanged."""
        return replace(
            self,
            image=np.ascontiguousarray(self.image[:, ::-1]),
            masks=np.ascontiguousarray(self.masks[:, :, ::-1]),
        )

    def darkened(self, light: float, *, seed: int) -> "InstancePhotograph":
        """Give it as a camera sees it in a share of its light (``datasets.darken``).

        Args:
            light: share of the light; 1 changes nothing, not even by noise.
            seed: of the noise; each photograph and light has a noise of its own.
        """
        if light == 1:
            return self
        own = seed_of(f"{self.name}@{light:g}", seed)
        return replace(
            self, image=darken_as_camera(self.image, seed=own, camera=DimCamera(light=light))
        )


def read_photographs(
    labels: InstanceSet,
    root: Path,
    *,
    categories: Sequence[str],
    short_side_px: int,
    progress: Progress = SILENT,
) -> list[InstancePhotograph]:
    """Read labelled photographs, reduced to a short side, with the objects of some classes.

    Objects that vanish when reduced are left out; photographs without an object are kept, for
    they say where none is. The group of a photograph is its folder, or itself where it has none.

    Args:
        labels: what is on them.
        root: folder that their names start from.
        categories: classes to keep; their order gives the labels 1, 2, ….
        short_side_px: larger photographs are reduced to this; smaller ones are left.
        progress: told of every photograph.

    Returns:
        In the labels' order.

    Raises:
        DatasetError: a class that the labels do not have, or no photograph at all.
        FormatError: a photograph has another size than its labels say, or cannot be read.
        MissingFileError: a photograph is not there.
    """
    absent = [name for name in categories if name not in labels.categories]
    if absent:
        known = ", ".join(labels.categories)
        raise DatasetError(f"{root}: no class {absent[0]!r} in the labels; they have {known}.")
    if not labels.images:
        raise DatasetError(f"{root}: the labels name no photograph.")
    numbers = {name: number for number, name in enumerate(categories, start=1)}
    progress.start("Reading photographs", len(labels.images))
    found = []
    for entry in labels.images:
        found.append(_read(entry, root, numbers=numbers, short_side_px=short_side_px))
        progress.advance()
    progress.finish()
    return found


def _read(
    entry: LabelledImage, root: Path, *, numbers: dict[str, int], short_side_px: int
) -> InstancePhotograph:
    path = root / entry.file_name
    whole = read_image(path)
    height, width = whole.shape[:2]
    if entry.height and (entry.height, entry.width) != (height, width):
        raise FormatError(
            f"{path}: is {width} x {height} px and its labels are for {entry.width} x "
            f"{entry.height}. Label the file as it is, or take the file that was labelled."
        )
    image = reduced(whole, short_side_px)
    size = (image.shape[1], image.shape[0])
    kept = [r for r in entry.regions if r.has_area and r.category in numbers]
    masks = [_shrunk(region_mask(r, height, width), size) for r in kept]
    seen = [i for i, mask in enumerate(masks) if mask.any()]
    parent = Path(entry.file_name).parent.as_posix()
    return InstancePhotograph(
        name=entry.file_name,
        group=entry.file_name if parent == "." else parent,
        image=image,
        masks=np.array([masks[i] for i in seen], np.bool_).reshape(-1, *image.shape[:2]),
        labels=np.array([numbers[kept[i].category] for i in seen], np.int64),
        crowd=np.array([kept[i].crowd for i in seen], np.bool_),
    )


def _shrunk(mask: npt.NDArray[np.bool_], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Reduce a mask to (width, height): where at least half is covered."""
    if mask.shape == (size[1], size[0]):
        return mask
    share = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(share) >= _HALF
