"""What a Mask R-CNN is."""

from dataclasses import dataclass

from headframe.core.errors import RecipeError

STRIDE_PX = 32
_LITE = "tf_efficientnet_lite"


@dataclass(frozen=True)
class MaskRCNNOptions:
    """What a Mask R-CNN is; the defaults make one for a laptop without a GPU.

    Attributes:
        body: ``tf_efficientnet_lite0``, ``..._lite2``, ``resnet50``, ``resnet101`` (DIS-Mine's), or
            any of timm's names with features at strides 4, 8, 16 and 32.
        channels: of the feature pyramid and the convolutions of the mask head; the layers of the
            box head have four times as many. 0 is 128 with an EfficientNet-Lite, else torchvision's
            256.
        mask_weight: of the mask loss beside the others, > 0.
        frozen_norm: the body's batch norms stay as they were loaded, statistics and all, as usual
            with few images a step; without loaded weights they are nothing, so set it to False.
        min_px: the short side is brought to this many pixels, up or down;
        max_px: but the long side to no more than this.
        anchor_px: side of the smallest anchors; they double four times.
        proposals: candidate boxes kept of each photograph; twice as many in training. torchvision
            keeps 1,000.
        sampled: boxes that the heads learn from in each photograph, a quarter of them objects
            where there are as many. torchvision takes 512.
        min_score: boxes below are dropped, in [0, 1).
        overlap: of two boxes of a class that overlap more than this (IoU) the surer one stays.
        most: objects given of a photograph, at most.
        adaptive_downsampling: ISD's adaptive weighted downsampling before the body's last stages.
        smooth_blocks: ISD's smoothing beside the body's convolutions.
        suppression: weight of ISD's disturbance suppression, where clean images are given.
    """

    body: str = "tf_efficientnet_lite0"
    channels: int = 0
    mask_weight: float = 1.0
    frozen_norm: bool = True
    min_px: int = 320
    max_px: int = 640
    anchor_px: int = 32
    proposals: int = 300
    sampled: int = 128
    min_score: float = 0.05
    overlap: float = 0.5
    most: int = 100
    adaptive_downsampling: bool = False
    smooth_blocks: bool = False
    suppression: float = 0.01

    def __post_init__(self) -> None:
        for name in ("min_px", "anchor_px", "proposals", "sampled", "most"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}; give 1 or more.")
        if self.channels < 0 or self.mask_weight <= 0 or self.suppression < 0:
            raise RecipeError(
                f"channels is {self.channels}, mask_weight {self.mask_weight}, suppression "
                f"{self.suppression}; give >= 0, > 0 and >= 0."
            )
        if self.max_px < self.min_px:
            raise RecipeError(f"max_px {self.max_px} is below min_px {self.min_px}; give more.")
        if not 0 <= self.min_score < 1 or not 0 < self.overlap < 1:
            raise RecipeError(
                f"min_score is {self.min_score}, overlap {self.overlap}; give values in [0, 1) "
                "and in (0, 1)."
            )

    @property
    def width(self) -> int:
        """Channels of the pyramid, the default resolved."""
        return self.channels or (128 if self.body.startswith(_LITE) else 256)

    @property
    def pixel_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of RGB that the body's ImageNet weights were trained with.

        The EfficientNet-Lite of TensorFlow took (x - 0.5) / 0.5; all others ImageNet's own.
        """
        if self.body.startswith(_LITE):
            return [0.5] * 3, [0.5] * 3
        return [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
