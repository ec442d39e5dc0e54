"""One self-contained HTML page about a map: pictures embedded, nothing fetched."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from headframe import __version__
from headframe.datasets.drawn import DrawnScene
from headframe.io.files import write_text
from headframe.surface.demo import DemoResult, MappedDate

RgbArray = NDArray[np.uint8]

_HIT, _FALSE, _MISSED = (47, 158, 110), (226, 88, 42), (60, 111, 209)
_SHOWN = (255, 226, 64)
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 632.0, 12.0, 196.0
_STEPS = {
    "draw": "draw the landscapes",
    "label": "label them by their KML",
    "train": "train",
    "map": "map the held-out place, two dates",
}


@dataclass(frozen=True)
class Picture:
    """One picture of the page.

    Attributes:
        data: ``data:`` URL.
        caption: line below it.
        keys: legend, each with ``color`` (a variable of the page's style) and ``label``.
    """

    data: str
    caption: str
    keys: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Section:
    """A heading with pictures."""

    title: str
    pictures: tuple[Picture, ...]
    text: str = ""


@dataclass(frozen=True)
class Table:
    """A table; with ``numbers``, all but the first column stand on the right."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: str = ""
    numbers: bool = True


@dataclass(frozen=True)
class Page:
    """All that a report says.

    Attributes:
        title: heading.
        lead: what was done, in a sentence or two.
        notice: what the reader must not miss; may be empty.
        tiles: figures, each with ``value`` and ``label``.
        sections: pictures.
        tables: figures in full.
        wipe: two pictures to slide between, or None.
        curve: training curve, see ``loss_curve``, or None.
        footer: last line.
    """

    title: str
    lead: str
    notice: str
    tiles: tuple[dict[str, str], ...]
    sections: tuple[Section, ...] = ()
    tables: tuple[Table, ...] = ()
    wipe: dict[str, str] | None = None
    curve: dict[str, object] | None = None
    footer: str = field(default=f"headframe {__version__}")


def write_page(page: Page, path: Path) -> None:
    """Render a page, all or nothing; text is escaped.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    source = resources.files("headframe.surface") / "report_page.html"
    template = environment.from_string(source.read_text(encoding="utf-8"))
    write_text(path, template.render(vars(page)))


def true_colour(bands: NDArray[np.floating]) -> RgbArray:
    """Stretch red, green, blue reflectance for the eye.

    Args:
        bands: (3, H, W), reflectance 0-1; NaN becomes black.

    Returns:
        (H, W, 3), uint8, from the 1st to the 99.5th percentile of each band, brightened.
    """
    shown = np.zeros((*bands.shape[1:], 3), dtype=np.uint8)
    for channel, band in enumerate(bands):
        known = band[np.isfinite(band)]
        if known.size:
            low, high = np.percentile(known, (1, 99.5))
            high = min(float(high), float(low) + 0.25)
            scaled = np.clip((band - low) / max(high - low, 1e-6), 0, 1)
            shown[..., channel] = np.nan_to_num(scaled**0.62 * 255).astype(np.uint8)
    return shown


def tinted(picture: RgbArray, mask: NDArray[np.bool_], color: tuple[int, int, int]) -> RgbArray:
    """Lay half-transparent ``color`` over the pixels of ``mask``."""
    result = picture.copy()
    result[mask] = (0.4 * picture[mask] + 0.6 * np.array(color)).astype(np.uint8)
    return result


def embed(picture: RgbArray) -> str:
    """Encode a picture (H, W, 3), uint8, as a ``data:`` URL (WebP)."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=88, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def loss_curve(losses: Sequence[float], *, text: str) -> dict[str, object] | None:
    """Lay out a training curve for the page's SVG; None with fewer than two steps."""
    values = np.asarray(losses, dtype=float)
    if values.size < 2:
        return None
    top = float(values.max()) * 1.05
    window = max(values.size // 12, 1)
    padded = np.pad(values, (window // 2, window - 1 - window // 2), mode="edge")
    smooth = np.convolve(padded, np.ones(window) / window, mode="valid")
    x = np.linspace(_LEFT, _RIGHT, values.size)

    def points(series: NDArray[np.float64]) -> str:
        y = _BOTTOM - series / top * (_BOTTOM - _TOP)
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))

    ticks = [
        {"y": _BOTTOM - share * (_BOTTOM - _TOP), "label": f"{share * top:.2f}"}
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    return {
        "text": text,
        "ticks": ticks,
        "steps": values.size,
        "raw": points(values),
        "smooth": points(smooth),
    }


def write_demo_report(result: DemoResult, path: Path) -> None:
    """Write the report of a demonstration."""
    first, last = result.dates[0], result.dates[-1]
    total_s = sum(result.seconds.values())
    page = Page(
        title="A mine mapped from a drawn satellite scene",
        lead=(
            "From polygons and scenes to a map: landscapes were drawn, labelled by their KML, a "
            f"network was trained on them from {result.start}, and a place it had never seen was "
            "mapped at two dates and scored against what was drawn."
        ),
        notice=(
            "These scenes are drawn, not taken. No satellite saw this place and no figure here "
            "says how well the model does on real images; the demo shows that every step works "
            "on your machine. Measured figures on real scenes are in the model's own card."
        ),
        tiles=(
            {"value": f"{result.iou:.2f}", "label": "IoU of tailings, both dates, drawn truth"},
            {"value": f"{last.mapped_ha:,.1f} ha", "label": f"mapped in {last.scene.date.year}"},
            {"value": f"{last.true_ha:,.1f} ha", "label": f"drawn in {last.scene.date.year}"},
            {"value": f"{total_s:,.0f} s", "label": "for all steps on this machine"},
        ),
        wipe={
            "title": "Two dates",
            "before": embed(drawn_colour(first.scene)),
            "after": embed(drawn_colour(last.scene)),
            "before_label": f"{first.scene.date:%Y}",
            "after_label": f"{last.scene.date:%Y}",
            "caption": "Drawn scene, true colour, 10 m pixels: move the slider to see it grow.",
        },
        sections=tuple(_date_section(place) for place in result.dates),
        tables=_demo_tables(result),
        curve=loss_curve(result.losses, text=_training_text(result)),
        footer=f"headframe {__version__}. Drawn scenes; nothing was fetched from a network.",
    )
    write_page(page, path)


def drawn_colour(scene: DrawnScene) -> RgbArray:
    """True colour of a drawn scene, (H, W, 3), uint8."""
    index = [scene.band_names.index(name) for name in ("B04", "B03", "B02")]
    return true_colour(scene.bands[index].astype(np.float32) / 1e4)


def _date_section(place: MappedDate) -> Section:
    colour = drawn_colour(place.scene)
    grey = np.repeat(colour.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8) // 2 + 40
    truth, mapped = place.scene.truth == 1, place.classes == 1
    error = tinted(grey, truth & mapped, _HIT)
    error = tinted(tinted(error, ~truth & mapped, _FALSE), truth & ~mapped, _MISSED)
    keys = (
        {"color": "hit", "label": "found"},
        {"color": "false", "label": "false alarm"},
        {"color": "missed", "label": "missed"},
    )
    return Section(
        title=f"{place.scene.date:%d %B %Y}".lstrip("0"),
        pictures=(
            Picture(embed(colour), "Scene, true colour"),
            Picture(embed(tinted(colour, truth, _SHOWN)), "Truth: tailings as drawn"),
            Picture(embed(tinted(colour, mapped, _SHOWN)), "Map: tailings as found"),
            Picture(embed(error), "Error", keys),
        ),
    )


def _demo_tables(result: DemoResult) -> tuple[Table, ...]:
    areas = tuple(
        (
            f"{place.scene.date:%Y-%m-%d}",
            f"{place.mapped_ha:,.1f}",
            f"{place.true_ha:,.1f}",
            f"{place.mapped_ha - place.true_ha:+,.1f}",
            f"{place.iou:.3f}",
            f"{place.precision:.3f}",
            f"{place.recall:.3f}",
        )
        for place in result.dates
    )
    first, last = result.dates[0], result.dates[-1]
    change = (
        "change",
        f"{last.mapped_ha - first.mapped_ha:+,.1f}",
        f"{last.true_ha - first.true_ha:+,.1f}",
        "",
        "",
        "",
        "",
    )
    timings = tuple(
        (text, f"{result.seconds[name]:,.1f} s")
        for name, text in _STEPS.items()
        if name in result.seconds
    )
    return (
        Table(
            "Areas and scores",
            ("date", "mapped, ha", "drawn, ha", "difference, ha", "IoU", "precision", "recall"),
            (*areas, change),
        ),
        Table("Time", ("step", "wall time"), timings),
        Table("Files", ("below " + result.out.name, "what"), tuple(result.files.items()),
              numbers=False),
    )  # fmt: skip


def _training_text(result: DemoResult) -> str:
    chips = result.chips.get("train", 0)
    text = f"{result.steps} steps on {chips} chips, starting from {result.start}."
    if result.validation_iou is not None:
        text += f" IoU on the validation sites: {result.validation_iou:.2f}."
    return text + " The thin line is the loss of each step, the thick one its moving mean."
