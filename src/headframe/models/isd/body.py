"""ISD's parts put into a body of timm's: a ResNet, as published, or an EfficientNet."""

from collections import OrderedDict

from torch import nn

from headframe.core.errors import RecipeError
from headframe.models.isd.downsample import AdaptiveDownsampling
from headframe.models.isd.smooth import SmoothConv

_STAGES = ("layer1", "layer2", "layer3", "layer4")


def add_adaptive_downsampling(body: nn.Module) -> None:
    """Downsample before the stages at strides 8, 16 and 32, in place, instead of in them.

    In a ResNet these are the stages 2 to 4; their strided convolutions become dense ones, and the
    max-pooling of the stem stays, as published. In an EfficientNet they are the stages that begin
    with a strided depth-wise convolution, but for the one that leads to stride 4, the place of the
    ResNet's max-pooling. There the map is halved before the block widens it (24, 40 and 112
    channels in lite0), which is the published place too, and the block then works on a quarter of
    the pixels. Weights that were loaded keep their values.

    Args:
        body: a ``features_only`` network.

    Raises:
        RecipeError: another family.
    """
    for holder, name in _halving_stages(body)[-3:]:
        stage = holder.get_submodule(name)
        _stop_halving(stage)
        first = next(m for m in stage.modules() if isinstance(m, nn.Conv2d))
        down = AdaptiveDownsampling(first.in_channels)
        setattr(holder, name, nn.Sequential(OrderedDict(down=down, stage=stage)))


def add_smooth_blocks(body: nn.Module) -> None:
    """Put smoothing beside each block's spatial convolution, in place.

    That is the 3 x 3 convolution of a ResNet's bottleneck, as published (of its small sizes' blocks
    both 3 x 3), and in an EfficientNet's block the depth-wise one of 3 x 3 or 5 x 5, the only one
    that looks around. The sum goes into the batch norm that follows.

    Args:
        body: a ``features_only`` network.

    Raises:
        RecipeError: another family.
    """
    for holder, name in _named_stages(body):
        stage = holder.get_submodule(name)
        downs = [m for m in stage.modules() if isinstance(m, AdaptiveDownsampling)]
        apart = {id(inner) for down in downs for inner in down.modules()}
        places = [
            (parent, child_name, child)
            for parent in stage.modules()
            for child_name, child in parent.named_children()
            if isinstance(child, nn.Conv2d) and child.kernel_size[0] > 1 and id(child) not in apart
        ]
        for parent, child_name, child in places:
            setattr(parent, child_name, SmoothConv(child))


def _stop_halving(stage: nn.Module) -> None:
    """Set strides of convolutions to 1 and take averaging of shortcuts (ResNet-D) out, in place."""
    for parent in list(stage.modules()):
        if isinstance(parent, nn.Conv2d):
            parent.stride = (1, 1)
        for name, child in parent.named_children():
            if isinstance(child, nn.AvgPool2d):
                setattr(parent, name, nn.Identity())


def _named_stages(body: nn.Module) -> list[tuple[nn.Module, str]]:
    """Each stage as what holds it and its name there."""
    children = dict(body.named_children())
    if all(name in children for name in _STAGES):
        return [(body, name) for name in _STAGES]
    blocks = children.get("blocks")
    if isinstance(blocks, nn.Sequential) and "conv_stem" in children:
        return [(blocks, name) for name, _ in blocks.named_children()]
    raise RecipeError(
        f"ISD's parts fit ResNets and EfficientNets, not {type(body).__name__}; choose another "
        "body, or switch adaptive_downsampling and smooth_blocks off."
    )


def _halving_stages(body: nn.Module) -> list[tuple[nn.Module, str]]:
    def halves(stage: nn.Module) -> bool:
        return any(isinstance(m, nn.Conv2d) and m.stride[0] > 1 for m in stage.modules())

    return [
        (holder, name) for holder, name in _named_stages(body) if halves(holder.get_submodule(name))
    ]
