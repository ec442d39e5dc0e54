"""Films to try the underground chain on: made, read at full speed, and run for an hour.

    python scripts/underground_film.py make frames/*.jpg --out shift.mp4 --broken 0.15
    python scripts/underground_film.py decode shift.mp4            # frames a second of reading it
    python scripts/underground_film.py decode --draw 2160 3840 60  # of a drawn 4K film at 60 Hz
    python scripts/underground_film.py hour --model chain --out hour --every 1

`make` shows each photograph through a crop that moves and grows, cuts to the next, and may break
off. `hour` draws an hour of film, runs `headframe underground run` over it, and watches its memory.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import psutil

from headframe.io.images import Pixels, find_images, read_image
from headframe.io.video import VideoReader, VideoWriter

HOUR_PX, HOUR_RATE, HOUR_S = (144, 256), 5, 3600
_CUT_S, _ZOOM = 40, 0.6


def moving_crop(
    pixels: Pixels, size: tuple[int, int], count: int, rng: np.random.Generator
) -> Iterator[Pixels]:
    """Show a photograph (H, W, 3) through a crop that moves from one place to another.

    Args:
        pixels: the photograph.
        size: (h, w) of the frames.
        count: how many.
        rng: chooses the places.

    Yields:
        Frames (h, w, 3) uint8.
    """
    height, width = pixels.shape[:2]
    largest = min(height / size[0], width / size[1])
    ends = rng.uniform(0, 1, (2, 2))
    for share in np.linspace(0, 1, count):
        scale = largest * (_ZOOM + (1 - _ZOOM) / 2 * share)
        tall, wide = size[0] * scale, size[1] * scale
        place = ends[0] + (ends[1] - ends[0]) * share
        top, left = place[0] * (height - tall), place[1] * (width - wide)
        matrix = np.array([[scale, 0, left], [0, scale, top]])
        shown = cv2.warpAffine(
            pixels, matrix, size[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        yield np.asarray(shown, np.uint8)


def make(given: argparse.Namespace) -> None:
    """Write a film of photographs; cut its end off where that is asked for."""
    rng = np.random.default_rng(given.seed)
    count = round(given.seconds * given.rate)
    with VideoWriter(given.out, rate=given.rate) as writer:
        for path in find_images(given.sources):
            pixels = read_image(path)
            for frame in moving_crop(pixels, tuple(given.size), count, rng):
                dim = frame.astype(np.float32) * given.light
                noise = rng.normal(0, given.noise, frame.shape) if given.noise else 0
                writer.write(np.rint(dim + noise).clip(0, 255).astype(np.uint8))
    if given.broken:
        whole = given.out.read_bytes()
        given.out.write_bytes(whole[: round(len(whole) * (1 - given.broken))])
    say(f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB")


class Counting:
    """Wants every so many-th frame, or with 0 none, and counts all.

    Attributes:
        count: how many frames came.
    """

    def __init__(self, every: int) -> None:
        self.count = 0
        self._every = every

    def __call__(self, index: int, pts: int | None, seconds: float) -> bool:
        self.count += 1
        return bool(self._every) and index % self._every == 0


def decode(given: argparse.Namespace) -> None:
    """Tell frames a second of reading films: only decoded, every tenth as RGB, all as RGB."""
    films = list(given.films)
    if given.draw:
        height, width, rate = given.draw
        films.append(given.out)
        draw(given.out, size=(height, width), count=given.frames, rate=rate)
        if given.hevc:
            films.append(given.out.with_suffix(".hevc.mp4"))
            as_hevc(given.out, films[-1])
    for film in films:
        for label, every in (("decoded", 0), ("every tenth as RGB", 10), ("all as RGB", 1)):
            wall, cpu = time.perf_counter(), time.process_time()
            with VideoReader(film) as reader:
                told = reader.info
                wanted = Counting(every)
                for _ in reader.frames(wanted):
                    pass
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            count = wanted.count
            say(
                f"{film}: {told.width} x {told.height} {told.codec}, {label}: {count} frames, "
                f"{count / wall:.1f} a second, {count / cpu:.1f} a processor second"
            )


def as_hevc(film: Path, out: Path) -> None:
    """Write a film again as mine cameras do, in HEVC."""
    with VideoReader(film) as reader, av.open(str(out), "w") as container:
        stream = container.add_stream("libx265", rate=reader.info.rate)
        stream.width, stream.height, stream.pix_fmt = (
            reader.info.width,
            reader.info.height,
            "yuv420p",
        )
        stream.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
        for frame in reader.frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")))
        container.mux(stream.encode(None))


def draw(path: Path, *, size: tuple[int, int], count: int, rate: float) -> None:
    """Write a drawn film: floor, walls, a lamp and a walker, with grain and cuts."""
    rng = np.random.default_rng(0)
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    grain = rng.normal(0, 3, (height + 16, width + 16)).astype(np.float32)
    with VideoWriter(path, rate=rate) as writer:
        for number in range(count):
            cut, at = divmod(number, round(_CUT_S * rate))
            lamp_x = width * (0.2 + 0.6 * (at / (_CUT_S * rate))) + 3 * cut
            near = ((columns - lamp_x) ** 2 + (rows - height / 3) ** 2) / (height / 3) ** 2
            dy, dx = rng.integers(0, 16, 2)
            luma = 30 + 20 * np.sin(columns / 9 + cut) * (rows > height * 0.6) + 150 * np.exp(-near)
            luma += grain[dy : dy + height, dx : dx + width]
            left = int(width * ((at / (4 * rate)) % 1))
            luma[height // 3 : height * 5 // 6, left : left + width // 10] += 60
            frame = np.repeat(luma.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            writer.write(frame)


def hour(given: argparse.Namespace) -> None:
    """Run the chain over an hour of film; write what memory it holds every second."""
    film = given.out.with_suffix(".mp4")
    if not film.is_file():
        draw(film, size=HOUR_PX, count=given.seconds * HOUR_RATE, rate=HOUR_RATE)
    words = ["underground", "run", str(film), "--model", given.model, "--out", str(given.out)]
    words += ["--every", str(given.every), "--filter", "off", "--json"]
    program = [sys.executable, "-c", "from headframe.cli.main import main; main()"]
    began, used = time.monotonic(), []
    with subprocess.Popen([*program, *words], stdout=subprocess.DEVNULL) as running:
        watched = psutil.Process(running.pid)
        while running.poll() is None:
            journal = given.out / "segment.jsonl"
            size = journal.stat().st_size if journal.is_file() else 0
            memory = watched.memory_info().rss / 1e6 if watched.is_running() else 0.0
            used.append((round(time.monotonic() - began), round(memory, 1), size))
            time.sleep(given.sample)
    if running.returncode:
        raise SystemExit(running.returncode)
    at_work = [memory for _, memory, size in used if size]
    quarter = max(len(at_work) // 4, 1)
    early, late = (
        float(np.mean(part)) for part in (at_work[quarter : 2 * quarter], at_work[-quarter:])
    )
    given.out.joinpath("memory.json").write_text(json.dumps(used), encoding="utf-8")
    say(
        f"{given.seconds} s of film in {used[-1][0]} s: {early:.0f} MB in the second quarter, "
        f"{late:.0f} MB in the last, {max(at_work):.0f} MB at most"
    )


def say(line: str) -> None:
    """Tell a result."""
    sys.stdout.write(line + "\n")


def parser() -> argparse.ArgumentParser:
    """Give the command line."""
    whole = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    verbs = whole.add_subparsers(required=True)
    one = verbs.add_parser("make", help="a film of photographs")
    one.add_argument("sources", type=Path, nargs="+", help="photographs, or folders of them")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--seconds", type=float, default=2.0, help="of each photograph")
    one.add_argument("--rate", type=float, default=10.0, help="frames a second")
    one.add_argument("--size", type=int, nargs=2, default=(720, 1280), help="height and width")
    one.add_argument("--light", type=float, default=1.0, help="share of the light left")
    one.add_argument("--noise", type=float, default=0.0, help="deviation, of 255")
    one.add_argument("--broken", type=float, default=0.0, help="share of the file to cut off")
    one.add_argument("--seed", type=int, default=0)
    one.set_defaults(do=make)
    two = verbs.add_parser("decode", help="frames a second of reading")
    two.add_argument("films", type=Path, nargs="*")
    two.add_argument("--draw", type=int, nargs=3, metavar=("HEIGHT", "WIDTH", "RATE"))
    two.add_argument("--hevc", action="store_true", help="the drawn film in HEVC too")
    two.add_argument("--frames", type=int, default=60, help="of the drawn film")
    two.add_argument("--out", type=Path, default=Path("drawn.mp4"), help="the drawn film")
    two.set_defaults(do=decode)
    three = verbs.add_parser("hour", help="memory through an hour of film")
    three.add_argument("--model", required=True)
    three.add_argument("--out", type=Path, required=True)
    three.add_argument("--every", type=float, default=1.0, help="seconds between frames")
    three.add_argument("--seconds", type=int, default=HOUR_S, help="length of the film")
    three.add_argument("--sample", type=float, default=1.0, help="seconds between measurements")
    three.set_defaults(do=hour)
    return whole


def main(words: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    given = parser().parse_args(words)
    given.do(given)


if __name__ == "__main__":
    main()
