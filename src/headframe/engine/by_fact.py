"""One general model against one model for each kind of site (papers/002, Table 4)."""

import csv
import io
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headframe.core.errors import DatasetError, UnknownNameError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import ChipDataset
from headframe.datasets.sitefacts import fact_values, sites_where
from headframe.engine.experiment import Plan, run_once
from headframe.engine.recipe import FoldSection, Recipe
from headframe.engine.samples import choose_parts, open_labelled
from headframe.engine.shared_runs import share, writing_tables
from headframe.engine.training import AUTO, Hardware
from headframe.io.files import write_text
from headframe.metrics.bootstrap import bootstrap_difference, bootstrap_interval
from headframe.metrics.confusion import Counts, total
from headframe.metrics.scores import PAPER, scores

GENERAL = "general"
AVERAGE = "average"
_METRICS = ("iou", "recall", "precision", "accuracy")
_UNKNOWN = (float("nan"), float("nan"))
_Matrices = list[tuple[str, Counts]]
"""Site and confusion matrix of each chip."""


@dataclass(frozen=True)
class FactRow:
    """Both models on the test sites of one kind; scores in 0-1.

    With two classes scores are the target's, with more the mean over all but the background.

    Attributes:
        value: of the fact, e.g. ``RR``; ``average`` over the values in the last row.
        sites: test sites of that kind.
        chips: test chips, over all folds and seeds.
        own: pooled scores of the model trained on such sites only, by metric.
        general: pooled scores of the model trained on all kinds.
        own_interval: 95 % bootstrap interval of the own model's IoU over sites.
        general_interval: of the general model's.
        own_as_paper: imagewise mean over classes, absent classes as papers/002 counts them.
        general_as_paper: likewise.
        difference_interval: 95 % bootstrap interval of own minus general IoU, both scored on the
            same draws of sites; NaN with fewer than two sites and in the last row.
    """

    value: str
    sites: int
    chips: int
    own: Mapping[str, float]
    general: Mapping[str, float]
    own_interval: tuple[float, float]
    general_interval: tuple[float, float]
    own_as_paper: Mapping[str, float]
    general_as_paper: Mapping[str, float]
    difference_interval: tuple[float, float] = _UNKNOWN

    @property
    def difference(self) -> float:
        """Pooled IoU of the own model minus the general one's."""
        return self.own["iou"] - self.general["iou"]

    def flat(self) -> dict[str, Any]:
        """All figures in one level, for CSV and JSON."""
        value: dict[str, Any] = {"value": self.value, "sites": self.sites, "chips": self.chips}
        for name, found in asdict(self).items():
            if isinstance(found, Mapping):
                value |= {f"{name}_{metric}": found[metric] for metric in _METRICS}
            elif isinstance(found, tuple):
                value |= {f"{name}_low": found[0], f"{name}_high": found[1]}
        return value | {"difference_iou": self.difference}


def compare_by_fact(
    recipe: Recipe,
    fact: str,
    *,
    plan: Plan,
    out: Path,
    hardware: Hardware = AUTO,
    progress: Progress = SILENT,
) -> tuple[FactRow, ...]:
    """Train one general model and one for each value of a fact, and score both on each value.

    The general model learns from the sites of all values together (sites without the fact are left
    out, as in the paper); each is scored on the test sites of one value, those of the fold or of
    the data set's own test split. Runs lie in ``out/general`` and ``out/<value>``; finished ones
    are not repeated, killed ones go on, and several processes may share them. A fold in which a
    value has no site to learn from or to test on is left out for that value. Writes
    ``by-<fact>.md`` and ``by-<fact>.csv`` into ``out``.

    Args:
        recipe: of the general model; its ``data.where`` holds for all.
        fact: field of the sites' facts, e.g. ``material``.
        plan: folds (none: the data set's own splits) and seeds.
        out: folder of all runs and tables.
        hardware: Lightning's flags.
        progress: told of steps within a run.

    Returns:
        One row a value, sorted, then their average.

    Raises:
        UnknownNameError: no site has such a fact.
        DatasetError: fewer than two values, or a value that can nowhere be trained and tested.
    """
    dataset = open_labelled(recipe.data)
    lab = _Lab(recipe, plan, out, hardware, progress)
    facts = dataset.manifest.sites
    values = _values(dataset, recipe, fact)
    kinds = {
        value: sites_where(facts, {**recipe.data.where, fact: value}, source=dataset.root)
        for value in values
    }
    own: dict[str, _Matrices] = {value: [] for value in values}
    general: dict[str, _Matrices] = {value: [] for value in values}
    rounds = [
        (fold, seed, found) for fold, found in _jobs(dataset, lab, kinds) for seed in plan.seeds
    ]
    runs = [_Run(n, fold, seed) for fold, seed, found in rounds for n in (GENERAL, *found)]
    records: dict[_Run, dict[str, Any]] = {}
    for run in share(runs, out=out, name=lambda run: "-".join(run.place)):
        where = {fact: values if run.name == GENERAL else run.name}
        records[run] = lab.run(run, where)
    for fold, seed, found in rounds:
        for value in found:
            general[value] += _matrices(records[_Run(GENERAL, fold, seed)], kinds[value])
            own[value] += _matrices(records[_Run(value, fold, seed)], kinds[value])
    rows = [_row(value, own[value], general[value]) for value in values]
    rows.append(_average(rows))
    with writing_tables(out):
        _write(rows, fact, out)
    return tuple(rows)


@dataclass(frozen=True)
class _Run:
    """One model: which, on which fold, with which seed."""

    name: str
    fold: FoldSection | None
    seed: int

    @property
    def place(self) -> tuple[str, str]:
        """Its folder below the output's."""
        part = "split" if self.fold is None else f"fold{self.fold.index}"
        return folder_name(self.name), f"{part}-seed{self.seed}"


@dataclass(frozen=True)
class _Lab:
    """What all runs share."""

    recipe: Recipe
    plan: Plan
    out: Path
    hardware: Hardware
    progress: Progress

    def run(self, run: _Run, where: Mapping[str, object]) -> dict[str, Any]:
        """Train on the sites that meet ``where``, and score on those of them that are held out."""
        whole = {**self.recipe.data.where, **where}
        single = self.recipe.with_data(fold=run.fold, where=whole).with_train(seed=run.seed)
        single = single.model_copy(update={"name": f"{self.recipe.name}-{run.name}"})
        folder = self.out.joinpath(*run.place)
        return run_once(single, folder, self.plan, self.hardware, self.progress)


def folder_name(value: str) -> str:
    """Name a folder after a value of a fact: what no file system likes is taken out."""
    return re.sub(r"[^\w.-]+", "_", value).strip("._") or "value"


def _values(dataset: ChipDataset, recipe: Recipe, fact: str) -> tuple[str, ...]:
    """Values that the fact takes among the sites that the recipe uses."""
    facts = dataset.manifest.sites
    used = sites_where(facts, recipe.data.where, source=dataset.root)
    used &= {chip.site for chip in dataset.chips()}
    values = fact_values({site: facts[site] for site in used}, fact)
    if not values:
        known = {name for row in facts.values() for name in row}
        raise UnknownNameError.of(f"fact of the sites of {dataset.root}", fact, known)
    folders = {folder_name(value) for value in values} | {GENERAL}
    if len(values) < 2 or len(folders) != len(values) + 1:
        raise DatasetError(
            f"{dataset.root}: sites have {fact} {', '.join(values)}; a comparison needs two values "
            "or more, of different names. Choose another fact, or add `headframe dataset sites`."
        )
    return values


def _jobs(
    dataset: ChipDataset, lab: _Lab, kinds: Mapping[str, Collection[str]]
) -> list[tuple[FoldSection | None, tuple[str, ...]]]:
    """Each fold with the values that have sites both to learn from and to test on."""
    plan = lab.plan
    folds: list[FoldSection | None] = [
        FoldSection(index=fold, of=plan.of, seed=plan.fold_seed) for fold in plan.folds
    ]
    jobs = []
    for fold in folds or [None]:
        parts = choose_parts(dataset, lab.recipe.with_data(fold=fold).data)
        sides = [{chip.site for chip in chips} for chips in (parts.train, parts.test)]
        names = tuple(v for v, sites in kinds.items() if all(set(sites) & side for side in sides))
        if names:
            jobs.append((fold, names))
    lost = set(kinds) - {name for _, names in jobs for name in names}
    if lost:
        raise DatasetError(
            f"{dataset.root}: no fold or split has sites of {', '.join(sorted(lost))} both to "
            "learn from and to test on. Split with --stratify, or use more folds."
        )
    return jobs


def _matrices(record: Mapping[str, Any], sites: Collection[str]) -> _Matrices:
    return [
        (chip["site"], np.array(chip["confusion"], np.int64))
        for chip in record["chips"]
        if chip["site"] in sites
    ]


def _row(value: str, own: _Matrices, general: _Matrices) -> FactRow:
    pooled, intervals, as_paper, per_site = [], [], [], []
    for found in (own, general):
        counts = [matrix for _, matrix in found]
        index = 1 if len(counts[0]) == 2 else None
        counts = [matrix for matrix in counts if matrix.any()] or counts
        pooled.append(scores(counts).mean(skip_background=True))
        as_paper.append(scores(counts, mode="imagewise", zero_division=PAPER).mean())
        per_site.append(_by_site(found))
        intervals.append(bootstrap_interval(per_site[-1], index=index))
    return FactRow(
        value=value,
        sites=len({site for site, _ in own}),
        chips=len(own),
        own=_picked(pooled[0]),
        general=_picked(pooled[1]),
        own_interval=intervals[0],
        general_interval=intervals[1],
        own_as_paper=_picked(as_paper[0]),
        general_as_paper=_picked(as_paper[1]),
        difference_interval=bootstrap_difference(per_site[0], per_site[1], index=index),
    )


def _by_site(found: _Matrices) -> list[Counts]:
    """Sum the matrices of each site, sites in alphabetical order."""
    sites: dict[str, list[Counts]] = {}
    for site, matrix in found:
        sites.setdefault(site, []).append(matrix)
    return [total(sites[site], len(sites[site][0])) for site in sorted(sites)]


def difference_told(row: FactRow) -> str:
    """Write the difference of IoU with its interval where there is one."""
    low, high = row.difference_interval
    told = f"{row.difference:+.3f}"
    return told if math.isnan(low) else f"{told} ({low:+.3f} to {high:+.3f})"


def _picked(found: Mapping[str, float]) -> dict[str, float]:
    return {name: found[name] for name in _METRICS}


def _average(rows: Sequence[FactRow]) -> FactRow:
    """Mean over the values, each counting the same, as the paper's "avg" rows."""

    def mean(of: str) -> dict[str, float]:
        return {name: float(np.mean([getattr(row, of)[name] for row in rows])) for name in _METRICS}

    return FactRow(
        value=AVERAGE,
        sites=sum(row.sites for row in rows),
        chips=sum(row.chips for row in rows),
        own=mean("own"),
        general=mean("general"),
        own_interval=_UNKNOWN,
        general_interval=_UNKNOWN,
        own_as_paper=mean("own_as_paper"),
        general_as_paper=mean("general_as_paper"),
    )


def _write(rows: Sequence[FactRow], fact: str, out: Path) -> None:
    lines = [row.flat() for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(out / f"by-{folder_name(fact)}.csv", text.getvalue())
    table = [
        f"| {fact} | sites | "
        + " | ".join(f"{name}: own / general" for name in _METRICS)
        + " | IoU, own - general (95 % over sites) | IoU as the paper counts: own / general |",
        "|---" * (4 + len(_METRICS)) + "|",
    ]
    for row in rows:
        pairs = [(row.own[name], row.general[name]) for name in _METRICS]
        paper = (row.own_as_paper["iou"], row.general_as_paper["iou"])
        cells = [f"{one:.3f} / {other:.3f}" for one, other in pairs]
        cells += [difference_told(row), f"{paper[0]:.3f} / {paper[1]:.3f}"]
        table.append(f"| {row.value} | {row.sites} | {' | '.join(cells)} |")
    write_text(out / f"by-{folder_name(fact)}.md", "\n".join(table) + "\n")
