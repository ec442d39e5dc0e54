"""Images and true objects brought to the sizes that a detector works at."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes


def shaped_size(height: int, width: int, *, min_px: int, max_px: int) -> tuple[int, int]:
    """Give the size that an image is brought to: the sides' ratio stays, but each is >= 1.

    Args:
        height: pixels, >= 1.
        width: pixels, >= 1.
        min_px: wanted length of the short side.
        max_px: the long side becomes no longer than this.
    """
    scale = min(min_px / min(height, width), max_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


class Shaping(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision is untyped
    """torchvision's normalisation, resizing and padding, but for two things.

    Images are averaged where they shrink: the noise of a dark photograph would else stay as strong
    as it is on a single pixel, and thin things would be lost. Masks are not resized at all; the
    mask loss reads them at their own size, with ``scale`` (x, y), their pixels a pixel of the
    resized image, so that an object of one pixel is never lost.
    """

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Resize an image (3, H, W) and boxes, in training and evaluation alike."""
        old = (int(image.shape[-2]), int(image.shape[-1]))
        new = shaped_size(*old, min_px=self.min_size[-1], max_px=self.max_size)
        if new != old:
            image = F.interpolate(
                image[None], size=new, mode="bilinear", align_corners=False, antialias=True
            )[0]
        if target is not None:
            target["boxes"] = resize_boxes(target["boxes"], old, new)
            target["scale"] = torch.tensor([old[1] / new[1], old[0] / new[0]], device=image.device)
        return image, target
