"""`headframe dataset tile` and `mosaic`: Sentinel-2 scenes of separate band files."""

from pathlib import Path
from typing import Annotated

import typer

Scenes = Annotated[
    list[str],
    typer.Argument(help="SAFE folders, folders of band files, STAC items; first on top."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def tile(
    scenes: Scenes,
    polygons: Annotated[
        Path, typer.Option(help="KML, KMZ, GeoJSON, GPKG or shapefile of what is to be found.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set to make.")],
    *,
    tile_m: Annotated[
        int, typer.Option(help="Side of a tile, metres; a multiple of 60. 7680 is the paper's.")
    ] = 7680,
    merge: Annotated[
        bool, typer.Option(help="Lay scenes of one CRS over one another before tiling.")
    ] = True,
    target: Annotated[str, typer.Option("--class", help="Name of the class.")] = "mining",
    site_field: Annotated[
        str | None, typer.Option(help="Field of the polygons with the site, if they have one.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer, for a GPKG with several.")] = None,
    fractions: Annotated[
        tuple[float, float, float], typer.Option(help="Shares of train, val and test.")
    ] = (0.70, 0.15, 0.15),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="What stays in one split: site, touching or scene; site where there are sites."
        ),
    ] = None,
    as_paper: Annotated[
        bool, typer.Option("--as-paper", help="Deal every tile by itself, neighbours or not.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Threads; 0 takes one a core. The output is the same.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Cut scenes into tiles of band files with masks, as MineSegSAT has them.

    A tile is a folder of twelve bands at 10, 20 and 60 m and mask.tif; dataset_splits.csv lists
    them. Every square that lies wholly within the scenes and meets a polygon becomes a tile. Run
    the same command again after an interruption: it goes on where it stopped.

    Examples:

        headframe dataset tile S2A_*.SAFE --polygons mines.gpkg --out tiles

        headframe dataset tile scenes --polygons mines.shp --out tiles --group-by touching

        headframe dataset tile scenes --polygons mines.gpkg --out tiles --as-paper
    """
    import os

    from headframe.cli import console
    from headframe.core.errors import UnknownNameError
    from headframe.datasets.tile_plan import GROUPINGS
    from headframe.datasets.tiler import TileOptions, tile_scenes

    grouping = next((name for name in GROUPINGS if name == group_by), None)
    if group_by is not None and grouping is None:
        raise UnknownNameError.of("--group-by", group_by, GROUPINGS)
    options = TileOptions(
        tile_m=tile_m,
        merge=merge,
        site_field=site_field,
        layer=layer,
        target=target,
        fractions=fractions,
        seed=seed,
        group_by=grouping,
        as_paper=as_paper,
        workers=workers or os.cpu_count() or 1,
    )
    with console.progress() as bar:
        report = tile_scenes(scenes, polygons=polygons, out=out, options=options, progress=bar)
    if as_json:
        console.emit_json(report)
        return
    rows = [(split, report.sites[split], count) for split, count in report.tiles.items()]
    console.table(f"Data set {report.out}", ("split", "groups", "tiles"), rows)
    console.say(
        f"{100 * report.with_target:.0f} % of tiles show {target}, "
        f"{100 * report.target_share:.1f} % of pixels are; split by {report.grouped_by}."
    )
    if as_paper:
        console.say(
            "Neighbouring tiles may be in different splits, as in the paper: scores will be better "
            "than on new ground."
        )
    console.say(f"Next: headframe dataset check {report.out}")


def mosaic(
    scenes: Scenes,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of band files to make.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Lay scenes of one CRS over one another and write one scene of band files.

    The first scene is on top; later ones show only where no earlier one has data (the reverse
    painter's algorithm). A scene that lies off the first one's grid is moved to the nearest pixels.

    Examples:

        headframe dataset mosaic S2A_T10UED.SAFE S2A_T10UFD.SAFE --out utm10

        headframe dataset mosaic scenes/*_T11* --out utm11
    """
    from headframe.cli import console
    from headframe.io.bandfiles import find_band_scenes
    from headframe.io.mosaic import write_mosaic

    found = find_band_scenes(scenes)
    with console.progress() as bar:
        notes = write_mosaic(found, out, progress=bar)
    if as_json:
        console.emit_json({"out": out, "scenes": [s.name for s in found], "notes": list(notes)})
        return
    for note in notes:
        console.say(note)
    console.say(f"{out}: {len(found)} scene(s), the first on top: {found[0].name}")
