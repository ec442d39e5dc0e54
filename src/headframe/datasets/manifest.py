"""``dataset.json``: what the chips of a data set are, and what was measured on them."""

import json
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from headframe.core.classmap import ClassInfo, ClassMap
from headframe.core.components import component_class_map
from headframe.core.errors import DatasetError, MissingFileError, OutputError
from headframe.core.sensors import Sensor, get_sensor
from headframe.io.files import write_json

MANIFEST_NAME = "dataset.json"

_Byte = Annotated[int, Field(ge=0, le=255)]


class _Strict(BaseModel):
    """Immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassEntry(_Strict):
    """One class: index in label files, name, sRGB colour."""

    index: Annotated[int, Field(ge=0, le=254)]
    name: str
    color: tuple[_Byte, _Byte, _Byte]


class BandStatistics(_Strict):
    """Moments and percentiles of one band, in the sensor's physical unit.

    Attributes:
        name: common name.
        mean: over valid pixels.
        std: population standard deviation.
        minimum: smallest value.
        maximum: largest value.
        percentiles: by name, ``"p1"`` to ``"p99"``.
    """

    name: str
    mean: float
    std: float
    minimum: float
    maximum: float
    percentiles: dict[str, float]


class Statistics(_Strict):
    """What ``dataset stats`` measured.

    Attributes:
        split: the split measured, or ``all``.
        chips: chips read.
        skipped: chips left out as unreadable or without any data.
        pixels: pixels of the chips read, nodata included.
        nodata_share: share of them that is nodata, 0-1.
        resolution: bin width behind the percentiles, in the bands' unit; of several, the widest.
        bands: one entry a band.
        classes: share of each class among labelled pixels, by name; they sum to 1, but for masks of
            components, of which a pixel may carry several.
    """

    split: str
    chips: int
    skipped: int
    pixels: int
    nodata_share: float
    resolution: float
    bands: tuple[BandStatistics, ...]
    classes: dict[str, float]


class SplitRecord(_Strict):
    """How the splits were drawn.

    Attributes:
        fractions: shares of chips asked for, train, val and test.
        seed: seed of the draw.
        stratify: field whose values were balanced, if any.
        as_paper: training and validation share sites.
        dates: how dates of a site were dealt, if not all together.
    """

    fractions: tuple[float, float, float]
    seed: int
    stratify: str | None = None
    as_paper: bool = False
    dates: str | None = None


class Manifest(_Strict):
    """Content of ``dataset.json``.

    Attributes:
        format: version of this file's format.
        sensor: name in ``core.sensors.SENSORS``, or several joined by ``+``.
        bands: common names in the order of the chips' bands.
        gsd_m: ground sample distance, metres.
        classes: class map of the labels (a ``ClassMap`` is taken too).
        labels: ``index`` (0 background, 1 cloud, 2 target), ``mask`` (1 = target),
            ``signed-mask`` (the same, and -1 is ignored) or ``bits`` (masks of mine components;
            ``classes`` are then background and the ten).
        scale: physical unit per stored number, where it is not the sensor's; of joint sensors
            by name, or one number for the bands of light.
        offset: physical value of stored number 0, likewise.
        preset: how ``headframe label`` made it.
        splits: split to its sites (``site``) or single chips (``site/00000``).
        split: how the splits were drawn.
        unused: chips (``site/00000``) kept out of every split: further dates of held sites.
        sites: facts by site, for ``dataset split --stratify FIELD`` and ``data.where``.
        statistics: what ``dataset stats`` measured.
        sources: images, polygons and options it was made from.
        versions: software it was made with.
    """

    format: Literal[1] = 1
    sensor: str
    bands: tuple[str, ...]
    gsd_m: Annotated[float, Field(gt=0)]
    classes: tuple[ClassEntry, ...]
    labels: Literal["index", "mask", "signed-mask", "bits"] = "index"
    scale: float | dict[str, float] | None = None
    offset: float | dict[str, float] | None = None
    preset: str | None = None
    splits: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    split: SplitRecord | None = None
    unused: tuple[str, ...] = ()
    sites: dict[str, dict[str, str | int | float | bool | None]] = Field(default_factory=dict)
    statistics: Statistics | None = None
    sources: dict[str, JsonValue] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)

    @field_validator("classes", mode="before")
    @classmethod
    def _entries(cls, value: object) -> object:
        if isinstance(value, ClassMap):
            return [{"index": c.index, "name": c.name, "color": c.color} for c in value.classes]
        return value

    @field_validator("classes")
    @classmethod
    def _numbered(cls, value: tuple[ClassEntry, ...]) -> tuple[ClassEntry, ...]:
        _class_map(value)
        if len(value) < 2:
            raise ValueError("a data set has at least two classes")
        return value

    @field_validator("sensor")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return get_sensor(value).name
        except LookupError as exc:  # LookupError is no ValueError: pydantic would let it through
            raise ValueError(str(exc)) from exc

    @field_validator("bands")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("bands must be named, each once")
        return value

    @model_validator(mode="after")
    def _components(self) -> "Manifest":
        wanted = component_class_map().names
        if self.labels == "bits" and self.class_map.names != wanted:
            raise ValueError(f"labels of bits have the classes {', '.join(wanted)}")
        return self

    def scaling_of(self, part: Sensor) -> tuple[float, float]:
        """Scale and offset of numbers that a file does not scale itself.

        Args:
            part: the data set's sensor, or the part of it that a band belongs to.

        Returns:
            (scale, offset): what the manifest states, else the part's own; a stated scale comes
            with offset 0 where no offset is stated.
        """
        scale = _stated(self.scale, part, self.sensor)
        offset = _stated(self.offset, part, self.sensor)
        if offset is None:
            offset = part.offset if scale is None else 0.0
        return (part.scale if scale is None else scale), offset

    @property
    def class_map(self) -> ClassMap:
        """The classes as the rest of headframe knows them."""
        return _class_map(self.classes)


def read_manifest(root: Path) -> Manifest:
    """Read ``root/dataset.json``.

    Raises:
        MissingFileError: there is none.
        DatasetError: no JSON, an unknown key, or a value of the wrong kind; all in one line.
    """
    path = root / MANIFEST_NAME
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        raise MissingFileError(f"{path}: no such file; make one with `headframe label`.") from exc
    except OSError as exc:
        raise DatasetError(f"{path}: cannot be read ({exc.strerror or exc}).") from exc
    except ValidationError as exc:
        raise DatasetError(f"{path}: {_first(exc)}") from exc
    except ValueError as exc:
        raise DatasetError(f"{path}: not JSON ({exc}). Make it anew or repair it.") from exc


def finished_before(
    out: Path, mark: str, *, made_from: str, last: str = MANIFEST_NAME
) -> Manifest | None:
    """Read the manifest of a data set that an earlier call with the same fingerprint finished.

    Args:
        out: its folder.
        mark: the fingerprint, noted in the manifest's sources.
        made_from: what it is of, ``images, polygons or options``.
        last: the file that is written last.

    Returns:
        The manifest; None where no data set is finished.

    Raises:
        OutputError: ``out`` holds another data set.
    """
    if not (out / last).exists():
        return None
    with suppress(MissingFileError, DatasetError):  # damaged or foreign, so not ours
        manifest = read_manifest(out)
        if manifest.sources.get("fingerprint") == mark:
            return manifest
    raise OutputError(
        f"{out}: holds a data set made from other {made_from}. Choose another --out, or delete it."
    )


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write ``root/dataset.json``, all or nothing.

    Raises:
        OutputError: the folder cannot be written.
    """
    write_json(root / MANIFEST_NAME, manifest.model_dump(mode="json", exclude_none=True))


def _stated(value: float | dict[str, float] | None, part: Sensor, sensor: str) -> float | None:
    if isinstance(value, dict):
        return value.get(part.name)
    return None if part.name != sensor and part.quantity != "reflectance" else value


def _class_map(entries: Iterable[ClassEntry]) -> ClassMap:
    return ClassMap(tuple(ClassInfo(e.index, e.name, e.color) for e in entries))


def _first(exc: ValidationError) -> str:
    error = exc.errors()[0]
    place = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        close = get_close_matches(key, Manifest.model_fields, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown key {place!r}; {hint}Remove or rename it."
    return f"{place}: {error['msg']} (found {error['input']!r:.80}). Correct it or make it anew."
