"""Out-of-fold measure of ``headframe prompt``: one point or the box of each true outline.

The point is the one farthest from the outline's edge (pole of inaccessibility). Outlines count that
lie whole in a chip; of several chips the one whose middle is nearest is asked. The models are those
that ``scripts/refine_folds.py`` trained.

    python scripts/prompt_folds.py --data ../shared/data/tailings-brazil --runs runs/refine \\
        --recipe sam-refine-s2-rgb --folds 0 1 2 --out runs/prompts
"""

import argparse
import json
import statistics
from pathlib import Path

import geopandas as gpd
import rasterio
import shapely
from refine_folds import LONLAT, SEED, iou_of, metric

from headframe.datasets.chips import open_dataset
from headframe.datasets.splits import site_folds
from headframe.engine.prompting import (
    CacheOptions,
    PromptSession,
    SceneEmbeddings,
    load_prompter,
    prompts_of,
)
from headframe.io.vector import read_polygons

LEAST_HA = 1.0


def main():
    arguments = parse()
    dataset = open_dataset(arguments.data)
    frame = read_polygons(arguments.data / "tailings.kml", site_field="site").frame
    folds = site_folds(dataset.site_groups(), folds=arguments.of, seed=SEED)
    rows = []
    for number in arguments.folds:
        held = frame[frame["site"].isin(folds[number])]
        chips = [chip for chip in dataset.chips(None) if chip.site in folds[number]]
        asked = list(whole(held, chips))
        tuned = arguments.runs / f"fold-{number}" / arguments.recipe / "bundle"
        for name, source in (("tuned", str(tuned)), (arguments.untuned, arguments.untuned)):
            for row in answers(asked, source, arguments):
                rows.append({"fold": number, "model": name, **row})
        report(rows, arguments)


def whole(held, chips):
    """Give every outline that lies whole in a chip, with its site and the chip it is nearest to."""
    frames = [(chip, shapely.box(*bounds(chip.image))) for chip in chips]
    for site, shape in zip(held["site"], held.geometry, strict=True):
        around = [(c, b) for c, b in frames if c.site == site and b.contains(shape)]
        if around and metric(shape).area >= LEAST_HA * 1e4:
            nearest = min(around, key=lambda pair: pair[1].centroid.distance(shape.centroid))
            yield site, shape, nearest[0].image


def bounds(image):
    with rasterio.open(image) as file:
        return file.bounds


def answers(asked, source, arguments):
    """Ask about each outline by a point and by its box; the IoU of both answers."""
    prompter = load_prompter(source, device=arguments.device)
    cache = CacheOptions(arguments.out / "cache")
    for site, shape, image in asked:
        point = shapely.maximum_inscribed_circle(shape).coords[0]
        with SceneEmbeddings.open(str(image), prompter, cache=cache) as scene:
            session = PromptSession(scene)
            ious = {}
            for kind, given in (("point", {"points": [point]}), ("box", {"boxes": [shape.bounds]})):
                said = prompts_of(**given, crs="EPSG:4326")
                found = session.ask(said.objects[0], said.crs)
                ious[kind] = 0.0 if found is None else iou_of(on_earth(found, session.crs), shape)
        yield {"site": site, "ha": round(metric(shape).area / 1e4, 2)} | ious


def on_earth(found, crs):
    return gpd.GeoSeries([found.shape], crs=crs).to_crs(LONLAT)[0]


def report(rows, arguments):
    """Print and write means over the outlines so far."""
    for name in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == name]
        means = {kind: statistics.mean(row[kind] for row in own) for kind in ("point", "box")}
        print(f"{name:12s} {len(own)} outlines: point {means['point']:.3f} box {means['box']:.3f}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "prompts.json").write_text(json.dumps(rows, indent=1) + "\n")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="out of refine_folds.py")
    parser.add_argument("--recipe", default="sam-refine-s2-rgb")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--of", type=int, default=5)
    parser.add_argument("--untuned", default="litemedsam")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
