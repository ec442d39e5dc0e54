"""Several networks as one: the mean of their probabilities (Hansen & Salamon 1990)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headframe.core.errors import RecipeError
from headframe.models.registry import build_network

TOGETHER = (
    {"architecture": "unet", "options": {}},
    {"architecture": "procanet", "options": {"width": 16}},
)
"""What an ensemble is made of unless it is told: surroundings, and pixels at their full size."""

_SURE = 1e-6


@dataclass(frozen=True)
class Member:
    """One network of an ensemble, plain values that a recipe or a bundle can hold.

    Attributes:
        architecture: name in ``models.registry``.
        options: of its builder.
        bands: those that it sees, in its order; empty for all of the ensemble.
        weight: how much its probabilities count, > 0.
        scale: per band of its own, what standardised pixels are multiplied by; empty for 1.
        shift: per band of its own, what is added then; empty for 0.
    """

    architecture: str
    options: Mapping[str, Any]
    bands: tuple[str, ...] = ()
    weight: float = 1.0
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()


class Ensemble(nn.Module):
    """Logits of the weighted mean of what several networks hold probable."""

    def __init__(
        self, networks: Sequence[nn.Module], members: Sequence[Member], bands: Sequence[str]
    ) -> None:
        """Join ``networks``, one for each of ``members``, over the channels ``bands``."""
        super().__init__()
        self.networks = nn.ModuleList(networks)
        total = sum(member.weight for member in members)
        self._shares = [member.weight / total for member in members]
        self._seen: list[list[int]] = []
        for number, member in enumerate(members):
            seen = [list(bands).index(band) for band in member.bands or bands]
            scale, shift = member.scale or (1.0,) * len(seen), member.shift or (0.0,) * len(seen)
            self._seen.append(seen)
            for name, values in (("scale", scale), ("shift", shift)):
                column = torch.tensor(values)[:, None, None]
                self.register_buffer(f"{name}{number}", column, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Score pixels (N, C, H, W); logits (N, K, H, W), as far as 1e-6 from 0 and 1."""
        probable: Tensor | None = None
        for number, (network, share) in enumerate(zip(self.networks, self._shares, strict=True)):
            scale = self.get_buffer(f"scale{number}")
            shift = self.get_buffer(f"shift{number}")
            logits = network(pixels[:, self._seen[number]] * scale + shift).float()
            own = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
            probable = own * share if probable is None else probable + own * share
        if probable is None:
            raise RecipeError("model.options.members is empty. Name at least one network.")
        sure = probable.clamp(_SURE, 1 - _SURE)
        return sure.logit() if sure.shape[1] == 1 else sure.log()


def build_ensemble(
    bands: Sequence[str],
    out_channels: int,
    *,
    members: Sequence[Mapping[str, Any]] = TOGETHER,
    encoder_state: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """Build an ensemble (N, C, H, W) -> logits (N, K, H, W); H and W multiples of 32.

    Trained models become one by ``headframe models merge``, which writes ``members``. One that is
    trained as it is learns by the mean: its networks need not be able to do it alone.

    Args:
        bands: common names of the C input channels, in order.
        out_channels: K; 1 for two classes (logit of the target).
        members: fields of ``Member``, ``architecture`` at least.
        encoder_state: must be None: networks differ in their encoders.

    Raises:
        RecipeError: no members, a field that ``Member`` does not have, numbers that do not fit the
            bands, or ``encoder_state`` is given.
        UnknownNameError: no such architecture.
    """
    if encoder_state is not None:
        raise RecipeError("an ensemble starts at random weights. Set model.init to none.")
    made = [_member(value, bands) for value in members]
    if not made:
        raise RecipeError("model.options.members is empty. Name at least one network.")
    networks = [
        build_network(one.architecture, one.bands or bands, out_channels, one.options)
        for one in made
    ]
    return Ensemble(networks, made, bands)


def _member(value: Mapping[str, Any], bands: Sequence[str]) -> Member:
    fields = Member.__dataclass_fields__
    strange = [key for key in value if key not in fields]
    if strange or "architecture" not in value:
        raise RecipeError(
            f"model.options.members: {strange[0] if strange else 'architecture'!r} "
            f"{'is no field' if strange else 'is missing'}; a member has {', '.join(fields)}."
        )
    lists = {key: tuple(value[key]) for key in ("bands", "scale", "shift") if key in value}
    member = Member(**{"options": {}, **value, **lists})
    missing = [band for band in member.bands if band not in bands]
    count = len(member.bands or bands)
    if missing or any(len(given) not in (0, count) for given in (member.scale, member.shift)):
        raise RecipeError(
            f"model.options.members: {member.architecture} asks for bands "
            f"{', '.join(member.bands or bands)} with {len(member.scale)} scales and "
            f"{len(member.shift)} shifts; there are {', '.join(bands)}. Make them fit."
        )
    if not member.weight > 0:
        raise RecipeError(
            f"model.options.members: the weight of {member.architecture} is {member.weight:g}; "
            "give more than 0."
        )
    return member
