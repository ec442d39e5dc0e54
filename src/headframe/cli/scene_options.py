"""Options that every verb on scenes shares, with one wording."""

from pathlib import Path
from typing import Annotated

import typer

Bands = Annotated[
    str | None,
    typer.Option(help="Names of the file's bands in file order, e.g. blue,green,red."),
]
Scale = Annotated[float | None, typer.Option(help="Physical unit = stored value x SCALE + OFFSET.")]
Offset = Annotated[float | None, typer.Option(help="See --scale.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Cache = Annotated[
    Path | None, typer.Option(help="Folder for embeddings; the user's cache if not said.")
]
CacheGb = Annotated[float, typer.Option(help="Largest size of that folder, GB.")]


def band_names(bands: str | None) -> tuple[str, ...] | None:
    """Divide what ``--bands`` holds at its commas; None stays None."""
    return None if bands is None else tuple(name.strip() for name in bands.split(","))
