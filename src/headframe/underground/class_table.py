"""Tables of class removal, as the paper's Table III."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from headframe.io.files import replacing, write_text
from headframe.metrics.instances import TABLE_III, InstanceReport, table_three
from headframe.underground.drawn_sources import DRAWN_NOTE

_MEASURES = ("f1", "pixel_f1", "iou", "mask_ap50")
_COLUMNS = ("variant", "removed", "light", "photographs", "class", *_MEASURES, "iou_change")


@dataclass(frozen=True)
class VariantRow:
    """One set of classes in one light.

    Attributes:
        variant: its name.
        removed: classes that were not learnt.
        light: share of the light.
        report: measures of the classes that were.
    """

    variant: str
    removed: tuple[str, ...]
    light: float
    report: InstanceReport


def write_class_tables(
    rows: Sequence[VariantRow], out: Path, *, method: str, drawn: bool = False
) -> None:
    """Write ``classes.csv``, ``classes.md`` and ``classes.png`` into ``out``.

    Args:
        rows: of every variant in every light; the first variant is what others are compared with.
        out: folder.
        method: what was trained.
        drawn: what was held out is drawn: the table says so.
    """
    base = {row.light: row.report for row in rows if row.variant == rows[0].variant}
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerows(_lines(row, base[row.light]))
    write_text(out / "classes.csv", text.getvalue())
    write_text(out / "classes.md", _markdown(rows, base, method=method, drawn=drawn))
    _draw(rows, out / "classes.png")


def _lines(row: VariantRow, base: InstanceReport) -> list[dict[str, object]]:
    lines = []
    for name, measures in row.report.per_class.items():
        before = base.per_class.get(name)
        change = math.nan if before is None else measures["iou"] - before["iou"]
        line: dict[str, object] = {
            "variant": row.variant,
            "removed": "+".join(row.removed),
            "light": row.light,
            "photographs": row.report.images,
            "class": name,
        }
        line |= {measure: round(measures[measure], 4) for measure in _MEASURES}
        lines.append(line | {"iou_change": "" if math.isnan(change) else round(change, 4)})
    return lines


def _markdown(
    rows: Sequence[VariantRow],
    base: Mapping[float, InstanceReport],
    *,
    method: str,
    drawn: bool,
) -> str:
    text = [DRAWN_NOTE, ""] if drawn else []
    text += [
        f"Method: {method}. Means over the classes that are left, percent; beside them the same",
        "classes where all were learnt. A class that is several joined counts in neither mean.",
        "",
        "| variant | light | F1@0.5 | mIoU | F1@0.5, all learnt | mIoU, all learnt |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        kept = [name for name in row.report.per_class if name in base[row.light].per_class]
        cells = [_mean(row.report, name, kept) for name in ("f1", "iou")]
        cells += [_mean(base[row.light], name, kept) for name in ("f1", "iou")]
        text.append(f"| {row.variant} | {row.light:g} | {' | '.join(cells)} |")
    text += ["", "As the paper lays out its Table III; F1 of objects at IoU 0.5, pooled IoU."]
    for row in rows:
        text += ["", f"**{row.variant}, light {row.light:g}**", ""]
        text += [f"| {' | '.join(TABLE_III)} |", "|---" * len(TABLE_III) + "|"]
        text += [f"| {' | '.join(cells)} |" for cells in table_three(row.report)]
    return "\n".join(text) + "\n"


def _mean(report: InstanceReport, measure: str, classes: Sequence[str]) -> str:
    values = [report.per_class[name][measure] for name in classes]
    known = [value for value in values if not math.isnan(value)]
    return f"{100 * sum(known) / len(known):.1f}" if known else "-"


def _draw(rows: Sequence[VariantRow], path: Path) -> None:
    """Draw the IoU of every class in every variant, in the last light."""
    light = rows[-1].light
    own = [row for row in rows if row.light == light]
    classes = list(dict.fromkeys(name for row in own for name in row.report.per_class))
    values = np.array(
        [[row.report.per_class.get(n, {"iou": math.nan})["iou"] for n in classes] for row in own]
    )
    size = (1.1 * len(classes) + 2.6, 0.45 * len(own) + 1.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (at, column), value in np.ndenumerate(values):
        if not math.isnan(value):
            ink = "black" if value > 0.6 else "white"
            axes.text(column, at, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(own)), [row.variant for row in own])
    axes.set_title(f"IoU of pixels, light {light:g}", fontsize=10)
    figure.colorbar(image)
    with replacing(path) as part:
        figure.savefig(part, dpi=120)
