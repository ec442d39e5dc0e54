"""Polygons for a new scene from a model of mines, tightened by SAM, for a person to judge."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import shapely
from odc.geo.geobox import GeoBox
from pyproj import CRS
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry

import headframe
from headframe.core.errors import CrsError, GeometryError, InputError
from headframe.core.progress import SILENT, Progress
from headframe.engine.bundle import Bundle, load_bundle
from headframe.engine.mapping import MapOptions, MapResult, map_scenes
from headframe.engine.mapping.resume import file_facts, fingerprint_of
from headframe.engine.prompting import (
    AnswerOptions,
    CacheOptions,
    ObjectPrompt,
    Prompter,
    PromptSession,
    SceneEmbeddings,
    load_prompter,
)
from headframe.io.files import write_json
from headframe.io.scene import scene_sources, scene_stem
from headframe.io.stored import read_header
from headframe.io.vector import read_layer
from headframe.surface.proposal_picture import Drawn, draw_proposals
from headframe.surface.review import Proposal, check_place, write_review
from headframe.surface.scratch import scratch

CLOUD = "cloud"
"""Class of models that is nothing to label: its polygons are not proposed."""
_NUMBERED = 30


@dataclass(frozen=True)
class AssistOptions:
    """How to propose.

    Attributes:
        map: how the model maps the scene: bands, unit, threshold, least area, device.
        cache: where SAM's embeddings are kept.
        answer: how many of its frames one object may take.
        min_agreement: SAM's outline is taken where its IoU with the model's is at least this,
            0-1; else the model's own is proposed.
    """

    map: MapOptions = field(default_factory=MapOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    answer: AnswerOptions = field(default_factory=AnswerOptions)
    min_agreement: float = 0.5

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 <= self.min_agreement <= 1:
            raise InputError(f"--min-agreement {self.min_agreement:g} is not between 0 and 1.")


@dataclass(frozen=True)
class AssistReport:
    """What was proposed.

    Attributes:
        out: GeoPackage to review.
        style: its style for QGIS.
        pictures: one a scene, the model's outlines dashed, those proposed solid.
        scenes: number of scenes.
        proposals: by class.
        tightened: proposals whose outline is SAM's.
        agreement: mean IoU of the outlines of model and SAM, all proposals; None without SAM.
    """

    out: Path
    style: Path
    pictures: tuple[Path, ...]
    scenes: int
    proposals: dict[str, int]
    tightened: int
    agreement: float | None


@dataclass(frozen=True)
class Candidate:
    """A polygon of the model, and what SAM made of it.

    Attributes:
        before: the model's outline, EPSG:4326.
        shape: the outline proposed, EPSG:4326.
        kind: class.
        score: mean score of its pixels, 0-1.
        agreement: IoU of the two networks' outlines, 0-1; None without SAM.
        stability: of SAM's mask; None without it.
        tightened: the outline is SAM's.
    """

    before: BaseGeometry
    shape: BaseGeometry
    kind: str
    score: float
    agreement: float | None = None
    stability: float | None = None
    tightened: bool = False


def assist(
    sources: Sequence[str],
    *,
    model: str,
    out: Path,
    sam: str | None = "litemedsam",
    options: AssistOptions | None = None,
    progress: Progress = SILENT,
) -> AssistReport:
    """Propose polygons for scenes.

    The model maps a scene; each polygon of the map goes to SAM as a box, and as a rough mask where
    the network was trained with those. A run that was stopped goes on with the next strip of the
    map, or the next scene, when it is called again.

    Args:
        sources: files, folders, globs, URLs or STAC items.
        model: bundle that maps: folder, shipped name or ``hf://owner/name``.
        out: GeoPackage (``surface.review``); a style, and a picture of every scene, are written
            beside it.
        sam: network that draws outlines, as ``engine.prompting.load_prompter`` takes it; None
            leaves them to the model.
        options: how.
        progress: told of tiles and objects.

    Raises:
        InputError: one of its kinds, naming the file, for anything wrong with the input.
        OutputError: ``out`` cannot be written, holds judgements of a person, or another run is
            writing it.
    """
    options = options or AssistOptions()
    check_place(out)
    bundle = load_bundle(model)
    prompter = None if sam is None else load_prompter(sam, device=options.map.device)
    scenes = [source for source, _ in scene_sources(sources)]
    proposals: list[Proposal] = []
    with scratch(out, _mark(scenes, bundle, prompter, options)) as work:
        pictures = []
        for number, source in enumerate(scenes):
            folder = work / f"{number:05d}"
            mapped = _mapped(source, bundle, folder, options, progress)
            note = folder / "candidates.json"
            if note.is_file():
                found = [_read(row) for row in json.loads(note.read_text(encoding="utf-8"))]
            else:
                found = list(_from_map(mapped))
                if prompter is not None:
                    found = _tightened(source, found, prompter, options, progress)
                write_json(note, [_noted(one) for one in found])
            proposals += _proposals(source, found, bundle.spec.name, prompter)
            geobox = _grid(mapped)
            pictures.append((_picture(out, source, number, len(scenes)), source, geobox, found))
        classes = [name for name in bundle.spec.classes.names[1:] if name != CLOUD]
        write_review(out, proposals, classes=classes)
        for path, source, geobox, found in pictures:
            _draw(path, source, geobox, found)
    agreed = [p.agreement for p in proposals if p.agreement is not None]
    return AssistReport(
        out=out,
        style=out.with_suffix(".qml"),
        pictures=tuple(path for path, *_ in pictures),
        scenes=len(scenes),
        proposals=dict(Counter(p.kind for p in proposals)),
        tightened=sum(bool(p.sam) for p in proposals),
        agreement=round(sum(agreed) / len(agreed), 4) if agreed else None,
    )


def tighten(
    candidate: Candidate, session: PromptSession, name: str, *, min_agreement: float
) -> Candidate:
    """Ask SAM for a candidate's outline.

    Args:
        candidate: of the model.
        session: the scene with SAM.
        name: of the object.
        min_agreement: as in ``AssistOptions``.

    Returns:
        The candidate with SAM's outline where the two agree, else with its own; as it was where
        SAM has nothing to say there.
    """
    prompt = ObjectPrompt(name, shape=candidate.before)
    try:
        mask = session.ask(prompt, CRS.from_epsg(4326))
    except GeometryError:  # under nodata, or beyond the scene by a rounding
        return candidate
    if mask.shape is None:
        return candidate
    shape = _to_lonlat(mask.shape, session.crs)
    agreement = iou(candidate.before, shape)
    taken = agreement >= min_agreement
    return Candidate(
        before=candidate.before,
        shape=shape if taken else candidate.shape,
        kind=candidate.kind,
        score=candidate.score,
        agreement=agreement,
        stability=mask.stability,
        tightened=taken,
    )


def iou(one: BaseGeometry, other: BaseGeometry) -> float:
    """Intersection over union of two shapes in one plane; 0 where both have no area."""
    shared = shapely.area(shapely.intersection(one, other))
    union = shapely.area(one) + shapely.area(other) - shared
    return float(shared / union) if union > 0 else 0.0


def _mark(
    scenes: Sequence[str], bundle: Bundle, prompter: Prompter | None, options: AssistOptions
) -> str:
    values = asdict(options)
    values["cache"] = None
    return fingerprint_of(
        {
            "scenes": [file_facts(source) for source in scenes],
            "model": bundle.fingerprint,
            "sam": None if prompter is None else [prompter.name, prompter.fingerprint],
            "options": values,
            "version": headframe.__version__,
        }
    )


def _mapped(
    source: str, bundle: Bundle, folder: Path, options: AssistOptions, progress: Progress
) -> MapResult:
    (result,) = map_scenes(
        [source], bundle=bundle, out=folder, options=options.map, progress=progress
    )
    if "gpkg" not in result.outputs:
        raise CrsError(
            f"{source}: has no CRS, so polygons on it have no place. Set one with "
            "gdal_edit.py -a_srs."
        )
    return result


def _from_map(mapped: MapResult) -> Iterator[Candidate]:
    """Read the polygons of a map, largest score first."""
    frame = read_layer(Path(mapped.outputs["gpkg"])).to_crs(4326)
    frame = frame[frame["class"] != CLOUD].sort_values("mean_score", ascending=False, kind="stable")
    for shape, kind, score in zip(frame.geometry, frame["class"], frame["mean_score"], strict=True):
        yield Candidate(shape, shape, str(kind), float(score))


def _tightened(
    source: str,
    candidates: Sequence[Candidate],
    prompter: Prompter,
    options: AssistOptions,
    progress: Progress,
) -> list[Candidate]:
    if not candidates:
        return []
    with SceneEmbeddings.open(
        source, prompter, options=options.map.scene, cache=options.cache
    ) as embeddings:
        session = PromptSession(embeddings, options=options.answer)
        progress.start(f"{scene_stem(source)}: outlines", len(candidates))
        found = []
        try:
            for number, one in enumerate(candidates, start=1):
                least = options.min_agreement
                found.append(tighten(one, session, str(number), min_agreement=least))
                progress.advance()
        finally:
            progress.finish()
    return found


def _proposals(
    source: str, found: Sequence[Candidate], model: str, prompter: Prompter | None
) -> list[Proposal]:
    name = scene_stem(source)
    return [
        Proposal(
            id=f"{name}-{number}",
            shape=one.shape,
            site=name,
            kind=one.kind,
            score=one.score,
            agreement=one.agreement,
            stability=one.stability,
            model=model,
            sam=prompter.name if prompter is not None and one.tightened else "",
            scene=name,
        )
        for number, one in enumerate(found, start=1)
    ]


def _grid(mapped: MapResult) -> GeoBox:
    return read_header(Path(mapped.outputs["classes"])).geobox


def _picture(out: Path, source: str, number: int, count: int) -> Path:
    """Name the picture of a scene; scenes may share a name, so several are numbered."""
    if count == 1:
        return out.with_suffix(".png")
    return out.with_name(f"{out.stem}-{number + 1:03d}-{scene_stem(source)}.png")


def _draw(path: Path, source: str, geobox: GeoBox, found: Sequence[Candidate]) -> None:
    drawn = [
        Drawn(
            one.shape,
            f"{one.score:.2f}" if len(found) <= _NUMBERED else "",
            one.before if one.tightened else None,
        )
        for one in found
    ]
    title = f"{scene_stem(source)}: {len(found)} proposed"
    if any(one.tightened for one in found):
        title += ", solid as SAM draws it, dashed as the model does"
    draw_proposals(path, drawn, source=source, geobox=geobox, title=title)


def _to_lonlat(shape: MultiPolygon, crs: CRS) -> BaseGeometry:
    moved: BaseGeometry = gpd.GeoSeries([shape], crs=crs).to_crs(4326).iloc[0]
    return moved


def _noted(one: Candidate) -> dict[str, Any]:
    values = {name: getattr(one, name) for name in Candidate.__dataclass_fields__}
    for name in ("before", "shape"):
        values[name] = shapely.to_wkb(values[name], hex=True)
    return values


def _read(row: dict[str, Any]) -> Candidate:
    shapes = {name: shapely.from_wkb(row[name]) for name in ("before", "shape")}
    return Candidate(**{**row, **shapes})
