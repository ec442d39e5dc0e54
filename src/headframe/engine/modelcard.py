"""Model cards: ``README.md`` of a bundle, from its description."""

import json

from headframe.core.modelspec import ModelSpec
from headframe.models.registry import BUILDERS


def model_card(spec: ModelSpec) -> str:
    """Write a model card with the hub's front matter.

    Args:
        spec: the model's description.

    Returns:
        Markdown that names inputs, classes, training data, figures and limits.
    """
    inputs = spec.inputs
    bands = "\n".join(
        f"| {i} | {band} | {inputs.mean[i]:.4f} | {inputs.std[i]:.4f} |"
        for i, band in enumerate(inputs.bands)
    )
    metrics = "\n".join(f"- {key}: {_plain(value)}" for key, value in spec.metrics.items())
    training = "\n".join(
        f"- {key}: {_plain(value)}"
        for key, value in spec.training.items()
        if value and key not in ("sites", "limits", "recipe")
    )
    notes = spec.training.get("limits") or "Look at the map before you act on it."
    return f"""---
library_name: headframe
license: {_hub_license(spec.license)}
tags: [mining, remote-sensing, segmentation, {inputs.sensor}]
---

# {spec.name}

{_use(spec)}
## Inputs

| channel | band | mean | std |
|---|---|---|---|
{bands}

Physical unit of the sensor (reflectance 0-1 for optical sensors). Nodata pixels are left out.

{_base(spec)}## Figures

{metrics or "- none measured"}

## Training

{training or "- not recorded"}

## Limits

{notes}
"""


def is_prompted(spec: ModelSpec) -> bool:
    """Whether a model outlines what it is pointed at, and maps nothing of itself."""
    known = BUILDERS.get(spec.architecture)
    return known is not None and bool(known.planes)


def _use(spec: ModelSpec) -> str:
    """What it does, and the command for it."""
    seen = f"{spec.inputs.sensor} at {spec.inputs.gsd_m:g} m"
    if is_prompted(spec):
        objects = " and ".join(spec.classes.names[1:])
        return f"""Outlines what it is pointed at in {seen}; it was shown {objects}. Use it with

    headframe refine SCENES --polygons COARSE.kml --model {spec.name} --out refined.gpkg
    headframe prompt SCENE.tif --box X0 Y0 X1 Y1 --model {spec.name} --out outlines.gpkg
"""
    classes = ", ".join(f"{c.index} {c.name}" for c in spec.classes.classes)
    return f"""Maps {classes} from {seen}. Use it with

    headframe map SCENE.tif --model {spec.name} --out maps
"""


def _base(spec: ModelSpec) -> str:
    """What the bundle does not hold."""
    if spec.base is None:
        return ""
    return f"""## Base

Holds only what training changed. It stands on `{spec.base.source}` ({spec.base.architecture},
SHA-256 `{spec.base.sha256}`), which is found by that name, or lies beside these files.

"""


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _hub_license(name: str) -> str:
    """The hub's spelling of an SPDX name: lower case, ``unknown`` where nothing is said."""
    return "unknown" if name == "unspecified" else name.lower()
