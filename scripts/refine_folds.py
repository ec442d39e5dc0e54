"""Out-of-fold measure of ``headframe refine``: true outlines made coarse, then refined.

For each fold the recipe is trained on the other folds' sites; the outlines of the fold's own sites
are made coarse and refined on their chips, by that model and by untuned bases. Each polygon counts
once; the trivial way, taking the known rim off again, is measured too.

    python scripts/refine_folds.py --data ../shared/data/tailings-brazil --out runs/refine \\
        --recipe recipes/sam-refine/sam-refine-s2-rgb.yaml --folds 0 1 2 3 4
"""

import argparse
import json
import logging
import statistics
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import shapely
from pyproj import CRS

from headframe.datasets.chips import open_dataset
from headframe.datasets.splits import site_folds
from headframe.engine.prompting.prompter import Prompter, load_prompter
from headframe.engine.recipe import FoldSection, load_recipe
from headframe.engine.training import train
from headframe.geo.coarsen import Coarseness, coarsen, local_crs, reprojected
from headframe.io.feature_table import write_features
from headframe.io.vector import read_polygons
from headframe.surface.refine import refine_polygons
from headframe.surface.refine_compare import compare, draw_before_after, iou, write_table
from headframe.surface.refine_outline import RefineOptions

LONLAT = CRS.from_epsg(4326)
SEED = 42


def main():
    arguments = parse()
    logging.basicConfig(level=logging.WARNING)
    dataset = open_dataset(arguments.data)
    frame = read_polygons(arguments.data / "tailings.kml", site_field="site").frame
    folds = site_folds(dataset.site_groups(), folds=arguments.of, seed=SEED)
    wide = Coarseness(arguments.simplify_m, arguments.buffer_m, arguments.shift_m)
    rows = []
    for number in arguments.folds:
        held = frame[frame["site"].isin(folds[number])].reset_index(drop=True)
        if arguments.limit:
            held = held.iloc[:: max(1, len(held) // arguments.limit)].reset_index(drop=True)
        rows += run_fold(number, held, wide, dataset, arguments)
        report(rows, arguments)


def run_fold(number, held, wide, dataset, arguments):
    """Refine the outlines of one fold's sites with every model; one row a polygon and model."""
    out = arguments.out / f"fold-{number}"
    truth = list(held.geometry)
    coarse = [polygon.shape for polygon in coarsen(truth, wide, seed=number)]
    polygons, true = out / "coarse.gpkg", out / "true.gpkg"
    for path, shapes in ((polygons, coarse), (true, truth)):
        table = gpd.GeoDataFrame(held[["site", "name"]].copy(), geometry=shapes, crs=held.crs)
        write_features(table, path, layer="polygons")
    sites = set(held["site"])
    scenes = [str(chip.image) for chip in dataset.chips(None) if chip.site in sites]
    found = {"before": coarse, "shrunk": [shrunk(shape, wide.buffer_m) for shape in coarse]}
    for name, prompter, options in models(number, arguments):
        result = refine_polygons(
            scenes,
            polygons=polygons,
            prompter=prompter,
            out=out / f"{name}.gpkg",
            options=options,
        )
        found[name] = list(result.after.geometry)
        comparison = compare(result, true)
        write_table(comparison.rows, out / f"{name}.csv")
        draw_before_after(
            result, comparison, out / f"{name}.png", prompter=prompter, options=options
        )
        print(f"fold {number}: {name}: {result.counts()}")
    return [
        {
            "fold": number,
            "site": site,
            "ha": round(metric(shape).area / 1e4, 3),
            **{name: round(iou_of(shapes[i], shape), 4) for name, shapes in found.items()},
        }
        for i, (site, shape) in enumerate(zip(held["site"], truth, strict=True))
    ]


def models(number, arguments):
    """Name, network and options of every way to refine."""
    options = RefineOptions(views=arguments.views)
    if arguments.recipe is not None:
        recipe = load_recipe(arguments.recipe).with_data(
            dataset=str(arguments.data), all_sites=False, fold=FoldSection(index=number)
        )
        if arguments.steps:
            recipe = recipe.with_train(steps=arguments.steps)
        run = arguments.out / f"fold-{number}" / recipe.name
        done = train(recipe, out=run, resume=run.is_dir())
        print(f"fold {number}: {done.metrics}")
        tuned = load_prompter(str(done.bundle), device=arguments.device)
        yield "tuned", tuned, options
    if arguments.untuned:
        base: Prompter = load_prompter(arguments.untuned, device=arguments.device)
        for prompt in ("box", "mask", "both"):
            yield f"untuned-{prompt}", base, replace(options, prompt=prompt)


def report(rows, arguments):
    """Print and write the means over all polygons so far, and over those of a hectare and more."""
    names = [name for name in rows[0] if name not in ("fold", "site", "ha")]
    large = [row for row in rows if row["ha"] >= 1]
    table = {}
    for label, chosen in (("all", rows), (">= 1 ha", large)):
        for name in names:
            values = [row[name] for row in chosen]
            table.setdefault(name, {})[label] = {
                "polygons": len(values),
                "mean": round(statistics.mean(values), 4),
                "median": round(statistics.median(values), 4),
            }
    for name, figures in table.items():
        cells = "  ".join(
            f"{label}: n {v['polygons']:3d} mean {v['mean']:.3f} median {v['median']:.3f}"
            for label, v in figures.items()
        )
        print(f"{name:14s} {cells}")
    for path, value in (("rows.json", rows), ("table.json", table)):
        (arguments.out / path).write_text(json.dumps(value, indent=1) + "\n")


def shrunk(shape, rim_m):
    """The trivial refinement: the rim is known, and taken off."""
    there = local_crs(shape)
    small = reprojected(shape, LONLAT, there).buffer(-rim_m)
    return shapely.Polygon() if small.is_empty else reprojected(small, there, LONLAT)


def metric(shape):
    return reprojected(shape, LONLAT, local_crs(shape))


def iou_of(shape, truth):
    if shape.is_empty:
        return 0.0
    there = local_crs(truth)
    return iou(shapely.make_valid(reprojected(shape, LONLAT, there)), metric(truth))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--of", type=int, default=5)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--limit", type=int, help="about so many polygons a fold")
    parser.add_argument("--untuned", default="litemedsam", help="'' leaves it out")
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--simplify-m", type=float, default=30.0)
    parser.add_argument("--buffer-m", type=float, default=60.0)
    parser.add_argument("--shift-m", type=float, default=30.0)
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
