"""Tables of a comparison of chains: COCO's measures and the paper's layout, with a picture."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from headframe.io.files import replacing, write_text
from headframe.metrics.instances import (
    TABLE_II,
    InstanceEvaluation,
    InstanceReport,
    difference,
    table_two,
)
from headframe.underground.chain_plan import ChainPlan
from headframe.underground.drawn_sources import DRAWN_NOTE

_SHOWN = ("mask_ap", "mask_ap50", "box_ap50", "f1", "pixel_f1", "iou", "iou_imagewise")
_COMPARED = "mask_ap50"


@dataclass(frozen=True)
class LightRow:
    """One method in one light.

    Attributes:
        method: its name.
        light: share of the light.
        evaluation: all photographs that were held out.
    """

    method: str
    light: float
    evaluation: InstanceEvaluation

    @cached_property
    def report(self) -> InstanceReport:
        """Measures over all photographs."""
        return self.evaluation.report()

    def flat(self, plain: "LightRow") -> dict[str, Any]:
        """All figures in one level; the difference to ``plain`` in AP50 with its interval."""
        low = high = 0.0
        if self.method != plain.method:
            low, high = difference(self.evaluation, plain.evaluation, _COMPARED)
        mean = self.report.mean
        return {
            "method": self.method,
            "light": self.light,
            "photographs": self.report.images,
            **{name: round(mean[name], 4) for name in _SHOWN},
            "ap50_gain": round(mean[_COMPARED] - plain.report.mean[_COMPARED], 4),
            "ap50_gain_low": round(low, 4),
            "ap50_gain_high": round(high, 4),
        }


def write_tables(
    rows: Sequence[LightRow], out: Path, *, plan: ChainPlan, drawn: bool = False
) -> None:
    """Write ``table.csv``, ``table.md`` and ``table.png`` into ``out``.

    Args:
        rows: of every method in every light.
        out: folder.
        plan: the method that the others are compared with, and what a paper reports.
        drawn: what was held out is drawn: the table says so, and no paper's figures are in it.
    """
    base = {row.light: row for row in rows if row.method == plan.plain}
    lines = [row.flat(base[row.light]) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(out / "table.csv", text.getvalue())
    figures = {} if drawn else plan.figures
    note = f"{DRAWN_NOTE}\n\n" if drawn else ""
    write_text(out / "table.md", note + _markdown(rows, lines, figures))
    _draw(rows, out / "table.png")


def _markdown(
    rows: Sequence[LightRow],
    lines: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Mapping[str, float]],
) -> str:
    head = ["method", "light", "AP", "AP50", "box AP50", "F1@0.5", "pixel F1", "mIoU"]
    head += ["mIoU imagewise", "AP50 against the plain one (95 %)"]
    text = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for line in lines:
        cells = [str(line["method"]), f"{line['light']:g}"]
        cells += ["-" if math.isnan(line[name]) else f"{line[name]:.3f}" for name in _SHOWN]
        cells.append(
            f"{line['ap50_gain']:+.3f} ({line['ap50_gain_low']:+.3f} to "
            f"{line['ap50_gain_high']:+.3f})"
        )
        text.append(f"| {' | '.join(cells)} |")
    results: dict[str, dict[str, InstanceReport]] = {}
    for row in rows:
        results.setdefault(f"light {row.light:g}", {})[row.method] = row.report
    text += ["", "As the paper lays out its Table II; F1 of objects at IoU 0.5, pooled mIoU:", ""]
    heads = (*TABLE_II, "paper: F1 / mIoU") if figures else TABLE_II
    text += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for cells_of in table_two(results):
        told = figures.get(cells_of[1])
        paper = f"{told['f1']:.1f} / {told['miou']:.1f}" if told else "-"
        text.append(f"| {' | '.join((*cells_of, paper) if figures else cells_of)} |")
    return "\n".join(text) + "\n"


def _draw(rows: Sequence[LightRow], path: Path) -> None:
    lights = sorted({row.light for row in rows})
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for method in dict.fromkeys(row.method for row in rows):
        own = {row.light: row.report.mean[_COMPARED] for row in rows if row.method == method}
        known = [light for light in lights if light in own]
        axes.plot(known, [own[light] for light in known], marker="o", label=method)
    axes.set_xscale("log")
    axes.set_xticks(lights, [f"{light:g}" for light in lights])
    axes.set(xlabel="share of the light", ylabel="mask AP50, photographs held out", ylim=(0, 1))
    axes.legend(fontsize="small")
    with replacing(path) as part:
        figure.savefig(part, dpi=120)
