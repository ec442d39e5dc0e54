"""KinD, "Kindling the Darkness" (Zhang et al. 2019), and the form that DIS-Mine gives it."""

from headframe.models.kind.adjustment import AdjustmentNet
from headframe.models.kind.checkpoint import authors_state, load_authors
from headframe.models.kind.decomposition import DecompositionNet, Layers
from headframe.models.kind.enhancer import KinDEnhancer, KinDOptions, light_up
from headframe.models.kind.restoration import RestorationNet

__all__ = [
    "AdjustmentNet",
    "DecompositionNet",
    "KinDEnhancer",
    "KinDOptions",
    "Layers",
    "RestorationNet",
    "authors_state",
    "light_up",
    "load_authors",
]
