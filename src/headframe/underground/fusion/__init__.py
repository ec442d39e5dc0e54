"""Fusion of Mask R-CNN's masks with SAM's: the paper's way and ours."""

from headframe.underground.fusion.align import Alignment, Guard
from headframe.underground.fusion.fuse import Fused, FusionTally, fuse
from headframe.underground.fusion.gate import Gate, load_gate, save_gate
from headframe.underground.fusion.options import METHODS, FusionOptions

__all__ = [
    "METHODS",
    "Alignment",
    "Fused",
    "FusionOptions",
    "FusionTally",
    "Gate",
    "Guard",
    "fuse",
    "load_gate",
    "save_gate",
]
