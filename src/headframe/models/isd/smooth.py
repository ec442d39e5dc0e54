"""The smooth-oriented convolution: a learned low-pass filter beside an ordinary one."""

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional as F

_BINOMIAL = (1.0, 2.0, 1.0)


class Smoothing(nn.Module):
    """A 3 x 3 filter a channel whose nine weights are a softmax: >= 0, and 1 in sum.

    It starts as the binomial filter [1 2 1] x [1 2 1] / 16. (The authors' code puts that filter's
    values where their logarithms belong, which makes it nearly the mean of 3 x 3.) Beyond the edge
    lies 0, as around the convolution it stands beside.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor(_BINOMIAL)
        start = (row[:, None] * row).flatten().log()
        self.logits = nn.Parameter(start.repeat(channels, 1, 1))  # (C, 1, 9)

    @property
    def kernel(self) -> Tensor:
        """The filters, (C, 1, 3, 3)."""
        return self.logits.softmax(dim=-1).view(-1, 1, 3, 3)

    def forward(self, x: Tensor, *, stride: int = 1, padding: int = 1) -> Tensor:
        """Smooth (N, C, H, W) at every ``stride``-th place, ``padding`` zeros around it."""
        channels = self.logits.shape[0]
        return F.conv2d(x, self.kernel, stride=stride, padding=padding, groups=channels)


class SmoothConv(nn.Module):
    """A convolution plus, beside it, smoothing and a 1 x 1 convolution (methods 1.8).

    The 1 x 1 convolution starts at 0, so that a body that was trained without it starts as it was;
    what the authors start it with is not known to us. Beside a depth-wise convolution (the
    inverted blocks of EfficientNet) it is depth-wise too: a factor a channel. A full one among
    their up to 1,152 channels would have more parameters than the body.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        """Stand beside ``conv``, whose output the two add to."""
        super().__init__()
        self.conv = conv
        self.smooth = Smoothing(conv.in_channels)
        self.mix = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=False, groups=conv.groups)
        nn.init.zeros_(self.mix.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to what ``conv`` maps it to, and add the smooth part."""
        stride = self.conv.stride[0]
        if isinstance(self.conv, Conv2dSame):  # TensorFlow's padding: its centres lie elsewhere
            smooth = self.smooth(pad_same(x, [3, 3], [stride, stride]), stride=stride, padding=0)
        else:
            smooth = self.smooth(x, stride=stride)
        out: Tensor = self.conv(x) + self.mix(smooth)
        return out
