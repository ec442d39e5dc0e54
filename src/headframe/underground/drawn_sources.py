"""Telling drawn photographs from real ones, so that no table holds both."""

from headframe.core.errors import DatasetError
from headframe.datasets.drawn.tunnel.collection import REQUEST_NAME
from headframe.engine.detector_recipe import PhotographSection
from headframe.engine.detector_training import labels_of

DRAWN_NOTE = (
    "Measured on drawn photographs: these figures compare methods with one another and say little "
    "of a real mine."
)


def held_out_is_drawn(section: PhotographSection) -> bool:
    """Whether what is held out was drawn by ``underground draw``.

    Raises:
        DatasetError: some of it was, and some was not.
    """
    tested = section.held or section.sources
    drawn = {source: (labels_of(source).parent / REQUEST_NAME).is_file() for source in tested}
    if len(set(drawn.values())) > 1:
        one = next(source for source, is_drawn in drawn.items() if is_drawn)
        raise DatasetError(
            f"{one}: is drawn, and others are photographs; figures of both in one table would say "
            "nothing. Compare on one kind at a time."
        )
    return any(drawn.values())
