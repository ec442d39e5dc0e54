"""Several trained models as one: a bundle that scores by the mean of their probabilities."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from headframe.core.errors import BundleError
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.engine.bundle import Bundle, load_bundle, out_channels
from headframe.engine.modelcard import is_prompted
from headframe.models.ensemble import Ensemble, Member

ARCHITECTURE = "ensemble"
_SAME = ("sensor", "gsd_m")
_TOLD = ("dataset", "attribution", "limits")


def merge_bundles(
    sources: Sequence[str | Path],
    *,
    name: str,
    weights: Sequence[float] = (),
    threshold: float | None = None,
) -> Bundle:
    """Make one model of several.

    Each sees the bands it was trained with, standardised as it was trained, under every view that
    the one of them with the most has. Figures are not carried over: those of the whole are its own.

    Args:
        sources: two or more bundles, as ``load_bundle`` takes them.
        name: of the new one.
        weights: how much each counts, > 0; none: all the same.
        threshold: of the new one, in [0, 1]; None for the weighted mean of theirs.

    Returns:
        The model, in memory.

    Raises:
        BundleError: fewer than two, another number of weights, or models that differ in sensor,
            pixel size, classes or zoom, draw what they are prompted for, or stand on a base.
        UnknownNameError: one of them is not there.
    """
    bundles = [load_bundle(source) for source in sources]
    if len(bundles) < 2:
        raise BundleError("one model alone cannot be merged. Name two or more.")
    counted = list(weights) or [1.0] * len(bundles)
    if len(counted) != len(bundles) or not all(weight > 0 for weight in counted):
        given = ", ".join(f"{weight:g}" for weight in counted)
        raise BundleError(
            f"{len(bundles)} models, weights {given}. Give one above 0 for each, or none."
        )
    for bundle in bundles:
        _check(bundle.spec, bundles[0].spec)
    inputs = _joined([bundle.spec.inputs for bundle in bundles])
    members = [
        _member(bundle.spec, inputs, weight)
        for bundle, weight in zip(bundles, counted, strict=True)
    ]
    mean = sum(
        weight * bundle.spec.threshold for weight, bundle in zip(counted, bundles, strict=True)
    ) / sum(counted)
    spec = replace(
        bundles[0].spec,
        name=name,
        architecture=ARCHITECTURE,
        options={"members": [_plain(member) for member in members]},
        inputs=inputs,
        patch_px=max(bundle.spec.patch_px for bundle in bundles),
        threshold=mean if threshold is None else threshold,
        test_flips=max(bundle.spec.test_flips for bundle in bundles),
        metrics={},
        training=_told([bundle.spec for bundle in bundles]),
        license=" AND ".join(dict.fromkeys(bundle.spec.license for bundle in bundles)),
    )
    network = Ensemble([bundle.network for bundle in bundles], members, inputs.bands).eval()
    return Bundle(spec, network.requires_grad_(False))


def _check(spec: ModelSpec, first: ModelSpec) -> None:
    if is_prompted(spec) or spec.base is not None:
        raise BundleError(
            f"model {spec.name}: stands on the weights of a SAM or draws what it is prompted for. "
            "Merge models that hold all of themselves and map."
        )
    facts = [(field, getattr(spec.inputs, field), getattr(first.inputs, field)) for field in _SAME]
    facts += [
        ("classes", spec.classes.names, first.classes.names),
        ("logits", out_channels(spec), out_channels(first)),
        ("test_zoom", spec.test_zoom, first.test_zoom),
    ]
    for field, own, wanted in facts:
        if own != wanted:
            raise BundleError(
                f"model {spec.name}: its {field} is {own}, that of {first.name} {wanted}. Merge "
                "models that agree in it."
            )


def _joined(inputs: Sequence[InputSpec]) -> InputSpec:
    """Bands of all, each with the statistics of the first model that has it."""
    found: dict[str, tuple[float, float, tuple[float, float, float]]] = {}
    for own in inputs:
        for number, band in enumerate(own.bands):
            found.setdefault(band, (own.mean[number], own.std[number], own.percentiles[number]))
    mean, std, percentiles = zip(*found.values(), strict=True)
    return replace(inputs[0], bands=tuple(found), mean=mean, std=std, percentiles=percentiles)


def _member(spec: ModelSpec, inputs: InputSpec, weight: float) -> Member:
    own = spec.inputs
    places = [inputs.bands.index(band) for band in own.bands]
    pairs = list(zip(places, own.mean, own.std, strict=True))
    return Member(
        architecture=spec.architecture,
        options=spec.options,
        bands=own.bands,
        weight=weight,
        scale=tuple(inputs.std[place] / std for place, _, std in pairs),
        shift=tuple((inputs.mean[place] - mean) / std for place, mean, std in pairs),
    )


def _plain(member: Member) -> dict[str, Any]:
    value = asdict(member)
    return {key: list(v) if isinstance(v, tuple) else v for key, v in value.items()}


def _told(specs: Sequence[ModelSpec]) -> dict[str, Any]:
    """What is known of how they were trained, said once where they agree."""
    told: dict[str, Any] = {}
    for key in _TOLD:
        said = dict.fromkeys(str(spec.training[key]) for spec in specs if spec.training.get(key))
        if said:
            told[key] = " ".join(said) if key == "limits" else "; ".join(said)
    first = specs[0].training
    if all(spec.training.get("dataset_id") == first.get("dataset_id") for spec in specs):
        told |= {key: first[key] for key in ("dataset_id", "sites", "chips") if key in first}
    told["members"] = [spec.name for spec in specs]
    told["recipe"] = [spec.training.get("recipe") for spec in specs]
    return told
