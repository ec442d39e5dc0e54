"""Target objects counted on frames by a chain's detector, for the filter."""

from dataclasses import replace

import numpy as np

from headframe.core.errors import RecipeError
from headframe.io.images import Pixels
from headframe.underground.chain_bundle import chain_fingerprint, load_chain
from headframe.underground.frame_filter import Targets


def detector_targets(model: str, *, score: float = 0.5, device: str = "auto") -> Targets:
    """Let a detector say how many objects a frame shows.

    Of a whole chain what comes before the detector is kept, and SAM and fusion are left out:
    masks are not counted.

    Args:
        model: as ``chain_bundle.load_chain`` takes it.
        score: objects of at least this score count, 0-1.
        device: where the networks run.

    Raises:
        RecipeError: the score is none; and all of ``load_chain``.
    """
    if not 0 <= score <= 1:
        raise RecipeError(f"--detector-score {score}: give a number from 0 to 1.")
    chain = replace(load_chain(model, device=device), sam=None, fusion=None)

    def count(pixels: Pixels) -> int:
        return int(np.count_nonzero(chain.look_at(pixels).detections.scores >= score))

    return Targets(f"{chain_fingerprint(model)}:{score}", count)
