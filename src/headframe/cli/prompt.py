"""``headframe prompt``: point at an object, get its outline."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from headframe.cli.scene_options import Bands, Cache, CacheGb, Device, Offset, Scale, band_names
from headframe.core.errors import InputError, OutputError

if TYPE_CHECKING:
    from headframe.engine.prompting import (
        PixelPrompt,
        PromptedMask,
        PromptOptions,
        PromptSession,
        ScenePrompts,
    )

_NUMBERS = {"--point": 2, "--exclude": 2, "--box": 4}
"""Options of several numbers that may be repeated."""
_GB = 2**30


class _JoinsNumbers(TyperCommand):
    """Takes the numbers after an option as one word: typer has no repeatable option of several."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's own
        """Join, then parse as ever."""
        words, joined = list(args), []
        while words:
            word = words.pop(0)
            joined.append(word)
            numbers: list[str] = []
            while words and len(numbers) < _NUMBERS.get(word, 0) and words[0][:2] != "--":
                numbers.append(words.pop(0))
                if "," in numbers[-1]:  # all of them in one word
                    break
            joined += [" ".join(numbers)] if word in _NUMBERS else []
        return super().parse_args(ctx, joined)


def prompt(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="GeoTIFF, COG, VRT, STAC item.")],
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="X Y", help="A point of an object; repeat for more objects."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="X Y", help="A point that is of none of them; may be repeated."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="X0 Y0 X1 Y1", help="A box around an object; may be repeated."),
    ] = None,
    polygons: Annotated[
        Path | None, typer.Option(help="Rough outlines, an object each: KML, GeoJSON, GPKG, shp.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer of a GPKG with several.")] = None,
    model: Annotated[
        str,
        typer.Option(help="litemedsam, a SAM file (.pth, .safetensors), or a prompt bundle."),
    ] = "litemedsam",
    out: Annotated[Path | None, typer.Option(help="GeoPackage for the outlines.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="GeoTIFF of the objects' numbers on the scene's grid.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="PNG of scene, prompts and outlines.")
    ] = None,
    crs: Annotated[
        str | None,
        typer.Option(help="Of the coordinates, e.g. EPSG:4326; else the scene's."),
    ] = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Coordinates are column and row of the scene.")
    ] = False,
    together: Annotated[
        bool, typer.Option("--together", help="All points and the box mean one object.")
    ] = False,
    session: Annotated[
        bool, typer.Option("--session", help="Read prompts as JSON lines from stdin, answer each.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Compute all embeddings of the scene now.")
    ] = False,
    max_tiles: Annotated[int, typer.Option(help="Frames of the network an object may take.")] = 16,
    cache: Cache = None,
    cache_gb: CacheGb = 4.0,
    bands: Bands = None,
    scale: Scale = None,
    offset: Offset = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print outlines as GeoJSON.")] = False,
) -> None:
    """Point at objects of a scene and get their outlines, with areas.

    Each point, each box and each polygon of a file is an object of its own, unless --together.
    The scene's embeddings are kept on disk: the first prompt at a place takes a second or more,
    the next ones a fraction of it. With --session the program stays and answers prompts from
    stdin, one JSON object a line: {"point": [x, y]}, {"box": [x0, y0, x1, y1]},
    {"polygon": {...}}, with "exclude", "crs", "pixels" and "id" where wanted; --crs and --pixels
    speak for lines that say neither.

    Examples:

        headframe prompt scene.tif --point 623410 7795120 --out pit.gpkg

        headframe prompt scene.tif --crs EPSG:4326 --box -43.21 -20.15 -43.17 -20.11 --out dam.gpkg

        headframe prompt scene.tif --polygons rough.kml --out outlines.gpkg --picture outlines.png

        headframe prompt scene.tif --pixels --point 310 205 --point 330 240 --exclude 300 260 --together --out one.gpkg

        headframe prompt scene.tif --all

        headframe prompt scene.tif --session < prompts.jsonl
    """  # noqa: E501 - an example is one line, to be copied
    from headframe.engine.prompting import (
        AnswerOptions,
        CacheOptions,
        PromptOptions,
        default_cache,
        parse_crs,
    )
    from headframe.io.scene import SceneOptions

    if crs is not None and pixels:
        raise InputError("--crs and --pixels contradict each other. Give one of them.")
    if not cache_gb > 0:
        raise InputError(f"--cache-gb {cache_gb:g} is not above 0.")
    names = band_names(bands)
    request = _Request(
        points=_numbers("--point", point),
        exclude=_numbers("--exclude", exclude),
        boxes=_numbers("--box", box),
        polygons=polygons,
        layer=layer,
        crs=None if crs is None else parse_crs(crs),
        pixels=pixels,
        together=together,
    )
    if not (request.anything or session or everything):
        raise InputError("nothing is pointed at. Give --point, --box or --polygons, or --session.")
    if request.exclude and not (request.points or request.boxes):
        raise InputError("--exclude goes with --point or --box. Give one of them too.")
    options = PromptOptions(
        scene=SceneOptions(bands=names, scale=scale, offset=offset),
        cache=CacheOptions(cache or default_cache(), limit_bytes=int(cache_gb * _GB)),
        answer=AnswerOptions(max_tiles=max_tiles),
    )
    outputs = _Outputs(out, mask, picture, as_json=as_json)
    _run(scene, request, options, outputs, _Model(model, device), session, everything)


@dataclass(frozen=True)
class _Request:
    """What is pointed at, as typed."""

    points: list[list[float]]
    exclude: list[list[float]]
    boxes: list[list[float]]
    polygons: Path | None
    layer: str | None
    crs: Any
    pixels: bool
    together: bool

    @property
    def anything(self) -> bool:
        """Whether anything is pointed at."""
        return bool(self.points or self.boxes or self.polygons)

    def prompts(self, asked: "PromptSession") -> "list[ScenePrompts]":
        """Make prompts; coordinates are the scene's where nothing else is said."""
        from headframe.engine.prompting import prompts_of, prompts_of_file

        crs = None if self.pixels else self.crs or asked.crs
        made = []
        if self.points or self.boxes:
            made.append(
                prompts_of(
                    points=self.points,
                    exclude=self.exclude,
                    boxes=self.boxes,
                    crs=crs,
                    together=self.together,
                )
            )
        if self.polygons is not None:
            first = 1 + sum(len(part.objects) for part in made)
            read = prompts_of_file(self.polygons, layer=self.layer, first=first)
            made.append(asked.on_scene(read))
        return made


@dataclass(frozen=True)
class _Outputs:
    """Where results go."""

    out: Path | None
    mask: Path | None
    picture: Path | None
    as_json: bool

    def __post_init__(self) -> None:
        """Refuse names that the formats do not go by, before anything is computed."""
        for option, path, suffixes in (
            ("--out", self.out, (".gpkg",)),
            ("--mask", self.mask, (".tif", ".tiff")),
            ("--picture", self.picture, (".png",)),
        ):
            if path is not None and path.suffix.lower() not in suffixes:
                raise OutputError(f"{option} {path}: must end in {suffixes[0]}.")

    def write(
        self,
        found: "list[PromptedMask]",
        asked: "PromptSession",
        pointed: Any,  # noqa: ANN401 - prompts in pixels
    ) -> list[Path]:
        """Write the files that are wanted, and name them."""
        from headframe.engine.prompting import write_mask, write_picture, write_polygons

        if self.out is not None:
            write_polygons(self.out, found, asked.crs)
        if self.mask is not None:
            write_mask(self.mask, found, asked.embeddings.scene)
        picture = self.picture if found else None
        if picture is not None:
            write_picture(picture, found, pointed, asked.embeddings)
        return [path for path in (self.out, self.mask, picture) if path is not None]


@dataclass(frozen=True)
class _Model:
    name: str
    device: str


def _run(
    scene: str,
    request: _Request,
    options: "PromptOptions",
    outputs: _Outputs,
    model: _Model,
    session: bool,
    everything: bool,
) -> None:
    from headframe.cli.console import progress, say
    from headframe.engine.prompting import (
        PromptSession,
        SceneEmbeddings,
        answer_all,
        load_prompter,
    )

    prompter = load_prompter(model.name, device=model.device)
    with (
        SceneEmbeddings.open(
            scene, prompter, options=options.scene, cache=options.cache
        ) as embeddings,
        progress() as shown,
    ):
        asked = PromptSession(embeddings, options=options.answer)
        prompts = request.prompts(asked)
        pointed = [pixel for one in prompts for pixel in asked.to_pixels(one)]
        if everything:
            computed = embeddings.fill(progress=shown)
            if not (outputs.as_json or session):
                say(f"{len(list(embeddings.tiles()))} tiles, {computed} of them computed now.")
        found = [mask for one in prompts for mask in answer_all(asked, one, progress=shown)]
        if session:
            told = list(_conversation(asked, request))
            found += [mask for mask, _ in told]
            pointed += [pixel for _, pixel in told]
        written = outputs.write(found, asked, pointed)
    if session:
        return
    _tell(found, as_json=outputs.as_json, crs=asked.crs)
    if written and not outputs.as_json:
        say(f"Written: {', '.join(map(str, written))}")


def _conversation(
    asked: "PromptSession", request: _Request
) -> "Iterator[tuple[PromptedMask, PixelPrompt]]":
    """Answer stdin line by line on stdout, as GeoJSON features; give the masks found."""
    told = asked.converse(sys.stdin, crs=request.crs, in_pixels=request.pixels)
    for feature, mask, pixels in told:
        sys.stdout.write(json.dumps(feature) + "\n")
        sys.stdout.flush()
        if mask is not None and pixels is not None:
            yield mask, pixels


def _tell(found: "list[PromptedMask]", *, as_json: bool, crs: Any) -> None:  # noqa: ANN401 - pyproj's
    from headframe.cli.console import emit_json, say
    from headframe.engine.prompting import feature_of

    if as_json:
        name = ":".join(crs.to_authority() or ()) or crs.to_wkt()
        features = [feature_of(mask) for mask in found]
        emit_json({"type": "FeatureCollection", "crs": name, "features": features})
        return
    for mask in found:
        if mask.shape is None:
            say(f"{mask.id}  {mask.kind}: nothing found")
            continue
        more = f", {mask.tiles} frames" if mask.tiles > 1 else ""
        more += ", goes on beyond: raise --max-tiles" if mask.cut else ""
        say(
            f"{mask.id}  {mask.kind}: {mask.area_ha:,.2f} ha, score {mask.score:.2f}, "
            f"stability {mask.stability:.2f}{more}"
        )


def _numbers(option: str, words: list[str] | None) -> list[list[float]]:
    """Read the numbers of every use of an option; spaces or commas stand between."""
    count = _NUMBERS[option]
    read = []
    for word in words or ():
        try:
            values = [float(part) for part in word.replace(",", " ").split()]
        except ValueError as exc:
            raise InputError(f"{option} {word}: needs {count} numbers.") from exc
        if len(values) != count:
            said = f"{option} {word}: " if word else f"{option} "
            raise InputError(f"{said}needs {count} numbers, not {len(values)}.")
        read.append(values)
    return read


prompt.command_class = _JoinsNumbers  # type: ignore[attr-defined] # what main builds the verb with
