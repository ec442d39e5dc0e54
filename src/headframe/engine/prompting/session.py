"""A scene that answers prompts, one after the other."""

import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import shapely
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pyproj import CRS
from shapely.errors import ShapelyError
from shapely.geometry import shape as geojson_shape

from headframe.core.errors import CrsError, FormatError, GeometryError, InputError
from headframe.core.progress import SILENT, Progress
from headframe.engine.prompting.answering import AnswerOptions, answer
from headframe.engine.prompting.embeddings import CacheOptions, SceneEmbeddings
from headframe.engine.prompting.outlines import PromptedMask, outline
from headframe.engine.prompting.prompter import Prompter
from headframe.engine.prompting.prompts import (
    ObjectPrompt,
    PixelFrame,
    PixelPrompt,
    ScenePrompts,
    box_of,
    parse_crs,
    prompts_of,
)
from headframe.geo.area import GridMeasure
from headframe.io.scene import SceneOptions

_LOG = logging.getLogger("headframe")

Exchange = tuple[dict[str, Any], PromptedMask | None, PixelPrompt | None]
"""What is said to one line of a conversation."""


@dataclass(frozen=True)
class PromptOptions:
    """How to ask a scene.

    Attributes:
        scene: bands and unit as the caller states them.
        cache: where embeddings are kept.
        answer: how far an answer may go.
    """

    scene: SceneOptions = field(default_factory=SceneOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    answer: AnswerOptions = field(default_factory=AnswerOptions)


class PromptSession:
    """A scene and a network, open for any number of prompts.

    Attributes:
        embeddings: the scene with its network.
        crs: the scene's.
    """

    def __init__(
        self, embeddings: SceneEmbeddings, *, options: AnswerOptions | None = None
    ) -> None:
        """Take a scene, which stays the caller's to close.

        Raises:
            CrsError: the scene has no CRS, so that nothing on it has a place or an area.
        """
        scene = embeddings.scene
        if scene.geobox is None:
            raise CrsError(
                f"{scene.source}: has no CRS, so outlines on it have no place and no area. Set "
                "one with gdal_edit.py -a_srs."
            )
        self.embeddings = embeddings
        self._options = options
        self._measure = GridMeasure(scene.geobox)
        self._frame = PixelFrame(scene.geobox, scene.shape, source=scene.source)
        self.crs: CRS = self._measure.crs

    def ask(self, prompt: ObjectPrompt, crs: CRS | None) -> PromptedMask:
        """Answer one prompt.

        Args:
            prompt: one object's.
            crs: of its coordinates; None for pixels of the scene.

        Raises:
            GeometryError: it lies outside the scene, or where there is no data.
            CrsError: its coordinates cannot be brought to the scene.
        """
        return self._ask(self._frame.to_pixels(prompt, crs))

    def _ask(self, prompt: PixelPrompt) -> PromptedMask:
        found = answer(self.embeddings, prompt, self._options)
        return outline(found, prompt, self.embeddings.scene, self._measure)

    def to_pixels(self, prompts: ScenePrompts) -> tuple[PixelPrompt, ...]:
        """Bring prompts into pixels of the scene; errors as ``ask``."""
        return tuple(self._frame.to_pixels(prompt, prompts.crs) for prompt in prompts.objects)

    def on_scene(self, prompts: ScenePrompts) -> ScenePrompts:
        """Leave out what lies outside the scene, with a warning: a register of many mines.

        Raises:
            GeometryError: all of it does.
            CrsError: none of it can be brought to the scene.
        """
        kept: list[ObjectPrompt] = []
        first: GeometryError | CrsError | None = None
        for prompt in prompts.objects:
            try:
                self._frame.to_pixels(prompt, prompts.crs)
            except (GeometryError, CrsError) as exc:
                first = first or exc
            else:
                kept.append(prompt)
        if first is not None and not kept:
            raise first
        if left := len(prompts.objects) - len(kept):
            _LOG.warning(
                "%s: %d of %d polygons lie outside the scene and are left out.",
                self.embeddings.scene.source,
                left,
                len(prompts.objects),
            )
        return replace(prompts, objects=tuple(kept))

    def converse(
        self, lines: Iterable[str], *, crs: CRS | None = None, in_pixels: bool = False
    ) -> Iterator[Exchange]:
        """Answer prompts that come as JSON, one a line, as they come.

        A line is an object with ``point``: [x, y], or ``points``: a list of them; ``exclude``: a
        list of points; ``box``: [x0, y0, x1, y1]; ``polygon``: a GeoJSON geometry; ``crs`` or
        ``pixels``: true; ``id``. Empty lines are skipped.

        Args:
            lines: of JSON.
            crs: of the coordinates of lines that say neither ``crs`` nor ``pixels``; None for the
                scene's.
            in_pixels: whether coordinates of such lines are column and row of the scene.

        Yields:
            For each line a GeoJSON feature, the mask and its prompt; where it cannot be answered,
            ``{"error": ...}``, None and None.
        """
        self.embeddings.prompter.warm_up()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            started = time.perf_counter()
            try:
                prompt, own = _read_line(line, number, None if in_pixels else crs or self.crs)
                pixels = self._frame.to_pixels(prompt, own)
                mask = self._ask(pixels)
            except InputError as exc:
                yield {"error": str(exc), "line": number}, None, None
                continue
            feature = feature_of(mask)
            feature["properties"]["ms"] = round(1000 * (time.perf_counter() - started), 1)
            yield feature, mask, pixels


def prompt_scene(
    source: str,
    prompter: Prompter,
    prompts: ScenePrompts,
    options: PromptOptions | None = None,
    *,
    progress: Progress = SILENT,
) -> list[PromptedMask]:
    """Answer prompts on a scene.

    Args:
        source: raster or STAC item.
        prompter: from ``load_prompter``.
        prompts: what is pointed at.
        options: how to ask.
        progress: told of objects.

    Returns:
        One result a prompt, in order.

    Raises:
        InputError: the scene cannot be read, or a prompt means nothing on it.
    """
    options = options or PromptOptions()
    with SceneEmbeddings.open(
        source, prompter, options=options.scene, cache=options.cache
    ) as embeddings:
        session = PromptSession(embeddings, options=options.answer)
        return answer_all(session, prompts, progress=progress)


def answer_all(
    session: PromptSession, prompts: ScenePrompts, *, progress: Progress = SILENT
) -> list[PromptedMask]:
    """Answer prompts in an open session; none, where one of them cannot be."""
    session.to_pixels(prompts)
    progress.start(f"{session.embeddings.scene.name}: objects", len(prompts.objects))
    found = []
    try:
        for prompt in prompts.objects:
            found.append(session.ask(prompt, prompts.crs))
            progress.advance()
    finally:
        progress.finish()
    return found


def feature_of(mask: PromptedMask) -> dict[str, Any]:
    """Give a result as a GeoJSON feature, in the scene's CRS; ``geometry`` is null for nothing."""
    return {
        "type": "Feature",
        "id": mask.id,
        "geometry": None if mask.shape is None else shapely.geometry.mapping(mask.shape),
        "properties": facts_of(mask),
    }


def facts_of(mask: PromptedMask) -> dict[str, Any]:
    """Give what is said of a result, without its shape."""
    return {
        "prompt_id": mask.id,
        "prompt": mask.kind,
        "area_ha": round(mask.area_ha, 4),
        "score": round(mask.score, 4),
        "stability": round(mask.stability, 4),
        "tiles": mask.tiles,
        "level": mask.level,
        "cut": mask.cut,
    }


class _Line(BaseModel):
    """A prompt as it comes from outside."""

    model_config = ConfigDict(extra="forbid")
    id: str | int | None = None
    point: tuple[float, float] | None = None
    points: list[tuple[float, float]] = Field(default_factory=list)
    exclude: list[tuple[float, float]] = Field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    polygon: dict[str, Any] | None = None
    crs: str | None = None
    pixels: bool = False


def _read_line(line: str, number: int, usual: CRS | None) -> tuple[ObjectPrompt, CRS | None]:
    """Read a prompt and the CRS of its coordinates, ``usual`` if it says none; None is pixels."""
    try:
        said = _Line.model_validate(json.loads(line))
        outline_ = None if said.polygon is None else geojson_shape(said.polygon)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FormatError(f"line {number}: {where}: {first['msg']}.") from exc
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise FormatError(f"line {number}: is no prompt in JSON ({exc}).") from exc
    if outline_ is not None and not (outline_.is_valid and outline_.area > 0):
        raise FormatError(f"line {number}: polygon: crosses itself or has no area.")
    if said.crs is not None and said.pixels:
        raise FormatError(f"line {number}: give crs or pixels, not both.")
    points = [*([said.point] if said.point else []), *said.points]
    made = prompts_of(points=points, exclude=said.exclude, together=True).objects
    inside = made[0].inside if made else ()
    outside = tuple(map(shapely.Point, said.exclude))
    box = None if said.box is None else box_of(said.box)
    name = str(number if said.id is None else said.id)
    crs = None if said.pixels else parse_crs(said.crs) if said.crs else usual
    return ObjectPrompt(name, inside, outside, box, outline_), crs
