"""`headframe models`: which bundles and architectures there are, what one needs and promises.

Examples:
    headframe models list
    headframe models show tailings-s2-rgb --json
    headframe models merge runs/unet runs/procanet --out models/water
    headframe models push runs/pits hf://our-office/pits
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headframe.core.modelspec import BaseSpec, ModelSpec

app = typer.Typer(no_args_is_help=True)
_NESTED = ("metrics", "training")


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List what comes with headframe, and every architecture a recipe can name.

    Examples:
        headframe models list
        headframe models list --json
    """
    from headframe.cli import console
    from headframe.engine.bundle import find_bundle, read_spec, shipped_bundles
    from headframe.engine.enhancer_bundle import describe_enhancer, shipped_enhancers
    from headframe.models.registry import BUILDERS
    from headframe.underground.chain_names import shipped_chains

    specs = [read_spec(find_bundle(name)) for name in shipped_bundles()]
    chains = [facts for name in shipped_chains() if (facts := _chain(name)) is not None]
    enhancers = [describe_enhancer(name) for name in shipped_enhancers()]
    if as_json:
        kinds = [
            {"name": name, "source": kind.source, "description": kind.description}
            for name, kind in BUILDERS.items()
        ]
        found = {
            "bundles": [_brief(spec) for spec in specs],
            "chains": [_flat(facts) for facts in chains],
            "enhancers": [_flat(facts) for facts in enhancers],
        }
        console.emit_json(found | {"architectures": kinds})
        return
    rows = [
        (s.name, s.inputs.sensor, " ".join(s.inputs.bands), f"{s.inputs.gsd_m:g} m", _target(s))
        for s in specs
    ]
    console.table("Shipped models", ("name", "sensor", "bands", "pixel", "maps"), rows)
    below = [
        (c["name"], ", ".join(c["finds"]), c["fusion"] or "-", f"{c['megabytes']} MB")
        for c in chains
    ]
    if below:
        console.table("Shipped chains, below ground", ("name", "finds", "fusion", "size"), below)
    lights = [(e["name"], e["mode"], _light(e), f"{e['megabytes']} MB") for e in enhancers]
    if lights:
        head = ("name", "mode", "brightens", "size")
        console.table("Shipped enhancers of dark photographs", head, lights)
    known = [(name, kind.description, kind.source) for name, kind in BUILDERS.items()]
    console.table("Architectures", ("name", "what it is", "source"), known)


@app.command("show")
def show_model(
    model: Annotated[
        str,
        typer.Argument(help="Name, folder, hf://owner/name, architecture, or base of SAM."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show a model (its needs, output, figures), a chain, an enhancer, an architecture or a base.

    Examples:
        headframe models show tailings-s2-rgb
        headframe models show runs/unet/bundle --json
        headframe models show dis-mine-person
        headframe models show kind-s
        headframe models show minesegsat-b3 --json
        headframe models show sam_vit_b.pth
    """
    from headframe.cli import console
    from headframe.engine.bases import is_base
    from headframe.engine.bundle import find_bundle, out_channels, read_spec
    from headframe.engine.enhancer_bundle import describe_enhancer, is_enhancer
    from headframe.models.registry import BUILDERS, count_parameters, count_trained
    from headframe.underground.chain_names import is_chain

    if model in BUILDERS and not Path(model).is_dir():
        _show_architecture(model, as_json=as_json)
        return
    if is_base(model) and not Path(model).is_dir():
        _show_base(model, as_json=as_json)
        return
    if is_chain(model):
        from headframe.underground.chain_bundle import describe_chain

        _show_nested(describe_chain(model), "a chain below ground", as_json=as_json)
        return
    if is_enhancer(model):
        _show_nested(describe_enhancer(model), "an enhancer", as_json=as_json)
        return
    spec = read_spec(find_bundle(model))
    counted = (spec.architecture, spec.inputs.bands, out_channels(spec), spec.options)
    facts = _brief(spec) | {
        "options": spec.options,
        "parameters": count_parameters(*counted),
        "trained_parameters": count_trained(*counted),
        "base": None if spec.base is None else asdict(spec.base),
        "metrics": spec.metrics,
        "training": spec.training,
    }
    if as_json:
        console.emit_json(facts)
        return
    named = {**facts, "base": "none" if spec.base is None else _base(spec.base)}
    rows = [(key, value) for key, value in named.items() if key not in ("metrics", "training")]
    rows += [(f"metrics: {key}", value) for key, value in spec.metrics.items()]
    told = {key: value for key, value in spec.training.items() if key != "recipe" and value}
    if isinstance(told.get("sites"), list):
        told["sites"] = f"{len(told['sites'])} (--json lists them, and the recipe)"
    rows += [(f"training: {key}", value) for key, value in told.items()]
    console.table(spec.name, ("field", "value"), rows)


@app.command("merge")
def merge_models(
    models: Annotated[
        list[str], typer.Argument(help="Bundles or run folders, shipped names: two or more.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the model to make.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Its name; else that of the folder.")
    ] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option("--weight", help="How much each counts, above 0; repeat it, one each."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, help="Else the mean of theirs."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make one model of several that scores by the mean of their probabilities.

    They must agree in sensor, pixel size and classes; each sees its own bands. The whole takes as
    long as all of them. Its card has no figures until it is evaluated.

    Examples:

        headframe models merge runs/unet runs/procanet --out models/water

        headframe models merge a b --weight 0.7 --weight 0.3 --threshold 0.4 --out both
    """
    from headframe.cli import console
    from headframe.core.errors import OutputError
    from headframe.engine.bundle import save_bundle
    from headframe.engine.merge import merge_bundles
    from headframe.io.files import make_folder, replacing, writing_into

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: is there already. Choose another --out.")
    bundle = merge_bundles(
        models, name=name or out.resolve().name, weights=weight or (), threshold=threshold
    )
    make_folder(out.parent)
    with writing_into(out), replacing(out) as part:
        save_bundle(bundle, part)
    facts = _brief(bundle.spec) | {"folder": str(out), "members": len(models)}
    if as_json:
        console.emit_json(facts)
        return
    console.say(
        f"{out}: {len(models)} models as one, {' '.join(bundle.spec.inputs.bands)}, threshold "
        f"{bundle.spec.threshold:g}. Measure it: headframe evaluate {out} DATASET"
    )


@app.command("push")
def push_model(
    model: Annotated[str, typer.Argument(help="Bundle or run folder, or a shipped name.")],
    target: Annotated[str, typer.Argument(help="Where to: hf://owner/name.")],
    private: Annotated[
        bool, typer.Option("--private", help="A new repository is private.")
    ] = False,
) -> None:
    """Put a bundle on the Hugging Face hub, from where hf://owner/name loads it.

    Log in first with `hf auth login`.

    Examples:

        headframe models push runs/pits hf://our-office/pits

        headframe models push runs/pits hf://our-office/pits --private
    """
    from headframe.cli import console
    from headframe.engine.bundle import push_bundle

    console.say(f"Published: {push_bundle(model, target, private=private)}")


def _show_architecture(name: str, *, as_json: bool) -> None:
    from headframe.cli import console
    from headframe.models.registry import count_parameters, count_trained, get_architecture

    kind = get_architecture(name)
    facts = {
        "name": name,
        "description": kind.description,
        "source": kind.source,
        "parameters": count_parameters(name, kind.bands, 1, {}),
        "trained_parameters": count_trained(name, kind.bands, 1, {}),
        "bands": list(kind.bands),
        "options": kind.options(),
        "stride": kind.stride,
        "min_px": kind.min_px,
    }
    if as_json:
        console.emit_json(facts)
        return
    counted = f"{facts['parameters']:,} with these bands, default options and one logit"
    rows = [(key, value) for key, value in (facts | {"parameters": counted}).items()]
    console.table(name, ("field", "value"), rows)


def _chain(name: str) -> dict[str, Any] | None:
    """Describe a chain; None where its extra is not installed."""
    try:
        from headframe.underground.chain_bundle import describe_chain
    except ModuleNotFoundError:
        return None
    return describe_chain(name)


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in _NESTED}


def _light(facts: dict[str, Any]) -> str:
    ratio, target = facts["ratio"], facts["target_light"]
    return f"to a mean illumination of {target:g}" if ratio is None else f"by {ratio:g}"


def _show_nested(facts: dict[str, Any], what: str, *, as_json: bool) -> None:
    from headframe.cli import console

    if as_json:
        console.emit_json(facts)
        return
    rows = list(_flat(facts).items())
    for key in _NESTED:
        told = {name: value for name, value in facts[key].items() if name != "recipe"}
        rows += [(f"{key}: {name}", value) for name, value in told.items()]
    if "recipe" in facts["training"]:
        rows.append(("training: recipe", "(--json shows it)"))
    console.table(f"{facts['name']}: {what}", ("field", "value"), rows)


def _show_base(source: str, *, as_json: bool) -> None:
    from headframe.cli import console
    from headframe.engine.bases import describe_base, find_base

    facts = describe_base(find_base(source))
    if as_json:
        console.emit_json(facts)
        return
    shown = facts | {"parameters": f"{facts['parameters']:,}"}
    console.table(f"{source}: a base of SAM", ("field", "value"), list(shown.items()))


def _brief(spec: "ModelSpec") -> dict[str, Any]:
    return {
        "name": spec.name,
        "architecture": spec.architecture,
        "sensor": spec.inputs.sensor,
        "bands": list(spec.inputs.bands),
        "gsd_m": spec.inputs.gsd_m,
        "classes": list(spec.classes.names),
        "patch_px": spec.patch_px,
        "threshold": spec.threshold,
        "test_flips": spec.test_flips,
        "test_zoom": spec.test_zoom,
        "license": spec.license,
    }


def _base(base: "BaseSpec") -> str:
    return f"{base.source} ({base.architecture}, SHA-256 {base.sha256[:12]}…), not in the bundle"


def _target(spec: "ModelSpec") -> str:
    from headframe.engine.modelcard import is_prompted

    classes = ", ".join(spec.classes.names[1:])
    return f"{classes}, where prompted" if is_prompted(spec) else classes
