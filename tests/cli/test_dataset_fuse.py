"""``headframe dataset fuse``, and what reads the file it writes."""

import json
import shutil

import numpy as np
import pytest
import rasterio
import torch

from headframe.cli.main import main
from headframe.core.bandsets import BAND_SETS
from headframe.core.classmap import binary_class_map
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.datasets.chips import open_dataset
from headframe.engine.bundle import Bundle, save_bundle
from headframe.models.registry import build_network

LIGHT, RADAR = (0.02, 0.1, 0.4), (-25.0, -12.0, -4.0)
LANDSAT = ("blue", "green", "red", "nir08", "swir16", "swir22", "vv", "vh", "vv_vh")


def run(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return stop.value.code, said.out, said.err


def bundle(folder, sensor, bands):
    """Write an untrained network of light and radar."""
    torch.manual_seed(1)
    radar = [band.startswith("v") for band in bands]
    inputs = InputSpec(
        sensor=sensor,
        bands=bands,
        gsd_m=10.0,
        mean=tuple(-12.0 if each else 0.15 for each in radar),
        std=tuple(4.0 if each else 0.1 for each in radar),
        percentiles=tuple(RADAR if each else LIGHT for each in radar),
    )
    spec = ModelSpec(
        name="untrained",
        architecture="fpn",
        options={},
        inputs=inputs,
        classes=binary_class_map("pit"),
        patch_px=128,
    )
    network = build_network("fpn", bands, 1, spec.options)
    save_bundle(Bundle(spec, network.eval()), folder)
    return folder


def write_radar(path, make, *, north=0.0, nan=False):
    db = np.linspace(-16, -6, 2 * 96 * 128).reshape(2, 96, 128).astype(np.float32)
    db[:, 40:50, 60:80] = np.nan
    return make.scene(path, db * np.nan if nan else db, names=("VV", "VH"), nodata=np.nan)


def test_fuse_then_map_and_label(tmp_path, capsys, make):
    light = make.scene(tmp_path / "S2A_MSIL1C.tif")
    radar = write_radar(tmp_path / "s1.tif", make)
    out = tmp_path / "images" / "alpha" / "fused.tif"
    code, said, error = run(["dataset", "fuse", light, radar, "--out", out, "--json"], capsys)
    assert (code, error) == (0, "")
    report = json.loads(said)
    assert report["sensor"] == "sentinel-2-l1c+sentinel-1-grd"
    assert report["bands"] == ["blue", "green", "red", "vv", "vh", "vv_vh"]

    model = bundle(tmp_path / "m", "sentinel-2-l1c+sentinel-1-grd", tuple(report["bands"]))
    words = ["map", out, "--model", model, "--out", tmp_path / "maps", "--no-polygons", "--json"]
    code, said, error = run(words, capsys)
    assert (code, error) == (0, "")
    with rasterio.open(json.loads(said)[0]["outputs"]["classes"]) as file:
        classes = file.read(1, masked=True)
    assert classes.mask[40:50, 60:80].all()
    assert classes.mask.sum() == 10 * 20

    (tmp_path / "alpha.kml").write_text(make.kml())
    words = ["label", tmp_path / "images", "--polygons", tmp_path / "alpha.kml"]
    code, _, error = run([*words, "--preset", "plain", "--out", tmp_path / "ds"], capsys)
    assert (code, error) == (0, "")
    dataset = open_dataset(tmp_path / "ds")
    assert dataset.manifest.sensor == "sentinel-2-l1c+sentinel-1-grd"
    assert dataset.bands == tuple(report["bands"])
    got = dataset.read(dataset.chips()[0]).image
    with rasterio.open(out) as file:
        want = file.read()
    want[:, np.isnan(want).any(axis=0)] = np.nan
    np.testing.assert_array_equal(got, want)


def test_a_raw_folder_of_fused_files(tmp_path, capsys, make):
    light = make.scene(tmp_path / "S2A_MSIL2A.tif")
    radar = write_radar(tmp_path / "s1.tif", make)
    out = tmp_path / "ds" / "images" / "alpha" / "0.tif"
    words = ["dataset", "fuse", light, radar, "--out", out, "--keep", "red,vv,vv_vh"]
    code, said, _ = run(words, capsys)
    assert code == 0
    assert "96 x 128 pixels of 10.00" in said
    assert "m, EPSG:32723." in said
    mask = np.zeros((1, 96, 128), np.uint8)
    make.scene(tmp_path / "ds" / "masks" / "alpha" / "0.tif", mask, names=None)
    dataset = open_dataset(tmp_path / "ds")
    assert dataset.manifest.sensor == "sentinel-2-l2a+sentinel-1-grd"
    assert dataset.bands == ("red", "vv", "vv_vh")
    image = dataset.read(dataset.chips()[0]).image
    assert 0 < np.nanmax(image[0]) < 1
    assert np.nanmax(image[1]) < 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--s1-unit", "dB"], "unknown --s1-unit 'dB'"),
        (["--resampling", "near"], "unknown --resampling 'near'; closest: nearest"),
        (["--sensor", "x", "--sensor", "auto", "--sensor", "auto"], "--sensor is there 3 times"),
        (["--sensor", "sentinel-2"], "unknown sensor 'sentinel-2'"),
        (["--bands", "B02"], "--bands is there 1 times for 2 files"),
        (["--like", "x.tif"], "x.tif: no such file"),
        (["--like", "x.tif", "--gsd", "10"], "--like has pixels of its own"),
        (["--keep", "m+s"], "no file has coastal, rededge071"),
        (["--keep", "m+x"], "unknown band set 'm+x'; closest: m+s"),
        (["--keep", "pan"], "has no band 'pan'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, make, words, said):
    light = make.scene(tmp_path / "S2A_MSIL1C.tif")
    radar = write_radar(tmp_path / "s1.tif", make)
    out = tmp_path / "o.tif"
    code, _, error = run(["dataset", "fuse", light, radar, "--out", out, *words], capsys)
    assert code == 2
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_files_that_cannot_be_fused(tmp_path, capsys, make):
    light = make.scene(tmp_path / "S2A_MSIL1C.tif")
    empty = write_radar(tmp_path / "s1.tif", make, nan=True)
    far = make.scene(tmp_path / "S2A_MSIL1C_far.tif", east_m=50_000)
    lost = make.scene(tmp_path / "S2A_MSIL1C_lost.tif", crs=None)
    out = tmp_path / "o.tif"
    for other, said in (
        (empty, "s1.tif: every pixel is nodata"),
        (lost, "S2A_MSIL1C_lost.tif: has no CRS"),
        (tmp_path / "none.tif", "none.tif: no such file"),
    ):
        code, _, error = run(["dataset", "fuse", light, other, "--out", out], capsys)
        assert code == 2
        assert said in error
        assert error.count("\n") == 1
    code, _, error = run(["dataset", "fuse", light, far, "--out", out], capsys)
    assert code == 2
    assert "both have blue" in error


def map_real(files, out, model, capsys, *more):
    fused = out / "fused.tif"
    code, said, error = run(["dataset", "fuse", *files, "--out", fused, "--json", *more], capsys)
    assert code == 0, error
    words = ["map", fused, "--model", model, "--out", out / "maps", "--no-polygons", "--json"]
    code, mapped, error = run([*words, "--scores"], capsys)
    assert code == 0, error
    outputs = json.loads(mapped)[0]["outputs"]
    with rasterio.open(outputs["scores"]) as file:
        return json.loads(said), file.read(1, masked=True), error


@pytest.mark.realdata
def test_landsat_and_sentinel_1_of_la_pampa(shared_data, tmp_path, capsys):
    folder = shared_data / "la-pampa"
    files = [folder / "sentinel1_2018.tif", folder / "landsat8_20180906.tif"]
    code, _, error = run(["dataset", "fuse", *files, "--out", tmp_path / "x.tif"], capsys)
    assert code == 2
    assert "negative median" in error
    assert "--scale 0.0001" in error
    model = bundle(tmp_path / "m", "landsat-oli+sentinel-1-grd", LANDSAT)
    report, scores, _ = map_real(files, tmp_path, model, capsys, "--scale", "0.0001")
    assert report["bands"] == list(LANDSAT)
    assert report["sensor"] == "landsat-oli+sentinel-1-grd"
    assert any("decibels of VV divided by those of VH" in note for note in report["notes"])
    assert scores.shape == (104, 110)
    assert not scores.mask.any()
    assert scores.std() > 0
    with rasterio.open(tmp_path / "fused.tif") as got, rasterio.open(files[0]) as radar:
        db = radar.read()
        np.testing.assert_array_equal(got.read([7, 8]), db[:2])
        np.testing.assert_allclose(got.read(9), db[0] - db[1] - 10, atol=1e-5)


@pytest.mark.realdata
def test_thirteen_bands_and_radar_of_sen1floods11(shared_data, tmp_path, capsys):
    name = "Spain_7370579"
    files = [shared_data / "sen1floods11" / f"S{n}Hand" / f"{name}_S{n}Hand.tif" for n in (1, 2)]
    both = BAND_SETS["m+s"]
    model = bundle(tmp_path / "m", both.sensor, both.bands)
    keep = ["--keep", "m+s"]
    report, scores, error = map_real(files, tmp_path, model, capsys, *keep, "--gsd", "40")
    assert report["bands"] == list(both.bands)
    assert (report["sensor"], report["crs"]) == ("sentinel-2-l1c+sentinel-1-grd", "EPSG:32630")
    assert "is Sentinel-2 L1C and the model was trained on Sentinel-2 L2A" in error
    assert scores.mask.mean() == pytest.approx(1 - report["data_share"]["vv"], abs=1e-3)
    assert scores.std() > 0
    code, said, _ = run(
        ["dataset", "fuse", *files, "--out", tmp_path / "all.tif", "--json"], capsys
    )
    report = json.loads(said)
    assert (code, len(report["bands"]), report["shape"]) == (0, 16, [512, 512])
    with rasterio.open(tmp_path / "all.tif") as got, rasterio.open(files[1]) as light:
        np.testing.assert_allclose(got.read(4), light.read(4) / 1e4, rtol=1e-6)


@pytest.mark.realdata
def test_radar_of_sen1floods11_without_data(shared_data, tmp_path, capsys):
    radar = shared_data / "sen1floods11" / "S1Hand"
    empty = radar / "Paraguay_34417_S1Hand.tif"
    code, _, error = run(["dataset", "fuse", empty, "--out", tmp_path / "o.tif"], capsys)
    assert code == 2
    assert "every pixel is nodata" in error
    model = bundle(tmp_path / "m", "sentinel-1-grd", ("vv", "vh", "vv_vh"))
    words = ["map", radar / "Ghana_83483_S1Hand.tif", empty, "--model", model, "--no-polygons"]
    code, _, error = run([*words, "--out", tmp_path / "maps"], capsys)
    assert "Paraguay_34417_S1Hand.tif" in error
    assert "nodata" in error
    for kind in ("images", "masks"):
        (tmp_path / "ds" / kind / "a").mkdir(parents=True)
    for name in ("Paraguay_34417", "Ghana_53713"):
        source = radar / f"{name}_S1Hand.tif"
        shutil.copy(source, tmp_path / "ds" / "images" / "a" / f"{name}.tif")
        with rasterio.open(source) as file:
            profile = {**file.profile, "count": 1, "dtype": "uint8", "nodata": None}
        with rasterio.open(tmp_path / "ds/masks/a" / f"{name}.tif", "w", **profile) as file:
            file.write(np.zeros((1, *file.shape), np.uint8))
    dataset = open_dataset(tmp_path / "ds", sensor="sentinel-1-grd")
    assert dataset.bands == ("vv", "vh", "vv_vh")
    assert [arrays.empty for arrays in map(dataset.read, dataset.chips())] == [False, True]
