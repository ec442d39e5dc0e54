"""Where a token lies: SAM's position tables for frames of any size.

SAM's ViT has three kinds of positions. The absolute table has one vector a patch of the native
frame; for another frame it is resized like a picture. The tables of relative positions inside its
attention are resized linearly by transformers, forward by forward. The random Fourier features of
prompts and of the image embedding take positions as fractions of the frame, whatever its size.
"""

import torch
from torch import Tensor
from torch.nn import functional


def resize_table(table: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a table of absolute positions bilinearly (SAMed's rule; the native size is kept).

    Args:
        table: (1, h, w, C), one vector a patch, rows downwards.
        size: rows and columns wanted, each >= 1.

    Returns:
        (1, *size, C); ``table`` itself where the size is the same.
    """
    if tuple(table.shape[1:3]) == size:
        return table
    planes = functional.interpolate(
        table.permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=False
    )
    return planes.permute(0, 2, 3, 1)


def centres(like: Tensor) -> Tensor:
    """Give the centres of the cells of an embedding as fractions of the frame.

    Args:
        like: (N, C, h, w), for its size, device and dtype.

    Returns:
        (h, w, 2), x and y in (0, 1): the first cell at (0.5 / w, 0.5 / h).
    """
    height, width = like.shape[-2:]
    ones = like.new_ones((height, width))
    x = (ones.cumsum(1) - 0.5) / width
    y = (ones.cumsum(0) - 0.5) / height
    return torch.stack((x, y), dim=-1)
