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
