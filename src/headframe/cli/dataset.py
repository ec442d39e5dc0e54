"""`headframe dataset`: split, check, measure and show a data set.

Examples:
    headframe dataset check chips
    headframe dataset split chips --fractions 0.7 0.15 0.15 --seed 1
    headframe dataset stats chips
    headframe dataset show chips --out sheet.png
"""

from pathlib import Path
from typing import Annotated

import typer

from headframe.cli.dataset_coarsen import coarsen
from headframe.cli.dataset_draw import draw
from headframe.cli.dataset_fuse import fuse
from headframe.cli.dataset_layers import bits, layers
from headframe.cli.dataset_pseudo import pseudo
from headframe.cli.dataset_sites import fetch, join_sites
from headframe.cli.dataset_tiles import mosaic, tile

app = typer.Typer(no_args_is_help=True)
app.command("fuse")(fuse)
app.command("draw")(draw)
app.command("layers")(layers)
app.command("bits")(bits)
app.command("fetch")(fetch)
app.command("sites")(join_sites)
app.command("tile")(tile)
app.command("mosaic")(mosaic)
app.command("coarsen")(coarsen)
app.command("pseudo-label")(pseudo)

Folder = Annotated[Path, typer.Argument(help="Folder of the data set.", metavar="DATASET")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
OneSplit = Annotated[str | None, typer.Option("--split", help="train, val or test; all if not.")]


@app.command("split")
def split_dataset(
    dataset: Folder,
    *,
    fractions: Annotated[
        tuple[float, float, float], typer.Option(help="Shares of chips: train val test.")
    ] = (0.7, 0.15, 0.15),
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    stratify: Annotated[
        str | None,
        typer.Option(help="Field of sites to balance, e.g. stratum, or target (its share)."),
    ] = None,
    as_paper: Annotated[
        bool, typer.Option("--as-paper", help="Let training and validation share sites.")
    ] = False,
    dates: Annotated[
        str, typer.Option(help="all, or all-train-one-held: held sites keep one date each.")
    ] = "all",
    as_json: AsJson = False,
) -> None:
    """Draw train, val and test anew; sites that share ground stay together.

    Files are moved within the data set. After a kill, run it again.

    Examples:
        headframe dataset split chips --fractions 0.7 0.15 0.15 --seed 1
        headframe dataset split chips --stratify target
        headframe dataset split chips --as-paper
        headframe dataset split chips --dates all-train-one-held
    """
    from dataclasses import asdict

    from headframe.cli import console
    from headframe.datasets.resplit import SplitOptions, resplit

    options = SplitOptions(fractions, seed, stratify, as_paper, dates)
    with console.progress() as bar:
        report = resplit(dataset, options, progress=bar)
    if as_json:
        console.emit_json(asdict(report))
        return
    total = sum(report.chips.values())
    rows = [(name, report.sites[name], n, n / total) for name, n in report.chips.items()]
    console.table(
        f"{dataset}: {report.moved} chips moved", ("split", "sites", "chips", "share"), rows
    )
    if report.unused:
        console.say(f"{report.unused} chips of further dates of held sites are unused.")
    if as_paper:
        console.say(
            "Training and validation share sites, as in the paper: validation scores will be "
            "too good; judge by the test split."
        )


@app.command("check")
def check(
    dataset: Folder,
    *,
    expect: Annotated[
        str | None,
        typer.Option(help="Published data set that this must be, chip for chip: global-mining."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check files, labels, splits and leakage; exits 2 where a rule is broken.

    What looks like the Global Mining Dataset is compared with its printed table; what differs is
    named, and breaks a rule with --expect global-mining.

    Examples:
        headframe dataset check chips
        headframe dataset check chips --json
        headframe dataset check downloads/dataset --expect global-mining
    """
    from headframe.cli import console
    from headframe.datasets.check import check_dataset
    from headframe.datasets.provenance import told

    with console.progress() as bar:
        report = check_dataset(dataset, expect=expect, progress=bar)
    if as_json:
        console.emit_json(
            {
                "passed": report.passed,
                "chips": report.chips,
                "sites": report.sites,
                "inventory": report.inventory,
                "polygons": report.polygons,
                "findings": list(report.findings),
            }
        )
    else:
        if report.findings:
            rows = [(f.level, f.rule, f.where, f.message) for f in report.findings]
            console.table(str(dataset), ("level", "rule", "where", "what"), rows)
        verdict = "every rule is kept" if report.passed else "rules are broken"
        console.say(f"{dataset}: {report.chips} chips of {report.sites} sites, {verdict}.")
        if report.inventory is not None:
            console.say(f"Compared with {report.inventory}.")
        if report.polygons is not None:
            console.say(f"Polygons: {told(report.polygons)}.")
    if not report.passed:
        raise typer.Exit(2)


@app.command("stats")
def stats(
    dataset: Folder,
    *,
    split: OneSplit = None,
    as_json: AsJson = False,
    write: Annotated[bool, typer.Option(help="Write the statistics into dataset.json.")] = True,
) -> None:
    """Measure bands and classes in one pass and note them in dataset.json.

    Examples:
        headframe dataset stats chips --split train
        headframe dataset stats chips --no-write --json
    """
    from headframe.cli import console
    from headframe.datasets.chips import open_dataset
    from headframe.datasets.manifest import write_manifest
    from headframe.datasets.stats import measure

    opened = open_dataset(dataset)
    with console.progress() as bar:
        found = measure(opened, split=split, progress=bar)
    if write:
        write_manifest(opened.root, opened.manifest.model_copy(update={"statistics": found}))
    if as_json:
        console.emit_json(found.model_dump(mode="json"))
        return
    shown = ("p1", "p50", "p99")
    rows = [(b.name, b.mean, b.std, *(b.percentiles[p] for p in shown)) for b in found.bands]
    console.table(f"{dataset}: {found.chips} chips", ("band", "mean", "std", *shown), rows)
    console.table("Classes", ("class", "share"), list(found.classes.items()))
    console.say(f"nodata: {found.nodata_share:.4f} of {found.pixels} pixels")


@app.command("show")
def show(
    dataset: Folder,
    *,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("contact-sheet.png"),
    split: OneSplit = None,
    limit: Annotated[int, typer.Option(min=1, help="Chips shown at most.")] = 48,
) -> None:
    """Draw a contact sheet: chips in their colours, the target outlined.

    Examples:
        headframe dataset show chips --out sheet.png
        headframe dataset show chips --split test --limit 20
    """
    from headframe.cli import console
    from headframe.datasets.chips import open_dataset
    from headframe.datasets.provenance import count_provenance, read_provenance, told
    from headframe.datasets.show import contact_sheet

    opened = open_dataset(dataset)
    with console.progress() as bar:
        count = contact_sheet(opened, out, split=split, limit=limit, progress=bar)
    console.say(f"{out}: {count} of {len(opened.chips(split))} chips")
    polygons = read_provenance(opened.root)
    if polygons is not None:
        console.say(f"Polygons of the data set: {told(count_provenance(polygons))}.")
