"""Tables of an experiment: Markdown, CSV and a picture."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from headframe.engine.evaluation import BOUNDARY_PX, cloud_free_iou, site_mean_iou
from headframe.engine.recipe import PaperSection, Recipe
from headframe.io.files import replacing, write_text
from headframe.metrics.bootstrap import bootstrap_difference, bootstrap_interval
from headframe.metrics.confusion import Counts, total
from headframe.metrics.scores import PAPER, scores

_REPORTED = ("iou", "f1", "precision", "recall", "accuracy")


@dataclass(frozen=True)
class Row:
    """One recipe over its folds and seeds; scores in 0-1.

    With two classes the scores are the target's, with more the mean over all but the background.

    Attributes:
        recipe: its name.
        dataset: folder name of the data.
        runs: number of runs.
        iou: pooled over all held-out chips (mean over seeds).
        iou_one_view: the same from one view of each chip at its own size.
        low: lower end of the 95 % bootstrap interval of ``iou`` over sites (first seed).
        high: upper end.
        fold_min: lowest IoU of a run.
        fold_max: highest IoU of a run.
        seed_std: standard deviation of ``iou`` over seeds; 0 with one seed.
        f1: pooled.
        precision: pooled.
        recall: pooled.
        target_iou: pooled IoU of the last class; ``iou`` with two classes.
        cloud_free_iou: the same where no cloud truly is; None where cloud is no class.
        site_mean_iou: mean over sites of the last class's pooled IoU.
        coarse_iou: pooled IoU with coarse labels of what was held out; None without such labels.
        boundary_iou: pooled boundary IoU of the target; None of baselines without a network.
        parameters: of the network; 0 for trees.
        trained: parameters that training changes, of an adapted network fewer.
        seconds: mean training time of a run.
        as_paper: the scores as the papers count them: imagewise, absent classes as in
            ``metrics.scores.PAPER``, mean over all classes, background included.
        paper: what the recipe's paper reports, or None.
        sites: by site, the confusion matrix of all its chips in all runs.
    """

    recipe: str
    dataset: str
    runs: int
    iou: float
    iou_one_view: float
    low: float
    high: float
    fold_min: float
    fold_max: float
    seed_std: float
    f1: float
    precision: float
    recall: float
    target_iou: float
    cloud_free_iou: float | None
    site_mean_iou: float
    coarse_iou: float | None
    boundary_iou: float | None
    parameters: int
    trained: int
    seconds: float
    as_paper: Mapping[str, float]
    paper: PaperSection | None
    sites: Mapping[str, Counts] = field(repr=False, compare=False)

    @property
    def interval(self) -> str:
        """Both ends of the interval; of one site there is none."""
        return "one site" if math.isnan(self.low) else f"{self.low:.3f}-{self.high:.3f}"

    @classmethod
    def of(cls, recipe: Recipe, records: Sequence[Mapping[str, Any]], *, dataset: str) -> "Row":
        """Sum up the records of one recipe's runs."""
        seeds = sorted({record["seed"] for record in records})
        by_seed = [[r for r in records if r["seed"] == seed] for seed in seeds]
        ious = [_iou(_matrices(group, "chips")) for group in by_seed]
        one_view = [_iou(_matrices(group, "chips_one_view")) for group in by_seed]
        every = _matrices(records, "chips")
        pooled = _summary(every)
        per_run = [_iou(_matrices([record], "chips")) for record in records]
        sites = list(_by_site(by_seed[0]).values())
        low, high = bootstrap_interval(sites, index=1 if len(every[0]) == 2 else None)
        return cls(
            recipe=recipe.name,
            dataset=dataset,
            runs=len(records),
            iou=float(np.mean(ious)),
            iou_one_view=float(np.mean(one_view)),
            low=low,
            high=high,
            fold_min=min(per_run),
            fold_max=max(per_run),
            seed_std=float(np.std(ious)),
            f1=pooled["f1"],
            precision=pooled["precision"],
            recall=pooled["recall"],
            target_iou=scores(every).of(-1)["iou"],
            cloud_free_iou=cloud_free_iou(every, records[0].get("classes", ())),
            site_mean_iou=site_mean_iou(sites),
            coarse_iou=_coarse_iou(records),
            boundary_iou=_boundary_iou(records),
            parameters=int(records[0]["parameters"]),
            trained=int(records[0].get("trained_parameters") or records[0]["parameters"]),
            seconds=float(np.mean([record["seconds"] for record in records])),
            as_paper=scores(_counted(every), mode="imagewise", zero_division=PAPER).mean(),
            paper=recipe.paper,
            sites=_by_site(records),
        )

    def flat(self) -> dict[str, Any]:
        """All figures in one level, for CSV and JSON; nothing reported is None."""
        left_out = ("as_paper", "paper", "sites")
        value = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        for name in _REPORTED:
            value[f"as_paper_{name}"] = self.as_paper[name]
        value["paper_row"] = f"{self.paper.table}, {self.paper.row}" if self.paper else None
        for name in _REPORTED:
            value[f"paper_{name}"] = getattr(self.paper, name) if self.paper else None
        return value


def _matrices(records: Sequence[Mapping[str, Any]], key: str) -> list[Counts]:
    return [np.array(chip["confusion"], np.int64) for record in records for chip in record[key]]


def _by_site(records: Sequence[Mapping[str, Any]]) -> dict[str, Counts]:
    sites: dict[str, list[Counts]] = {}
    for record in records:
        for chip in record["chips"]:
            sites.setdefault(chip["site"], []).append(np.array(chip["confusion"], np.int64))
    return {site: total(found, found[0].shape[0]) for site, found in sites.items()}


def _counted(confusions: list[Counts]) -> list[Counts]:
    """Leave out chips without a counted pixel."""
    return [counts for counts in confusions if counts.any()] or confusions


def _summary(confusions: Sequence[Counts]) -> dict[str, float]:
    """Pooled scores of the target, or with more classes the mean over all but the background."""
    return scores(confusions).mean(skip_background=True)


def _coarse_iou(records: Sequence[Mapping[str, Any]]) -> float | None:
    if not all("chips_coarse" in record for record in records):
        return None
    return _iou(_matrices(records, "chips_coarse"))


def _boundary_iou(records: Sequence[Mapping[str, Any]]) -> float | None:
    chips = [chip for record in records for chip in record["chips"]]
    if not all("boundary" in chip for chip in chips):
        return None
    both, either = (sum(chip["boundary"][place] for chip in chips) for place in (0, 1))
    return both / either if either else None


def _iou(confusions: Sequence[Counts]) -> float:
    return _summary(confusions)["iou"]


def write_tables(rows: Sequence[Row], out: Path, *, against: str | None = None) -> None:
    """Write ``table.md``, ``table.csv`` and ``table.png`` into ``out``, best recipe first.

    Args:
        rows: at least one.
        out: folder.
        against: name of the recipe that the others are compared with, site by site.
    """
    ranked = sorted(rows, key=lambda row: row.iou, reverse=True)
    other = next((row for row in rows if row.recipe == against), None)
    text = _markdown(ranked) if other is None else _markdown(ranked) + _against_table(ranked, other)
    write_text(out / "table.md", text)
    sheet = io.StringIO()
    lines = [row.flat() for row in ranked]
    writer = csv.DictWriter(sheet, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(out / "table.csv", sheet.getvalue())
    _draw(ranked, out / "table.png")


def _markdown(rows: Sequence[Row]) -> str:
    lines = [
        "| recipe | runs | pooled IoU | 95 % over sites | one view | runs min-max | seed std "
        "| precision | recall | parameters | trained | s a run |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.recipe} | {r.runs} | **{r.iou:.3f}** | {r.interval} "
        f"| {r.iou_one_view:.3f} | {r.fold_min:.3f}-{r.fold_max:.3f} | {r.seed_std:.3f} "
        f"| {r.precision:.3f} | {r.recall:.3f} | {r.parameters / 1e6:.2f} M "
        f"| {r.trained / 1e6:.2f} M | {r.seconds:.0f} |"
        for r in rows
    ]
    more = (_target_table, _coarse_table, _boundary_table, _paper_table)
    return "\n".join([*lines, *(line for table in more for line in table(rows))]) + "\n"


def _against_table(rows: Sequence[Row], other: Row) -> str:
    """Differences of pooled IoU on the sites that both recipes were scored on, paired."""
    lines = [
        f"\n| recipe | IoU less that of {other.recipe} | 95 % over sites, paired |",
        "|---|---|---|",
    ]
    for row in rows:
        sites = [site for site in row.sites if site in other.sites]
        if row is other or not sites:
            continue
        ours, theirs = ([r.sites[site] for site in sites] for r in (row, other))
        gain = _iou(ours) - _iou(theirs)
        index = 1 if len(ours[0]) == 2 else None
        low, high = bootstrap_difference(ours, theirs, index=index)
        lines.append(f"| {row.recipe} | **{gain:+.3f}** | {low:+.3f} to {high:+.3f} |")
    return "\n".join(lines) + "\n"


def _boundary_table(rows: Sequence[Row]) -> list[str]:
    """How well outlines agree; nothing where no recipe tells."""
    found = [(r, r.boundary_iou) for r in rows if r.boundary_iou is not None]
    if not found:
        return []
    lines = ["", f"| recipe | boundary IoU, {BOUNDARY_PX} px |", "|---|---|"]
    return lines + [f"| {r.recipe} | **{value:.3f}** |" for r, value in found]


def _target_table(rows: Sequence[Row]) -> list[str]:
    """Scores of the target alone; nothing where cloud is no class."""
    found = [(r, r.cloud_free_iou) for r in rows if r.cloud_free_iou is not None]
    if not found:
        return []
    lines = [
        "",
        "| recipe | target IoU | where no cloud is | mean over sites |",
        "|---|---|---|---|",
    ]
    return lines + [
        f"| {r.recipe} | {r.target_iou:.3f} | **{clear:.3f}** | {r.site_mean_iou:.3f} |"
        for r, clear in found
    ]


def _coarse_table(rows: Sequence[Row]) -> list[str]:
    """Scores by coarse labels beside those by fine ones; nothing where there are none."""
    found = [(r, r.coarse_iou) for r in rows if r.coarse_iou is not None]
    if not found:
        return []
    lines = ["", "| recipe | IoU with fine labels | with coarse labels |", "|---|---|---|"]
    return lines + [f"| {r.recipe} | **{r.iou:.3f}** | {coarse:.3f} |" for r, coarse in found]


def _paper_table(rows: Sequence[Row]) -> list[str]:
    """Ours as the papers count beside what they report; nothing where no recipe names a paper."""
    if not any(row.paper for row in rows):
        return []
    head = "| recipe | published row | data used | " + " | ".join(
        f"{name}: paper / ours" for name in _REPORTED
    )
    lines = ["", f"{head} |", "|---" * (3 + len(_REPORTED)) + "|"]
    for row in rows:
        if row.paper is None:
            continue
        cells = [
            f"{'-' if reported is None else f'{reported:.3f}'} / {row.as_paper[name]:.3f}"
            for name in _REPORTED
            for reported in (getattr(row.paper, name),)
        ]
        where = f"{row.paper.table}, {row.paper.row}"
        lines.append(f"| {row.recipe} | {where} | {row.dataset} | {' | '.join(cells)} |")
    lines += ["", "Ours in this second table: imagewise, absent classes as the papers count them."]
    return lines


def _draw(rows: Sequence[Row], path: Path) -> None:
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))[::-1]
    values = np.array([row.iou for row in rows])
    axes.barh(places, values, color="C0", alpha=0.8)
    axes.hlines(places, [r.low for r in rows], [r.high for r in rows], color="0.2", linewidth=1.5)
    for place, row in zip(places, rows, strict=True):
        axes.text(0.005, place, f"{row.iou:.3f}", va="center", color="white")
    axes.set_yticks(places, [row.recipe for row in rows])
    axes.set(xlabel="pooled IoU out of fold (line: 95 % bootstrap over sites)")
    axes.set_xlim(left=0)
    with replacing(path) as part:
        figure.savefig(part, dpi=120)
