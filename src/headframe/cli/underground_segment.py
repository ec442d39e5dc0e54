"""``headframe underground segment`` and ``pack``: the whole chain at work, and put together."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def segment(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES|VIDEO|CAMERA...",
            help="Photographs, videos, folders; or one camera: its number, or rtsp://...",
        ),
    ],
    *,
    model: Annotated[str, typer.Option(help="A chain's name or folder, or a detector's folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    score: Annotated[float, typer.Option(help="Objects of at least this score count, 0-1.")] = 0.5,
    overlay: Annotated[str, typer.Option(help="Draw on: bright, original; or off.")] = "bright",
    overlay_px: Annotated[
        int, typer.Option(help="Long side of pictures and videos at most; 0: the input's.")
    ] = 1280,
    every: Annotated[float | None, typer.Option(help="Seconds between frames of a video.")] = None,
    thermal: Annotated[
        Path | None, typer.Option(help="Thermal frames of the photographs: a folder, or one.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Play a video as a camera: drop frames, never lag.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(help="Stop a camera after so many seconds.")
    ] = None,
    blur_faces: Annotated[
        bool, typer.Option("--blur-faces", help="Hide faces, and heads of people found.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Find people, road and equipment on photographs, videos and cameras.

    Writes instances.json (COCO, every frame listed, masks in the photograph's own pixels),
    summary.csv and summary.json (the safe path frame by frame), overlays/ and videos/. Run the
    same command again to go on where it stopped.

    Examples:

        headframe underground segment frames --model dis-mine-person --out found

        headframe underground segment shift.mp4 --model dis-mine-person --every 0.5 --out found

        headframe underground segment 0 --model dis-mine-person --seconds 60 --out found

        headframe underground segment rgb --thermal thermal --model dis-mine-person --out found
    """
    from headframe.cli.console import emit_json, progress, say
    from headframe.io.camera import is_camera
    from headframe.io.footage import find_sources

    if not any(is_camera(source) for source in sources):
        find_sources([Path(source) for source in sources])  # told before torch is loaded
    from headframe.underground.segment.run import LiveOptions, segment_sources
    from headframe.underground.segment.work import SegmentOptions

    options = SegmentOptions(
        score=score,
        overlay=overlay,
        overlay_px=overlay_px,
        every_s=every,
        thermal=thermal,
        blur_faces=blur_faces,
    )
    with progress() as shown:
        report = segment_sources(
            sources,
            model=model,
            out=out,
            options=options,
            live=LiveOptions(live, seconds),
            device=device,
            progress=shown,
        )
    if as_json:
        emit_json(report)
        return
    failed = f", {len(report.failed)} files could not be read whole" if report.failed else ""
    dropped = f", {report.totals['dropped']} frames dropped" if report.totals["dropped"] else ""
    told = report.totals
    say(f"{out}: {told['objects']} objects on {told['frames']} frames{failed}{dropped}")


def pack(
    *,
    detector: Annotated[Path, typer.Option(help="Folder of a detector, or of its run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    name: Annotated[str, typer.Option(help="What the chain is called.")] = "dis-mine",
    prepare: Annotated[
        str | None,
        typer.Option(help="none, stretch, clahe, gamma, or an enhancer; else the detector's."),
    ] = None,
    sam: Annotated[Path | None, typer.Option(help="Folder of a SAM told boxes.")] = None,
    fusion: Annotated[
        str | None,
        typer.Option(help="intersection, weighted, boundary, gate, detector, sam; else SAM's."),
    ] = None,
    gate: Annotated[
        Path | None, typer.Option(help="The gate's numbers, for --fusion gate.")
    ] = None,
    sam_score: Annotated[float, typer.Option(help="Ask SAM about objects this sure, 0-1.")] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Put a detector, a SAM, an enhancer and a way of fusion into one folder.

    Examples:

        headframe underground pack --detector runs/person --out dis-mine-person

        headframe underground pack --detector runs/d --sam runs/s --fusion weighted --out chain
    """
    from headframe.cli.console import emit_json, say
    from headframe.underground.chain_bundle import PackChoice, pack_chain

    choice = PackChoice(name, prepare, fusion, gate, sam_score)
    size = pack_chain(detector, out, sam=sam, choice=choice)
    if as_json:
        emit_json({"out": out, "name": name, "bytes": size})
        return
    say(f"{out}: {name}, {size / 1e6:.1f} MB")
