"""What was done round by round: how many masks, which gates, and how good the networks are."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from headframe.io.files import replacing, write_json, write_text
from headframe.underground.annotate.figures import MEASURES, METHODS, HeldFigures
from headframe.underground.annotate.gates import REASONS

ROUNDS_CSV, HELD_CSV, REPORT_MD, REPORT_JSON, PICTURE = (
    "rounds.csv", "held.csv", "report.md", "report.json", "held.png",
)  # fmt: skip
_GATES = dict(
    zip(
        REASONS,
        ("score", "expected IoU", "stability", "too small", "twice", "dropped before"),
        strict=True,
    )
)
_NAMES = dict(zip(MEASURES, ("AP", "AP50", "F1@0.5", "pixel F1", "mIoU"), strict=True))


@dataclass(frozen=True)
class RoundRow:
    """One round.

    Attributes:
        name: ``round 1`` ….
        detector_learnt: photographs by who labelled them, that its detector learnt from.
        sam_learnt: likewise of its SAM.
        counts: of the masks (``gates.tally``).
    """

    name: str
    detector_learnt: Mapping[str, int]
    sam_learnt: Mapping[str, int]
    counts: Mapping[str, int]

    def flat(self) -> dict[str, Any]:
        """Give all figures in one level."""
        told: dict[str, Any] = {"round": self.name}
        for what, learnt in (("detector", self.detector_learnt), ("sam", self.sam_learnt)):
            told |= {f"{what}_learnt_{source}": count for source, count in learnt.items()}
        return told | dict(self.counts)


def write_report(
    rounds: Sequence[RoundRow],
    held: Sequence[HeldFigures],
    out: Path,
    *,
    head: Mapping[str, Any],
) -> dict[str, Any]:
    """Write ``report.md``, ``report.json``, ``rounds.csv``, ``held.csv`` and ``held.png``.

    Args:
        rounds: in order.
        held: ``before`` first.
        out: folder.
        head: what else is told: photographs by their part.

    Returns:
        What ``report.json`` holds.
    """
    told = [row.flat() for row in rounds]
    measured = [row for figures in held for row in figures.flat(held[0])]
    write_text(out / ROUNDS_CSV, _csv(told))
    write_text(out / HELD_CSV, _csv(measured))
    write_text(out / REPORT_MD, _markdown(rounds, measured, head))
    _draw(measured, out / PICTURE)
    per_class = {
        figures.name: {
            method: {
                name: {key: _plain(value[key]) for key in MEASURES}
                for name, value in evaluation.report().per_class.items()
            }
            for method, evaluation in figures.evaluations.items()
        }
        for figures in held
    }
    clean = [{key: _plain(value) for key, value in row.items()} for row in measured]
    report = {**head, "rounds": told, "held": clean, "held_by_class": per_class}
    write_json(out / REPORT_JSON, report)
    return report


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(
    rounds: Sequence[RoundRow], measured: Sequence[Mapping[str, Any]], head: Mapping[str, Any]
) -> str:
    lines = [", ".join(f"{key}: {value}" for key, value in head.items()), "", "Masks:", ""]
    titles = ["round", "detector learnt", "SAM learnt", "photographs", "with masks", "masks",
              "taken", *(_GATES[name] for name in REASONS), "to review"]  # fmt: skip
    lines += _rule(titles)
    for row in rounds:
        counts = row.counts
        cells = [row.name, _learnt(row.detector_learnt), _learnt(row.sam_learnt)]
        names = ("photographs", "with_masks", "masks", "accepted", *REASONS, "review")
        lines.append(_line([*cells, *(str(counts[name]) for name in names)]))
    lines += ["", "A mask that failed at several gates counts at each.", ""]
    lines += ["Manual labels held back, which nothing learnt from:", ""]
    gain = "AP50 against before (95 %)"
    lines += _rule(["round", "method", *_NAMES.values(), gain, "SAM in true boxes, IoU"])
    for told in measured:
        cells = [str(told["round"]), str(told["method"])]
        cells += [_number(told[name]) for name in _NAMES]
        low, high = told["ap50_gain_low"], told["ap50_gain_high"]
        cells.append(f"{told['ap50_gain']:+.3f} ({low:+.3f} to {high:+.3f})")
        cells.append(_number(told["sam_in_true_boxes"]))
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _learnt(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{count} {source}" for source, count in counts.items() if count)


def _rule(titles: Sequence[str]) -> list[str]:
    return [_line(titles), "|---" * len(titles) + "|"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _plain(value: Any) -> Any:  # noqa: ANN401 - figures and words alike
    return None if isinstance(value, float) and math.isnan(value) else value


def _draw(measured: Sequence[Mapping[str, Any]], path: Path) -> None:
    names = list(dict.fromkeys(str(row["round"]) for row in measured))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for method in METHODS:
        rows = [row for row in measured if row["method"] == method]
        for key, style in (("mask_ap50", "-"), ("iou", "--")):
            values = [row[key] for row in rows]
            axes.plot(names, values, style, marker="o", label=f"{method}: {_NAMES[key]}")
    inside = [row["sam_in_true_boxes"] for row in measured if row["method"] == METHODS[1]]
    axes.plot(names, inside, ":", marker="s", label="SAM in true boxes: IoU")
    axes.set(ylabel="manual photographs held back", ylim=(0, 1))
    axes.legend(fontsize="small")
    with replacing(path) as part:
        figure.savefig(part, dpi=120)
