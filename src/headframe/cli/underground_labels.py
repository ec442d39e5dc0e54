"""``headframe underground import`` and ``export``: labels from one file format to another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headframe.datasets.instances import InstanceSet, Problem

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Merge = Annotated[
    list[str] | None,
    typer.Option(help="Join classes: road+wall+roof=surrounding. May be repeated."),
]
ClassKey = Annotated[
    str | None, typer.Option(help="Attribute of VIA's regions that holds the class.")
]

FORMATS = ("via", "coco", "yolo", "lis", "dslmf", "imagemine")


def import_labels(
    source: Annotated[Path, typer.Argument(help="File or folder of labels.")],
    *,
    out: Annotated[Path, typer.Option(help="COCO file to write.")],
    as_: Annotated[
        str | None, typer.Option("--as", help=f"{', '.join(FORMATS)}; else told by its content.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photographs of a VIA file.")
    ] = None,
    class_key: ClassKey = None,
    light: Annotated[str, typer.Option(help="Of LIS: dark or normal.")] = "dark",
    split: Annotated[str, typer.Option(help="Of LIS: train, test or traintest.")] = "train",
    which: Annotated[str, typer.Option(help="Of ImageMine: all, manual or auto.")] = "all",
    merge: Merge = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out regions with errors, and list them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read labels of any format and write them as COCO.

    VIA 2 (annotations or project, every shape), COCO, YOLO, and the folders of LIS, DsLMF+ and
    ImageMine. A VIA file with errors is not imported: they are listed by photograph and region,
    and the command exits 2.

    Examples:

        headframe underground import via.json --images frames --out instances.json

        headframe underground import LIS --as lis --light dark --split test --out lis.json

        headframe underground import via.json --merge road+wall+roof=surrounding --out four.json
    """
    from headframe.cli import console
    from headframe.core.errors import UnknownNameError
    from headframe.datasets import mine_layouts
    from headframe.datasets.coco import read_coco, write_coco
    from headframe.datasets.instances import merge_classes
    from headframe.datasets.via import read_via
    from headframe.datasets.yolo_seg import read_yolo

    kind = as_ or _recognise(source)
    if kind not in FORMATS:
        raise UnknownNameError.of("format", kind, FORMATS)
    problems: Sequence[Problem] = ()
    if kind == "via":
        reading = read_via(source, images=images, class_key=class_key)
        labels, problems = reading.labels, reading.problems
        if problems and not skip_bad:
            _list_problems(problems, as_json=as_json)
            raise typer.Exit(2)
    elif kind == "lis":
        labels = mine_layouts.read_lis(source, light=light, split=split)
    elif kind == "imagemine":
        labels = mine_layouts.read_imagemine(source, class_key=class_key, which=which)
    elif kind == "dslmf":
        labels = mine_layouts.read_dslmf(source)
    else:
        labels = read_coco(source) if kind == "coco" else read_yolo(source)
    labels = merge_classes(labels, merge or [])
    written = write_coco(labels, out)
    if as_json:
        counts = labels.count()
        console.emit_json(
            {"images": len(labels.images), "annotations": written, "classes": counts,
             "problems": problems}
        )  # fmt: skip
        return
    if problems:
        _list_problems(problems, as_json=False)
    _say(labels, f"{out}: {len(labels.images)} photographs, {written} annotations ({kind}).")


def export_labels(
    source: Annotated[Path, typer.Argument(metavar="INSTANCES", help="COCO file.")],
    *,
    out: Annotated[Path, typer.Option(help="File (via, coco) or folder (yolo) to write.")],
    as_: Annotated[str, typer.Option("--as", help="via, coco or yolo.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photographs, copied along for yolo.")
    ] = None,
    class_key: ClassKey = None,
    regions_as: Annotated[
        str, typer.Option(help="Of VIA: list, or dict as VIA 1 had it.")
    ] = "list",
    merge: Merge = None,
    as_json: AsJson = False,
) -> None:
    """Write the labels of a COCO file as VIA, YOLO-seg or COCO.

    What came from VIA keeps its shapes: VIA to COCO to VIA loses no region.

    Examples:

        headframe underground export instances.json --as via --out via.json

        headframe underground export instances.json --as yolo --images frames --out yolo
    """
    from headframe.cli import console
    from headframe.core.errors import UnknownNameError
    from headframe.datasets.coco import read_coco, write_coco
    from headframe.datasets.instances import merge_classes
    from headframe.datasets.via import write_via
    from headframe.datasets.yolo_seg import write_yolo

    labels = merge_classes(read_coco(source), merge or [])
    if regions_as not in {"list", "dict"}:
        raise UnknownNameError.of("layout of regions", regions_as, ("list", "dict"))
    if as_ == "via":
        key = class_key or "class"
        written = write_via(labels, out, class_key=key, regions_as=regions_as)
    elif as_ == "yolo":
        written = write_yolo(labels, out, images=images)
    elif as_ == "coco":
        written = write_coco(labels, out)
    else:
        raise UnknownNameError.of("format", as_, ("via", "yolo", "coco"))
    if as_json:
        console.emit_json(
            {"images": len(labels.images), "regions": written, "classes": labels.count()}
        )
        return
    _say(labels, f"{out}: {len(labels.images)} photographs, {written} regions ({as_}).")


def _recognise(source: Path) -> str:
    """Tell a format by what is there; errors are left to its reader."""
    if source.is_dir():
        if (source / "RGB-dark").is_dir() or (source / "RGB-normal").is_dir():
            return "lis"
        if any((source / name).exists() for name in ("data.yaml", "classes.txt", "labels")):
            return "yolo"
        return "imagemine"
    if not source.is_file():
        return "via"
    text = source.read_text(encoding="utf-8", errors="replace")
    return "coco" if '"annotations"' in text and '"categories"' in text else "via"


def _list_problems(problems: "Sequence[Problem]", *, as_json: bool) -> None:
    from headframe.cli import console

    if as_json:
        console.emit_json({"problems": problems})
        return
    rows = [(p.image, p.region, p.message) for p in problems]
    console.table(f"{problems[0].file}: errors", ("photograph", "region", "what"), rows)


def _say(labels: "InstanceSet", line: str) -> None:
    from headframe.cli import console

    console.table("Classes", ("class", "regions"), list(labels.count().items()))
    console.say(line)
