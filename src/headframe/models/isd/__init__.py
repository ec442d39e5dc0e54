"""ISD, "Instance Segmentation in the Dark" (Chen et al. 2023): against noise in features."""

from headframe.models.isd.body import add_adaptive_downsampling, add_smooth_blocks
from headframe.models.isd.downsample import AdaptiveDownsampling
from headframe.models.isd.smooth import SmoothConv, Smoothing
from headframe.models.isd.suppress import suppression_loss

__all__ = [
    "AdaptiveDownsampling",
    "SmoothConv",
    "Smoothing",
    "add_adaptive_downsampling",
    "add_smooth_blocks",
    "suppression_loss",
]
