"""What there is to annotate, and what is known already: every photograph has one part to play."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headframe.core.errors import DatasetError, MissingFileError, OutputError
from headframe.datasets.coco import read_coco
from headframe.datasets.instances import (
    InstanceSet,
    LabelledImage,
    merge_classes,
    numbered,
)
from headframe.datasets.splits import site_folds
from headframe.engine.recipe import FoldSection
from headframe.io.images import find_images
from headframe.underground.annotate.prompts import Hints, read_hints, require_known

MANUAL, REVIEWED, AUTOMATIC = "manual", "reviewed", "automatic"
"""Who drew a region: a person; a person after a network; a network."""
SOURCE = "source"
"""Key of a region's provenance that says so."""


@dataclass(frozen=True)
class Sources:
    """Files and folders that are given.

    Attributes:
        images: folder of all photographs.
        manual: COCO file of those labelled by hand, names relative to ``images``.
        prompts: COCO file of boxes and points for the rest; None: the detector finds them.
        reviewed: COCO file of photographs whose labels a person went over; None: none yet.
    """

    images: Path
    manual: Path
    prompts: Path | None = None
    reviewed: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of labels, which are only read."""
        return tuple(p for p in (self.manual, self.prompts, self.reviewed) if p is not None)


@dataclass(frozen=True)
class Material:
    """Photographs by the part they play; no photograph is in two of them.

    Attributes:
        images: folder that names start from.
        learn: manual and reviewed labels that networks learn from.
        held: manual labels that everything is measured on, and nothing learns from.
        aside: reviewed labels of the folders of ``held``: in the output, and nothing learns from
            them either, for they show the same tunnel or video.
        rest: names of the photographs to annotate, sorted.
        hints: what a person pointed at on some of them.
        categories: class to number in the output, all classes of the manual labels.
    """

    images: Path
    learn: InstanceSet
    held: InstanceSet
    aside: InstanceSet
    rest: tuple[str, ...]
    hints: Hints
    categories: dict[str, int]

    def may_learn(self, image: LabelledImage) -> bool:
        """Whether a photograph lies in no folder of those held back."""
        return _group(image) not in {_group(held) for held in self.held.images}


def read_material(
    sources: Sources,
    *,
    hold: FoldSection,
    classes: Sequence[str],
    merge: Sequence[str] = (),
    out: Path | None = None,
) -> Material:
    """Read labels and list photographs.

    Manual photographs are divided by whole folders (a tunnel, a video); those that lie in
    ``images`` itself one by one.

    Args:
        sources: what is given.
        hold: which fold of the manual photographs is held back.
        classes: that networks learn.
        merge: classes that are joined, as in recipes.
        out: folder of the output; photographs in it are none.

    Raises:
        MissingFileError: a file or photograph that is not there.
        FormatError: a file that is no COCO file.
        DatasetError: labels that do not go together, or nothing to annotate or to hold back.
    """
    raw = read_coco(sources.manual)
    manual = _marked(merge_classes(raw, merge), MANUAL)
    absent = [name for name in classes if name not in manual.categories]
    if absent:
        raise DatasetError(
            f"{sources.manual}: has no class {absent[0]!r}, only {', '.join(manual.categories)}. "
            "Correct the classes of the recipes."
        )
    doubled = sorted(
        n for n, count in Counter(i.file_name for i in raw.images).items() if count > 1
    )
    if doubled:
        raise DatasetError(f"{sources.manual}: {doubled[0]} is labelled twice. Remove one of them.")
    if not sources.images.is_dir():
        raise MissingFileError(f"{sources.images}: no such folder of photographs. Check --images.")
    names = _names(sources.images, out)
    learn, held = _divide(manual, hold, sources.manual)
    everything = learn
    if sources.reviewed is not None:
        reviewed = _like(read_coco(sources.reviewed), raw, merge)
        everything = _joined(learn, _marked(reviewed, REVIEWED), manual, sources.reviewed)
    known = {image.file_name for image in (*everything.images, *held.images)}
    for name in sorted(known - names):
        raise MissingFileError(
            f"{sources.images / name}: no such photograph, but it is labelled. Check --images."
        )
    rest = tuple(sorted(names - known))
    if not rest:
        raise DatasetError(f"{sources.images}: every photograph is labelled; none is left.")
    hints: Hints = {}
    if sources.prompts is not None:
        hints = read_hints(_like(read_coco(sources.prompts), raw, merge))
        require_known(hints, sources.prompts, names=names, categories=classes)
    folders = {_group(image) for image in held.images}
    learn, aside = (
        replace(
            everything,
            images=tuple(i for i in everything.images if (_group(i) in folders) is side),
        )
        for side in (False, True)
    )
    return Material(sources.images, learn, held, aside, rest, hints, dict(manual.categories))


def require_untouched(sources: Sources, outputs: Sequence[Path]) -> None:
    """Raise OutputError where an output, or a folder of outputs, would take an input's place."""
    for path in sources.files:
        own = path.resolve()
        for output in outputs:
            there = output.resolve()
            if own == there or there in own.parents:
                raise OutputError(
                    f"{path}: would be written over. Copy it elsewhere, or choose another --out."
                )


def _names(images: Path, out: Path | None) -> set[str]:
    outside = None if out is None else out.resolve()
    return {
        path.relative_to(images).as_posix()
        for path in find_images([images])
        if outside is None or outside not in path.resolve().parents
    }


def _marked(labels: InstanceSet, source: str) -> InstanceSet:
    """Say of every region who drew it; what another round says of itself is left out."""
    return replace(labels, images=tuple(_marked_image(image, source) for image in labels.images))


def _marked_image(image: LabelledImage, source: str) -> LabelledImage:
    regions = (replace(r, score=None, provenance={SOURCE: source}) for r in image.regions)
    return replace(image, regions=tuple(regions))


def _like(labels: InstanceSet, manual: InstanceSet, merge: Sequence[str]) -> InstanceSet:
    """Join classes as in the manual labels, though not all of them need be there."""
    have = numbered([*manual.categories, *labels.categories])
    return merge_classes(replace(labels, categories=have), merge)


def _divide(manual: InstanceSet, hold: FoldSection, path: Path) -> tuple[InstanceSet, InstanceSet]:
    groups = {image.file_name: _group(image) for image in manual.images}
    count = len(set(groups.values()))
    if hold.index >= hold.of or count < hold.of:
        raise DatasetError(
            f"{path}: fold {hold.index} of {hold.of} cannot be held back of {count} folders or "
            "single photographs. Change hold in the plan."
        )
    held = site_folds(groups, folds=hold.of, seed=hold.seed)[hold.index]
    parts = [
        replace(manual, images=tuple(i for i in manual.images if (i.file_name in held) is side))
        for side in (False, True)
    ]
    return parts[0], parts[1]


def _group(image: LabelledImage) -> str:
    parent = Path(image.file_name).parent.as_posix()
    return image.file_name if parent == "." else parent


def _joined(
    learn: InstanceSet, reviewed: InstanceSet, manual: InstanceSet, path: Path
) -> InstanceSet:
    """Add reviewed photographs; a manual one that is there again stays as it was."""
    ours = {image.file_name for image in manual.images}
    strange = [name for name in reviewed.categories if name not in manual.categories]
    if strange and any(r.category in strange for i in reviewed.images for r in i.regions):
        raise DatasetError(
            f"{path}: class {strange[0]!r} is none of the manual labels'; they have "
            f"{', '.join(manual.categories)}."
        )
    more = {i.file_name: i for i in reviewed.images if i.file_name not in ours}
    return replace(learn, images=(*learn.images, *more.values()))
