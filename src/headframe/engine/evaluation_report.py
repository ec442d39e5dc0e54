"""Files of an evaluation: all figures as JSON, sites and classes as CSV, pictures."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from headframe.datasets.chips import ChipDataset
from headframe.engine.bundle import Bundle
from headframe.engine.evaluation import ChipResult, Evaluation
from headframe.engine.panels import draw_outcomes, draw_panels
from headframe.io.files import write_json, write_text

SITES = "sites"
"""Folder of the pictures, one a site."""
_CHIPS_A_SITE = 3


def write_report(evaluation: Evaluation, bundle: Bundle, dataset: ChipDataset, out: Path) -> None:
    """Write ``scores.json``, ``sites.csv``, ``classes.csv`` and ``panels.png`` into ``out``.

    ``classes.csv`` has a row for every site and class, the figures of Tables 6-8 of the component
    paper (its "Acc" is ``jaccard_accuracy``). An evaluation by site also gets
    ``sites/<site>.png``: hits, false alarms and misses of every class, as in its Figures 5-16.

    Raises:
        OutputError: ``out`` cannot be written.
    """
    write_json(out / "scores.json", replace(evaluation, by_site=True).to_json())
    table = evaluation.site_table()
    _write_csv(out / "sites.csv", [{"site": site, **row} for site, row in table.items()])
    _write_csv(out / "classes.csv", evaluation.class_rows())
    rows = [
        (f"{title}: {r.chip.key}, IoU {r.target_iou():.2f}", r.chip)
        for title, r in ranked(evaluation)
    ]
    draw_panels(bundle, dataset, rows, out / "panels.png")
    if evaluation.by_site:
        _draw_sites(evaluation, bundle, dataset, out / SITES)


def ranked(evaluation: Evaluation) -> list[tuple[str, ChipResult]]:
    """Pick the best, the median and the worst chip by the target's IoU.

    Chips without the target, predicted or true, have no IoU and are picked only where no other
    chip is. No chip is picked twice.

    Returns:
        Up to three of ("best" | "median" | "worst", result).
    """
    scored = [(r.target_iou(), i) for i, r in enumerate(evaluation.chips)]
    order = sorted((-iou, i) for iou, i in scored if not math.isnan(iou)) or [(0.0, 0)]
    places = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    picked: dict[int, str] = {}
    for title in ("best", "worst", "median"):
        picked.setdefault(order[places[title]][1], title)
    found = {title: evaluation.chips[index] for index, title in picked.items()}
    return [(title, found[title]) for title in places if title in found]


def _draw_sites(evaluation: Evaluation, bundle: Bundle, dataset: ChipDataset, folder: Path) -> None:
    """One picture a site, of the chips with most pixels of any class, true or predicted."""
    results: dict[str, list[ChipResult]] = {}
    for result in evaluation.chips:
        results.setdefault(result.chip.site, []).append(result)
    names = _file_names(sorted(results))
    for site, found in results.items():
        chosen = sorted(found, key=_foreground, reverse=True)[:_CHIPS_A_SITE]
        rows = [(r.chip.key, r.chip) for r in sorted(chosen, key=lambda r: r.chip.key)]
        draw_outcomes(bundle, dataset, rows, folder / f"{names[site]}.png")


def _foreground(result: ChipResult) -> int:
    return int(result.counts.sum() - result.counts[0, 0])


def _file_names(sites: Sequence[str]) -> dict[str, str]:
    """A file name for every site; sites that would share one get a number."""
    taken: dict[str, str] = {}
    for site in sites:
        plain = re.sub(r"[^\w.-]+", "_", site).strip(".") or "site"
        name, number = plain, 2
        while name in taken.values():
            name, number = f"{plain}-{number}", number + 1
        taken[site] = name
    return taken


def _write_csv(path: Path, rows: Sequence[Mapping[str, str | float]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(list(rows[0]))
    for row in rows:
        writer.writerow([_cell(value) for value in row.values()])
    write_text(path, text.getvalue())


def _cell(value: str | float) -> str | float:
    """A value as CSV shows it: scores to 6 digits, nothing for a score that is not defined."""
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else round(value, 6)
