"""A table of enhancers on pairs of dark and bright photographs, and a sheet to look at.

    python scripts/enhancers.py pairs --model gamma --model runs/kind-s --out seen
    python scripts/enhancers.py pairs --model clahe --dark ../shared/data/lol-dark --out seen

Pairs lie in `imgs` and `targets` under the same names. `--model` is what `headframe enhance` takes,
with `@auto` or `@5` behind it for a ratio and `-` for the network without its restoration net.
"""

import argparse
import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from headframe.engine.enhancer_bundle import find_enhancer, load_enhancer
from headframe.engine.enhancing import Enhancer, NetworkEnhancer
from headframe.io.files import write_text
from headframe.io.images import find_images, read_float
from headframe.metrics.enhancement import (
    entropy_bits,
    lightness_order_error,
    matched_psnr_db,
    psnr_db,
    ssim,
)
from headframe.models.kind import KinDEnhancer, KinDOptions

plt.switch_backend("Agg")  # no window
FloatPixels = npt.NDArray[np.float32]
COLUMNS = ("PSNR, dB", "mean-matched", "SSIM", "LOE", "entropy, bits")
DARK = "dark"


def enhancer_of(text: str) -> Enhancer:
    source, _, ratio = text.partition("@")
    if not source.endswith("-"):
        return load_enhancer(source, ratio=ratio or None)
    bundle = find_enhancer(source[:-1])
    told = bundle.network.options
    bare = KinDEnhancer(
        KinDOptions(told.mode, told.width, restoration_width=0, leaky_head=told.leaky_head)
    )
    kept = bare.state_dict().keys()
    bare.load_state_dict({n: v for n, v in bundle.network.state_dict().items() if n in kept})
    return NetworkEnhancer(bare, bundle.options, name=text)


def figures(image: FloatPixels, dark: FloatPixels, truth: FloatPixels) -> list[float]:
    pair = [measure(image, truth) for measure in (psnr_db, matched_psnr_db, ssim)]
    return [*pair, lightness_order_error(image, dark), entropy_bits(image)]


def sheet(rows: list[list[FloatPixels]], titles: list[str], path: Path) -> None:
    size = (2.6 * len(titles), 2.0 * len(rows))
    figure, axes = plt.subplots(
        len(rows), len(titles), figsize=size, squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    for line, images in zip(axes, rows, strict=True):
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image.transpose(1, 2, 0).clip(0, 1))
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, nargs="+")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--dark", type=Path, action="append", default=[], help="looked at alone")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    enhancers = {DARK: lambda pixels: pixels} | {m: enhancer_of(m) for m in given.model}
    files = [p for folder in given.pairs for p in find_images([folder / "imgs"])]
    darks = [read_float(path) for path in files]
    truths = [read_float(path.parents[1] / "targets" / path.name) for path in files]
    seen = {name: [work(dark) for dark in darks] for name, work in enhancers.items()}
    means = {
        name: np.mean([figures(*three) for three in zip(images, darks, truths, strict=True)], 0)
        for name, images in seen.items()
    }
    rows = [[name, *(f"{value:.3f}" for value in mean)] for name, mean in means.items()]
    with (given.out / "enhancers.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["", *COLUMNS], *rows])
    lines = [f"| {' | '.join(row)} |" for row in [["", *COLUMNS], ["---"] * 6, *rows]]
    write_text(given.out / "enhancers.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    titles = [*enhancers, "bright"]
    pairs = [[*(seen[name][n] for name in enhancers), truth] for n, truth in enumerate(truths)]
    sheet(pairs, titles, given.out / "pairs.png")
    alone = [read_float(path) for folder in given.dark for path in find_images([folder])]
    if alone:
        looked = [[work(pixels) for work in enhancers.values()] for pixels in alone]
        sheet(looked, titles[:-1], given.out / "dark.png")


if __name__ == "__main__":
    main()
