"""Mask R-CNN on a feature pyramid, for one laptop core or for a published table."""

from headframe.models.maskrcnn.network import MaskRCNN
from headframe.models.maskrcnn.options import MaskRCNNOptions

__all__ = ["MaskRCNN", "MaskRCNNOptions"]
