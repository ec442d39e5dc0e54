import numpy as np
import pytest

from headframe.core.errors import RecipeError
from headframe.models.sam.classprompt import build_class_prompted_sam
from headframe.underground import targets as module
from headframe.underground.fusion import FusionOptions
from headframe.underground.targets import detector_targets


def test_sure_objects_are_counted_without_sam(blob_chain, workers, monkeypatch):
    whole = blob_chain(sam=build_class_prompted_sam(1, base="tiny"), fusion=FusionOptions())
    monkeypatch.setattr(module, "load_chain", lambda model, device: whole)
    monkeypatch.setattr(module, "chain_fingerprint", lambda model: f"of {model}")
    monkeypatch.setattr("headframe.underground.chain.answer_boxes", None)  # never asked
    assert detector_targets("m", score=0.5).count(workers) == 2
    assert detector_targets("m", score=0.8).count(workers) == 1
    assert detector_targets("m").count(np.zeros_like(workers)) == 0
    names = {detector_targets(model, score=s).name for model in "mn" for s in (0.5, 0.8)}
    assert len(names) == 4
    with pytest.raises(RecipeError, match="--detector-score -1"):
        detector_targets("m", score=-1)
