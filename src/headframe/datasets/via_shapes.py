"""VIA's shapes: checked, and turned into outlines."""

import math
from collections.abc import Mapping
from typing import Any

from headframe.datasets.instances import Ring

ROUND_CORNERS = 64
"""Corners of the outline of a circle or an ellipse: its area is 0.16 % too small."""

_NUMBERS: dict[str, tuple[str, ...]] = {
    "rect": ("x", "y", "width", "height"),
    "circle": ("cx", "cy", "r"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "point": ("cx", "cy"),
    "polygon": (),
    "polyline": (),
}
_LEAST = {"polygon": 3, "polyline": 2}
_SIZES = ("width", "height", "r", "rx", "ry")


def shape_problem(shape: Any) -> str | None:  # noqa: ANN401 - a stranger's JSON
    """Tell what is wrong with ``shape_attributes``; None if it can be drawn."""
    if not isinstance(shape, Mapping):
        return "has no shape_attributes"
    name = shape.get("name")
    if name not in _NUMBERS:
        return f"shape {name!r} is unknown; VIA has {', '.join(_NUMBERS)}"
    for key in _NUMBERS[name]:
        if not _is_number(shape.get(key)):
            return f"{name}: {key} is {shape.get(key)!r}, not a number"
        if key in _SIZES and shape[key] <= 0:
            return f"{name}: {key} is {shape[key]}; it must be above 0"
    return _points_problem(shape, name) if name in _LEAST else None


def _points_problem(shape: Mapping[str, Any], name: str) -> str | None:
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list):
        return f"{name}: all_points_x or all_points_y is missing"
    if len(xs) != len(ys):
        return f"{name}: {len(xs)} x but {len(ys)} y"
    bad = next((value for value in [*xs, *ys] if not _is_number(value)), None)
    if bad is not None or None in [*xs, *ys]:
        return f"{name}: a coordinate is {bad!r}, not a number"
    distinct = len(set(zip(xs, ys, strict=True)))
    if distinct < _LEAST[name]:
        return f"{name}: {distinct} different points; it needs {_LEAST[name]}"
    return None


def shape_rings(shape: Mapping[str, Any]) -> tuple[Ring, ...]:
    """Turn a sound shape into outlines; lines and points have none.

    Circles and ellipses get ``ROUND_CORNERS`` corners. VIA 2's ``theta`` turns an ellipse, in
    radians.
    """
    name = shape["name"]
    if name == "polygon":
        corners = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
        return (tuple((float(x), float(y)) for x, y in corners),)
    if name == "rect":
        x, y = float(shape["x"]), float(shape["y"])
        right, low = x + shape["width"], y + shape["height"]
        return (((x, y), (right, y), (right, low), (x, low)),)
    if name == "circle":
        return (_round(shape, shape["r"], shape["r"], 0.0),)
    if name == "ellipse":
        theta: Any = shape.get("theta")
        turn = float(theta) if _is_number(theta) else 0.0
        return (_round(shape, shape["rx"], shape["ry"], turn),)
    return ()


def shape_extent(shape: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Give (left, top, right, bottom) of any sound shape, in pixels."""
    rings = shape_rings(shape)
    if rings:
        xs, ys = zip(*rings[0], strict=True)
    elif shape["name"] == "point":
        xs, ys = (shape["cx"],), (shape["cy"],)
    else:
        xs, ys = shape["all_points_x"], shape["all_points_y"]
    return float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys))


def _round(shape: Mapping[str, Any], rx: float, ry: float, theta: float) -> Ring:
    corners = []
    for number in range(ROUND_CORNERS):
        angle = 2 * math.pi * number / ROUND_CORNERS
        x, y = rx * math.cos(angle), ry * math.sin(angle)
        corners.append(
            (
                round(shape["cx"] + x * math.cos(theta) - y * math.sin(theta), 3),
                round(shape["cy"] + x * math.sin(theta) + y * math.cos(theta), 3),
            )
        )
    return tuple(corners)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
