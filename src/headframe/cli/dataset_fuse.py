"""`headframe dataset fuse`: files of several sensors as one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headframe.cli.scene_options import Offset, band_names

if TYPE_CHECKING:
    from headframe.io.fusion import FusionPart

_AUTO = "auto"


def fuse(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Rasters or STAC items of one place.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="GeoTIFF to write.")],
    like: Annotated[
        str | None, typer.Option(help="Raster whose grid is used; the finest file's if not.")
    ] = None,
    gsd: Annotated[
        float | None, typer.Option(min=0.01, help="Side of a pixel in metres, north-up.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Bands to write: rgb, r+n, r+n+s, m, m+s, or names with commas."),
    ] = None,
    sensor: Annotated[
        list[str] | None,
        typer.Option(help="Sensor of all files, or one --sensor a file; auto to tell by the file."),
    ] = None,
    bands: Annotated[
        list[str] | None,
        typer.Option(help="Names of a file's bands in file order, one --bands a file, or auto."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Reflectance = stored value x SCALE + OFFSET.")
    ] = None,
    offset: Offset = None,
    s1_unit: Annotated[
        str | None, typer.Option("--s1-unit", help="Unit of radar, db or power; told by values.")
    ] = None,
    resampling: Annotated[
        str, typer.Option(help="nearest (the paper's), bilinear, cubic or average.")
    ] = "nearest",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Lay files of different sensors, resolutions and CRS over each other, in one GeoTIFF.

    Sensors and bands are told by names, tags and descriptions. The file that is written says what
    it holds: map, label and train read it without further options. Where VV and VH are there,
    VV/(10 VH) is formed from them.

    Examples:
        headframe dataset fuse s2.tif s1.tif --out fused.tif --keep m+s
        headframe dataset fuse R10m/*_B0*.jp2 R20m/*_B*.jp2 R60m/*_B*.jp2 s1.tif --out fused.tif
        headframe dataset fuse landsat8.tif s1.tif --scale 0.0001 --out fused.tif
        headframe dataset fuse s2.tif s1.tif --like s2.tif --s1-unit power --out fused.tif
    """
    from headframe.cli import console
    from headframe.core.errors import UnknownNameError
    from headframe.io.fusion import RESAMPLINGS, grid_of
    from headframe.io.fusion import fuse as fuse_files

    method = next((name for name in RESAMPLINGS if name == resampling), None)
    if method is None:
        raise UnknownNameError.of("--resampling", resampling, RESAMPLINGS)
    if like is not None and gsd is not None:
        raise typer.BadParameter("--like has pixels of its own; leave --gsd out.")
    parts = _parts(files, sensor, bands, scale=scale, offset=offset, s1_unit=s1_unit)
    with console.progress() as bar:
        report = fuse_files(
            parts,
            out=out,
            geobox=None if like is None else grid_of(like),
            gsd_m=gsd,
            keep=keep,
            resampling=method,
            progress=bar,
        )
    if as_json:
        console.emit_json(report)
        return
    rows = [(b, report.sources[b], f"{100 * report.data_share[b]:.1f} %") for b in report.bands]
    console.table(f"{out}: {report.sensor}", ("band", "from", "with data"), rows)
    for note in report.notes:
        console.say(note)
    height, width = report.shape
    console.say(f"{height} x {width} pixels of {report.gsd_m:g} m, {report.crs}.")


def _parts(
    files: list[str],
    sensors: list[str] | None,
    bands: list[str] | None,
    *,
    scale: float | None,
    offset: float | None,
    s1_unit: str | None,
) -> "list[FusionPart]":
    from headframe.core.radar import parse_radar_unit
    from headframe.io.fusion import FusionPart
    from headframe.io.product import SceneOptions

    unit = parse_radar_unit(s1_unit)
    whose = _each(sensors, len(files), "--sensor", one_for_all=True)
    named = _each(bands, len(files), "--bands", one_for_all=False)
    parts = []
    for file, sensor, text in zip(files, whose, named, strict=True):
        names = band_names(text)
        options = SceneOptions(bands=names, scale=scale, offset=offset, s1_unit=unit)
        parts.append(FusionPart(file, sensor, options))
    return parts


def _each(
    values: list[str] | None, count: int, option: str, *, one_for_all: bool
) -> list[str | None]:
    """Give one value a file, None for ``auto``."""
    if not values:
        return [None] * count
    if len(values) == 1 and one_for_all:
        values = values * count
    if len(values) != count:
        raise typer.BadParameter(
            f"{option} is there {len(values)} times for {count} files. Give one a file, in their "
            f"order, {_AUTO} where the file tells."
        )
    return [None if value == _AUTO else value for value in values]
