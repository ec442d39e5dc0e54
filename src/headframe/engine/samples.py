"""From a data set to what a network learns from: standardised chips, statistics, parts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from headframe.core.classmap import IGNORE_INDEX, ClassMap
from headframe.core.errors import BandError, DatasetError
from headframe.core.modelspec import InputSpec
from headframe.core.progress import SILENT, Progress
from headframe.core.sensors import get_sensor, narrow_sensor
from headframe.datasets.chips import Chip, ChipDataset, open_dataset
from headframe.datasets.labels import target_classes
from headframe.datasets.minesegsat import band_maxima
from headframe.datasets.sitefacts import sites_where
from headframe.datasets.splits import site_folds
from headframe.engine.recipe import DataSection, Normalize
from headframe.engine.sampling import Sample

_PIXELS_A_CHIP = 20_000
_BLUE_NM = 490.0
CACHE_BYTES = 6 * 2**30


@dataclass(frozen=True)
class Parts:
    """Chips by what they are for; no site is in two of them.

    Attributes:
        train: chips to learn from.
        validation: chips to stop early by; may be empty.
        test: the chips of the fold held out; empty without folds.
    """

    train: tuple[Chip, ...]
    validation: tuple[Chip, ...]
    test: tuple[Chip, ...]


def open_labelled(data: DataSection, *, coarse: bool = False) -> ChipDataset:
    """Open the data set of a recipe, or the one with its coarse labels.

    Raises:
        MissingFileError: no such folder.
        DatasetError, BandError: as ``open_dataset``.
    """
    root = data.coarse if coarse else data.dataset
    return open_dataset(root, sensor=data.sensor, class_name=data.class_name)


def choose_parts(dataset: ChipDataset, data: DataSection) -> Parts:
    """Divide a data set as the recipe asks.

    With ``fold``, the sites of all splits are dealt into folds and the recipe's fold is the test
    part; with ``all_sites`` everything trains; else the data set's own splits hold. ``where``
    then keeps the sites with these facts only, in every part, and ``test_where`` in the test part:
    folds are those of all sites. ``label_share`` leaves so many of the training sites, at least
    one; those of a smaller share are among those of a larger one.

    Raises:
        DatasetError: no chip to train on, or no site with these facts.
        UnknownNameError: ``where`` names no fact of the sites.
    """
    chips = dataset.chips(None)
    if data.fold is not None:
        groups = dataset.site_groups(by_looks=data.same_ground == "looks")
        folds = site_folds(groups, folds=data.fold.of, seed=data.fold.seed)
        if data.fold.index >= len(folds):
            raise DatasetError(f"fold {data.fold.index} of {len(folds)}: folds are counted from 0.")
        held = folds[data.fold.index]
        parts = Parts(
            train=tuple(c for c in chips if c.site not in held),
            validation=(),
            test=tuple(c for c in chips if c.site in held),
        )
    elif data.all_sites or all(chip.split is None for chip in chips):
        parts = Parts(train=chips, validation=(), test=())
    else:
        parts = Parts(
            train=dataset.chips("train"),
            validation=dataset.chips("val"),
            test=dataset.chips("test"),
        )
    if data.where:
        parts = _only(parts, sites_where(dataset.manifest.sites, data.where, source=dataset.root))
    if data.test_where:
        sites = sites_where(dataset.manifest.sites, data.test_where, source=dataset.root)
        parts = replace(parts, test=_only(parts, sites).test)
    if data.label_share < 1:
        parts = replace(parts, train=_labelled(dataset, parts.train, data))
    if not parts.train:
        raise DatasetError(f"{dataset.root}: no chip to train on. Check `headframe dataset check`.")
    return parts


def _labelled(dataset: ChipDataset, chips: tuple[Chip, ...], data: DataSection) -> tuple[Chip, ...]:
    """Chips of some sites, drawn in whole groups that share ground."""
    groups = dataset.site_groups(by_looks=data.same_ground == "looks")
    names = sorted({groups[chip.site] for chip in chips})
    order = np.random.default_rng(data.label_seed).permutation(len(names)).tolist()
    count = max(1, round(data.label_share * len(names)))
    kept = {names[place] for place in order[:count]}
    return tuple(chip for chip in chips if groups[chip.site] in kept)


@dataclass(frozen=True)
class Source:
    """Chips that are learnt from, and the data set whose labels they have."""

    dataset: ChipDataset
    chips: tuple[Chip, ...]


def choose_sources(dataset: ChipDataset, data: DataSection, parts: Parts) -> tuple[Source, ...]:
    """Tell whose labels are learnt from.

    Coarse labels are those of the same training sites in another data set; ``label_share`` does
    not hold for them. They come before fine ones; the few that are replayed come after them.

    Args:
        dataset: with fine labels, which models are scored by.
        data: says which labels.
        parts: of ``choose_parts``.

    Raises:
        DatasetError: there are no coarse labels of these sites, or of other bands or classes.
        MissingFileError: no such folder.
    """
    fine = Source(dataset, parts.train)
    if data.labels == "fine" and not data.replay:
        return (fine,)
    if not data.coarse:
        asked = f"data.replay is {data.replay}" if data.replay else f"data.labels is {data.labels}"
        raise DatasetError(
            f"{asked}, but no coarse labels are named. Give --coarse, or data.coarse in the recipe."
        )
    other = open_labelled(data, coarse=True)
    names = (other.bands, target_classes(other.manifest, data.target).names)
    own = (dataset.bands, target_classes(dataset.manifest, data.target).names)
    if names != own:
        raise DatasetError(
            f"{other.root}: has bands {', '.join(names[0])} and classes {', '.join(names[1])}; "
            f"{dataset.root} has {', '.join(own[0])} and {', '.join(own[1])}. Make it with "
            "`headframe dataset coarsen`."
        )
    every = choose_parts(dataset, data.model_copy(update={"label_share": 1.0})).train
    sites = {chip.site for chip in every}
    chips = tuple(chip for chip in other.chips(None) if chip.site in sites)
    if not chips:
        raise DatasetError(f"{other.root}: has no chip of the training sites of {dataset.root}.")
    if data.replay:
        order = np.random.default_rng(data.label_seed).permutation(len(chips))
        kept = sorted(order[: data.replay].tolist())
        return (fine, Source(other, tuple(chips[place] for place in kept)))
    coarse = Source(other, chips)
    return (coarse,) if data.labels == "coarse" else (coarse, fine)


def _only(parts: Parts, sites: Collection[str]) -> Parts:
    """Keep the chips of some sites."""
    kept = (
        tuple(chip for chip in chips if chip.site in sites)
        for chips in (parts.train, parts.validation, parts.test)
    )
    return Parts(*kept)


class ChipStore(Sequence[Sample]):
    """Chips as samples, decoded once and kept in memory as far as a budget goes."""

    def __init__(
        self,
        dataset: ChipDataset,
        chips: Sequence[Chip],
        *,
        data: DataSection,
        inputs: InputSpec,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Remember what to read; nothing is read yet."""
        self._dataset = dataset
        self._chips = chips
        self._data = data
        self._inputs = inputs
        self._order = band_order(dataset, inputs.bands)
        self._cache: dict[int, Sample] = {}
        self._room = cache_bytes

    def __len__(self) -> int:
        """Chips."""
        return len(self._chips)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # no slices
        """Read chip ``index``, standardise it, and keep it if there is room."""
        if index in self._cache:
            return self._cache[index]
        chip = self._chips[index]
        arrays = self._dataset.read(chip, target=self._data.target)
        mean = np.asarray(self._inputs.mean, np.float32)[:, None, None]
        std = np.asarray(self._inputs.std, np.float32)[:, None, None]
        pixels = ((arrays.image[self._order] - mean) / std).astype(np.float32)
        label = without_boundary(arrays.label, self._data.uncertain_px)
        sample = Sample(pixels, label, chip.site, haze_of(self._inputs))
        size = pixels.nbytes + label.nbytes
        if size <= self._room:
            self._room -= size
            self._cache[index] = sample
        return sample


def haze_of(inputs: InputSpec) -> tuple[float, ...]:
    """Tell what haze of reflectance 1 at 490 nm adds to each band, in standard deviations.

    Air scatters by the fourth power of the frequency (Rayleigh). Bands that are no reflectance, or
    of unknown wavelength, get 0.
    """
    sensor = get_sensor(inputs.sensor)
    added = []
    for name, deviation in zip(inputs.bands, inputs.std, strict=True):
        wavelength = sensor.band(name).wavelength_nm
        if wavelength is None or sensor.part(name).quantity != "reflectance":
            added.append(0.0)
        else:
            added.append((_BLUE_NM / wavelength) ** 4 / deviation)
    return tuple(added)


class JoinedStore(Sequence[Sample]):
    """Samples of several stores, one after the other."""

    def __init__(self, stores: Sequence[Sequence[Sample]]) -> None:
        """Join ``stores``."""
        self._stores = stores
        self._ends = np.cumsum([len(store) for store in stores])

    def __len__(self) -> int:
        """Samples of all."""
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # no slices
        """Give sample ``index``, 0 and more."""
        store = int(np.searchsorted(self._ends, index, side="right"))
        return self._stores[store][index - (int(self._ends[store - 1]) if store else 0)]


def band_order(dataset: ChipDataset, bands: Sequence[str]) -> list[int]:
    """Positions of ``bands``, by any of their names, among the data set's bands.

    Raises:
        DatasetError: the data set lacks one.
    """
    known = {
        word: place
        for place, band in enumerate(dataset.bands)
        for word in _spellings(dataset, band)
    } | {band: place for place, band in enumerate(dataset.bands)}
    places = [known.get(band, known.get(band.lower())) for band in bands]
    missing = [band for band, place in zip(bands, places, strict=True) if place is None]
    if missing:
        raise DatasetError(
            f"{dataset.root}: has bands {', '.join(dataset.bands)}; {', '.join(missing)} missing. "
            "Change data.bands of the recipe or choose another model."
        )
    return [place for place in places if place is not None]


def _spellings(dataset: ChipDataset, band: str) -> Collection[str]:
    try:
        return get_sensor(dataset.manifest.sensor).band(band).spellings
    except BandError:  # a band of its own, which no sensor knows
        return (band,)


def without_boundary(label: NDArray[np.uint8], width_px: int) -> NDArray[np.uint8]:
    """Ignore labels at most ``width_px`` pixels from another class.

    Outlines drawn by hand are off by a pixel or two; nothing is learnt from them.

    Args:
        label: (H, W), classes and 255.
        width_px: 0 leaves the label as it is.
    """
    if width_px == 0:
        return label
    size = 2 * width_px + 1
    mixed = ndimage.maximum_filter(label, size) != ndimage.minimum_filter(label, size)
    return np.where(mixed, np.uint8(IGNORE_INDEX), label)


def measure_inputs(
    dataset: ChipDataset,
    chips: Sequence[Chip],
    bands: Sequence[str],
    *,
    normalize: Normalize = "standard",
    progress: Progress = SILENT,
) -> InputSpec:
    """Measure mean, standard deviation and percentiles of the bands over training chips.

    Every chip gives the same number of pixels, taken at regular steps. With ``minmax`` the mean
    is 0 and the deviation the band's maximum (methods.md 6.1): what the data set's own metadata
    say (see ``datasets.minesegsat``), else the largest value of the training chips, all pixels.

    Args:
        dataset: where the chips are.
        chips: training chips only, else statistics leak.
        bands: common names, in the model's order.
        normalize: ``standard`` or ``minmax``.
        progress: told of every chip.

    Returns:
        The model's inputs, in the sensor's physical unit.

    Raises:
        DatasetError: no valid pixel, a band that never changes, or with ``minmax`` one whose
            maximum is not above 0.
    """
    order = band_order(dataset, bands)
    columns: list[NDArray[np.float32]] = []
    top = np.full(len(order), -np.inf, np.float32)
    progress.start("Measuring bands", len(chips))
    for chip in chips:
        image = dataset.read(chip, target="binary").image[order].reshape(len(order), -1)
        image = image[:, ~np.isnan(image).any(axis=0)]
        top = np.maximum(top, image.max(axis=1, initial=-np.inf))
        columns.append(image[:, :: max(1, image.shape[1] // _PIXELS_A_CHIP)])
        progress.advance()
    progress.finish()
    pixels = np.concatenate(columns, axis=1).astype(np.float64)
    if pixels.shape[1] == 0 or not (pixels.std(axis=1) > 0).all():
        raise DatasetError(f"{dataset.root}: a band of {', '.join(bands)} never changes.")
    quantiles = np.percentile(pixels, [1, 50, 99], axis=1)
    mean, std = pixels.mean(axis=1), pixels.std(axis=1)
    if normalize == "minmax":
        mean, std = np.zeros(len(order)), _maxima(dataset, bands, top)
    return InputSpec(
        sensor=narrow_sensor(get_sensor(dataset.manifest.sensor), bands).name,
        bands=tuple(bands),
        gsd_m=dataset.manifest.gsd_m,
        mean=tuple(round(float(v), 6) for v in mean),
        std=tuple(round(float(v), 6) for v in std),
        percentiles=tuple((float(a), float(b), float(c)) for a, b, c in quantiles.T.round(6)),
    )


def _maxima(
    dataset: ChipDataset, bands: Sequence[str], measured: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Maximum of every band: the data set's own record, else what was measured; (C,), > 0."""
    known = band_maxima(dataset.root, dataset.manifest) if dataset.layout.kind == "tiles" else {}
    found = [known.get(band, float(top)) for band, top in zip(bands, measured, strict=True)]
    for band, value in zip(bands, found, strict=True):
        if not value > 0:
            raise DatasetError(
                f"{dataset.root}: band {band} has the maximum {value:g}; data.normalize minmax "
                "divides by it. Use standard."
            )
    return np.asarray(found, np.float64)


def class_balance(samples: Sequence[Sample], *, classes: int) -> tuple[float, ...]:
    """Weights of classes by the square root of their inverse frequency (methods 2.4).

    Args:
        samples: training chips; label 255 does not count.
        classes: number of classes.

    Returns:
        One weight a class, their mean over pixels 1; 0 for a class that never occurs.
    """
    counts = np.zeros(classes, np.int64)
    for index in range(len(samples)):
        found = np.bincount(samples[index].label.ravel(), minlength=IGNORE_INDEX + 1)
        counts += found[:classes]
    weights = np.where(counts > 0, 1 / np.sqrt(np.maximum(counts, 1)), 0.0)
    mean = float((weights * counts).sum() / max(1, counts.sum()))
    return tuple(round(float(w / (mean or 1.0)), 6) for w in weights)


def model_classes(dataset: ChipDataset, data: DataSection) -> ClassMap:
    """Classes the model writes: background and target, a class set, or all of the data set.

    Raises:
        DatasetError: a class set is asked for, and the labels are no component masks.
    """
    return target_classes(dataset.manifest, data.target)
