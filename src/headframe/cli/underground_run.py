"""``headframe underground run``: the whole chain, from the film to the film with masks."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="VIDEO|FRAMES...", help="Videos, photographs, folders of them."),
    ],
    *,
    model: Annotated[str, typer.Option(help="A chain's name or folder, or a detector's folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    every: Annotated[float | None, typer.Option(help="Seconds between frames.")] = None,
    filter_: Annotated[
        str,
        typer.Option(
            "--filter",
            help="gentle: black and repeated frames are left out; strict: as underground filter; "
            "off.",
        ),
    ] = "gentle",
    score: Annotated[float, typer.Option(help="Objects of at least this score count, 0-1.")] = 0.5,
    overlay: Annotated[str, typer.Option(help="Draw on: bright, original; or off.")] = "bright",
    overlay_px: Annotated[
        int, typer.Option(help="Long side of the videos at most; 0: the input's.")
    ] = 1280,
    blur_faces: Annotated[
        bool, typer.Option("--blur-faces", help="Hide faces, and heads of people found.")
    ] = False,
    rate: Annotated[float, typer.Option(help="Frames a second of a folder of frames.")] = 10.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Frames, filter, enhancer, detector, SAM, fusion and a video with masks, in one go.

    Writes what `underground segment` writes, filter/ (every score and decision), and report.json,
    report.md and parts.png: frames a second of each part. A broken video gives what can be read,
    and one line. Run the same command again to go on where it stopped.

    Examples:

        headframe underground run shift.mp4 --model dis-mine-person --out shift

        headframe underground run frames --rate 5 --model dis-mine-person --out found

        headframe underground run shift.mp4 --every 0.5 --blur-faces --model chain --out shown
    """
    from headframe.cli.console import emit_json, progress, say
    from headframe.io.footage import find_sources

    find_sources(sources)  # what is not there is told before the seconds that torch takes to load
    from headframe.underground.run.job import RunOptions, run_whole
    from headframe.underground.segment.work import SegmentOptions

    drawn = SegmentOptions(score, overlay, overlay_px, every, blur_faces=blur_faces)
    with progress() as shown:
        report = run_whole(
            sources,
            model=model,
            out=out,
            options=RunOptions(drawn, filter_, rate),
            device=device,
            progress=shown,
        )
    if as_json:
        emit_json(report)
        return
    frames, told = report.report["frames"], report.totals
    failed = f", {len(report.failed)} files could not be read whole" if report.failed else ""
    say(
        f"{out}: {told['objects']} objects on {frames['looked_at']} of {frames['frames']} frames"
        f"{failed}; {out / 'report.md'} has the times."
    )
