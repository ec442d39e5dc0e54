"""``headframe underground frames`` and ``filter``: pictures out of videos, and the good ones."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def frames(
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEO...", help="Videos, or folders of them.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the pictures and frames.csv.")],
    every: Annotated[float | None, typer.Option(help="Seconds between frames.")] = None,
    count: Annotated[
        int | None,
        typer.Option(help="Frames a video: spread evenly, or the first so many with --every."),
    ] = None,
    as_: Annotated[str, typer.Option("--as", help="png or jpg.")] = "png",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG.")] = 92,
    as_json: AsJson = False,
) -> None:
    """Take frames out of videos, upright, named by video and time.

    MP4, MOV, MKV and what else FFmpeg reads, HEVC and variable frame rates included. Of a broken
    video what can be read is taken, and one line says so. Run the same command again to go on.

    Examples:

        headframe underground frames shift.mp4 --every 2 --out frames

        headframe underground frames videos --every 0.5 --count 100 --out frames

        headframe underground frames a.mp4 b.mov --count 80 --as jpg --out frames
    """
    import logging

    from headframe.cli import console
    from headframe.underground.frames import FrameOptions, extract_frames, find_videos

    options = FrameOptions(every, count, f".{as_.lower().lstrip('.')}", quality)
    with console.progress() as bar:
        report = extract_frames(find_videos(videos), out, options=options, progress=bar)
    for trouble in report.troubles:
        logging.getLogger("headframe").warning(trouble)
    if as_json:
        console.emit_json(report)
        return
    names = {row.video for row in report.rows}
    console.say(
        f"{out}: {len(report.rows)} frames of {len(names)} videos, {report.written} of them new."
    )


def filter_command(
    sources: Annotated[
        list[Path], typer.Argument(metavar="FRAMES...", help="Photographs, or folders of them.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for tables, sheets and copies.")],
    dark_mean: Annotated[float, typer.Option(help="Dark: mean luma below this, 0-255, and")] = 12,
    dark_p95: Annotated[float, typer.Option(help="its 95th percentile below this.")] = 40,
    blur: Annotated[float, typer.Option(help="Blurred: sharpness below this.")] = 30,
    min_levels: Annotated[int, typer.Option(help="Collapsed: fewer grey levels.")] = 16,
    hash_distance: Annotated[int, typer.Option(help="Repeated: bits of 64 at most, and")] = 4,
    ssim: Annotated[float, typer.Option(help="structural similarity above this.")] = 0.95,
    lookback: Annotated[int, typer.Option(help="Kept frames that one is compared with.")] = 1,
    margin: Annotated[float, typer.Option(help="For review: share of a threshold.")] = 0.25,
    least_lit: Annotated[float, typer.Option(help="For review: share lit below this.")] = 0.1,
    faces: Annotated[str, typer.Option(help="report, blur or off.")] = "report",
    detector: Annotated[
        str | None,
        typer.Option(help="A chain's name or folder: frames on which it finds nothing go out."),
    ] = None,
    detector_score: Annotated[
        float, typer.Option(help="Its objects of at least this score count, 0-1.")
    ] = 0.5,
    device: Annotated[str, typer.Option(help="Of --detector: auto, cpu, cuda ...")] = "auto",
    copy: Annotated[bool, typer.Option("--copy", help="Copy kept frames to OUT/kept.")] = False,
    review: Annotated[
        bool, typer.Option("--review", help="Print the frames that a person should look at.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sort frames: dark, blurred, repeated and collapsed ones out, with every score in a table.

    Writes filter.csv, review.csv, kept.txt and contact sheets of kept and rejected frames. With
    --detector frames without any target object go out too. Faces are found where they are upright
    and lit; look at what is published all the same.

    Examples:

        headframe underground filter frames --out filtered

        headframe underground filter frames --blur 60 --lookback 5 --out filtered --review

        headframe underground filter frames --faces blur --out to-publish

        headframe underground filter frames --detector dis-mine-person --out with-people
    """
    from headframe.cli import console
    from headframe.io.files import make_folder
    from headframe.io.images import find_images
    from headframe.underground.filter_report import write_decisions
    from headframe.underground.frame_filter import JOURNAL, FilterOptions, judge_frames

    options = FilterOptions(
        dark_mean=dark_mean,
        dark_p95=dark_p95,
        blur=blur,
        min_levels=min_levels,
        hash_distance=hash_distance,
        ssim=ssim,
        lookback=lookback,
        margin=margin,
        least_lit=least_lit,
        faces=faces,
    )
    files = find_images(sources)
    targets = None
    if detector is not None:
        from headframe.underground.targets import detector_targets

        targets = detector_targets(detector, score=detector_score, device=device)
    make_folder(out)
    with console.progress() as bar:
        judged = judge_frames(
            files, options=options, journal=out / JOURNAL, count_targets=targets, progress=bar
        )
        decisions = list(judged)
        write_decisions(decisions, out, options=options, copy=copy)
    reasons: dict[str, int] = {}
    for name in (name for decision in decisions for name in decision.reasons):
        reasons[name] = reasons.get(name, 0) + 1
    kept = sum(decision.kept for decision in decisions)
    looked = [decision for decision in decisions if decision.review]
    shown = [(d.file.name, "kept" if d.kept else "rejected", "; ".join(d.review)) for d in looked]
    if as_json:
        console.emit_json(
            {"frames": len(files), "kept": kept, "rejected": reasons, "review": shown}
        )
        return
    console.say(f"{out}: {kept} of {len(files)} frames kept; {len(looked)} to review.")
    if reasons:
        console.table("Rejected", ("reason", "frames"), sorted(reasons.items()))
    if review and shown:
        console.table("To review", ("frame", "decision", "why"), shown)
