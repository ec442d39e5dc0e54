"""The parts of a comparison's chains: detectors, SAMs and enhancers of one fold and seed.

All of them learn from the same photographs: those that are not held out. Each is trained once, by
one of the processes that share a folder.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from headframe.core.detections import Detections
from headframe.core.errors import DatasetError, MissingFileError, RecipeError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.coco import read_coco
from headframe.datasets.photographs import InstancePhotograph
from headframe.engine.bases import base_state, find_base
from headframe.engine.box_sam import train_box_sam
from headframe.engine.box_sam_bundle import read_box_sam
from headframe.engine.detector_data import shown
from headframe.engine.detector_recipe import DetectorRecipe, PhotographSection
from headframe.engine.detector_training import labels_of, photographs_of, read_parts
from headframe.engine.enhance_training import train_enhancer
from headframe.engine.prompting.boxes import answer_boxes, embed_photograph
from headframe.engine.shared_runs import share
from headframe.models.detector import read_options
from headframe.models.sam.classprompt import ClassPromptedSam, build_class_prompted_sam
from headframe.underground.chain import Chain
from headframe.underground.chain_plan import ChainPlan, MethodSection, PlanRecipes, is_recipe
from headframe.underground.fusion import FusionOptions, load_gate

DETECTORS, SAMS, ENHANCERS = "detectors", "sams", "enhancers"
Sams = Mapping[str, ClassPromptedSam]
"""By what methods have for ``sam``, on their device, in evaluation mode."""


@dataclass(frozen=True)
class Run:
    """One detector, trained on all but one fold with one seed."""

    recipe: str
    fold: int
    seed: int

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"{Path(self.recipe).stem}-{self.place}"

    @property
    def place(self) -> str:
        """Fold and seed, as names of folders have them."""
        return f"fold{self.fold}-seed{self.seed}"


@dataclass(frozen=True)
class Desk:
    """Where and on what a comparison works.

    Attributes:
        out: folder of all runs.
        accelerator: Lightning's flag.
        progress: told of every photograph and step.
    """

    out: Path
    accelerator: str = "auto"
    progress: Progress = SILENT

    @property
    def device(self) -> str:
        """The device that fits the accelerator, as torch names it."""
        return "cuda" if self.accelerator != "cpu" and torch.cuda.is_available() else "cpu"

    def run_folder(self, run: Run) -> Path:
        """Folder of a detector's run."""
        return self.out / DETECTORS / run.key


def detector_recipe(
    plan: ChainPlan, recipes: PlanRecipes, run: Run, *, desk: Desk
) -> DetectorRecipe:
    """Give the recipe of a run: the plan's photographs, the fold, the seed, a trained enhancer.

    Raises:
        DatasetError: bright photographs that are not those of the fold.
        RecipeError: an enhancer's run of another recipe.
    """
    recipe = recipes.detectors[run.recipe]
    section = plan.part(run.fold)
    if recipe.light.pairs and plan.bright:
        _same_names(plan, section)
        section = section.model_copy(update={"sources": plan.bright})
    recipe = recipe.with_photographs(**section.model_dump(mode="json")).with_train(seed=run.seed)
    if recipe.prepare not in recipes.enhancers:
        return recipe
    folder = _enhancer(plan, recipes, recipe.prepare, run=run, desk=desk)
    return recipe.model_copy(update={"prepare": str(folder)})


def _enhancer(plan: ChainPlan, recipes: PlanRecipes, name: str, *, run: Run, desk: Desk) -> Path:
    key = f"{name}-{run.place}"
    for job in share([key], out=desk.out / ENHANCERS, name=str):
        train_enhancer(
            recipes.enhancers[name],
            bright_files(plan, plan.part(run.fold), progress=desk.progress),
            out=desk.out / ENHANCERS / job,
            resume=True,
            device=desk.device,
            progress=desk.progress,
        )
    return desk.out / ENHANCERS / key


def bright_files(
    plan: ChainPlan, section: PhotographSection, *, progress: Progress = SILENT
) -> list[Path]:
    """List the files of the photographs to learn from, in good light where the plan has them.

    Raises:
        DatasetError: bright photographs that are not those of the plan's sources.
    """
    _same_names(plan, section)
    if section.held:
        sources = plan.bright or (*section.sources, *section.more)
        kept = None
    else:
        sources = (*(plan.bright or section.sources), *section.more)
        kept = {photograph.name for photograph in read_parts(section, progress=progress).train}
    files = []
    for source in sources:
        labels = labels_of(source)
        root = photographs_of(labels, None if plan.bright else section.images)
        names = [image.file_name for image in read_coco(labels).images]
        files += [root / name for name in names if kept is None or name in kept]
    return files


def _same_names(plan: ChainPlan, section: PhotographSection) -> None:
    """Refuse bright photographs that the folds of the dark ones say nothing about."""
    if section.held or not plan.bright:
        return
    dark, bright = (_names(sources) for sources in (section.sources, plan.bright))
    if dark != bright:
        strange = min(dark ^ bright)
        raise DatasetError(
            f"{strange}: is in one of the dark and the bright photographs only, so that folds "
            "would mix what is learnt with what is held out. Give both the same names, or hold "
            "sources of their own out."
        )


def _names(sources: Sequence[str]) -> set[str]:
    return {image.file_name for s in sources for image in read_coco(labels_of(s)).images}


def build_sams(
    plan: ChainPlan,
    recipes: PlanRecipes,
    run: Run,
    *,
    recipe: DetectorRecipe,
    desk: Desk,
) -> Sams:
    """Load or train the SAMs of a detector's methods.

    Args:
        plan: its methods.
        recipes: of the plan.
        run: of the detector.
        recipe: of the run; SAMs are shown what its detector is.
        desk: where they are trained, and on what they work.
    """
    named = {m.sam for m in plan.methods.values() if m.sam and m.detector == run.recipe}
    sams = {}
    for source in sorted(named):
        if is_recipe(source):
            sam = _trained(plan, recipes, run, source=source, recipe=recipe, desk=desk)
        elif _is_folder(source):
            sam = _ready(Path(source), plan)
        else:
            sam = published_sam(source, len(plan.photographs.categories))
        sams[source] = sam.to(desk.device).eval()
    _share_encoders(list(sams.values()))
    return sams


def _share_encoders(sams: Sequence[ClassPromptedSam]) -> None:
    """Give SAMs with equal encoders one and the same, so that photographs are embedded once."""
    for at, sam in enumerate(sams):
        for other in sams[:at]:
            mine, theirs = (s.sam.encoder.state_dict() for s in (sam, other))
            same = mine.keys() == theirs.keys() and sam.sam.base == other.sam.base
            if same and all(torch.equal(mine[name], theirs[name]) for name in mine):
                sam.sam.encoder = other.sam.encoder
                break


def _is_folder(source: str) -> bool:
    """Whether a SAM is named by a folder, there or not: a path that is no address and no file."""
    path = Path(source)
    return path.is_dir() or ("://" not in source and len(path.parts) > 1 and not path.suffix)


def _ready(folder: Path, plan: ChainPlan) -> ClassPromptedSam:
    """Read a SAM that was trained on other photographs than the plan's.

    Raises:
        RecipeError: it was told other classes.
        MissingFileError: no such folder; or, with BundleError, as ``read_box_sam``.
    """
    if not folder.is_dir():
        raise MissingFileError(
            f"{folder}: no such folder of a SAM. Train one into it with headframe underground "
            "train-sam, or correct the plan."
        )
    bundle = read_box_sam(folder)
    if bundle.categories != plan.photographs.categories:
        raise RecipeError(
            f"{folder}: this SAM was told {', '.join(bundle.categories)}; the plan has "
            f"{', '.join(plan.photographs.categories)}. Give one of the same classes."
        )
    return bundle.network


def published_sam(source: str, classes: int) -> ClassPromptedSam:
    """Build a SAM as it is published; errors as ``engine.bases``."""
    base = find_base(source)
    return build_class_prompted_sam(classes, base=base.architecture, state=base_state(base))


def _trained(
    plan: ChainPlan,
    recipes: PlanRecipes,
    run: Run,
    *,
    source: str,
    recipe: DetectorRecipe,
    desk: Desk,
) -> ClassPromptedSam:
    given = recipes.sams[source].with_photographs(**plan.part(run.fold).model_dump(mode="json"))
    own = given.model_copy(
        update={
            "prepare": recipe.prepare,
            "train": given.train.model_copy(update={"seed": run.seed}),
            "light": given.light.model_copy(update={"test": plan.light.test[-1:]}),
        }
    )
    key = sam_key(source, recipes, run)
    for job in share([key], out=desk.out / SAMS, name=str):
        train_box_sam(
            own,
            out=desk.out / SAMS / job,
            resume=True,
            accelerator=desk.accelerator,
            progress=desk.progress,
        )
    return read_box_sam(desk.out / SAMS / key).network


def sam_key(source: str, recipes: PlanRecipes, run: Run) -> str:
    """Name the folder of a trained SAM: its recipe, what it is shown, fold and seed."""
    prepare = recipes.detectors[run.recipe].prepare
    return f"{Path(source).stem}-{Path(prepare).stem}-{run.place}"


def build_chains(
    plan: ChainPlan, base: Chain, methods: Sequence[str], sams: Sams
) -> dict[str, Chain]:
    """Put the chains of methods together on one detector, by their names."""
    return {name: _chain(base, plan.methods[name], sams) for name in methods}


def _chain(base: Chain, method: MethodSection, sams: Sams) -> Chain:
    if method.sam is None:
        return base
    options = replace(base.options, classes=method.classes, sam_score=method.sam_score)
    return replace(base, sam=sams[method.sam], fusion=fusion_of(method), options=options)


def fusion_of(method: MethodSection) -> FusionOptions | None:
    """Read how a method fuses; None: not at all. Errors as ``read_options`` and ``load_gate``."""
    if method.fusion is None:
        return None
    gate = {} if method.gate is None else {"gate": load_gate(method.gate)}
    return read_options(FusionOptions, {**method.fusion, **gate}, name="fusion")


def found_by(
    chains: Mapping[str, Chain], base: Chain, photograph: InstancePhotograph
) -> Iterator[tuple[str, Detections]]:
    """Ask detector and each SAM once, and finish every chain from their answers."""
    pixels = shown(photograph, base.prepare)
    (found,) = base.detector.detect([torch.from_numpy(pixels)], soft=True)
    found = found.above(base.options.min_score)
    answers: dict[tuple[int, bool, float], Detections] = {}
    embedded: dict[int, torch.Tensor] = {}
    for name, chain in chains.items():
        if chain.sam is None:
            yield name, found
            continue
        key = (id(chain.sam), chain.options.classes, chain.options.sam_score)
        if key not in answers:
            asked = found.above(chain.options.sam_score)
            encoder = id(chain.sam.sam.encoder)
            if len(asked) and encoder not in embedded:
                embedded[encoder] = embed_photograph(chain.sam, pixels)
            answers[key] = answer_boxes(
                chain.sam,
                pixels,
                asked,
                classes=chain.options.classes,
                embedding=embedded.get(encoder),
            )
        yield name, chain.finish(found, answers[key])[0]
