"""Training on Lightning Fabric: a run is a pure function of its recipe and its step."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger

from headframe import __version__
from headframe.core.components import class_set_of
from headframe.core.errors import OutputError, RecipeError
from headframe.core.modelspec import InputSpec
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import Chip, ChipDataset
from headframe.engine.adaptation import Adaptation
from headframe.engine.allocator import TRAINING_BYTES, keep_freed_memory
from headframe.engine.bundle import Bundle, save_bundle
from headframe.engine.curves import draw_curves
from headframe.engine.embedding_store import embedding_folder
from headframe.engine.evaluate import evaluate_chips
from headframe.engine.lessons import begin_lessons
from headframe.engine.panels import draw_samples
from headframe.engine.prompt_report import draw_prompted, prompt_validator
from headframe.engine.prompt_samples import PromptStore
from headframe.engine.recipe import Recipe, load_recipe, save_recipe
from headframe.engine.run import CHECKPOINT, Run, Validate
from headframe.engine.samples import (
    CACHE_BYTES,
    ChipStore,
    JoinedStore,
    Parts,
    Source,
    choose_parts,
    choose_sources,
    class_balance,
    open_labelled,
)
from headframe.engine.sampling import Sample
from headframe.engine.start import untrained_bundle
from headframe.engine.weights import load_checkpoint
from headframe.io.files import write_json
from headframe.models.registry import get_architecture
from headframe.models.trainable import count_trained

RECIPE = "recipe.yaml"
RESULT = "result.json"


@dataclass(frozen=True)
class Hardware:
    """Lightning's own flags.

    Attributes:
        accelerator: auto, cpu, gpu, mps, …
        devices: number or list, as Lightning takes it.
        strategy: auto, ddp, fsdp, …
    """

    accelerator: str = "auto"
    devices: str = "auto"
    strategy: str = "auto"


AUTO = Hardware()


@dataclass(frozen=True)
class Watch:
    """Someone who follows a run by its validations and may end it.

    Attributes:
        seen: called with step, steps and IoU after each validation; what it raises ends the run,
            which can be resumed.
        times: validations of a run whose recipe asks for none, evenly spread.
        part: which part of the data is measured, and early stopping goes by.
        measure: name of the last IoU in the result.
    """

    seen: Callable[[int, int, float], None]
    times: int = 10
    part: Literal["validation", "test"] = "validation"
    measure: str = "validation_iou"


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves behind.

    Attributes:
        bundle: folder of the trained model.
        metrics: last loss, steps, seconds, and validation IoU where there was a validation part.
    """

    bundle: Path
    metrics: dict[str, Any]


def train(
    recipe: Recipe,
    *,
    out: Path,
    resume: bool = False,
    hardware: Hardware = AUTO,
    progress: Progress = SILENT,
    watch: Watch | None = None,
) -> TrainResult:
    """Train one model into a run folder.

    The folder gets the resolved recipe, ``checkpoint.pt``, ``metrics.csv``, TensorBoard events,
    ``curves.png``, ``samples.png`` and ``bundle/``. A killed run goes on with ``resume`` at the
    step of its last checkpoint, with the same optimiser state and the same next batch.

    Args:
        recipe: what to train, on what.
        out: run folder, new unless ``resume``.
        resume: go on with what is in ``out``; a finished run returns at once.
        hardware: Lightning's flags.
        progress: told of every step.
        watch: told of every validation.

    Raises:
        RecipeError: ``resume`` with another recipe, or a recipe that cannot be built.
        OutputError: ``out`` holds a run and ``resume`` was not asked for.
        DatasetError: the data set cannot be used.
        JobError: the loss is no longer finite.
    """
    _check_prompts(recipe)
    _check_labels(recipe)
    _claim(recipe, out, resume=resume)
    if (out / RESULT).is_file():
        return TrainResult(out / "bundle", json.loads((out / RESULT).read_text(encoding="utf-8")))
    dataset = open_labelled(recipe.data)
    parts = choose_parts(dataset, recipe.data)
    sources = choose_sources(dataset, recipe.data, parts)
    chips = tuple(chip for source in sources for chip in source.chips)
    if watch is not None and watch.part == "test":
        parts = replace(parts, validation=parts.test)
    fabric = Fabric(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        strategy=hardware.strategy,
        precision=_precision(recipe),
        loggers=[TensorBoardLogger(out, name="tensorboard", version="")],
    )
    fabric.launch()
    torch.manual_seed(recipe.train.seed)
    keep_freed_memory(TRAINING_BYTES)
    steps = recipe.train.steps_for(len(chips), world=fabric.world_size)
    recipe = recipe.with_train(steps=steps)
    if watch is not None and not recipe.train.validate_every:
        recipe = recipe.with_train(validate_every=max(1, steps // watch.times))
    first = replace(parts, train=sources[0].chips)
    bundle = untrained_bundle(recipe, sources[0].dataset, first, progress)
    store = _store(recipe, sources, bundle.spec.inputs)
    run = Run(fabric, _balanced(recipe, store, bundle), bundle, out)
    _put_beside(run, recipe, dataset, parts)
    if resume and (out / CHECKPOINT).is_file():
        run.restore(load_checkpoint(out / CHECKPOINT))
    if recipe.train.embed_epochs:
        run.embeddings = embedding_folder(out, recipe, bundle.network, bundle.spec.inputs, chips)
    validate = _validator(recipe, dataset, parts.validation, bundle.spec.inputs)
    run.fit(store, validate if watch is None else _watched(validate, run, watch), progress)
    measure = watch.measure if watch else "validation_iou"
    parts = replace(parts, train=chips)
    return _finish(run, store, dataset, parts, measure={measure: validate})


def _put_beside(run: Run, recipe: Recipe, dataset: ChipDataset, parts: Parts) -> None:
    """Give a run the teacher, and the other domain, that its recipe asks for."""
    bundle = run.bundle
    if recipe.distill is not None:
        coarse = None
        if recipe.distill.ewc and recipe.data.coarse:
            learnt = recipe.data.model_copy(update={"labels": "coarse", "replay": 0})
            known = choose_sources(dataset, learnt, parts)
            coarse = _store(recipe, known, bundle.spec.inputs)
        run.lessons = begin_lessons(recipe, bundle.network, run.fabric, coarse)
    if recipe.adapt is not None:
        fine = _store(recipe, (Source(dataset, parts.train),), bundle.spec.inputs)
        classes = len(bundle.spec.classes)
        run.adaptation = Adaptation(recipe, recipe.adapt, fine, run.fabric, classes=classes)


def _check_prompts(recipe: Recipe) -> None:
    """Prompts and the networks that take them need each other."""
    name = recipe.model.architecture
    if (recipe.data.prompts is None) == (get_architecture(name).planes == 0):
        return
    if recipe.data.prompts is None:
        raise RecipeError(
            f"architecture {name!r} is prompted; the recipe says nothing of prompts. Add "
            "data.prompts, {} for the defaults."
        )
    raise RecipeError(
        f"architecture {name!r} takes no prompts. Leave data.prompts out, or choose a "
        "sam-prompt- architecture."
    )


def _check_labels(recipe: Recipe) -> None:
    """Coarse labels, lessons and adaptation are for plain training on chips."""
    plain = recipe.data.prompts is None and not recipe.train.embed_epochs
    beside = recipe.distill is not None or recipe.adapt is not None or recipe.data.replay
    if not plain and (recipe.data.labels != "fine" or beside):
        raise RecipeError(
            "coarse labels, replay, distill and adapt go with whole chips. Leave data.prompts "
            "and train.embed_epochs out."
        )
    if recipe.adapt is not None and recipe.data.labels != "coarse":
        raise RecipeError(
            f"data.labels is {recipe.data.labels}: adapt goes from coarse labels to the sites of "
            "the fine ones. Set data.labels to coarse."
        )


def _claim(recipe: Recipe, out: Path, *, resume: bool) -> None:
    """Take ``out`` for this recipe, or say why not."""
    saved = out / RECIPE
    if saved.is_file():
        if not resume:
            raise OutputError(f"{out}: holds a run already. Add --resume or choose another --out.")
        changed = _changed(load_recipe(saved), recipe)
        if changed:
            raise RecipeError(
                f"{saved}: the run was begun with another {changed}. "
                "Resume with the same recipe or choose another --out."
            )
    else:
        save_recipe(recipe, saved)


def _changed(before: Recipe, now: Recipe) -> str | None:
    old, new = (_resolved(recipe).model_dump(mode="json") for recipe in (before, now))
    del new["output"], new["paper"]  # how a trained model is used and compared, not trained
    for section, values in new.items():
        before_values = old[section]
        if isinstance(values, dict) and isinstance(before_values, dict):
            for key, value in values.items():
                if before_values[key] != value:
                    return f"{section}.{key} ({before_values[key]!r}, now {value!r})"
        elif values != before_values and section != "name":
            return f"{section} ({before_values!r}, now {values!r})"
    return None


def _resolved(recipe: Recipe) -> Recipe:
    """The recipe with its data sets' full paths: one folder may be written in many ways."""
    data = recipe.data
    coarse = str(Path(data.coarse).resolve()) if data.coarse else ""
    return recipe.with_data(dataset=str(Path(data.dataset).resolve()), coarse=coarse)


def _precision(recipe: Recipe) -> Any:  # noqa: ANN401 - a Literal of Lightning's own
    if recipe.train.precision != "auto":
        return recipe.train.precision
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"


def _store(recipe: Recipe, sources: Sequence[Source], inputs: InputSpec) -> Sequence[Sample]:
    """What is learnt from: whole chips, or the objects in them."""
    stores = [
        ChipStore(
            source.dataset,
            source.chips,
            data=recipe.data,
            inputs=inputs,
            cache_bytes=CACHE_BYTES // len(sources),
        )
        for source in sources
    ]
    if recipe.data.prompts is None:
        return stores[0] if len(stores) == 1 else JoinedStore(stores)
    gsd_m = sources[0].dataset.manifest.gsd_m
    return PromptStore(stores[0], recipe.data.prompts, gsd_m=gsd_m)


def _balanced(recipe: Recipe, store: Sequence[Sample], bundle: Bundle) -> Recipe:
    """The recipe with the class weights that it asks to be measured."""
    if recipe.loss.balance == "none":
        return recipe
    weights = class_balance(store, classes=len(bundle.spec.classes))
    options = {**recipe.loss.options, "class_weights": weights}
    loss = recipe.loss.model_copy(update={"options": options, "balance": "none"})
    return recipe.model_copy(update={"loss": loss})


def _validator(
    recipe: Recipe, dataset: ChipDataset, chips: tuple[Chip, ...], inputs: InputSpec
) -> Validate:
    """Pooled IoU of the target; of a class set's model its mean over the components.

    Of prompted objects it is the mean over them.
    """
    if chips and recipe.data.prompts is not None:
        held = ChipStore(dataset, chips, data=recipe.data, inputs=inputs)
        found = PromptStore(held, recipe.data.prompts, gsd_m=dataset.manifest.gsd_m)
        return prompt_validator(found, recipe.train.crop_px)

    def validate(bundle: Bundle) -> float | None:
        if not chips:
            return None
        found = evaluate_chips(bundle, dataset, chips)
        if class_set_of(found.classes.names) is None:
            return found.target_iou
        return found.scores("pooled").mean(skip_background=True)["iou"]

    return validate


def _watched(validate: Validate, run: Run, watch: Watch) -> Validate:
    def measured(bundle: Bundle) -> float | None:
        value = validate(bundle)
        if value is not None:
            watch.seen(run.step, run.recipe.train.steps, value)
        return value

    return measured


def _finish(
    run: Run,
    store: Sequence[Sample],
    dataset: ChipDataset,
    parts: Parts,
    *,
    measure: Mapping[str, Validate],
) -> TrainResult:
    """Write bundle, pictures and result; the result last, as the sign of a finished run."""
    bundle = run.trained()
    validated = {name: validate(bundle) for name, validate in measure.items()}
    measured = {name: round(value, 4) for name, value in validated.items() if value is not None}
    recipe = run.recipe
    training = {
        "dataset": dataset.root.name,
        "dataset_id": dataset.identifier,
        "sites": sorted({chip.site for chip in parts.train}),
        "chips": len(parts.train),
        "recipe": recipe.model_dump(mode="json", exclude={"data": {"dataset", "coarse"}}),
        "headframe": __version__,
        "attribution": recipe.output.attribution,
        "limits": recipe.output.limits,
    }
    spec = replace(bundle.spec, metrics=measured, training=training)
    folder = run.out / "bundle"
    trained, total = count_trained(run.bundle.network)
    result = {
        "steps": run.step,
        "seconds": round(run.seconds + run.embedding_seconds, 1),
        "loss": run.log.last_loss(),
        "parameters": total,
        "trained_parameters": trained,
        **measured,
    }
    if run.fabric.is_global_zero:
        save_bundle(replace(bundle, spec=spec), folder)
        draw_curves(run.log, run.out / "curves.png", title=recipe.name)
        pictures = run.out / "samples.png"
        if isinstance(store, PromptStore):
            draw_prompted(bundle, store, pictures, crop_px=recipe.train.crop_px)
        else:
            draw_samples(bundle, dataset, parts.validation or parts.train, pictures)
        write_json(run.out / RESULT, result)
    return TrainResult(bundle=folder, metrics=result)
