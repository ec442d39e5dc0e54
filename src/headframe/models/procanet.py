"""ProCANet: progressive self- and cross-attention between two encoders (papers/003, methods 5).

Two encoders of a U-Net look at different bands of the same ground. At every scale each one first
weighs its own features by a mask made of them (self-attention), then by a mask made of the other
one's weighed features (cross-attention); what both have left is joined and goes to the decoder.
The paper's own code is not public: operators and widths are those of methods 5.2, where what is
stated and what is inferred stand apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from headframe.core.errors import BandError, RecipeError

ATTENTION = ("none", "self", "cross", "both")
MASKS = ("conv", "channel", "dot-product")
JOINS = ("conv", "sum")
LEVELS = 5
"""Scales 1, 1/2, 1/4, 1/8 and 1/16, of which the last is the bottleneck."""

_COARSE = 3
"""Dot products are taken from this level on, at an eighth of the size: their cost is the fourth
power of the side."""
_HEADS = 4
_REDUCTION = 16


@dataclass(frozen=True)
class ExchangeOptions:
    """What happens between the encoders at a scale.

    Attributes:
        attention: which of the two steps there are, one of ``ATTENTION``.
        masks: how a mask is made, one of ``MASKS``: ``conv``, a convolution and a sigmoid;
            ``channel``, one weight a channel from their means (squeeze and excitation);
            ``dot-product``, no mask but multi-head attention that is added, from an eighth of the
            size on, and ``conv`` above.
        kernel: side of the convolutions of ``conv``, 1 or 3.
        join: how the two become one, one of ``JOINS``: a 1 x 1 convolution of both, or the sum.
    """

    attention: str = "both"
    masks: str = "conv"
    kernel: int = 3
    join: str = "conv"

    def __post_init__(self) -> None:
        """Check the words."""
        for name, value, known in (
            ("attention", self.attention, ATTENTION),
            ("masks", self.masks, MASKS),
            ("kernel", self.kernel, (1, 3)),
            ("join", self.join, JOINS),
        ):
            if value not in known:
                raise RecipeError(
                    f"model.options.{name} is {value!r}; procanet knows "
                    f"{', '.join(map(str, known))}."
                )


class ProCANet(nn.Module):
    """Logits from two encoders that attend to themselves and to each other.

    Attributes:
        first: common names of the bands that encoder 1 sees.
        second: those of encoder 2; empty: there is none, and no cross-attention.
    """

    def __init__(
        self,
        bands: Sequence[str],
        out_channels: int,
        *,
        first: Sequence[str],
        second: Sequence[str],
        width: int,
        exchange: ExchangeOptions,
        progressive: bool,
    ) -> None:
        """Build it at random weights; arguments as ``build_procanet``."""
        super().__init__()
        self.first, self.second = tuple(first), tuple(second)
        self._progressive = progressive
        self._seen = [[list(bands).index(band) for band in side] for side in (first, second)]
        widths = [width * 2**level for level in range(LEVELS)]
        sides = [side for side in (self.first, self.second) if side]
        self.encoders = nn.ModuleList(_encoder(len(side), widths) for side in sides)
        self.exchanges = nn.ModuleList(
            Exchange(channels, level=level, sides=len(sides), options=exchange)
            for level, channels in enumerate(widths)
        )
        self.rises = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairwise(widths)
        )
        self.decoder = nn.ModuleList(_double(2 * fine, fine) for fine in widths[:-1])
        self.head = nn.Conv2d(width, out_channels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Score pixels (N, C, H, W); logits (N, K, H, W); H and W multiples of 16."""
        hidden = [pixels[:, seen] for seen in self._seen if seen]
        skips = []
        for level, exchange in enumerate(self.exchanges):
            if level:
                hidden = [functional.max_pool2d(own, 2) for own in hidden]
            hidden = [
                encoder.get_submodule(str(level))(own)
                for encoder, own in zip(self.encoders, hidden, strict=True)
            ]
            joined, attended = exchange(hidden)
            skips.append(joined)
            if self._progressive:
                hidden = attended
        found: Tensor = skips[-1]
        for level in reversed(range(LEVELS - 1)):
            risen = self.rises[level](found)
            found = self.decoder[level](torch.cat([skips[level], risen], dim=1))
        logits: Tensor = self.head(found)
        return logits


class Exchange(nn.Module):
    """What the encoders tell each other at one scale (methods 5.2, steps 1 to 3)."""

    def __init__(self, channels: int, *, level: int, sides: int, options: ExchangeOptions) -> None:
        """Build it for ``sides`` encoders of ``channels``; ``level`` counts from the finest."""
        super().__init__()

        def steps(wanted: str) -> nn.ModuleList:
            made = sides if options.attention in (wanted, "both") else 0
            return nn.ModuleList(_step(channels, level, options) for _ in range(made))

        self.own = steps("self")
        self.other = steps("cross") if sides > 1 else nn.ModuleList()
        self.join: nn.Module | None = None
        if sides > 1 and options.join == "conv":
            self.join = nn.Conv2d(sides * channels, channels, 1)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Let one or two (N, C, h, w) attend; what they are together, and each of them."""
        found = list(features)
        if len(self.own):
            found = [step(own, own) for step, own in zip(self.own, found, strict=True)]
        if len(self.other):
            turned = found[::-1]
            found = [
                step(own, other) for step, own, other in zip(self.other, found, turned, strict=True)
            ]
        if self.join is not None:
            return self.join(torch.cat(found, dim=1)), found
        return torch.stack(found).sum(dim=0), found


class Weighed(nn.Module):
    """Features times a mask in (0, 1) that is made of other features, or of themselves."""

    def __init__(self, mask: nn.Module) -> None:
        """Take the module that makes the mask; it ends in a sigmoid."""
        super().__init__()
        self.mask = mask

    def forward(self, features: Tensor, source: Tensor) -> Tensor:
        """Weigh (N, C, h, w) by the mask of (N, C, h, w)."""
        weighed: Tensor = features * self.mask(source)
        return weighed


class Attending(nn.Module):
    """Features plus what multi-head attention finds for them in others, or in themselves."""

    def __init__(self, channels: int) -> None:
        """Build it with a norm before, as transformers have it."""
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, _HEADS, batch_first=True)

    def forward(self, features: Tensor, source: Tensor) -> Tensor:
        """Look up (N, C, h, w) in (N, C, h, w)."""
        asking, told = (t.flatten(2).transpose(1, 2) for t in (features, source))  # (N, h * w, C)
        told = self.norm(told)
        found, _ = self.attention(self.norm(asking), told, told, need_weights=False)
        looked_up: Tensor = features + found.transpose(1, 2).reshape(features.shape)
        return looked_up


def _step(channels: int, level: int, options: ExchangeOptions) -> nn.Module:
    if options.masks == "dot-product" and level >= _COARSE:
        return Attending(channels)
    if options.masks == "channel":
        narrow = max(channels // _REDUCTION, 4)
        squeeze = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, narrow, 1), nn.ReLU()]
        return Weighed(nn.Sequential(*squeeze, nn.Conv2d(narrow, channels, 1), nn.Sigmoid()))
    side = options.kernel
    return Weighed(
        nn.Sequential(nn.Conv2d(channels, channels, side, padding=side // 2), nn.Sigmoid())
    )


def _encoder(bands: int, widths: Sequence[int]) -> nn.Sequential:
    before = [bands, *widths[:-1]]
    return nn.Sequential(*(_double(a, b) for a, b in zip(before, widths, strict=True)))


def _double(channels: int, width: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inward in (channels, width):
        parts += [
            nn.Conv2d(inward, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*parts)


def gates(
    network: ProCANet, pixels: Tensor, *, within: nn.Module | None = None
) -> dict[str, Tensor]:
    """Look at the masks that a network makes.

    Args:
        network: any ProCANet.
        pixels: as for the ``forward`` of ``within``.
        within: what is run, a wrapper around the network; None for the network itself.

    Returns:
        Mean over channels of each mask, (N, h, w) in (0, 1), by ``own.<side>.<level>`` and
        ``other.<side>.<level>``; a channel mask is one pixel. Dot products have none.
    """
    seen: dict[str, Tensor] = {}

    def remember(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, mask: Tensor) -> None:
            seen[name] = mask.detach().mean(dim=1)

        return hook

    hooks = [
        step.mask.register_forward_hook(remember(f"{kind}.{side}.{level}"))
        for level, exchange in enumerate(network.exchanges)
        for kind in ("own", "other")
        for side, step in enumerate(exchange.get_submodule(kind).children())
        if isinstance(step, Weighed)
    ]
    try:
        with torch.inference_mode():
            (network if within is None else within)(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def build_procanet(  # noqa: PLR0913 - each is an option that a recipe may give
    bands: Sequence[str],
    out_channels: int,
    *,
    first: Sequence[str] | None = None,
    second: Sequence[str] | None = None,
    width: int = 32,
    attention: str = "both",
    masks: str = "conv",
    kernel: int = 3,
    join: str = "conv",
    progressive: bool = False,
    encoder_state: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """Build a ProCANet (N, C, H, W) -> logits (N, K, H, W); H and W multiples of 16.

    With red, green and blue in one encoder, near infrared in the other and one logit it has 25.75
    million parameters at width 32, 102.97 at 64.

    Args:
        bands: common names of the C input channels, in order.
        out_channels: K; 1 for two classes (logit of the target).
        first: bands of encoder 1; None for all, which is the paper's best arrangement.
        second: bands of encoder 2; none: a U-Net of one encoder; None for near infrared alone,
            or, where that is not among ``bands``, for the last of them.
        width: channels at full size; they double at every scale.
        attention: one of ``ATTENTION``; with one encoder ``cross`` is nothing.
        masks: see ``ExchangeOptions``.
        kernel: see ``ExchangeOptions``.
        join: see ``ExchangeOptions``.
        progressive: the next scale of an encoder is made from what it attended to, not from what
            it saw: another reading of the paper's "progressively".
        encoder_state: must be None: there are no weights to start from.

    Raises:
        BandError: an encoder is given a band that is not there, or a band goes to no encoder.
        RecipeError: an option is out of range, or ``encoder_state`` is given.
    """
    if encoder_state is not None:
        raise RecipeError("procanet starts at random weights. Set model.init to none.")
    if width < 1:
        raise RecipeError(f"model.options.width is {width}; give 1 or more.")
    usual = ("nir",) if "nir" in bands else (bands[-1],)
    sides = (tuple(bands if first is None else first), usual if second is None else tuple(second))
    _check_sides(sides, bands)
    if attention == "cross" and not sides[1]:
        raise RecipeError(
            "model.options.attention is 'cross', which needs two encoders. Give "
            "model.options.second bands, or take another attention."
        )
    return ProCANet(
        bands,
        out_channels,
        first=sides[0],
        second=sides[1],
        width=width,
        exchange=ExchangeOptions(attention, masks, kernel, join),
        progressive=progressive,
    )


def _check_sides(sides: tuple[tuple[str, ...], tuple[str, ...]], bands: Sequence[str]) -> None:
    for name, side in zip(("first", "second"), sides, strict=True):
        strange = [band for band in side if band not in bands]
        if strange or len(set(side)) < len(side):
            raise BandError(
                f"model.options.{name} is {', '.join(side)}; of the bands {', '.join(bands)} each "
                "can be named once."
            )
    if not sides[0]:
        raise BandError("model.options.first is empty. Give encoder 1 at least one band.")
    left = [band for band in bands if not any(band in side for side in sides)]
    if left:
        raise BandError(
            f"band {left[0]} goes to no encoder. Name it in model.options.first or second, or "
            "leave it out of data.bands."
        )
