"""Which files are footage: photographs and videos, and what they are called in the output."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headframe.core.errors import InputError, MissingFileError, OutputError
from headframe.io import video
from headframe.io.images import find_images


@dataclass(frozen=True)
class Source:
    """One file of the input.

    Attributes:
        path: the file.
        name: relative to the input, with forward slashes.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether it is a video by its ending."""
        return self.path.suffix.lower() in video.SUFFIXES


def find_sources(inputs: Sequence[Path]) -> list[Source]:
    """List photographs and videos, files as given and folders in depth, by name.

    Raises:
        MissingFileError: an input is not there.
        FormatError: nothing of either kind is there.
        OutputError: two files would have one name in the output.
    """
    found: dict[str, Source] = {}
    for given in inputs:
        if not given.exists():
            raise MissingFileError(f"{given}: no such file or folder. Check the path.")
        base = given if given.is_dir() else given.parent
        for path in _files(given):
            name = path.relative_to(base).as_posix()
            if name in found and found[name].path.resolve() != path.resolve():
                raise OutputError(
                    f"{found[name].path} and {path} are both {name} in the output. Segment them "
                    "apart."
                )
            found[name] = Source(path, name)
    return list(found.values())


def _files(given: Path) -> list[Path]:
    if not given.is_dir():
        return [given]
    films = [
        path
        for path in given.rglob("*")
        if path.suffix.lower() in video.SUFFIXES and not path.name.startswith(".")
    ]
    try:
        stills = find_images([given])
    except InputError:
        if not films:
            raise
        stills = []
    return sorted([*films, *stills])
