"""Outlines, data sets and films on disk."""

import json
import re

import numpy as np
import pytest

from headframe.core.errors import DatasetError, OutputError, RecipeError
from headframe.datasets.coco import read_coco
from headframe.datasets.darken import seed_of
from headframe.datasets.drawn.tunnel import (
    CLASSES,
    Instance,
    TunnelOptions,
    collection,
    draw_tunnels,
)
from headframe.datasets.drawn.tunnel.film import FilmOptions, draw_film, frame_name
from headframe.datasets.drawn.tunnel.outlines import LEAST_PX, regions_of
from headframe.datasets.drawn.tunnel.picture import take
from headframe.datasets.drawn.tunnel.plan import make_plan
from headframe.datasets.drawn.tunnel.scene import stage
from headframe.datasets.drawn.tunnel.site import make_site
from headframe.datasets.instances import region_mask
from headframe.datasets.via import read_via, require_sound
from headframe.io.images import read_image
from headframe.io.video import VideoReader
from headframe.underground.frames import FrameOptions, extract_frames

SMALL = TunnelOptions(images=5, tunnels=2, size=(64, 80), light=0.1, seed=3)


def test_outlines_burn_into_the_very_pixels():
    rng = np.random.default_rng(0)
    labels = np.zeros((37, 52), np.int16)
    labels[8:30, 5:45] = 1
    labels[12:20, 12:20] = 0  # a hole
    labels[14:17, 14:17] = 1  # an island in it
    labels[rng.random(labels.shape) < 0.04] = 2  # specks everywhere
    labels[0, 0] = 3  # too small for a label
    things = tuple(Instance(name, name) for name in ("road", "wall", "people", "roof"))
    regions = regions_of(labels, things)
    assert [region.category for region in regions] == ["road", "wall", "people"]
    assert labels[labels == 3].size < LEAST_PX
    for number, region in enumerate(regions):
        assert region.rle is not None
        for form in ("rings", "rle"):
            kept = (
                {"rings": region.rings, "rle": None}
                if form == "rings"
                else {"rings": (), "rle": region.rle}
            )
            again = type(region)(region.category, **kept)
            assert np.array_equal(region_mask(again, 37, 52), labels == number)


def test_data_set_reads_back_and_via_agrees_with_coco(tmp_path):
    out = tmp_path / "drawn"
    report = draw_tunnels(out, SMALL)
    assert (report.images, report.drawn, report.films) == (5, 5, 0)
    coco = read_coco(out / "instances.json")
    via = require_sound(read_via(out / "via.json", images=out / "images", class_key="class"))
    assert list(coco.categories) == list(CLASSES)
    assert [image.file_name for image in coco.images] == [i.file_name for i in via.images]
    for image, other in zip(coco.images, via.images, strict=True):
        dark, bright = (read_image(out / kind / image.file_name) for kind in ("images", "bright"))
        assert dark.shape == bright.shape == (64, 80, 3)
        assert dark.mean() == pytest.approx(0.1 * bright.mean(), abs=0.6)
        covered = np.zeros((64, 80), int)
        parts: dict[str, np.ndarray] = {}
        for region in other.regions:
            name = region.via["region_attributes"]["instance"]
            mask = region_mask(region, 64, 80)
            parts[name] = parts.get(name, False) | mask
        for region in image.regions:
            mask = region_mask(region, 64, 80)
            name = region.via["region_attributes"]["instance"]
            assert np.array_equal(parts.pop(name), mask)
            covered += mask
        assert not parts
        assert covered.max() == 1
        assert covered.mean() > 0.98
        assert image.via["file_attributes"]["tunnel"] == image.file_name.split("/")[0]
    assert report.regions == coco.count()
    page = (out / "README.md").read_text()
    assert f"| people | {report.regions['people']} | {report.seen['people']} |" in page
    assert json.loads((out / "draw.json").read_text())["options"]["seed"] == 3


def test_run_again_draws_what_is_missing_alike(tmp_path, monkeypatch):
    out = tmp_path / "drawn"
    calls = []

    def breaks(*words, **more):
        calls.append(words)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*words, **more)

    real = collection.draw_picture
    monkeypatch.setattr(collection, "draw_picture", breaks)
    with pytest.raises(KeyboardInterrupt):
        draw_tunnels(out, SMALL)
    assert not (out / "instances.json").exists()
    monkeypatch.setattr(collection, "draw_picture", real)
    assert draw_tunnels(out, SMALL).drawn == 3
    assert draw_tunnels(out, SMALL).drawn == 0
    draw_tunnels(tmp_path / "at once", SMALL)
    for path in sorted((tmp_path / "at once").rglob("*.*")):
        if path.suffix in {".png", ".json", ".md"}:
            assert (out / path.relative_to(tmp_path / "at once")).read_bytes() == path.read_bytes()
    with pytest.raises(OutputError, match=r"was begun with light 0\.1, now 0\.2"):
        draw_tunnels(out, TunnelOptions(images=5, tunnels=2, size=(64, 80), light=0.2, seed=3))
    (out / ".drawn" / "tunnel_0001" / "0000.json").write_text("{")
    with pytest.raises(OutputError, match=r"0000.json: damaged .* Delete it, run again"):
        draw_tunnels(out, SMALL)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"images": 0}, "--images 0: must be 1 to"),
        ({"tunnels": 0}, "--tunnels 0: must be 1 to"),
        ({"size": (32, 64)}, "--size 32: must be 64 to 4096"),
        ({"size": (64, 9999)}, "--size 9999: must be 64 to 4096"),
        ({"seed": -1}, "--seed -1: must be 0 to"),
        ({"rate": 0}, "--rate 0: must be 1 to 60"),
    ],
)
def test_bad_numbers(changed, said):
    with pytest.raises(DatasetError, match=re.escape(said)):
        TunnelOptions(**changed)
    with pytest.raises(RecipeError, match=r"light is 1\.5"):
        TunnelOptions(light=1.5)


def test_folder_of_something_else(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(OutputError, match=r"holds a data set of another making"):
        draw_tunnels(tmp_path, SMALL)


def test_film_and_labels_agree_frame_by_frame(tmp_path):
    site = make_site(0, 7)
    options = FilmOptions((64, 96), seconds=0.6, rate=10, light=0.2)
    labels = draw_film(site, tmp_path / "film.mp4", seed=4, options=options)
    assert len(labels) == options.frames == 6
    with VideoReader(tmp_path / "film-bright.mp4") as bright:
        frames = list(bright.frames())
    with VideoReader(tmp_path / "film.mp4") as dark:
        darks = list(dark.frames())
    assert len(frames) == len(darks) == 6
    plan = make_plan(site, seed_of("film", 4) % 2**32, moving=True)
    gain = None
    for frame, image in zip(frames, labels, strict=True):
        picture = take(stage(site, plan, size=(64, 96), seconds=frame.index / 10), plan, gain=gain)
        gain = picture.gain
        assert image.file_name == frame_name("film", frame.index, frame.seconds)
        error = np.abs(frame.pixels.astype(int) - picture.bright).mean()
        assert error < 6  # what H.264 takes
        expected = regions_of(picture.labels, picture.instances)
        assert [r.rle for r in image.regions] == [r.rle for r in expected]
    assert darks[0].pixels.mean() < 0.35 * frames[0].pixels.mean()
    walkers = [actor for actor in plan.actors if actor.speed]
    assert walkers
    first, last = (np.array(frames[at].pixels, int) for at in (0, 5))
    assert np.abs(first - last).mean() > 1  # it moves


def test_frames_of_a_film_are_named_as_underground_frames_names_them(tmp_path):
    out = tmp_path / "drawn"
    options = TunnelOptions(images=1, tunnels=1, size=(64, 64), films=1, seconds=0.3, rate=5)
    report = draw_tunnels(out, options)
    assert report.films == 1
    stamp = (out / "films" / "film_000.mp4").stat().st_mtime_ns
    draw_tunnels(out, options)
    assert (out / "films" / "film_000.mp4").stat().st_mtime_ns == stamp
    labels = read_coco(out / "films" / "film_000.json")
    frames = extract_frames(
        [out / "films" / "film_000.mp4"], tmp_path / "f", options=FrameOptions(0.2)
    )
    assert [row.file for row in frames.rows] == [image.file_name for image in labels.images]
