"""What an evaluation found: confusion matrices by chip, and every figure that follows from them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headframe.core.classmap import ClassMap
from headframe.datasets.chips import Chip
from headframe.metrics.bootstrap import bootstrap_interval
from headframe.metrics.confusion import Counts, total, without_truth
from headframe.metrics.scores import (
    LEFT_OUT,
    PAPER,
    Mode,
    Scores,
    ZeroDivision,
    outcome_counts,
    scores,
)

BOUNDARY_PX = 3
"""Default width of the boundary that boundary IoU compares: 30 m on Sentinel-2."""
CLOUD = "cloud"
"""Name of the class under which nothing can be seen."""
_CLASS_SCORES = ("iou", "recall", "precision", "accuracy", "jaccard_accuracy")


@dataclass(frozen=True)
class ChipResult:
    """How one chip was predicted.

    Attributes:
        chip: which one.
        counts: (K, K) confusion matrix, rows the truth.
        boundary: pixels in both boundaries of the target and in either; see ``boundary_counts``.
    """

    chip: Chip
    counts: Counts
    boundary: tuple[int, int]

    def target_iou(self) -> float:
        """IoU of the last class; NaN where it is neither present nor predicted."""
        return scores([self.counts]).of(-1)["iou"]


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model on some chips; the target is the last class.

    Attributes:
        model: name of the model.
        dataset: name of the data set.
        split: the split that was evaluated, never ``auto``.
        classes: the classes scored.
        chips: result of every chip, in the data set's order; at least one.
        in_sample: evaluated sites that the model was trained on.
        by_site: whether reports list the sites.
        boundary_px: width of the boundaries compared.
    """

    model: str
    dataset: str
    split: str
    classes: ClassMap
    chips: tuple[ChipResult, ...]
    in_sample: tuple[str, ...] = ()
    by_site: bool = False
    boundary_px: int = BOUNDARY_PX

    @property
    def confusions(self) -> list[Counts]:
        """One (K, K) matrix a chip, rows the truth."""
        return [result.counts for result in self.chips]

    @property
    def target_iou(self) -> float:
        """Pooled IoU of the target, 0..1; NaN where it is neither present nor predicted."""
        return self.scores("pooled").of(-1)["iou"]

    @property
    def boundary_iou(self) -> float:
        """Pooled boundary IoU of the target; NaN where there is no boundary."""
        both = sum(result.boundary[0] for result in self.chips)
        either = sum(result.boundary[1] for result in self.chips)
        return both / either if either else float("nan")

    @property
    def counted(self) -> list[Counts]:
        """``confusions`` of chips with a counted pixel; all of them where none has one."""
        return [c for c in self.confusions if c.any()] or self.confusions

    def scores(self, mode: Mode, zero_division: ZeroDivision = LEFT_OUT) -> Scores:
        """Scores of all chips with a counted pixel; absent classes are left out of means."""
        return scores(self.counted, mode=mode, zero_division=zero_division)

    def by(self, key: Callable[[Chip], str]) -> dict[str, list[Counts]]:
        """Confusion matrices by ``key`` of their chip, keys sorted."""
        groups: dict[str, list[Counts]] = {}
        for result in self.chips:
            groups.setdefault(key(result.chip), []).append(result.counts)
        return dict(sorted(groups.items()))

    def site_counts(self) -> dict[str, Counts]:
        """Summed confusion matrix of every site, by name."""
        sites = self.by(lambda chip: chip.site)
        return {site: total(counts, len(self.classes)) for site, counts in sites.items()}

    def interval95(self) -> tuple[float, float]:
        """95 % bootstrap interval of the target's pooled IoU over sites; NaN with one site."""
        return bootstrap_interval(list(self.site_counts().values()), index=-1)

    @property
    def site_mean_iou(self) -> float:
        """Mean over sites of the target's pooled IoU, sites without it left out; NaN for none."""
        return site_mean_iou(list(self.site_counts().values()))

    @property
    def cloud_free_iou(self) -> float | None:
        """Pooled IoU of the target where no cloud truly is; None without a class ``cloud``."""
        return cloud_free_iou(self.counted, self.classes.names)

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON values; a score that is not defined is null.

        ``pooled``, ``imagewise`` and ``boundary_iou`` are the target's, where ``accuracy`` is over
        all classes. ``mean`` is the mean over classes of pooled scores, ``paper`` that of imagewise
        scores with an absent class as 1 for IoU and 0 for precision and recall (see
        ``metrics.scores.PAPER``). By site, ``sites`` holds the target and ``site_classes``
        every class. ``site_mean_iou`` and, where cloud is a class, ``cloud_free_iou`` are the
        target's too (methods.md 2.4).
        """
        pooled = self.scores("pooled")
        paper = self.scores("imagewise", PAPER)
        splits = self.by(lambda chip: chip.split or "none")
        value: dict[str, Any] = {
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "target": self.classes.names[-1],
            "chips": len(self.chips),
            "chips_without_data": sum(not counts.any() for counts in self.confusions),
            "pixels": int(total(self.confusions, len(self.classes)).sum()),
            "pooled": _headline(pooled),
            "imagewise": _headline(self.scores("imagewise")),
            "paper": paper.mean(),
            "mean": pooled.mean(),
            "boundary_iou": self.boundary_iou,
            "boundary_px": self.boundary_px,
            "interval95": list(self.interval95()),
            "site_mean_iou": self.site_mean_iou,
            "cloud_free_iou": self.cloud_free_iou,
            "confusion": total(self.confusions, len(self.classes)).tolist(),
            "classes": {name: pooled.of(i) for i, name in enumerate(self.classes.names)},
            "splits": {name: {"chips": len(c), **_outcome(c)} for name, c in splits.items()},
            "in_sample_sites": list(self.in_sample),
        }
        if self.by_site:
            value["sites"] = self.site_table()
            value["site_classes"] = self.class_rows()
        plain: dict[str, Any] = _plain(value)
        return plain

    def class_rows(self) -> list[dict[str, str | float]]:
        """Pooled scores and outcomes of every class but the background on every site.

        Returns:
            One row a site and class, sites sorted: ``site``, ``class``, ``chips``, ``iou``,
            ``recall``, ``precision``, ``accuracy`` ((TP + TN) / all), ``jaccard_accuracy``
            (TP / (TP + FP + FN), the "Acc" of Tables 6-8 of the component paper), ``tp``, ``fp``,
            ``fn``. A score that is not defined is NaN.
        """
        rows: list[dict[str, str | float]] = []
        for site, counts in self.by(lambda chip: chip.site).items():
            summed = total(counts, len(self.classes))
            pooled, outcomes = scores(counts), outcome_counts(summed)
            for info in self.classes.classes[1:]:
                values = pooled.of(info.index)
                rows.append(
                    {
                        "site": site,
                        "class": info.name,
                        "chips": len(counts),
                        **{name: values[name] for name in _CLASS_SCORES},
                        **{name: int(outcomes[name][info.index]) for name in ("tp", "fp", "fn")},
                    }
                )
        return rows

    def site_table(self) -> dict[str, dict[str, float]]:
        """Target's pooled scores and pixel outcomes of every site, by name."""
        sites = self.by(lambda chip: chip.site)
        return {site: {"chips": len(counts), **_outcome(counts)} for site, counts in sites.items()}


def cloud_free_iou(confusions: Sequence[Counts], names: Sequence[str]) -> float | None:
    """Pooled IoU of the last class where no cloud truly is (methods.md 2.4).

    Args:
        confusions: one (K, K) matrix a chip; at least one.
        names: of the K classes.

    Returns:
        0..1, NaN where it is neither present nor predicted there; None without a ``cloud`` class
        beside the target.
    """
    if CLOUD not in names[:-1]:
        return None
    index = list(names).index(CLOUD)
    return scores([without_truth(counts, index) for counts in confusions]).of(-1)["iou"]


def site_mean_iou(per_site: Sequence[Counts]) -> float:
    """Mean over sites of the last class's pooled IoU; NaN where no site has one.

    Args:
        per_site: one (K, K) matrix a site; at least one.
    """
    return scores(per_site, mode="imagewise").of(-1)["iou"]


def _headline(result: Scores) -> dict[str, float]:
    """Target's scores, with the accuracy of all classes."""
    target = result.of(-1)
    names = ("iou", "f1", "precision", "recall")
    return {**{n: target[n] for n in names}, "accuracy": result.overall_accuracy}


def _outcome(counts: Sequence[Counts]) -> dict[str, float]:
    """Target's pooled scores and pixel outcomes of some chips."""
    summed = total(counts, len(counts[0]))
    outcomes = {n: int(v[-1]) for n, v in outcome_counts(summed).items() if n != "tn"}
    return {**_headline(scores(counts)), **outcomes}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Round scores to 6 digits and turn NaN, which JSON does not know, into null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
