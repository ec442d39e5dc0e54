"""Drawn mines: the ten components and their rules, spectra that differ, radar with its speckle."""

import hashlib
from datetime import date

import numpy as np
import pytest
from scipy import ndimage, stats

from headframe.core.bandsets import BAND_SETS
from headframe.core.components import (
    CLASS_SETS,
    COMPONENT_NAMES,
    SLOPES,
    layers_of,
    overlaps,
    stray_slopes,
)
from headframe.core.modelspec import InputSpec
from headframe.core.radar import ratio_db
from headframe.datasets.drawn import draw_landscape, draw_mine, write_mine
from headframe.datasets.drawn.components import nature_of
from headframe.datasets.drawn.inks import INKS
from headframe.datasets.drawn.radar import LOOKS, measure_radar, speckle
from headframe.geo.window import Window
from headframe.io.scene import SceneOptions, open_scene

SIZE = (144, 176)
BANDS = BAND_SETS["m+s"].bands
ROUND = np.ones((3, 3), bool)


@pytest.fixture(scope="module")
def mines():
    return [draw_mine(seed, size=SIZE, every=True) for seed in range(9)]


def layer(mine, name):
    return layers_of(mine.bits)[COMPONENT_NAMES.index(name)] == 1


def grown(mask):
    return ndimage.binary_dilation(mask, ROUND)


def pieces(mask):
    numbers, count = ndimage.label(mask, ROUND)
    return [numbers == number for number in range(1, count + 1)]


def test_the_landscape_of_the_demo_is_as_it_was():
    scene = draw_landscape(3, size=(160, 208), date=date(2017, 7, 14))
    digest = hashlib.sha256(scene.bands.tobytes() + scene.parts.tobytes()).hexdigest()
    assert digest.startswith("874c89be2ec66de4")


def test_every_component_is_there(mines):
    for mine in mines:
        assert (layers_of(mine.bits).sum(axis=(1, 2)) >= 8).all(), mine.seed


def test_components_keep_the_rules(mines):
    for mine in mines:
        assert not any(stray_slopes(mine.bits, name).any() for name in SLOPES)
        assert not any(overlaps(mine.bits, entry).any() for entry in CLASS_SETS.values())
        ahead = grown(layer(mine, "preparatory_work_area"))
        assert (ahead & layer(mine, "excavation")).any()
        ponded = grown(layer(mine, "tailings_storage_facility"))
        assert all((piece & ponded).any() for piece in pieces(layer(mine, "dam")))
        two = layers_of(mine.bits & ~np.uint16(0b11000000)).sum(axis=0) > 1  # but for slopes
        inner = layer(mine, "excavation") & layer(mine, "dumping_ground")
        assert (two == inner).all()


def test_slopes_keep_off_the_crest(mines):
    for mine in mines:
        inside = ndimage.binary_erosion(layer(mine, "excavation"))
        for name in SLOPES:
            assert not (layer(mine, name) & ~inside).any()


def test_opencast_mines_are_filled_from_behind():
    seed = next(seed for seed in range(40) if nature_of(seed) == ("CL", "OC"))
    mine = draw_mine(seed, size=SIZE, every=True)
    assert (layer(mine, "excavation") & layer(mine, "dumping_ground")).sum() > 50


def test_same_arguments_same_scene_and_other_years_grow(mines):
    again = draw_mine(4, size=SIZE, every=True)
    assert np.array_equal(again.bands, mines[4].bands)
    assert np.array_equal(again.bits, mines[4].bits)
    before = draw_mine(4, size=SIZE, every=True, date=date(2016, 5, 2))
    assert before.geobox == again.geobox
    for name in ("excavation", "tailings_storage_facility", "dumping_ground"):
        assert layer(again, name).sum() > 1.1 * layer(before, name).sum()
    old = layer(before, "excavation")
    assert (old & layer(again, "excavation")).sum() > 0.9 * old.sum()


def test_some_mines_lack_components():
    found = [set(np.unique(draw_mine(s, size=(128, 128)).bits)) for s in range(6)]
    unions = [int(np.bitwise_or.reduce(list(bits))) for bits in found]
    assert len(set(unions)) > 2
    assert all(union & 1 for union in unions)


def test_all_materials_and_types_are_drawn():
    natures = {nature_of(seed) for seed in range(60)}
    assert natures == {("CL", "OC"), ("CL", "MT"), ("MO", "OP"), ("MO", "MT"), ("RR", "OP"),
                       ("RR", "OC")}  # fmt: skip
    assert [nature_of(seed)[0] for seed in range(3)] == ["MO", "CL", "RR"]


def test_bands_are_in_range_and_order(mines):
    mine = mines[2]
    assert mine.band_names == BANDS
    assert mine.bands.shape == (15, *SIZE)
    assert mine.bands.dtype == np.float32
    assert mine.bands[:12].min() > 0
    assert mine.bands[:12].max() < 1
    vv, vh, ratio = mine.bands[12:]
    assert -14 < np.median(vv) < -7
    assert 5 < np.median(vv - vh) < 12
    assert np.abs(ratio - ratio_db(vv, vh)).max() < 0.02  # rounded to 0.01


def test_asymmetric(mines):
    red = mines[1].bands[BANDS.index("red")]
    for flipped in (red[::-1], red[:, ::-1], red[::-1, ::-1]):
        assert np.abs(red - flipped).mean() > 0.01


def test_look_alikes_part_beyond_red_green_and_blue():
    pairs = (("spoil_coal", "overburden"), ("stripped", "soil_red"), ("spoil_grey", "rock_grey"))
    for one, other in pairs:
        apart = np.abs(np.log(INKS[one] / INKS[other]))
        assert max(apart[10], apart[11], apart[12], apart[13]) > 1.3 * apart[1:4].mean()


def test_water_is_dark_and_buildings_bright_in_radar(mines):
    vv = BANDS.index("vv")
    ponds = np.concatenate([m.bands[vv][layer(m, "settling_pond")] for m in mines])
    plants = np.concatenate([m.bands[vv][layer(m, "infrastructure")] for m in mines])
    land = np.concatenate([m.bands[vv][m.bits == 0] for m in mines])
    assert np.median(ponds) < np.median(land) - 4
    assert np.percentile(plants, 90) > np.percentile(land, 90) + 1


def test_speckle_is_gamma_of_its_looks_and_alike_in_neighbours():
    field = speckle(np.random.default_rng(3), (400, 300))
    assert field.shape == (400, 300)
    assert field.mean() == pytest.approx(1, abs=0.01)
    assert 1 / field.var() == pytest.approx(LOOKS, rel=0.04)
    assert stats.kstest(field[::5, ::5].ravel(), stats.gamma(LOOKS, scale=1 / LOOKS).cdf)[1] > 0.01
    assert 0.1 < np.corrcoef(field[:, 1:].ravel(), field[:, :-1].ravel())[0, 1] < 0.5
    assert abs(np.corrcoef(field[:, 4:].ravel(), field[:, :-4].ravel())[0, 1]) < 0.03


def test_slopes_that_face_the_sensor_are_brighter():
    power = np.full((2, 60, 80), 0.1, np.float32)
    ridge = np.zeros((60, 80), np.float32)
    ridge += 3 * np.minimum(np.arange(80), 80 - np.arange(80)).astype(np.float32)
    east, west = (
        measure_radar(np.random.default_rng(1), power, ridge, ascending=ascending)[0]
        for ascending in (True, False)
    )
    assert east[:, :38].mean() > east[:, 42:].mean() + 1  # looking east, west flanks face it
    assert west[:, :38].mean() < west[:, 42:].mean() - 1


def test_the_file_needs_no_option(mines, tmp_path):
    mine = mines[5]
    write_mine(mine, tmp_path / "mine.tif")
    order = ("vv_vh", "nir", "vh", "red", "vv")
    inputs = InputSpec(
        "sentinel-2-l2a+sentinel-1-grd", order, 10.0, (0.0,) * 5, (1.0,) * 5, ((0, 0, 0),) * 5
    )
    with open_scene(str(tmp_path / "mine.tif"), inputs=inputs, options=SceneOptions()) as scene:
        assert scene.geobox == mine.geobox
        found = scene.read(Window(0, 0, *SIZE))
    wanted = mine.bands[[BANDS.index(name) for name in order]]
    assert np.abs(found - wanted).max() < 0.02


@pytest.mark.parametrize(("seed", "size"), [(-1, SIZE), (1, (100, 400))])
def test_bad_arguments(seed, size):
    with pytest.raises(ValueError, match="must be at least"):
        draw_mine(seed, size=size)
