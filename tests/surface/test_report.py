"""The report page: complete in itself, honest, escaped."""

import base64
import io
import re
from datetime import date

import numpy as np
import pytest
from PIL import Image

from headframe.datasets.drawn import draw_landscape
from headframe.surface.demo import DemoResult, MappedDate
from headframe.surface.report import (
    Page,
    embed,
    loss_curve,
    tinted,
    true_colour,
    write_demo_report,
    write_page,
)


def _place(year):
    scene = draw_landscape(3, size=(96, 128), date=date(year, 7, 1))
    classes = np.roll(scene.truth, 3, axis=1)
    return MappedDate(scene, classes, 0.81, 0.9, 0.88, 12.34, 15.67, {"classes": "a.tif"})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    result = DemoResult(
        out=out,
        dates=(_place(2017), _place(2025)),
        iou=0.81,
        start="ImageNet <weights>",
        chips={"train": 8},
        steps=4,
        losses=(1.0, 0.8, 0.9, 0.4),
        validation_iou=0.6,
        seconds={"draw": 1.0, "label": 2.0, "train": 3.0, "map": 4.5},
        files={"maps/": "the maps"},
    )
    write_demo_report(result, out / "report.html")
    return (out / "report.html").read_text(encoding="utf-8")


def test_nothing_is_fetched(page):
    assert not re.search(r"https?://", page)
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources
    assert all(source.startswith("data:image/webp;base64,") for source in sources)


def test_says_that_it_is_drawn(page):
    assert "These scenes are drawn, not taken" in page


def test_figures_are_there(page):
    for text in ("12.3 ha", "15.7 ha", "0.810", "3.0 s", "2025-07-01", "10 s", "maps/"):
        assert text in page


def test_text_is_escaped(page):
    assert "ImageNet &lt;weights&gt;" in page
    assert "<weights>" not in page


def test_curve_starts_high_and_ends_low():
    curve = loss_curve((2.0, 1.5, 0.5), text="")
    heights = [float(p.split(",")[1]) for p in curve["raw"].split()]
    assert heights == sorted(heights)  # SVG rows grow downwards
    assert loss_curve((1.0,), text="") is None


def test_true_colour_of_nothing_is_black():
    bands = np.full((3, 4, 5), np.nan, dtype=np.float32)
    assert not true_colour(bands).any()


def test_true_colour_keeps_the_order_of_values_and_bands():
    bands = np.zeros((3, 2, 50), dtype=np.float32)
    bands[0] = np.linspace(0, 0.2, 50)
    shown = true_colour(bands)
    assert shown.shape == (2, 50, 3)
    assert (np.diff(shown[0, :, 0].astype(int)) >= 0).all()
    assert shown[0, -1, 0] == 255
    assert not shown[..., 1:].any()


def test_tint_only_where_asked():
    picture = np.full((3, 4, 3), 100, dtype=np.uint8)
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    shown = tinted(picture, mask, (200, 0, 50))
    assert shown[1, 2].tolist() == [160, 40, 70]
    assert (shown[~mask] == 100).all()


def test_embedded_picture_comes_back():
    picture = np.zeros((8, 16, 3), dtype=np.uint8)
    picture[:4, :8] = 250
    data = base64.b64decode(embed(picture).split(",")[1])
    back = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert back.shape == picture.shape
    assert back[1, 2].min() > 200
    assert back[6, 12].max() < 60


def test_smallest_page(tmp_path):
    write_page(Page(title="t", lead="l", notice="", tiles=()), tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert '<div class="notice">' not in text
    assert "<svg" not in text
