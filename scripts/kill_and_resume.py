"""Kill `label`, `train` and `map` with SIGKILL at random moments and check what a rerun leaves.

The rerun must give what an undisturbed run gives: for `label` and `map` the same files, byte for
byte (but for times of day in JSON); for `train` the same steps on the same batches, losses
within 1e-4.

    python scripts/kill_and_resume.py              # ten times each
    python scripts/kill_and_resume.py map --times 3 --seed 5 --keep kills
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform

TIMES_OF_DAY = frozenset({"created", "updated", "seconds", "wall_seconds", "date", "started"})
LOSS_TOLERANCE = 1e-4
Process = subprocess.Popen[bytes]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OGR_CURRENT_DATE": "2026-01-01T00:00:00.000Z",  # else a GeoPackage notes when it was written
}


@dataclass(frozen=True)
class Job:
    """A command that can be killed.

    Attributes:
        words: the command without the program's name; ``{out}`` stands for its output.
        again: words added to the rerun.
        differences: compares the output folders of two runs, giving what differs.
    """

    words: tuple[str, ...]
    again: tuple[str, ...]
    differences: Callable[[Path, Path], list[str]]

    def command(self, out: Path, *, rerun: bool = False) -> list[str]:
        words = [word.replace("{out}", str(out)) for word in self.words]
        program = [sys.executable, "-c", "from headframe.cli.main import main; main()"]
        return [*program, *words, *(self.again if rerun else ())]


@dataclass(frozen=True)
class Outcome:
    """One kill.

    Attributes:
        after_s: when, in seconds from when the job began to write into its folder.
        in_time: whether the job was still at work.
        faults: what the rerun got wrong.
    """

    after_s: float
    in_time: bool
    faults: list[str]


# --- the input: a few drawn chips of three sites, each with one bright rectangle ---------------


def draw_input(folder: Path, *, chips: int, size: int, scene: int) -> None:
    """Write ``images/<site>/NNNNN.tif``, ``sites.kml`` and ``scene.tif``."""
    marks = []
    for number in range(chips):
        site = f"site{number % 4}"
        path = folder / "images" / site / f"{number // 4:05d}.tif"
        west, north = 500_000 + 40_000 * (number % 4), 7_800_000 - 20 * size * (number // 4)
        box = write_scene(path, size, (west, north), seed=number)
        marks.append(placemark(site, box))
    write_scene(folder / "scene.tif", scene, (300_000, 7_500_000), seed=99)
    header = '<?xml version="1.0" encoding="UTF-8"?><kml xmlns="http://www.opengis.net/kml/2.2">'
    text = f"{header}<Document>{''.join(marks)}</Document></kml>"
    (folder / "sites.kml").write_text(text, encoding="utf-8")


def write_scene(
    path: Path, size: int, corner: tuple[float, float], *, seed: int
) -> tuple[float, float, float, float]:
    """Write a 3-band Sentinel-2-like scene; give the bright rectangle in metres."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size]
    pixels = 700 + 200 * np.sin(rows / 31) + 150 * np.cos(cols / 17)
    pixels = pixels + rng.normal(0, 40, (3, size, size))
    top, left = (int(v) for v in rng.integers(size // 8, size // 3, 2))
    high, wide = size // 3, size // 4
    pixels[:, top : top + high, left : left + wide] += np.array([900, 1100, 1500])[:, None, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "height": size, "width": size, "count": 3, "dtype": "uint16"}
    place = {"crs": "EPSG:32723", "transform": from_origin(*corner, 10, 10), "nodata": 0}
    with rasterio.open(path, "w", **profile, **place, tiled=True) as file:
        file.write(pixels.clip(1, 9000).astype(np.uint16))
        file.descriptions = ("B02", "B03", "B04")
    x, y = corner
    return (x + 10 * left, y - 10 * (top + high), x + 10 * (left + wide), y - 10 * top)


def placemark(site: str, box: tuple[float, float, float, float]) -> str:

    west, south, east, north = box
    xs, ys = [west, east, east, west, west], [south, south, north, north, south]
    lon, lat = transform("EPSG:32723", "EPSG:4326", xs, ys)
    ring = " ".join(f"{x:.8f},{y:.8f}" for x, y in zip(lon, lat, strict=True))
    return (
        f"<Placemark><name>{site}</name><ExtendedData><Data name='site'><value>{site}</value>"
        f"</Data></ExtendedData><Polygon><outerBoundaryIs><LinearRing><coordinates>{ring}"
        "</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark>"
    )


def write_recipe(path: Path, *, steps: int) -> None:
    path.write_text(
        f"""
name: kill
model: {{architecture: unet, init: none}}
data: {{all_sites: true}}
train: {{steps: {steps}, batch: 2, crop_px: 64, checkpoint_every: {max(2, steps // 8)}}}
augment: {{scale: 1.2, gain: 0.1, noise: 0.05}}
""",
        encoding="utf-8",
    )


# --- comparing -----------------------------------------------------------------------------------


def same_files(left: Path, right: Path) -> list[str]:
    """Name the files of two folders that differ, half-written ones included."""
    names = {p.relative_to(left) for p in left.rglob("*") if p.is_file()}
    others = {p.relative_to(right) for p in right.rglob("*") if p.is_file()}
    faults = [f"only in one of the two: {name}" for name in sorted(names ^ others)]
    faults += [f"left behind: {n}" for n in sorted(others) if ".part" in n.name]
    return faults + [
        f"differs: {name}"
        for name in sorted(names & others)
        if content(left / name, left) != content(right / name, right)
    ]


def content(path: Path, root: Path) -> bytes:
    """Give a file's bytes, without its own folder and, in JSON, without times of day."""
    raw = path.read_bytes().replace(str(root).encode(), b"OUT")
    if path.suffix not in (".json", ".geojson"):
        return raw
    return json.dumps(timeless(json.loads(raw)), sort_keys=True).encode()


def timeless(value: object) -> object:
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES_OF_DAY}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def same_training(left: Path, right: Path) -> list[str]:
    """Compare steps, batches and losses of two run folders, and that both ended."""
    faults = [
        f"{folder}: no {name}"
        for folder in (left, right)
        for name in ("result.json", "bundle/model.safetensors", "metrics.csv")
        if not (folder / name).is_file()
    ]
    faults += [f"left behind: {p}" for p in right.rglob(".part*")]
    if faults:
        return faults
    rows, others = (read_rows(folder / "metrics.csv") for folder in (left, right))
    if [(r["step"], r["batch"]) for r in rows] != [(r["step"], r["batch"]) for r in others]:
        faults.append(f"steps or batches differ ({len(rows)} against {len(others)} steps)")
    gap = max(abs(float(a["loss"]) - float(b["loss"])) for a, b in zip(rows, others, strict=False))
    if not gap <= LOSS_TOLERANCE:
        faults.append(f"losses differ by up to {gap:.2g}")
    return faults


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- killing ------------------------------------------------------------------------------------


def complete(job: Job, out: Path, *, rerun: bool = False) -> float:
    """Run a job to its end; give the seconds from when it began to write to its end."""
    with tempfile.TemporaryFile("w+") as log:
        process = start(job.command(out, rerun=rerun), log)
        await_work(process, out)
        began = time.monotonic()
        if process.wait() != 0:
            log.seek(0)
            said = log.read()
            raise SystemExit(f"{' '.join(job.words)} ended with {process.returncode}:\n{said}")
    return time.monotonic() - began


def start(command: list[str], log: IO[str] | int, *, own_group: bool = False) -> Process:
    environment = os.environ | ENVIRONMENT
    return subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, start_new_session=own_group
    )


def await_work(process: Process, out: Path) -> None:
    """Wait until a job has something in its folder: before, there is nothing to lose."""
    while process.poll() is None and not (out.is_dir() and any(out.iterdir())):
        time.sleep(0.01)


def kill_once(job: Job, reference: Path, out: Path, *, after_s: float) -> Outcome:
    """Start, kill -9 ``after_s`` after work began, run again, compare with ``reference``."""
    victim = start(job.command(out), subprocess.DEVNULL, own_group=True)
    await_work(victim, out)
    try:
        victim.wait(after_s)
        in_time = False
    except subprocess.TimeoutExpired:
        victim.kill()  # the process alone, as a person or the kernel would; its workers must cope
        victim.wait()
        in_time = True
    try:
        complete(job, out, rerun=True)
    finally:
        kill_group(victim.pid)
    return Outcome(after_s, in_time, job.differences(reference, out))


def kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def jobs(folder: Path, *, steps: int) -> dict[str, Job]:
    """The three jobs on the input in ``folder``, in the order in which they need each other."""
    images, polygons = folder / "images", folder / "sites.kml"
    label = ("label", str(images), "--polygons", str(polygons), "--preset", "plain")
    write_recipe(folder / "recipe.yaml", steps=steps)
    train = ("train", str(folder / "recipe.yaml"), "--data", str(folder / "label" / "reference"))
    model = folder / "train" / "reference"
    scene = ("map", str(folder / "scene.tif"), "--model", str(model), "--scores")
    cpu = ("--accelerator", "cpu")
    return {
        "label": Job((*label, "--out", "{out}"), (), same_files),
        "train": Job((*train, *cpu, "--out", "{out}"), ("--resume",), same_training),
        "map": Job((*scene, "--out", "{out}"), (), same_files),
    }


def check(folder: Path, names: list[str], *, times: int, seed: int, small: bool) -> list[Outcome]:
    """Kill the jobs called ``names`` ``times`` times each, at work, and say how it went.

    The others are only run where a later one needs their output.
    """
    rng = random.Random(seed)
    chips, size, scene, steps = (8, 128, 640, 8) if small else (160, 256, 4000, 48)
    draw_input(folder, chips=chips, size=size, scene=scene)
    outcomes = []
    for name, job in jobs(folder, steps=steps).items():
        reference = folder / name / "reference"
        duration = complete(job, reference)
        killed = tries = 0
        while killed < (times if name in names else 0) and tries < 3 * times:
            out = folder / name / f"killed-{tries:02d}"
            # a job that came to its end was no kill: try again, sooner
            after_s = rng.uniform(0, 1) * duration * 0.8 ** (tries - killed)
            outcome = kill_once(job, reference, out, after_s=after_s)
            outcomes.append(outcome)
            killed += outcome.in_time
            tries += 1
            state = "killed" if outcome.in_time else "had ended"
            verdict = "; ".join(outcome.faults) or "same"
            when = f"{outcome.after_s:5.1f} of {duration:.1f} s of work"
            print(f"{name:6s} {state} at {when}: {verdict}")
        if name == names[-1]:
            break
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = ("label", "train", "map")
    parser.add_argument("verbs", nargs="*", help=f"of {', '.join(verbs)}; all by default")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="the size that the tests take")
    parser.add_argument("--keep", type=Path, help="work here and keep it")
    options = parser.parse_args()
    unknown = set(options.verbs) - set(verbs)
    if unknown:
        parser.error(f"unknown verb {unknown}")
    names = [v for v in verbs if v in (options.verbs or verbs)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        outcomes = check(folder, names, times=options.times, seed=options.seed, small=options.small)
    bad = sum(bool(outcome.faults) for outcome in outcomes)
    killed = sum(outcome.in_time for outcome in outcomes)
    print(f"{killed} kills in {len(outcomes)} tries, {bad} reruns with other output")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
