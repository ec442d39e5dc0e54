"""``headframe refine``: coarse polygons made tight."""

from pathlib import Path
from typing import Annotated

import typer

from headframe.cli.scene_options import Bands, Device, Offset, Scale, band_names


def refine(
    scenes: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENES...", help="GeoTIFF, COG, VRT, STAC item, folder, glob, URL."
        ),
    ],
    polygons: Annotated[
        Path, typer.Option(help="Coarse polygons: KML, KMZ, GeoJSON, GeoPackage, shapefile.")
    ],
    model: Annotated[
        str,
        typer.Option(help="Prompt model: bundle folder, shipped name, litemedsam, a SAM's file."),
    ],
    out: Annotated[Path, typer.Option(help="GeoPackage to write, .gpkg.")],
    prompt: Annotated[
        str,
        typer.Option(help="What the model is told: box, mask, both; auto takes what it knows."),
    ] = "auto",
    context: Annotated[
        float, typer.Option(help="Side of what it sees over the polygon's longer side.")
    ] = 2.0,
    threshold: Annotated[float, typer.Option(help="Score of the object, 0-1.")] = 0.5,
    min_overlap: Annotated[
        float, typer.Option(help="A result with a lower IoU with the polygon is not believed.")
    ] = 0.15,
    min_cover: Annotated[
        float, typer.Option(help="Least share of a polygon that a scene must cover.")
    ] = 0.5,
    simplify_px: Annotated[
        float, typer.Option(help="How much outlines are smoothed, pixels of the model's frame.")
    ] = 0.4,
    views: Annotated[int, typer.Option(help="Mirrored and turned views averaged: 1-8.")] = 1,
    truth: Annotated[
        Path | None, typer.Option(help="True polygons, to compare before and after with.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer of a GeoPackage.")] = None,
    bands: Bands = None,
    scale: Scale = None,
    offset: Offset = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Refine coarse polygons on the scenes that cover them.

    Each polygon is a prompt: the model is shown the ground around it and draws what it means. The
    result has the same rows, fields and CRS, a column status, score and scene; what cannot be
    refined stays as it was, and status says why. A table of every polygon before and after is
    written beside it (.csv), and pictures of some of them (.png). A stopped run goes on where it
    was.

    Examples:

        headframe refine scenes --polygons old.kml --model sam-refine-s2-rgb --out tight.gpkg

        headframe refine a.tif b.tif --polygons o.gpkg --model litemedsam --prompt box --out t.gpkg

        headframe refine scenes --polygons old.gpkg --truth mines.kml --model runs/r --out t.gpkg
    """
    from headframe.cli.console import emit_json, progress, say, table
    from headframe.core.errors import OutputError
    from headframe.engine.prompting.prompter import load_prompter
    from headframe.io.feature_table import read_features
    from headframe.io.scene import SceneOptions
    from headframe.surface.refine import refine_polygons
    from headframe.surface.refine_compare import compare, draw_before_after, write_table
    from headframe.surface.refine_outline import RefineOptions, parse_prompt

    names = band_names(bands)
    options = RefineOptions(
        prompt=parse_prompt(prompt),
        context=context,
        threshold=threshold,
        min_overlap=min_overlap,
        min_cover=min_cover,
        simplify_px=simplify_px,
        views=views,
        scene=SceneOptions(bands=names, scale=scale, offset=offset),
    )
    if truth is not None:
        if truth.resolve() == out.resolve():
            raise OutputError(f"{out}: is the file of true polygons itself. Choose another --out.")
        read_features(truth)  # a wrong name is told before the work, not after
    prompter = load_prompter(model, device=device)
    csv, png = out.with_suffix(".csv"), out.with_suffix(".png")
    with progress() as shown:
        result = refine_polygons(
            scenes,
            polygons=polygons,
            prompter=prompter,
            out=out,
            options=options,
            layer=layer,
            progress=shown,
        )
        comparison = compare(result, truth)
        write_table(comparison.rows, csv)
        pictures = draw_before_after(
            result, comparison, png, prompter=prompter, options=options, progress=shown
        )
    figures = comparison.summary()
    if as_json:
        emit_json(
            {
                "out": str(out),
                "rows": len(result.rows),
                "status": result.counts(),
                "compared": comparison.compared,
                "figures": {name: {"before": old, "after": new} for name, old, new in figures},
            }
        )
        return
    table("Polygons", ("status", "rows"), result.counts().items())
    table(
        f"Before and after ({comparison.compared} with a truth)",
        ("figure", "before", "after"),
        figures,
    )
    say(f"Written: {out}, {csv.name}" + (f", {png.name}" if pictures else ""))
