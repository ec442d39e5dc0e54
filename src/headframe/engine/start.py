"""Where a run begins: the untrained bundle of a recipe, its weights from wherever ``init`` says."""

from collections.abc import Mapping

from torch import Tensor, nn

from headframe.core.errors import BundleError, RecipeError
from headframe.core.modelspec import BaseSpec, InputSpec, ModelSpec
from headframe.core.progress import Progress
from headframe.datasets.chips import ChipDataset
from headframe.engine.bases import LITEMEDSAM, base_state, find_base
from headframe.engine.bundle import Bundle, load_bundle
from headframe.engine.recipe import Recipe
from headframe.engine.samples import Parts, measure_inputs, model_classes
from headframe.engine.weights import encoder_start, names_bundle
from headframe.models.indices import WithIndices
from headframe.models.registry import build_network, encoder_of, get_architecture
from headframe.models.trainable import trained_names


def untrained_bundle(
    recipe: Recipe, dataset: ChipDataset, parts: Parts, progress: Progress
) -> Bundle:
    """Build network, statistics and classes of a recipe.

    Args:
        recipe: what is trained.
        dataset: where the chips are.
        parts: statistics are measured on its training chips, unless a bundle brings its own.
        progress: told of every chip that is measured.

    Raises:
        RecipeError: ``model.init`` does not fit the architecture, or bands do not fit a bundle's.
        BundleError: the bundle or base that ``model.init`` names is damaged, or is another network.
    """
    init = recipe.model.init
    first = load_bundle(init) if init != LITEMEDSAM and names_bundle(init) else None
    if first is None:
        inputs = measure_inputs(
            dataset,
            parts.train,
            recipe.data.bands,
            normalize=recipe.data.normalize,
            progress=progress,
        )
    else:
        inputs = _inherited(first, recipe)
    state, base = _weights(recipe, first)
    classes = model_classes(dataset, recipe.data)
    network = build_network(
        recipe.model.architecture,
        inputs.bands,
        1 if len(classes) == 2 else len(classes),
        recipe.model.options,
        encoder_state=state,
    )
    if isinstance(network, WithIndices):
        network.set_statistics(inputs.mean, inputs.std)
    if first is not None:
        _copy_matching(first, network)
    if trained_names(network) == frozenset(network.state_dict()):
        base = None  # nothing is left of it
    spec = ModelSpec(
        name=recipe.output.name,
        architecture=recipe.model.architecture,
        options=dict(recipe.model.options),
        inputs=inputs,
        classes=classes,
        patch_px=recipe.output.patch_px,
        threshold=recipe.output.threshold,
        test_flips=recipe.output.test_flips,
        test_zoom=recipe.output.test_zoom,
        license=recipe.output.license,
        base=base,
    )
    return Bundle(spec, network)


def _weights(
    recipe: Recipe, first: Bundle | None
) -> tuple[Mapping[str, Tensor] | None, BaseSpec | None]:
    """Tensors the network is built with, and the base they are of, if it stays outside."""
    name, init = recipe.model.architecture, recipe.model.init
    architecture = get_architecture(name).base
    if architecture is None:
        if init == LITEMEDSAM:
            raise RecipeError(f"model.init {init!r} is a SAM; architecture {name!r} is none.")
        encoder = encoder_of(name, recipe.model.options)
        return (encoder_start(init, encoder) if first is None else None), None
    if init == "imagenet":
        raise RecipeError(
            f"architecture {name!r} has no ImageNet weights. Set model.init to litemedsam, to a "
            "checkpoint of the SAM's authors, or to none."
        )
    if init == "none" or (first is not None and first.spec.base is None):
        return None, None
    source = init if first is None or first.spec.base is None else first.spec.base.source
    found = find_base(source)
    if found.architecture != architecture:
        raise RecipeError(
            f"model.init {init!r} is a {found.architecture}; architecture {name!r} stands on "
            f"{architecture}. Choose the other architecture or another file."
        )
    return base_state(found), BaseSpec(source, found.architecture, found.sha256)


def _inherited(first: Bundle, recipe: Recipe) -> InputSpec:
    """Statistics of the bundle a run goes on from: its weights expect them."""
    if first.spec.inputs.bands != recipe.data.bands:
        raise RecipeError(
            f"model.init {recipe.model.init!r} has bands {', '.join(first.spec.inputs.bands)}; "
            f"data.bands says {', '.join(recipe.data.bands)}. Make them equal."
        )
    return first.spec.inputs


def _copy_matching(first: Bundle, network: nn.Module) -> None:
    """Copy every tensor that has the same name and shape (another class count keeps its head)."""
    own = network.state_dict()
    known = first.network.state_dict()
    same = {k: v for k, v in known.items() if k in own and own[k].shape == v.shape}
    if len(same) < len(own) // 2:
        raise BundleError(
            f"model {first.spec.name}: {len(same)} of {len(own)} tensors fit; "
            "set model.architecture and model.options to those of the bundle."
        )
    network.load_state_dict({**own, **same})
