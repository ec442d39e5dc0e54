"""A data set with coarse labels made from its fine ones (methods 4.2).

Global layers of mines are drawn by hand at a small scale: generous, smooth, and off by some tens
of metres. Where no such layer covers the same scenes, fine labels are made coarse: a site's masks
become polygons, these lose their detail, and are burned into every chip that they reach, so that
chips that overlap agree.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.errors import RasterioError
from shapely.geometry.base import BaseGeometry

from headframe.core.classmap import IGNORE_INDEX, label_class_map
from headframe.core.errors import DatasetError, OutputError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import Chip, ChipDataset, open_dataset
from headframe.datasets.layout import IMAGES, SPLITS
from headframe.datasets.manifest import Manifest, write_manifest
from headframe.datasets.show import CLOUD_OUTLINE, OUTLINE, draw_chip, draw_outline, write_sheet
from headframe.geo.coarsen import Coarseness, coarsen, reprojected
from headframe.io.burn import burn_polygons
from headframe.io.files import make_folder, replacing, writing_into

MASKS = "masks"
PICTURE = "coarse.png"
_SHOWN = 12
_SHOWN_PX = 224
_LONLAT = CRS.from_epsg(4326)
_NOWHERE = "+proj=laea +lat_0=0 +lon_0=0 +ellps=WGS84 +units=m"
"""Where chips without a CRS are put meanwhile: only lengths matter."""


@dataclass(frozen=True)
class CoarseReport:
    """What became of the labels.

    Attributes:
        out: the new data set.
        chips: its chips.
        polygons: fine polygons, over all sites.
        coarse: coarse ones; fewer where some were merged or taken away.
        fine_share: share of labelled pixels that are target, before.
        coarse_share: the same after.
        iou: of coarse and fine labels, pooled over pixels.
    """

    out: Path
    chips: int
    polygons: int
    coarse: int
    fine_share: float
    coarse_share: float
    iou: float


@dataclass
class _Tally:
    """Pixels that are labelled, fine, coarse and both."""

    labelled: int = 0
    fine: int = 0
    coarse: int = 0
    both: int = 0

    def add(self, label: NDArray[np.uint8], coarse: NDArray[np.bool_]) -> None:
        known = label != IGNORE_INDEX
        fine = label == 1
        self.labelled += int(known.sum())
        self.fine += int(fine.sum())
        self.coarse += int((coarse & known).sum())
        self.both += int((coarse & fine).sum())

    @property
    def iou(self) -> float:
        return self.both / max(self.fine + self.coarse - self.both, 1)


def coarsen_dataset(
    root: Path,
    out: Path,
    coarseness: Coarseness,
    *,
    seed: int = 0,
    progress: Progress = SILENT,
) -> CoarseReport:
    """Copy a data set, its target's outlines made coarse.

    Images, splits and facts of sites stay; what was ignored stays ignored. ``coarse.png`` shows
    some chips with both outlines. The polygons of a site are made coarse once, and each has its
    own direction of the shift; of chips without a CRS each is a site of its own in that.

    Args:
        root: the data set: ``<split>/images/…`` or ``images/…`` with masks or labels.
        out: folder to make; it must not be there, or be empty.
        coarseness: how.
        seed: of the directions.
        progress: told of every chip.

    Raises:
        DatasetError: not such a data set, or none of its pixels is target.
        OutputError: ``out`` holds something, or cannot be written.
        GeometryError: a polygon cannot be brought to metres and back.
    """
    dataset = open_dataset(root)
    if dataset.layout.kind not in ("split", "raw"):
        raise DatasetError(
            f"{root}: is a set of {dataset.layout.kind}; labels are made coarse of folders of "
            "images beside masks or labels. Make one with `headframe label`."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: is there already. Choose another --out.")
    sites: dict[str, list[Chip]] = defaultdict(list)
    for chip in dataset.chips():
        sites[chip.site].append(chip)
    double = [key for key, n in Counter(chip.key for chip in dataset.chips()).items() if n > 1]
    if double:
        raise DatasetError(f"{root}: {double[0]} is in two splits. Rename one of the chips.")
    shown = _chosen(dataset.chips())
    tally, pictures, counts = _Tally(), [], np.zeros(2, int)
    make_folder(out.parent)
    with writing_into(out), replacing(out) as part:
        progress.start("Making labels coarse", len(dataset.chips()))
        for number, (_, chips) in enumerate(sorted(sites.items())):
            for group in _together(dataset, chips):
                done = _coarse_site(dataset, group, coarseness, seed=seed + 1_000_003 * number)
                counts += done.counts
                for chip, coarse in zip(group, done.masks, strict=True):
                    arrays = dataset.read(chip)
                    tally.add(arrays.label, coarse)
                    mask = np.where(arrays.label == IGNORE_INDEX, IGNORE_INDEX, coarse)
                    _write_chip(part, chip, mask.astype(np.uint8))
                    if chip in shown and not arrays.empty:
                        picture = draw_chip(arrays, dataset.bands, target=-1)
                        draw_outline(picture, arrays.label == 1, OUTLINE)
                        draw_outline(picture, coarse, CLOUD_OUTLINE)
                        pictures.append((picture, chip))
                    progress.advance()
        progress.finish()
        if not tally.fine:
            raise DatasetError(f"{root}: no pixel is target; there is nothing to make coarse.")
        write_manifest(part, _manifest(dataset, coarseness, seed))
        write_sheet(part / PICTURE, pictures, chip_px=_SHOWN_PX)
    return CoarseReport(
        out=out,
        chips=len(dataset.chips()),
        polygons=int(counts[0]),
        coarse=int(counts[1]),
        fine_share=tally.fine / max(tally.labelled, 1),
        coarse_share=tally.coarse / max(tally.labelled, 1),
        iou=tally.iou,
    )


@dataclass(frozen=True)
class _Site:
    """Coarse masks of chips, and how many polygons there were, fine and coarse."""

    masks: list[NDArray[np.bool_]]
    counts: NDArray[np.int64]


def _together(dataset: ChipDataset, chips: Sequence[Chip]) -> list[list[Chip]]:
    """Chips whose polygons are made coarse together: those of a site that have a CRS."""
    placed: list[Chip] = []
    alone: list[Chip] = []
    for chip in chips:
        header = dataset.header(chip)
        (placed if header is not None and header.geobox is not None else alone).append(chip)
    return [group for group in (placed, *([chip] for chip in alone)) if group]


def _coarse_site(
    dataset: ChipDataset, chips: Sequence[Chip], coarseness: Coarseness, *, seed: int
) -> _Site:
    grids: list[GeoBox] = []
    found: list[BaseGeometry] = []
    for chip in chips:
        arrays = dataset.read(chip)
        grid = arrays.geobox or _grid_of(arrays.label.shape, dataset.manifest.gsd_m)
        grids.append(grid)
        found += _polygons(arrays.label == 1, grid)
    parts = shapely.get_parts(shapely.union_all(found))
    fine = [part for part in parts if part.geom_type == "Polygon"]
    coarse = [polygon.shape for polygon in coarsen(fine, coarseness, seed=seed)]
    masks = [burn_polygons(coarse, grid) for grid in grids]
    return _Site(masks, np.array([len(fine), len(coarse)]))


def _grid_of(shape: tuple[int, ...], gsd_m: float) -> GeoBox:
    affine = Affine(gsd_m, 0, -shape[1] * gsd_m / 2, 0, -gsd_m, shape[0] * gsd_m / 2)
    return GeoBox((shape[0], shape[1]), affine, _NOWHERE)


def _polygons(mask: NDArray[np.bool_], grid: GeoBox) -> list[BaseGeometry]:
    """Outlines of a mask along pixel edges, in EPSG:4326."""
    outlines = rasterio.features.shapes(
        mask.astype(np.uint8), mask=mask, connectivity=8, transform=grid.transform
    )
    assert grid.crs is not None  # the caller gives one
    own = CRS.from_user_input(grid.crs.proj)
    shapes = [shapely.geometry.shape(outline).buffer(0) for outline, _ in outlines]
    return [reprojected(shape, own, _LONLAT) for shape in shapes]


def _write_chip(out: Path, chip: Chip, mask: NDArray[np.uint8]) -> None:
    image = out / IMAGES / chip.site / chip.image.name
    label = out / MASKS / chip.site / f"{chip.image.stem}.tif"
    copies = {chip.image: image}
    if chip.valid is not None:
        copies[chip.valid] = out / "valid" / chip.site / chip.valid.name
    for path in (label, *copies.values()):
        path.parent.mkdir(parents=True, exist_ok=True)
    for source, goal in copies.items():
        shutil.copyfile(source, goal)
    try:
        with rasterio.open(chip.image) as opened:
            place = {"crs": opened.crs, "transform": opened.transform}
        with rasterio.open(
            label, "w", driver="GTiff", count=1, height=mask.shape[0], width=mask.shape[1],
            dtype="uint8", compress="deflate", **place,
        ) as sink:  # fmt: skip
            sink.write(mask, 1)
    except RasterioError as exc:
        raise OutputError(f"{label}: cannot be written ({exc}). Choose another --out.") from exc


def _manifest(dataset: ChipDataset, coarseness: Coarseness, seed: int) -> Manifest:
    known = dataset.manifest
    keys = {split: sorted(chip.key for chip in dataset.chips(split)) for split in SPLITS}
    told = {"of": dataset.root.name, "seed": seed, **asdict(coarseness)}
    target = "mining" if known.labels == "bits" else known.class_map.names[-1]
    change = {
        "labels": "mask",
        "classes": label_class_map(target),
        "splits": {split: names for split, names in keys.items() if names},
        "statistics": None,
        "sources": {**known.sources, "coarsened": told},
    }
    return Manifest.model_validate({**known.model_dump(exclude={"classes"}), **change})


def _chosen(chips: Sequence[Chip]) -> frozenset[Chip]:
    """Some chips at regular steps."""
    places = np.linspace(0, len(chips) - 1, min(_SHOWN, len(chips))).astype(int)
    return frozenset(chips[place] for place in places)
