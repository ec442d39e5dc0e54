"""One general model against one model for each kind of site (papers/002, Table 4)."""

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headframe.core.errors import DatasetError, UnknownNameError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import ChipDataset, open_dataset
from headframe.datasets.sitefacts import fact_values, sites_where
from headframe.engine.experiment import Plan, run_once
from headframe.engine.recipe import FoldSection, Recipe
from headframe.engine.samples import choose_parts
from headframe.engine.training import AUTO, Hardware
from headframe.io.files import write_text
from headframe.metrics.bootstrap import bootstrap_interval
from headframe.metrics.confusion import Counts, total
from headframe.metrics.scores import PAPER, scores

GENERAL = "general"
AVERAGE = "average"
_METRICS = ("iou", "recall", "precision", "accuracy")
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

    def flat(self) -> dict[str, Any]:
        """All figures in one level, for CSV and JSON."""
        value: dict[str, Any] = {"value": self.value, "sites": self.sites, "chips": self.chips}
        for name, found in asdict(self).items():
            if isinstance(found, Mapping):
                value |= {f"{name}_{metric}": found[metric] for metric in _METRICS}
            elif isinstance(found, tuple):
                value |= {f"{name}_low": found[0], f"{name}_high": found[1]}
        return value


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
    are not repeated and killed ones go on. A fold in which a value has no site to learn from or to
    test on is left out for that value. Writes ``by-<fact>.md`` and ``by-<fact>.csv`` into ``out``.

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
    dataset = open_dataset(Path(recipe.data.dataset))
    lab = _Lab(recipe, plan, out, hardware, progress)
    facts = dataset.manifest.sites
    values = _values(dataset, recipe, fact)
    kinds = {
        value: sites_where(facts, {**recipe.data.where, fact: value}, source=dataset.root)
        for value in values
    }
    own: dict[str, _Matrices] = {value: [] for value in values}
    general: dict[str, _Matrices] = {value: [] for value in values}
    for fold, found in _jobs(dataset, lab, kinds):
        for seed in plan.seeds:
            record = lab.run(GENERAL, {fact: values}, fold, seed)
            for value in found:
                general[value] += _matrices(record, kinds[value])
                own[value] += _matrices(lab.run(value, {fact: value}, fold, seed), kinds[value])
    rows = [_row(value, own[value], general[value]) for value in values]
    rows.append(_average(rows))
    _write(rows, fact, out)
    return tuple(rows)


@dataclass(frozen=True)
class _Lab:
    """What all runs share."""

    recipe: Recipe
    plan: Plan
    out: Path
    hardware: Hardware
    progress: Progress

    def run(
        self, name: str, where: Mapping[str, object], fold: FoldSection | None, seed: int
    ) -> dict[str, Any]:
        """Train on the sites that meet ``where``, and score on those of them that are held out."""
        part = "split" if fold is None else f"fold{fold.index}"
        whole = {**self.recipe.data.where, **where}
        single = self.recipe.with_data(fold=fold, where=whole).with_train(seed=seed)
        single = single.model_copy(update={"name": f"{self.recipe.name}-{name}"})
        folder = self.out / folder_name(name) / f"{part}-seed{seed}"
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
    pooled, intervals, as_paper = [], [], []
    for found in (own, general):
        counts = [matrix for _, matrix in found]
        counts = [matrix for matrix in counts if matrix.any()] or counts
        pooled.append(scores(counts).mean(skip_background=True))
        as_paper.append(scores(counts, mode="imagewise", zero_division=PAPER).mean())
        by_site: dict[str, list[Counts]] = {}
        for site, matrix in found:
            by_site.setdefault(site, []).append(matrix)
        sums = [total(matrices, len(matrices[0])) for matrices in by_site.values()]
        index = 1 if len(counts[0]) == 2 else None
        intervals.append(bootstrap_interval(sums, index=index))
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
    )


def _picked(found: Mapping[str, float]) -> dict[str, float]:
    return {name: found[name] for name in _METRICS}


def _average(rows: Sequence[FactRow]) -> FactRow:
    """Mean over the values, each counting the same, as the paper's "avg" rows."""
    none = (float("nan"), float("nan"))

    def mean(of: str) -> dict[str, float]:
        return {name: float(np.mean([getattr(row, of)[name] for row in rows])) for name in _METRICS}

    return FactRow(
        value=AVERAGE,
        sites=sum(row.sites for row in rows),
        chips=sum(row.chips for row in rows),
        own=mean("own"),
        general=mean("general"),
        own_interval=none,
        general_interval=none,
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
        + " | IoU as the paper counts: own / general |",
        "|---" * (3 + len(_METRICS)) + "|",
    ]
    for row in rows:
        pairs = [(row.own[name], row.general[name]) for name in _METRICS]
        pairs.append((row.own_as_paper["iou"], row.general_as_paper["iou"]))
        cells = " | ".join(f"{one:.3f} / {other:.3f}" for one, other in pairs)
        table.append(f"| {row.value} | {row.sites} | {cells} |")
    write_text(out / f"by-{folder_name(fact)}.md", "\n".join(table) + "\n")
