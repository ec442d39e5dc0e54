"""Several models over one reading of a scene: their bands, their scores, their classes as bits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from headframe.core.classmap import IGNORE_INDEX, ClassInfo
from headframe.core.components import COMPONENTS, NODATA_BITS, component
from headframe.core.errors import BandError, InputError, UnknownNameError
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.core.sensors import get_sensor
from headframe.engine.bundle import Bundle, out_channels
from headframe.engine.mapping.tiles import FloatArray, Scorer, digest_of, size_multiple

_JOINT = "+"
_MOST_BITS = 15
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LEVELS = ("sentinel-2-l1c", "sentinel-2-l2a")


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Attributes:
        name: of its files; unique, without odd characters.
        bundle: the model.
        scorer: the model on its device.
        digest: SHA-256 of the model.
        channels: where its bands are among those read; None for all of them, in order.
        layers: its scores among those of all models.
    """

    name: str
    bundle: Bundle
    scorer: Scorer
    digest: str
    channels: tuple[int, ...] | None
    layers: slice

    @property
    def spec(self) -> ModelSpec:
        """What the model needs and promises."""
        return self.bundle.spec


@dataclass(frozen=True)
class Ensemble:
    """Models that see the same tiles.

    Attributes:
        members: in the order given.
        inputs: the bands that are read: those of the first model, then what others need more.
    """

    members: tuple[Member, ...]
    inputs: InputSpec

    @classmethod
    def of(cls, bundles: Sequence[Bundle], *, device: str, more_bands: Sequence[str] = ()) -> Self:
        """Prepare models.

        Args:
            bundles: at least one; networks are moved to ``device``.
            device: ``auto`` or as torch names it.
            more_bands: bands to read that no model needs, after theirs.

        Raises:
            InputError: a model is given twice, or no one scene can hold all bands.
        """
        inputs = union_inputs([bundle.spec for bundle in bundles], more_bands)
        members: list[Member] = []
        first = 0
        for bundle in bundles:
            digest = bundle.fingerprint or digest_of(bundle.network)
            if any(member.digest == digest for member in members):
                raise InputError(f"model {bundle.spec.name} is given twice. Name it once.")
            last = first + out_channels(bundle.spec)
            channels = tuple(inputs.bands.index(band) for band in bundle.spec.inputs.bands)
            whole = channels == tuple(range(len(inputs.bands)))
            members.append(
                Member(
                    name=_free_name(bundle.spec.name, [member.name for member in members]),
                    bundle=bundle,
                    scorer=Scorer(bundle, device),
                    digest=digest,
                    channels=None if whole else channels,
                    layers=slice(first, last),
                )
            )
            first = last
        return cls(tuple(members), inputs)

    @property
    def layers(self) -> int:
        """Number of score layers of all models together."""
        return int(self.members[-1].layers.stop)

    @property
    def patch_px(self) -> int:
        """Side of the tiles: the largest that any model was trained on."""
        return max(member.spec.patch_px for member in self.members)

    @property
    def multiple_px(self) -> int:
        """What the sides of a tile must be multiples of."""
        return max(size_multiple(member.bundle.network) for member in self.members)

    @property
    def device_type(self) -> str:
        """Kind of the device, ``cpu`` or ``cuda``."""
        return str(self.members[0].scorer.device.type)

    def batch_tiles(self, tile_px: int) -> int:
        """Choose how many tiles to score at once."""
        return self.members[0].scorer.batch_tiles(tile_px)

    def score(self, pixels: FloatArray) -> FloatArray:
        """Score tiles (n, C, h, w) with every model: (n, layers, h, w), float32 in [0, 1]."""
        scores = [
            m.scorer.score(pixels if m.channels is None else pixels[:, list(m.channels)])
            for m in self.members
        ]
        return scores[0] if len(scores) == 1 else np.concatenate(scores, axis=1)


def union_inputs(specs: Sequence[ModelSpec], more_bands: Sequence[str] = ()) -> InputSpec:
    """Say what has to be read so that every model finds its bands.

    Args:
        specs: the models, at least one.
        more_bands: common names of further bands.

    Returns:
        Bands of the first model, then what others need more; statistics of each from the first
        model that has it, NaN where none has. The sensor is the models' own, or theirs joined.

    Raises:
        InputError: no one scene can hold all bands, because sensors share names of bands.
    """
    bands = tuple(dict.fromkeys([b for s in specs for b in s.inputs.bands] + list(more_bands)))
    if bands == specs[0].inputs.bands and len({s.inputs.sensor for s in specs}) == 1:
        return specs[0].inputs
    nan = float("nan")
    known = dict.fromkeys(bands, (nan, nan, (nan, nan, nan)))
    for spec in reversed(specs):
        own = spec.inputs
        known |= zip(own.bands, zip(own.mean, own.std, own.percentiles, strict=True), strict=True)
    mean, std, percentiles = zip(*(known[band] for band in bands), strict=True)
    return InputSpec(
        sensor=_joined_sensor(specs, bands),
        bands=bands,
        gsd_m=min(spec.inputs.gsd_m for spec in specs),
        mean=mean,
        std=std,
        percentiles=percentiles,
    )


def _joined_sensor(specs: Sequence[ModelSpec], bands: Sequence[str]) -> str:
    """Name the sensor that has all bands: one that a model was trained on, or several joined."""
    names = list(dict.fromkeys(spec.inputs.sensor for spec in specs))
    parts = list(dict.fromkeys(part for name in names for part in name.split(_JOINT)))
    if set(_LEVELS) <= set(parts):  # the same bands; L1C has one more
        parts.remove(_LEVELS[1] if "cirrus" in bands else max(_LEVELS, key=parts.index))
    joined = next((n for n in names if set(n.split(_JOINT)) == set(parts)), _JOINT.join(parts))
    try:
        sensor = get_sensor(joined)
        for band in bands:
            sensor.band(band)
    except BandError as exc:
        models = ", ".join(f"{spec.name} ({spec.inputs.sensor})" for spec in specs)
        raise InputError(
            f"no scene can serve {models} together: {exc} Map them one after the other."
        ) from exc
    return joined


@dataclass(frozen=True)
class BitLegend:
    """What the bits of a merged map mean.

    Attributes:
        bits: one entry a component; ``index`` is the position of its bit. Ascending.
        tables: for each member, class index 0-255 to its bit mask.
    """

    bits: tuple[ClassInfo, ...]
    tables: tuple[NDArray[np.uint16], ...]

    @property
    def bit_of(self) -> dict[str, int]:
        """Component to the position of its bit."""
        return {info.name: info.index for info in self.bits}

    def info(self, member: int, index: int) -> ClassInfo:
        """Find the component that class ``index`` of a member stands for."""
        mask = int(self.tables[member][index])
        return next(info for info in self.bits if 1 << info.index == mask)


def bit_legend(specs: Sequence[ModelSpec]) -> BitLegend:
    """Give every class of every model but background its bit.

    The ten components have their own, as in labels; other classes follow in the order in which
    the models name them. Equal names share a bit.

    Raises:
        InputError: more classes than a 16-bit mask holds beside its no-data value.
    """
    found: dict[str, ClassInfo] = {}
    tables = []
    for spec in specs:
        table = np.zeros(256, dtype=np.uint16)
        table[IGNORE_INDEX] = NODATA_BITS
        for own in spec.classes.classes[1:]:
            known = _component(own.name)
            following = len(COMPONENTS) + sum(i.index >= len(COMPONENTS) for i in found.values())
            info = known or found.get(own.name) or ClassInfo(following, own.name, own.color)
            found.setdefault(info.name, info)
            if info.index >= _MOST_BITS:
                raise InputError(
                    f"model {spec.name}: no bit is left for its class {own.name!r}; a component "
                    f"map holds {_MOST_BITS}. Map fewer models together."
                )
            table[own.index] = 1 << info.index
        tables.append(table)
    bits = tuple(sorted(found.values(), key=lambda info: info.index))
    return BitLegend(bits, tuple(tables))


def _component(name: str) -> ClassInfo | None:
    try:
        return component(name)
    except UnknownNameError:
        return None


def _free_name(name: str, taken: Sequence[str]) -> str:
    """Make a name fit for files, and different from those taken."""
    plain = _UNSAFE.sub("-", name).strip(".-") or "model"
    numbered = (f"{plain}-{number}" for number in range(2, len(taken) + 3))
    return next(n for n in (plain, *numbered) if n not in taken)
