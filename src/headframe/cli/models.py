"""`headframe models`: which bundles there are, and what one needs and promises.

Examples:
    headframe models list
    headframe models show tailings-s2-rgb --json
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headframe.core.modelspec import ModelSpec

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the bundles that come with headframe.

    Examples:
        headframe models list
        headframe models list --json
    """
    from headframe.cli import console
    from headframe.engine.bundle import find_bundle, read_spec, shipped_bundles

    specs = [read_spec(find_bundle(name)) for name in shipped_bundles()]
    if as_json:
        console.emit_json([_brief(spec) for spec in specs])
        return
    rows = [
        (s.name, s.inputs.sensor, " ".join(s.inputs.bands), f"{s.inputs.gsd_m:g} m", _target(s))
        for s in specs
    ]
    console.table("Shipped models", ("name", "sensor", "bands", "pixel", "maps"), rows)


@app.command("show")
def show_model(
    model: Annotated[str, typer.Argument(help="Name, bundle folder or hf://owner/name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what a model needs, what it writes and how it was measured.

    Examples:
        headframe models show tailings-s2-rgb
        headframe models show runs/unet/bundle --json
    """
    from headframe.cli import console
    from headframe.engine.bundle import find_bundle, read_spec

    spec = read_spec(find_bundle(model))
    facts = _brief(spec) | {"metrics": spec.metrics, "training": spec.training}
    if as_json:
        console.emit_json(facts)
        return
    rows = [(key, value) for key, value in facts.items() if key not in ("metrics", "training")]
    rows += [(f"metrics: {key}", value) for key, value in spec.metrics.items()]
    told = {key: value for key, value in spec.training.items() if key != "recipe" and value}
    if isinstance(told.get("sites"), list):
        told["sites"] = f"{len(told['sites'])} (--json lists them, and the recipe)"
    rows += [(f"training: {key}", value) for key, value in told.items()]
    console.table(spec.name, ("field", "value"), rows)


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


def _target(spec: "ModelSpec") -> str:
    return ", ".join(spec.classes.names[1:])
