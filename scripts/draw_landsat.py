"""Draw 8-band Landsat scenes of mines with one KML, and label them as papers/001 does.

Each place is seen once, half of them on either date, some through clouds. The data set holds
training, validation and test places apart.

    python scripts/draw_landsat.py --out runs/landsat --sites 60 --seed 5
    headframe experiment recipes/illegal-mining/sam-{7band,rgb}.yaml \\
        --own-split --data runs/landsat/dataset --out runs/landsat-bands
"""

import argparse
from datetime import date
from pathlib import Path

from headframe.cli import console
from headframe.datasets.drawn import draw_landsat_chip, write_kml, write_scene
from headframe.surface.label_inputs import LabelOptions
from headframe.surface.labelling import label_images

DATES = (date(2017, 7, 14), date(2025, 8, 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sites", type=int, default=60)
    parser.add_argument("--size-px", type=int, default=128)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    frames = []
    with console.progress() as progress:
        progress.start("drawing", arguments.sites)
        for number in range(arguments.sites):
            day = DATES[number % len(DATES)]
            size = (arguments.size_px, arguments.size_px)
            scene = draw_landsat_chip(arguments.seed * 1000 + number, size=size, date=day)
            write_scene(scene, arguments.out / "scenes" / scene.site / f"{day:%Y%m%d}.tif")
            frames.append(scene.tailings)
            progress.advance()
        progress.finish()
    write_kml(frames, arguments.out / "sites.kml")
    report = label_images(
        [arguments.out / "scenes"],
        polygons=arguments.out / "sites.kml",
        out=arguments.out / "dataset",
        options=LabelOptions(preset="landsat-8band", seed=arguments.seed),
    )
    print(report.chips)


if __name__ == "__main__":
    main()
