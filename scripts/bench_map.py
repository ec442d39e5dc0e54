"""Measure `headframe map`: memory against scene size, and time a tile against the bare network.

Runs on a real scene and on a mosaic of it, each in a process of its own so that peaks do not
mix. In each process the bare network scores tiles that lie in memory before, between and after
two mappings, so a busy machine disturbs both alike; the medians make the ratio. With --small a
narrow network stands in for the real one, which shows the memory of mapping itself quickly.
"""

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from torch import nn

from headframe.core.classmap import binary_class_map
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.engine.allocator import keep_freed_memory
from headframe.engine.bundle import Bundle, load_bundle, shipped_bundles
from headframe.engine.mapping import MapOptions, map_scenes
from headframe.engine.mapping.tiles import Scorer
from headframe.io.scene import SceneOptions
from headframe.models.registry import build_network

SCENE = Path(__file__).resolve().parents[1].parent / "shared/data/scenes/s2_l1c_20181013_uint8.tif"
SHIPPED = "tailings-s2-rgb"
SIDE_PX = 10_980
UNIT = SceneOptions(scale=1 / 255, offset=0.0)
MEMORY_LIMIT, TIME_LIMIT = 1.15, 1.3


def random_bundle(*, small: bool, tile_px: int) -> Bundle:
    """Build an untrained bundle: the real architecture, or a narrow network without strides."""
    inputs = InputSpec(
        "sentinel-2-l1c",
        ("red", "green", "blue"),
        10.0,
        (0.35, 0.38, 0.40),
        (0.15, 0.12, 0.10),
        ((0.0, 0.3, 1.0),) * 3,
    )
    spec = ModelSpec("bench", "unet", {}, inputs, binary_class_map("target"), tile_px)
    torch.manual_seed(0)
    if small:
        network: nn.Module = nn.Sequential(nn.AvgPool2d(9, stride=1, padding=4), nn.Conv2d(3, 1, 1))
    else:
        network = build_network("unet", inputs.bands, 1, {"encoder": "tf_efficientnet_lite0"})
    return Bundle(spec, network.eval().requires_grad_(False))


def choose_bundle(args: argparse.Namespace) -> Bundle:
    if args.small:
        return random_bundle(small=True, tile_px=args.tile_px or 512)
    name = args.model or (SHIPPED if SHIPPED in shipped_bundles() else None)
    if name is None:
        return random_bundle(small=False, tile_px=args.tile_px or 512)
    bundle = load_bundle(name)
    return replace(bundle, spec=replace(bundle.spec, patch_px=args.tile_px or bundle.spec.patch_px))


def write_mosaic(path: Path, side: int) -> None:
    """Repeat the scene to ``side`` x ``side`` pixels, every other copy mirrored, block by block."""
    with rasterio.open(SCENE) as source:
        values = source.read()
        profile = {**source.profile, "height": side, "width": side}
        descriptions = source.descriptions
    _, height, width = values.shape
    with (
        rasterio.Env(GDAL_CACHEMAX=64 * 2**20),
        rasterio.open(path, "w", **profile, bigtiff="IF_SAFER", zlevel=1) as out,
    ):
        out.descriptions = descriptions
        for row in range(0, side, 256):
            rows = np.arange(row, min(row + 256, side))
            ys = np.where(rows // height % 2, height - 1 - rows % height, rows % height)
            cols = np.arange(side)
            xs = np.where(cols // width % 2, width - 1 - cols % width, cols % width)
            block = values[:, ys][:, :, xs]
            out.write(block, window=Window(0, row, side, len(rows)))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bare_seconds(scorer: Scorer, bundle: Bundle, batch: int, seconds: float) -> list[float]:
    """Time the bare network, a tile, on tensors already in memory."""
    zoomed = round(bundle.spec.patch_px * bundle.spec.test_zoom / 32) * 32
    side, bands = max(32, zoomed), len(bundle.spec.inputs.bands)
    pixels = torch.rand(batch, bands, side, side).to(scorer.device)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    times = []
    end = time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            for _ in range(bundle.spec.test_flips):
                bundle.network(pixels)
            if scorer.device.type == "cuda":
                torch.cuda.synchronize()
            times.append((time.perf_counter() - start) / batch)
    return times


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Measure one scene in this process."""
    logging.getLogger("headframe").setLevel(logging.ERROR)
    bundle = choose_bundle(args)
    keep_freed_memory()  # for the bare network too
    scorer = Scorer(bundle, args.device)
    batch = scorer.batch_tiles(bundle.spec.patch_px)
    bare: list[float] = bare_seconds(scorer, bundle, batch, 2.0)[1:]
    mapped: list[float] = []
    result = None
    for turn in range(args.repeats):
        with tempfile.TemporaryDirectory(dir=args.temp) as folder:
            options = MapOptions(scene=UNIT, scores=args.scores, device=args.device)
            (result,) = map_scenes(
                [args.one], bundle=bundle, out=Path(folder) / str(turn), options=options
            )
        mapped.append(result.seconds / result.scored)
        bare += bare_seconds(scorer, bundle, batch, args.bare_seconds)
    assert result is not None
    return {
        "shape": result.shape,
        "tiles": result.tiles,
        "tile_px": bundle.spec.patch_px,
        "batch": batch,
        "views": bundle.spec.test_flips,
        "threads": torch.get_num_threads(),
        "polygons": result.polygons,
        "seconds": result.seconds,
        "map_s_per_tile": round(statistics.median(mapped), 4),
        "bare_s_per_tile": round(statistics.median(bare), 4),
        "time_ratio": round(statistics.median(mapped) / statistics.median(bare), 3),
        "peak_mib": round(peak_mib(), 1),
    }


def run_one(args: argparse.Namespace, scene: Path) -> dict[str, object]:
    """Measure one scene in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", str(scene)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a narrow network: memory only")
    parser.add_argument("--model", help=f"bundle; {SHIPPED} by default where it is shipped")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tile-px", type=int)
    parser.add_argument("--side", type=int, default=SIDE_PX, help="side of the mosaic, pixels")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--bare-seconds", type=float, default=10.0)
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("--temp", help="folder for the mosaic and the maps")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--only-scene", action="store_true", help="leave the mosaic out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = parse()
    if args.one:
        print(json.dumps(measure(args)))
        return 0
    if not SCENE.is_file():
        print(f"skipped: {SCENE.name} is absent, there is no ../shared/data here")
        return 0
    figures: dict[str, object] = {"network": "small" if args.small else "bundle"}
    figures["scene"] = scene = run_one(args, SCENE)
    rows = [("scene", scene)]
    if not args.only_scene:
        with tempfile.TemporaryDirectory(dir=args.temp) as folder:
            mosaic = Path(folder) / "mosaic.tif"
            write_mosaic(mosaic, args.side)
            figures["mosaic"] = large = run_one(args, mosaic)
        rows.append(("mosaic", large))
        figures["memory_ratio"] = round(float(large["peak_mib"]) / float(scene["peak_mib"]), 3)
    for name, row in rows:
        print(
            f"{name:8}{row['shape']!s:18}{row['tiles']:>5} tiles  map {row['map_s_per_tile']:.3f} s"
            f"  bare {row['bare_s_per_tile']:.3f} s a tile  ratio {row['time_ratio']:.2f}"
            f"  peak {row['peak_mib']:,.0f} MiB  {row['polygons']} polygons"
        )
    if "memory_ratio" in figures:
        print(f"memory ratio {figures['memory_ratio']} (at most {MEMORY_LIMIT})")
    if not args.small:
        print(f"time ratio wanted: at most {TIME_LIMIT}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
