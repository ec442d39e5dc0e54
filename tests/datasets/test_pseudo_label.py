"""Scenes without labels as Sen1Floods11's tiles: what is water, where it lies, what is refused."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine

from headframe.core.errors import (
    BandError,
    CrsError,
    DatasetError,
    FormatError,
    OutputError,
    UnitError,
    UnknownNameError,
)
from headframe.core.indices import normalized_difference
from headframe.datasets import pseudo_label as module
from headframe.datasets.check import check_dataset
from headframe.datasets.chips import open_dataset
from headframe.datasets.pseudo_label import PICTURE, RECORD_NAME, PseudoOptions, pseudo_label
from headframe.datasets.pseudo_scenes import event_of, parse_threshold, stored
from headframe.datasets.sen1floods11 import BANDS
from headframe.io.scene import SceneOptions

SHAPE = (22, 39)
NAMES = ("blue", "green", "red", "nir")
PLACE = Affine(3, 0, 500_001.3, 0, -3, 9_300_002.7)
TURNED = PLACE * Affine.rotation(25)
S2 = BANDS["S2Hand"]


def numbers(seed=0):
    """Water in the left 12 columns and in row 20, equal bands in the last column, a nodata corner.

    Green and NIR of water are 900 and 300 (index 0.5), of land 700 and 2100 (-0.5).
    """
    rng = np.random.default_rng(seed)
    values = rng.integers(300, 1500, (4, *SHAPE)).astype(np.uint16)
    values[1], values[3] = 700, 2100
    for where in (np.s_[:, :12], np.s_[20, :]):
        values[1][where], values[3][where] = 900, 300
    values[1, :, 38] = values[3, :, 38] = 800
    values[:, :5, 30:36] = 0
    return values


def truth():
    label = np.zeros(SHAPE, np.int16)
    label[:, :12] = label[20, :] = label[:, 38] = 1
    label[:5, 30:36] = -1
    return label


def write_scene(path, values=None, *, names=NAMES, transform=PLACE, crs="EPSG:32748", nodata=0):
    values = numbers() if values is None else values
    count, height, width = values.shape
    profile = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    place = {"crs": crs, "transform": transform} if crs else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", nodata=nodata, **profile, **place) as sink:
        sink.write(values)
        for band, name in enumerate(names, start=1):
            sink.set_band_description(band, name)
    return str(path)


def make(source, out, /, **options):
    scenes = [source] if isinstance(source, str) else source
    return pseudo_label(scenes, out=out, options=PseudoOptions(**{"tile_px": 16, **options}))


def tiles(out, folder):
    """Values of every tile with its place in the scene: row, column."""
    for path in sorted((out / folder).iterdir()):
        with rasterio.open(path) as source:
            yield path, source.read(), source


@pytest.mark.parametrize("transform", [PLACE, TURNED], ids=["north-up", "turned"])
def test_every_pixel_is_labelled_once_and_lies_where_it_lay(tmp_path, transform):
    out = tmp_path / "out"
    report = make(write_scene(tmp_path / "Citarum river_2.tif", transform=transform), out)
    found, times = np.full(SHAPE, -1, np.int16), np.zeros(SHAPE, int)
    for path, values, source in tiles(out, "LabelHand"):
        assert (source.dtypes, source.crs.to_epsg()) == (("int16",), 32748)
        assert values.shape == (1, 16, 16)
        col, row = (round(v) for v in ~transform * (source.transform.c, source.transform.f))
        assert source.transform.almost_equals(transform * Affine.translation(col, row), 1e-6)
        here = np.s_[row : row + 16, col : col + 16]
        known = values[0] >= 0
        times[here] += known
        found[here][known] = values[0][known]
        with rasterio.open(out / "S2Hand" / path.name.replace("LabelHand", "S2Hand")) as image:
            light = image.read()
            assert (image.transform, image.nodata) == (source.transform, 0)
        for band, name in enumerate(NAMES):
            np.testing.assert_array_equal(light[S2.index(name)], numbers()[band][here])
    np.testing.assert_array_equal(found, truth())
    np.testing.assert_array_equal(times, truth() >= 0)
    (scene,) = report.scenes
    assert (scene.event, scene.tiles, scene.skipped) == ("Citarumriver2", 6, 0)
    assert (scene.land, scene.water) == ((truth() == 0).sum(), (truth() == 1).sum())


def test_files_are_those_of_sen1floods11(tmp_path):
    out = tmp_path / "out"
    make(write_scene(tmp_path / "a.tif"), out, event="Citarum")
    assert len(list(tiles(out, "S2Hand"))) == 6
    with rasterio.open(out / "S2Hand/Citarum_00000_S2Hand.tif") as source:
        assert (source.count, source.dtypes[0]) == (13, "uint16")
        assert source.descriptions == tuple(b if b in NAMES else "absent" for b in S2)
        assert not source.read([S2.index(b) + 1 for b in S2 if b not in NAMES]).any()
    rows = (out / "flood_test_data.csv").read_text().splitlines()
    assert rows[1] == "Citarum_00001_S1Hand.tif,Citarum_00001_LabelHand.tif"
    assert (out / PICTURE).stat().st_size > 0
    record = json.loads((out / RECORD_NAME).read_text())
    assert record["scenes"][0]["scene"] == "a.tif"
    assert record["scenes"][0]["threshold"] == 0.0
    assert record["options"]["index"] == "ndwi"
    assert str(tmp_path) not in (out / RECORD_NAME).read_text()
    assert not list(out.glob("**/.*"))


def test_the_reader_knows_absent_bands_and_the_pixel_size(tmp_path):
    out = tmp_path / "out"
    make(write_scene(tmp_path / "a.tif"), out)
    dataset = open_dataset(out)
    assert dataset.bands == NAMES
    assert dataset.manifest.gsd_m == 3.0
    assert [chip.split for chip in dataset.chips()] == ["test"] * 6
    for chip in dataset.chips():
        arrays = dataset.read(chip)
        green, nir = (arrays.image[NAMES.index(name)] for name in ("green", "nir"))
        known = arrays.label != 255
        above = normalized_difference(green, nir) >= 0
        np.testing.assert_array_equal(arrays.label[known] == 1, above[known])
    assert check_dataset(out).findings == ()


@pytest.mark.parametrize(
    ("crs", "transform", "gsd_m"),
    [
        ("EPSG:4326", Affine(3e-5, 0, 107.5, 0, -3e-5, -6.2), 10.0),
        ("EPSG:3857", Affine(6, 0, 0, 0, -6, 8_399_737), 3.0),  # 60 degrees north: twice as long
        ("EPSG:2263", Affine(10, 0, 980_000, 0, -10, 200_000), 3.048),  # feet
    ],
)
def test_pixel_sizes_of_other_crs(tmp_path, crs, transform, gsd_m):
    make(write_scene(tmp_path / "a.tif", crs=crs, transform=transform), tmp_path / "out")
    assert open_dataset(tmp_path / "out").manifest.gsd_m == pytest.approx(gsd_m, abs=0.02)


def test_bands_of_a_set_are_those_of_all_its_floods(tmp_path):
    first = write_scene(tmp_path / "a.tif")
    other = write_scene(tmp_path / "b.tif", names=("B02", "B03", "swir16", "B08"))
    make([first, other], tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    assert dataset.bands == ("blue", "green", "nir")
    chip = dataset.chips()[-1]
    assert chip.key == "b/b_00005_S2Hand"
    assert dataset.read(chip).image.shape == (3, 16, 16)
    for folder in ("S2Hand", "LabelHand"):  # a tile of b among those of a
        home = tmp_path / "out" / folder
        (home / f"b_00005_{folder}.tif").rename(home / f"a_00099_{folder}.tif")
        for path in home.glob("b_*"):
            path.unlink()
    (tmp_path / "out/flood_test_data.csv").unlink()
    mixed = open_dataset(tmp_path / "out")
    with pytest.raises(BandError, match=r"a_00099_S2Hand.tif: has .*swir16 and no red"):
        mixed.read(mixed.chips()[-1])


def test_scenes_of_one_flood_have_the_same_bands(tmp_path):
    first, alike = write_scene(tmp_path / "a.tif"), write_scene(tmp_path / "c.tif", numbers(1))
    other = write_scene(tmp_path / "b.tif", numbers()[[1, 3]], names=("green", "nir"))
    with pytest.raises(DatasetError, match=r"b.tif: has green, nir, but a.tif, .* blue, green, re"):
        make([first, other], tmp_path / "out", event="One")
    assert not (tmp_path / "out").exists()
    report = make([first, alike], tmp_path / "out", event="One")
    assert [scene.tiles for scene in report.scenes] == [6, 6]
    assert open_dataset(tmp_path / "out").chips()[-1].key == "One/One_00011_S2Hand"


def test_floods_without_a_common_band_are_told_apart(tmp_path):
    out = tmp_path / "out"
    make(write_scene(tmp_path / "a.tif"), out)
    for folder, count in (("S2Hand", 13), ("LabelHand", 1)):
        values = np.ones((count, 16, 16), np.uint16)
        names = ["absent"] * count if count > 1 else ()
        write_scene(out / folder / f"Z_00000_{folder}.tif", values, names=names)
    with pytest.raises(DatasetError, match="no band is there in the images of every flood"):
        open_dataset(out)


def test_numbers_by_hand():
    nan = np.nan
    bands = ("green", "nir", "cirrus", "swir16")
    values = np.array(
        [
            [0.1234, -0.02, 0.10, nan, 0.1, 0.0, 1.0, 1.0, 9.0],
            [0.05, 0.03, 0.10, 0.2, 0.1, -0.1, 1.0, 0.5, 0.1],
            [0.001, 0.001, nan, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
            [0.2, 0.2, 0.2, 0.2, nan, 0.2, 0.2, 0.2, 0.2],
        ],
        np.float32,
    )[:, None]
    found = stored(values, bands=bands, index="ndwi", top=[1.0] * 4)[:, 0]
    assert found.T.tolist() == [
        [1234, 500, 10, 2000],
        [1, 300, 10, 2000],  # below 0, yet data
        [1000, 1000, 0, 2000],  # no cirrus
        [0, 0, 0, 0],  # no green
        [0, 0, 0, 0],  # no SWIR
        [0, 0, 0, 0],  # nothing measured in either
        [0, 0, 0, 0],  # both at their top
        [10000, 5000, 1000, 2000],
        [65535, 1000, 1000, 2000],
    ]
    free = stored(values, bands=bands, index="ndwi")[:, 0]
    assert free[:, 6].tolist() == [10000, 10000, 1000, 2000]


def test_a_band_that_is_0_throughout_takes_nothing_away(tmp_path):
    values = np.concatenate([numbers(), np.zeros((1, *SHAPE), np.uint16)])
    scene = write_scene(tmp_path / "a.tif", values, names=(*NAMES, "cirrus"))
    (found,) = make(scene, tmp_path / "out").scenes
    assert (found.land, found.water) == ((truth() == 0).sum(), (truth() == 1).sum())
    dataset = open_dataset(tmp_path / "out")
    assert dataset.bands == (*NAMES, "cirrus")
    assert (dataset.read(dataset.chips()[0]).image[4] == 0).all()


def test_white_fill_of_a_picture_of_8_bits_is_no_water(tmp_path):
    values = (numbers() // 10).astype(np.uint8)
    values[:, :, 20:] = 255
    scene = write_scene(tmp_path / "a.tif", values, nodata=None)
    report = make(scene, tmp_path / "out", scene=SceneOptions(scale=0.004), min_valid=0.1)
    assert report.scenes[0].land + report.scenes[0].water == 22 * 20
    assert report.skipped == 2


def test_otsu_is_of_each_scene_and_between_its_heaps(tmp_path):
    shifted = numbers()
    shifted[3, shifted[3] == 300] = 700  # water at 0.125
    scenes = [write_scene(tmp_path / "a.tif"), write_scene(tmp_path / "b.tif", shifted)]
    report = make(scenes, tmp_path / "out", threshold="otsu")
    first, second = (scene.threshold for scene in report.scenes)
    assert -0.5 < second < first < 0.5
    assert report.scenes[0].water == (truth() == 1).sum() - (22 - 1) * (first > 0)


def test_mndwi_and_landsats_one_nir(tmp_path):
    values = numbers()[[1, 3, 0]].astype(np.uint16) + 10_100  # 2.75e-5 each, less 0.2
    values[:, :5, 30:36] = 0
    values[2] = np.where(values[2] > 0, 9_000, 0)  # SWIR 0.0475
    scene = write_scene(tmp_path / "a.tif", values, names=("SR_B3", "SR_B5", "SR_B6"))
    report = make(scene, tmp_path / "out", sensor="landsat-oli", index="mndwi")
    assert report.scenes[0].bands == ("green", "nir", "swir16")
    assert report.scenes[0].water == (truth() >= 0).sum()
    _, light, _ = next(tiles(tmp_path / "out", "S2Hand"))
    assert light[S2.index("green"), 0, 0] == 1025  # (11,000 * 2.75e-5 - 0.2) * 10,000
    assert light[S2.index("swir16"), 0, 0] == 475


def test_tiles_with_little_data_are_left_out(tmp_path):
    values = numbers()
    values[:, :, 14:] = 0  # tiles start at columns 0, 16 and 23
    values[:, :3] = 0
    scene = write_scene(tmp_path / "a.tif", values)
    with pytest.raises(DatasetError, match=r"a.tif: none of 6 tiles has data in 90 % of its"):
        make(scene, tmp_path / "out", min_valid=0.9)
    report = make(scene, tmp_path / "out", min_valid=14 * 13 / 256)  # the folder is free again
    assert (report.tiles, report.skipped) == (2, 4)
    assert [p.name[:7] for p in sorted((tmp_path / "out/LabelHand").iterdir())] == [
        "a_00000",
        "a_00003",
    ]


def test_a_scene_smaller_than_a_tile_is_one(tmp_path):
    report = make(write_scene(tmp_path / "a.tif"), tmp_path / "out", tile_px=512)
    assert report.tiles == 1
    _, label, _ = next(tiles(tmp_path / "out", "LabelHand"))
    np.testing.assert_array_equal(label[0], truth())


def test_an_interrupted_call_goes_on_and_a_finished_one_does_nothing(tmp_path, monkeypatch):
    scene = write_scene(tmp_path / "a.tif")
    make(scene, tmp_path / "whole")
    out, cut, calls = tmp_path / "out", module._cut, []

    def some(*args, **kwargs):
        if len(calls) == 3:
            for folder in ("S2Hand", "LabelHand"):
                (out / folder / f".part-a_00003_{folder}.tif").write_bytes(b"half")
            raise KeyboardInterrupt
        calls.append(args)
        return cut(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_cut", some)
        with pytest.raises(KeyboardInterrupt):
            make(scene, out)
    assert len(open_dataset(out).chips()) == 3  # half files are no chip
    with pytest.raises(OutputError, match="unfinished data set made from other scenes or options"):
        make(scene, out, threshold=0.1)
    first = (out / "S2Hand/a_00000_S2Hand.tif").stat().st_mtime_ns
    report = make(scene, out)
    assert (out / "S2Hand/a_00000_S2Hand.tif").stat().st_mtime_ns == first
    files = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    whole = tmp_path / "whole"
    assert files == {p.relative_to(whole): p.read_bytes() for p in whole.rglob("*") if p.is_file()}
    monkeypatch.setattr(module, "look_at_scene", None)
    assert make(scene, out) == report
    with pytest.raises(OutputError, match="holds a data set made from other scenes or options"):
        make(scene, out, index="mndwi")


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/letter.txt").write_text("keep me")
    with pytest.raises(OutputError, match=r"out: is not empty \(letter.txt\)"):
        make(write_scene(tmp_path / "a.tif"), tmp_path / "out")
    (tmp_path / "out" / RECORD_NAME).write_text("{}")
    with pytest.raises(OutputError, match="made from other scenes or options"):
        make(write_scene(tmp_path / "a.tif"), tmp_path / "out")
    assert (tmp_path / "out/letter.txt").read_text() == "keep me"


def test_sensors_that_are_told_guessed_or_asked_for(tmp_path):
    named = ("B1", "B2", "B3", "B4")
    scene = write_scene(tmp_path / "a.tif", names=named)
    with pytest.raises(BandError, match=r"a.tif: nothing tells its sensor, and band B1 is another"):
        make(scene, tmp_path / "out")
    report = make(scene, tmp_path / "told", sensor="planetscope-4b")
    assert report.scenes[0].bands == NAMES
    report = make(scene, tmp_path / "bands", scene=SceneOptions(bands=NAMES))
    assert report.scenes[0].sensor == "sentinel-2-l1c"
    with pytest.raises(UnitError, match=r"a.tif: is Sentinel-1 GRD; an index of water needs light"):
        make(scene, tmp_path / "out", sensor="sentinel-1-grd")
    with pytest.raises(UnknownNameError, match="unknown sensor 'planet'"):
        make(scene, tmp_path / "out", sensor="planet")


def test_scenes_that_cannot_be_used(tmp_path):
    rgb = write_scene(tmp_path / "rgb.tif", numbers()[:3], names=NAMES[:3])
    with pytest.raises(BandError, match=r"rgb.tif: has the bands blue, green, red; ndwi needs gre"):
        make(rgb, tmp_path / "out")
    empty = write_scene(tmp_path / "empty.tif", np.zeros((4, *SHAPE), np.uint16))
    with pytest.raises(FormatError, match=r"empty.tif: every pixel is nodata or NaN"):
        make(empty, tmp_path / "out")
    nowhere = write_scene(tmp_path / "nowhere.tif", crs=None)
    with pytest.raises(CrsError, match=r"nowhere.tif: has no CRS or no geotransform"):
        make(nowhere, tmp_path / "out")
    white = write_scene(tmp_path / "white.tif", np.full((4, *SHAPE), 255, np.uint8), nodata=None)
    with pytest.raises(FormatError, match=r"white.tif: no pixel has an index for Otsu's"):
        make(white, tmp_path / "out", threshold="otsu", scene=SceneOptions(scale=0.004))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"index": "ndvi"}, UnknownNameError, "unknown --index 'ndvi'; closest: ndwi"),
        ({"threshold": 1.5}, DatasetError, r"--threshold 1.5: an index is between -1 and 1"),
        ({"threshold": float("nan")}, DatasetError, r"--threshold nan: an index is between"),
        ({"tile_px": 8}, DatasetError, r"--tile-px 8: give 16 or more"),
        ({"min_valid": 2}, DatasetError, r"--min-valid 2: is a share"),
        ({"event": "a_b"}, DatasetError, r"--event 'a_b': file names begin with it"),
    ],
)
def test_options_that_cannot_be(options, error, match):
    with pytest.raises(error, match=match):
        PseudoOptions(**options)


def test_words_for_thresholds_and_events():
    assert (parse_threshold("-0.1"), parse_threshold("OTSU")) == (-0.1, "otsu")
    with pytest.raises(DatasetError, match=r"--threshold 'half': is neither a number nor otsu"):
        parse_threshold("half")
    assert event_of("Río_São-2 (b)") == "RioSao2b"
    assert event_of("___") == "Scene"
