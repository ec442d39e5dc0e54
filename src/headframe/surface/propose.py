"""Proposals without a model of mines: every object that SAM sees on a scene."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

import headframe
from headframe.core.errors import CrsError
from headframe.core.progress import SILENT, Progress
from headframe.engine.everything import AutoMask, EverythingOptions, find_everything
from headframe.engine.mapping.resume import fingerprint_of
from headframe.engine.prompting import CacheOptions, SceneEmbeddings, load_prompter
from headframe.geo.area import GridMeasure
from headframe.io.scene import SceneOptions
from headframe.surface.proposal_picture import Drawn, draw_proposals
from headframe.surface.review import Proposal, check_place, write_review
from headframe.surface.scratch import scratch

_NUMBERED = 30
"""So many proposals at most have their areas written into the picture."""


@dataclass(frozen=True)
class ProposeOptions:
    """How to propose.

    Attributes:
        masks: which prompts are tried, and which masks are kept.
        scene: bands and unit as the caller states them.
        cache: where embeddings are kept.
        kind: class that they are proposed as.
        device: ``auto``, ``cpu``, ``cuda`` or as torch names it.
    """

    masks: EverythingOptions = field(default_factory=EverythingOptions)
    scene: SceneOptions = field(default_factory=SceneOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    kind: str = "mining"
    device: str = "auto"


@dataclass(frozen=True)
class ProposeReport:
    """What was found.

    Attributes:
        out: GeoPackage to review.
        style: its style for QGIS.
        picture: the scene with the outlines.
        proposals: number of objects.
        area_ha: of all of them together, hectares; where they overlap it counts several times.
    """

    out: Path
    style: Path
    picture: Path
    proposals: int
    area_ha: float


def propose(
    source: str,
    *,
    model: str,
    out: Path,
    options: ProposeOptions | None = None,
    progress: Progress = SILENT,
) -> ProposeReport:
    """Propose every object that a network sees on a scene, for a person to review.

    A run that was stopped goes on with the next tile when it is called again.

    Args:
        source: raster or STAC item.
        model: as ``engine.prompting.load_prompter`` takes it.
        out: GeoPackage (``surface.review``); a style and a picture are written beside it.
        options: how.
        progress: told of every tile.

    Raises:
        InputError: one of its kinds, naming the file, for anything wrong with the input.
        OutputError: ``out`` cannot be written, holds judgements of a person, or another run is
            writing it.
    """
    options = options or ProposeOptions()
    check_place(out)
    prompter = load_prompter(model, device=options.device)
    with SceneEmbeddings.open(
        source, prompter, options=options.scene, cache=options.cache
    ) as embeddings:
        scene = embeddings.scene
        mark = fingerprint_of(
            {
                "embeddings": embeddings.key,
                "masks": asdict(options.masks),
                "version": headframe.__version__,
            }
        )
        if scene.geobox is None:
            raise CrsError(
                f"{source}: has no CRS, so objects on it have no place and no area. "
                "Set one with gdal_edit.py -a_srs."
            )
        with scratch(out, mark) as work:
            found = find_everything(embeddings, options=options.masks, work=work, progress=progress)
            shapes = on_earth(found, scene.geobox)
            proposals = [
                Proposal(
                    id=f"{scene.name}-{number}",
                    shape=shape,
                    site=scene.name,
                    kind=options.kind,
                    score=mask.score,
                    agreement=None,
                    stability=mask.stability,
                    model=prompter.name,
                    sam="",
                    scene=scene.name,
                )
                for number, (mask, shape) in enumerate(zip(found, shapes, strict=True), start=1)
            ]
            write_review(out, proposals, classes=[options.kind])
    drawn = [
        Drawn(shape, f"{mask.area_ha:,.1f} ha" if len(found) <= _NUMBERED else "")
        for mask, shape in zip(found, shapes, strict=True)
    ]
    picture = out.with_suffix(".png")
    title = f"{scene.name}: {len(found)} proposed by {prompter.name}"
    draw_proposals(picture, drawn, source=source, geobox=scene.geobox, title=title)
    return ProposeReport(
        out=out,
        style=out.with_suffix(".qml"),
        picture=picture,
        proposals=len(found),
        area_ha=round(sum(mask.area_ha for mask in found), 4),
    )


def on_earth(masks: Sequence[AutoMask], geobox: GeoBox) -> list[BaseGeometry]:
    """Bring outlines in pixels of a grid to EPSG:4326."""
    measure = GridMeasure(geobox)
    return [shapely.transform(mask.polygon, measure.to_lonlat) for mask in masks]
