"""Class removal (the paper's Table III): a chain trained without some classes, class by class."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headframe.core.errors import DatasetError, RecipeError, UnknownNameError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.instances import SURROUNDING
from headframe.metrics.instances import InstanceReport
from headframe.underground.chain_experiment import compare_chains
from headframe.underground.chain_plan import ChainPlan, PlanRecipes
from headframe.underground.class_table import VariantRow, write_class_tables
from headframe.underground.drawn_sources import held_out_is_drawn

EVERYTHING = "all"
DYNAMIC = "people+equipment+corridor"
"""What the paper removes together to look at road, wall and roof alone."""


@dataclass(frozen=True)
class Variant:
    """One set of classes that a chain is trained on.

    Attributes:
        name: of its folder and its rows.
        categories: what it knows.
        merge: how classes are joined before.
        removed: classes whose objects have no label.
    """

    name: str
    categories: tuple[str, ...]
    merge: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassChoice:
    """What is removed and joined, and how often it is trained.

    Attributes:
        method: of the plan; None: its last.
        remove: ``people``, or several at once as ``people+equipment``; empty: each class alone, and
            ``DYNAMIC`` where the plan has them all.
        merge: rules, each a variant of its own; empty: the paper's ``surrounding`` where the plan
            has road, wall and roof.
        folds: held out in turn; empty: all.
        seeds: of training.
    """

    method: str | None = None
    remove: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)


def compare_classes(
    plan: ChainPlan,
    recipes: PlanRecipes,
    *,
    out: Path,
    choice: ClassChoice | None = None,
    accelerator: str = "auto",
    progress: Progress = SILENT,
) -> list[VariantRow]:
    """Train one method with all classes, without some, and with some joined.

    Each variant is a comparison of its own in ``out``, so that all of it can be stopped and taken
    up; ``classes.csv``, ``classes.md`` and ``classes.png`` are written into ``out``.

    Args:
        plan: photographs, lights, folds; one of its methods is trained.
        recipes: of the plan.
        out: folder.
        choice: what is removed; None: all that ``ClassChoice`` has by itself.
        accelerator: Lightning's flag.
        progress: told of every step.

    Returns:
        A row a variant and light.

    Raises:
        UnknownNameError: no such method or class.
        RecipeError: a variant would have no class left, or two of them one name.
        DatasetError: as ``compare_chains``.
    """
    choice = choice or ClassChoice()
    alone, own = _one_method(plan, recipes, choice.method)
    found = variants(alone.photographs.categories, remove=choice.remove, merge=choice.merge)
    drawn = held_out_is_drawn(plan.photographs)
    rows: list[VariantRow] = []
    for variant in found:
        merge = (*plan.photographs.merge, *variant.merge)
        done = compare_chains(
            alone.with_classes(variant.categories, merge),
            own,
            out=out / variant.name,
            folds=choice.folds,
            seeds=choice.seeds,
            accelerator=accelerator,
            progress=progress,
        )
        rows += [_row(variant, row.light, row.report) for row in done]
    write_class_tables(rows, out, method=alone.plain, drawn=drawn)
    return rows


def variants(
    categories: Sequence[str], *, remove: Iterable[str] = (), merge: Iterable[str] = ()
) -> list[Variant]:
    """List the sets of classes to train on: all, without each that is removed, joined.

    Args:
        categories: of the plan.
        remove: as ``ClassChoice``.
        merge: as ``ClassChoice``.

    Raises:
        UnknownNameError: a class that is none.
        RecipeError: no class would be left, or two variants are one.
    """
    remove, merge = tuple(remove), tuple(merge)
    if not remove and not merge:
        remove = tuple(categories) if len(categories) > 1 else ()
        if set(DYNAMIC.split("+")) < set(categories):
            remove += (DYNAMIC,)
        if set(_parts(SURROUNDING)[0]) <= set(categories):
            merge = (SURROUNDING,)
    found = [Variant(EVERYTHING, tuple(categories))]
    found += [_without(categories, text) for text in remove]
    found += [_joined(categories, rule) for rule in merge]
    names = [variant.name for variant in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(f"{twice!r} is asked for twice. Give each variant once.")
    return found


def _without(categories: Sequence[str], text: str) -> Variant:
    removed = tuple(part.strip() for part in text.split("+"))
    _known(removed, categories)
    left = tuple(name for name in categories if name not in removed)
    if not left:
        raise RecipeError(f"--remove {text}: no class would be left.")
    return Variant(f"without-{'-'.join(removed)}", left, removed=removed)


def _joined(categories: Sequence[str], rule: str) -> Variant:
    parts, name = _parts(rule)
    if not name or "" in parts:
        raise DatasetError(f"--merge {rule!r}: write it as road+wall+roof=surrounding.")
    _known(parts, categories)
    left = tuple(dict.fromkeys(name if each in parts else each for each in categories))
    return Variant(name, left, merge=(rule,))


def _parts(rule: str) -> tuple[list[str], str]:
    old, _, new = rule.replace("->", "=").partition("=")
    return [part.strip() for part in old.split("+")], new.strip()


def _known(names: Iterable[str], categories: Sequence[str]) -> None:
    for name in names:
        if name not in categories:
            raise UnknownNameError.of("class", name, tuple(categories))


def _one_method(
    plan: ChainPlan, recipes: PlanRecipes, name: str | None
) -> tuple[ChainPlan, PlanRecipes]:
    """Leave one method of a plan and the recipes that it needs."""
    chosen = [*plan.methods][-1] if name is None else name
    if chosen not in plan.methods:
        raise UnknownNameError.of("method", chosen, tuple(plan.methods))
    method = plan.methods[chosen]
    alone = plan.model_copy(
        update={
            "methods": {chosen: method},
            "plain": chosen,
            "figures": {},
            "panels": plan.panels.model_copy(update={"methods": ()}),
        }
    )
    own = replace(
        recipes,
        detectors={method.detector: recipes.detectors[method.detector]},
        sams={k: v for k, v in recipes.sams.items() if k == method.sam},
    )
    return alone, own


def _row(variant: Variant, light: float, report: InstanceReport) -> VariantRow:
    return VariantRow(variant.name, variant.removed, light, report)
