import json
import logging
import resource
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import rasterio.features
import shapely
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyproj import Geod
from rio_cogeo.cogeo import cog_validate
from torch import nn

from headframe.core.errors import FormatError, InputError, MissingFileError, OutputError
from headframe.engine.mapping import MapOptions, map_scenes
from headframe.geo.window import Window
from headframe.io.scene import SceneOptions, open_scene

GEOGRAPHIC = (Affine(0.0001, 0, -44.2, 0, -0.00009, -20.1), "EPSG:4326")
ROTATED = (Affine(8, 6, 600_000, 6, -8, 7_800_000), "EPSG:32723")


class Constant(nn.Module):
    def forward(self, pixels):
        return torch.full_like(pixels[:, :1], 0.7)


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def whole_scores(scene, bundle):
    """What the network says of the whole scene at once, NaN where a band has no data."""
    with open_scene(str(scene), inputs=bundle.spec.inputs, options=SceneOptions()) as opened:
        height, width = opened.shape
        pixels = opened.read(Window(0, 0, height, width))
    scores = bundle.scores(torch.from_numpy(pixels)[None])[0].numpy()
    return np.where(np.isnan(pixels).any(axis=0), np.nan, scores)


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def disk_of(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@settings(deadline=None, max_examples=12)
@given(
    shape=st.tuples(st.integers(20, 170), st.integers(20, 170)),
    tile=st.sampled_from([37, 64, 96]),
    margin=st.integers(5, 7),
    layers=st.sampled_from([1, 3]),
)
def test_a_local_network_gives_the_same_tiled_as_whole(
    shape, tile, margin, layers, draw_scene, small_net, bundle_of
):
    bundle = bundle_of(small_net(layers), layers=layers, flips=2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = draw_scene(folder / "a.tif", shape, holes=shape[0] > 60)
        options = MapOptions(scores=True, tile_px=tile, margin_px=margin, polygons=False)
        (result,) = map_scenes([str(scene)], bundle=bundle, out=folder / "o", options=options)
        expected = whole_scores(scene, bundle)
        np.testing.assert_allclose(read(result.outputs["scores"]), expected, atol=1e-5)
        classes = read(result.outputs["classes"])[0]
        nodata = np.isnan(expected[0])
        np.testing.assert_array_equal(classes == 255, nodata)
        clear = ~nodata & (np.abs(expected - bundle.spec.threshold) > 1e-4).all(axis=0)
        decided = bundle.classes_of(expected)
        if layers == 1:
            np.testing.assert_array_equal(classes[clear], decided[clear])


def test_a_constant_network_stays_constant(scene, tmp_path, bundle_of):
    bundle = bundle_of(Constant())
    options = MapOptions(scores=True, margin_px=8)
    (result,) = map_scenes([str(scene)], bundle=bundle, out=tmp_path / "o", options=options)
    scores = read(result.outputs["scores"])
    known = scores[np.isfinite(scores)]
    assert np.ptp(known) < 1e-6
    assert known[0] == pytest.approx(1 / (1 + np.exp(-0.7)))
    assert result.scored < result.tiles  # the corner without data is not scored


def test_a_strided_network_is_padded_and_mapped(scene, tmp_path, bundle_of):
    network = nn.Sequential(nn.AvgPool2d(32), nn.Conv2d(3, 1, 1), nn.Upsample(scale_factor=32))
    options = MapOptions(tile_px=96, margin_px=8, scores=True)
    big = replace(options, tile_px=256)
    bundle = bundle_of(network.eval())
    (one,) = map_scenes([str(scene)], bundle=bundle, out=tmp_path / "a", options=options)
    (two,) = map_scenes([str(scene)], bundle=bundle, out=tmp_path / "b", options=big)
    np.testing.assert_allclose(read(one.outputs["scores"]), read(two.outputs["scores"]), atol=1e-5)


@pytest.mark.parametrize(("transform", "crs"), [GEOGRAPHIC, ROTATED])
def test_outputs_lie_on_the_scene_and_agree(
    tmp_path, transform, crs, draw_scene, small_net, bundle_of
):
    scene = draw_scene(tmp_path / "s2_20200305.tif", transform=transform, crs=crs)
    bundle = bundle_of(small_net(3), layers=3)
    options = MapOptions(scores=True, margin_px=8)
    (result,) = map_scenes([str(scene)], bundle=bundle, out=tmp_path / "o", options=options)
    with rasterio.open(scene) as source, rasterio.open(result.outputs["classes"]) as file:
        assert (file.crs, file.transform, file.shape) == (source.crs, source.transform, (150, 203))
        assert cog_validate(result.outputs["classes"], quiet=True)[0]
        classes = file.read(1)
        np.testing.assert_array_equal(classes == 255, (source.read() == 0).any(axis=0))
    frame = geopandas.read_file(result.outputs["gpkg"])
    table = geopandas.read_parquet(result.outputs["parquet"])
    assert len(frame) == len(table) == result.polygons > 5
    assert frame.crs == table.crs
    assert frame.geometry.geom_equals(table.geometry).all()
    assert list(frame.columns) == [*table.columns]
    drawn = rasterio.features.rasterize(
        zip(frame.geometry, frame["class_id"], strict=True),
        out_shape=classes.shape,
        transform=transform,
        dtype="uint8",
    )
    np.testing.assert_array_equal(drawn, np.where(classes == 255, 0, classes))
    lonlat = frame.to_crs(4326).geometry
    areas = [abs(Geod(ellps="WGS84").geometry_area_perimeter(g)[0]) / 1e4 for g in lonlat]
    np.testing.assert_allclose(frame["area_ha"], areas, rtol=1e-4)
    by_class = frame.groupby("class")["area_ha"].sum()
    for name, area in by_class.items():
        assert result.area_ha[name] == pytest.approx(area, rel=2e-3)
    scores = read(result.outputs["scores"])
    largest = frame.loc[frame["area_ha"].idxmax()]
    mask = rasterio.features.rasterize(
        [largest.geometry], out_shape=classes.shape, transform=transform
    )
    mean = scores[largest["class_id"]][mask == 1].mean()
    assert largest["mean_score"] == pytest.approx(mean, rel=1e-5)


def test_item_and_picture(scene, tmp_path, small_net, bundle_of):
    (result,) = map_scenes([str(scene)], bundle=bundle_of(small_net()), out=tmp_path / "o")
    item = pystac.Item.from_file(result.outputs["stac"])
    assert item.datetime.isoformat() == "2020-03-05T00:00:00+00:00"
    assert item.properties["proj:code"] == "EPSG:32723"
    assert item.properties["proj:shape"] == [150, 203]
    assert item.properties["mlm:input"][0]["bands"] == ["red", "green", "blue"]
    assert item.assets["classes"].extra_fields["classification:classes"][1]["name"] == "tailings"
    assert shapely.geometry.shape(item.geometry).bounds == pytest.approx(item.bbox)
    for asset in item.assets.values():
        assert (tmp_path / "o" / asset.href).is_file()
    picture = np.asarray(Image.open(result.outputs["png"]))
    assert picture.shape == (150, 203, 3)
    assert not picture[5, 5].any()  # nodata is black
    assert (picture == (230, 85, 13)).all(axis=2).any()


def test_small_polygons_go_and_neighbours_share_edges(tmp_path, draw_scene, small_net, bundle_of):
    scene = draw_scene(tmp_path / "a.tif")
    bundle = bundle_of(small_net(4), layers=4)
    exact = MapOptions(margin_px=8)
    large = MapOptions(margin_px=8, min_area_ha=0.5)
    simple = MapOptions(margin_px=8, simplify_m=25)
    frames = []
    for i, options in enumerate((exact, large, simple)):
        (result,) = map_scenes([str(scene)], bundle=bundle, out=tmp_path / str(i), options=options)
        frames.append(geopandas.read_file(result.outputs["gpkg"]))
    assert len(frames[1]) == (frames[0]["area_ha"] >= 0.5).sum() < len(frames[0])
    assert frames[1]["area_ha"].min() >= 0.5
    corners = [shapely.get_num_coordinates(f.geometry).sum() for f in frames]
    assert corners[2] < corners[0] * 0.8
    assert shapely.coverage_is_valid(frames[2].geometry.to_numpy())
    assert frames[2]["area_ha"].sum() == pytest.approx(frames[0]["area_ha"].sum(), rel=0.05)


class StopError(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 2, 5, 8])
def test_a_stopped_run_goes_on_to_the_same_bytes(scene, tmp_path, after, small_net, bundle_of):
    bundle = bundle_of(small_net())
    options = MapOptions(margin_px=8, scores=True, batch_tiles=2)
    calls = 0

    class Breaking(nn.Module):
        def forward(self, pixels):
            nonlocal calls
            calls += 1
            if calls > after:
                raise StopError
            return bundle.network(pixels)

    digest = "same"
    broken = replace(bundle_of(Breaking()), fingerprint=digest)
    sound = replace(bundle, fingerprint=digest)
    with pytest.raises(StopError):
        map_scenes([str(scene)], bundle=broken, out=tmp_path / "o", options=options)
    assert not [p for p in (tmp_path / "o").iterdir() if not p.name.startswith(".part-")]
    (result,) = map_scenes([str(scene)], bundle=sound, out=tmp_path / "o", options=options)
    assert (result.resumed_rows > 0) == (after >= 2)
    map_scenes([str(scene)], bundle=sound, out=tmp_path / "undisturbed", options=options)
    assert contents(tmp_path / "o") == contents(tmp_path / "undisturbed")


def test_a_finished_scene_is_skipped_until_something_changes(
    scene, tmp_path, caplog, small_net, bundle_of
):
    bundle = bundle_of(small_net())
    (first,) = map_scenes([str(scene)], bundle=bundle, out=tmp_path / "o")
    before = contents(tmp_path / "o")
    with caplog.at_level(logging.WARNING, logger="headframe"):
        (again,) = map_scenes([str(scene)], bundle=bundle, out=tmp_path / "o")
    assert "already mapped" in caplog.text
    assert (again.skipped, again.scored) == (True, 0)
    assert again.outputs == first.outputs
    assert again.polygons == first.polygons
    assert contents(tmp_path / "o") == before
    options = MapOptions(threshold=0.9, polygons=False)
    (other,) = map_scenes([str(scene)], bundle=bundle, out=tmp_path / "o", options=options)
    assert not other.skipped
    assert sorted(other.outputs) == ["classes", "png", "stac"]  # old polygons are gone
    assert not list((tmp_path / "o").glob(".*"))


def test_same_stems_do_not_meet(tmp_path, draw_scene, small_net, bundle_of):
    names = ["x/a.tif", "y/a.tif", "y/a.tiff"]
    for i, name in enumerate(names):
        draw_scene(tmp_path / "in" / name, (40 + i, 50), seed=i, holes=False)
    results = map_scenes([str(tmp_path / "in")], bundle=bundle_of(small_net()), out=tmp_path / "o")
    paths = {result.outputs["classes"] for result in results}
    assert len(paths) == 3
    assert {read(path).shape[1] for path in paths} == {40, 41, 42}


def test_without_crs_classes_only_and_one_warning(
    tmp_path, caplog, draw_scene, small_net, bundle_of
):
    for name in ("a", "b"):
        with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
            draw_scene(tmp_path / f"{name}.tif", crs=None, transform=Affine.identity())
    with caplog.at_level(logging.WARNING, logger="headframe"):
        results = map_scenes([str(tmp_path)], bundle=bundle_of(small_net()), out=tmp_path / "o")
    assert caplog.text.count("no CRS") == 1
    for result in results:
        assert sorted(result.outputs) == ["classes", "png", "stac"]
        assert result.area_ha is None
        item = json.loads(Path(result.outputs["stac"]).read_text())
        assert item["geometry"] is None


def test_a_rule_refines_classes(scene, tmp_path, bundle_of):
    def nothing(scores, classes):
        assert scores.shape[1:] == classes.shape
        return np.zeros_like(classes)

    (result,) = map_scenes(
        [str(scene)], bundle=bundle_of(Constant()), out=tmp_path / "o", refine=nothing
    )
    assert set(np.unique(read(result.outputs["classes"]))) == {0, 255}
    assert result.polygons == 0
    assert len(geopandas.read_file(result.outputs["gpkg"])) == 0
    assert len(geopandas.read_parquet(result.outputs["parquet"])) == 0


@pytest.mark.parametrize("size", [500, 3_000, 20_000, 60_000, 90_000])
def test_a_full_disk_is_one_error_and_leaves_nothing(scene, tmp_path, size, small_net, bundle_of):
    options = MapOptions(scores=True, margin_px=8)
    out = tmp_path / "o"
    with disk_of(size), pytest.raises(OutputError, match=r"Free some space|choose"):
        map_scenes([str(scene)], bundle=bundle_of(small_net()), out=out, options=options)
    assert list(out.iterdir()) == []


def test_a_place_that_cannot_be_written(scene, tmp_path, small_net, bundle_of):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file/o: cannot be made"):
        map_scenes([str(scene)], bundle=bundle_of(small_net()), out=tmp_path / "file" / "o")


def test_two_runs_do_not_write_one_map(scene, tmp_path, bundle_of):
    out = tmp_path / "o"

    class Inner(nn.Module):
        def forward(self, pixels):
            with pytest.raises(OutputError, match="another run is writing"):
                map_scenes([str(scene)], bundle=bundle_of(Constant()), out=out)
            return pixels[:, :1]

    map_scenes([str(scene)], bundle=bundle_of(Inner()), out=out)


def test_a_truncated_scene_is_refused_and_leaves_nothing(
    tmp_path, draw_scene, small_net, bundle_of
):
    scene = draw_scene(tmp_path / "a.tif", (900, 300), holes=False)
    data = scene.read_bytes()
    scene.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(FormatError, match=r"a\.tif"):
        map_scenes([str(scene)], bundle=bundle_of(small_net()), out=tmp_path / "o")
    assert not list((tmp_path / "o").rglob("*"))


def test_one_bad_scene_does_not_stop_the_others(tmp_path, caplog, draw_scene, small_net, bundle_of):
    draw_scene(tmp_path / "in" / "a.tif")
    (tmp_path / "in" / "b.tif").write_text("no raster")
    with (
        caplog.at_level(logging.WARNING, logger="headframe"),
        pytest.raises(InputError, match="1 of 2 scenes could not be mapped"),
    ):
        map_scenes([str(tmp_path / "in")], bundle=bundle_of(small_net()), out=tmp_path / "o")
    assert (tmp_path / "o" / "a.classes.tif").is_file()


def test_missing_scene(tmp_path, small_net, bundle_of):
    with pytest.raises(MissingFileError, match="nowhere"):
        map_scenes([str(tmp_path / "nowhere.tif")], bundle=bundle_of(small_net()), out=tmp_path)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"min_area_ha": -1}, "0 or more"),
        ({"threshold": 1.5}, "not between 0 and 1"),
        ({"tile_px": 0}, "--tile-px 0 is not 1 or more"),
        ({"margin_px": -1}, "--margin-px -1"),
    ],
)
def test_impossible_options(choices, message):
    with pytest.raises(InputError, match=message):
        MapOptions(**choices)


def test_options_that_do_not_fit_the_model(scene, tmp_path, small_net, bundle_of):
    bundle = bundle_of(small_net(3), layers=3)
    for choices, message in (
        ({"threshold": 0.5}, "--threshold means nothing"),
        ({"device": "abacus"}, "--device abacus"),
        ({"tile_px": 40, "margin_px": 20}, "too small for a margin"),
    ):
        with pytest.raises(InputError, match=message):
            map_scenes(
                [str(scene)], bundle=bundle, out=tmp_path / "o", options=MapOptions(**choices)
            )
