"""Several models over one reading, merged to one map."""

import json
import logging
import resource
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import rasterio.features
import torch
from affine import Affine
from PIL import Image
from rio_cogeo.cogeo import cog_validate
from torch import nn

from headframe.core.classmap import ClassInfo, ClassMap
from headframe.core.components import CLASS_SETS, NODATA_BITS
from headframe.core.errors import InputError, OutputError
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.engine.bundle import Bundle
from headframe.engine.mapping import MapOptions, map_components, map_scenes
from headframe.engine.mapping import merge as merging
from headframe.engine.mapping.ensemble import Ensemble, bit_legend, union_inputs
from headframe.io.scene import Scene
from headframe.surface.component_rules import PREPARATION_AT_EXCAVATION
from headframe.surface.rule_choice import ComponentRules
from headframe.surface.snow_cloud import SnowCloud

UTM = Affine(10, 0, 600_000, 0, -10, 7_800_000)
STEP = 0.08
"""Reflectance of class k of a ``Ladder``, per class above background, on a floor of the same."""


class Ladder(nn.Module):
    """Decides pixel by pixel: reflectance of the first band names the class."""

    def __init__(self, classes):
        super().__init__()
        self.centres = nn.Parameter(STEP * (1 + torch.arange(classes).float()))

    def forward(self, pixels):
        far = (pixels[:, :1] - self.centres.view(1, -1, 1, 1)).abs() / STEP
        if len(self.centres) == 2:
            return (far[:, :1] - far[:, 1:]) * 8
        return -8 * far


def ladder(names, band, *, patch=64, name="m"):
    colors = [(9 * i, 200 - 9 * i, 40 * i % 255) for i in range(len(names) + 1)]
    infos = [ClassInfo(i, n, colors[i]) for i, n in enumerate(["background", *names])]
    inputs = InputSpec("sentinel-2-l2a", (band,), 10.0, (0.0,), (1.0,), ((0.05, 0.1, 0.4),))
    spec = ModelSpec(name, "unet", {}, inputs, ClassMap(tuple(infos)), patch_px=patch)
    return Bundle(spec, Ladder(len(infos)).eval())


M1 = ("excavation", "preparatory_work_area")


def write_scene(path, bands, *, nodata=None, crs="EPSG:32723", transform=UTM):
    """Write class numbers (H, W) by band name as reflectance that a ``Ladder`` reads."""
    values = np.stack([np.round(STEP * 1e4 * (1 + c)) for c in bands.values()]).astype(np.uint16)
    if nodata is not None:
        values[:, nodata] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[1], width=values.shape[2],
        count=len(values), dtype="uint16", nodata=0, crs=crs, transform=transform,
    ) as file:  # fmt: skip
        file.write(values)
        file.descriptions = tuple(bands)
    return path


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def drawn(tmp_path):
    """A scene with an excavation, preparatory areas, a dump over them, and a hole in the data."""
    shape = (150, 203)
    first = np.zeros(shape, dtype=int)
    first[20:90, 30:110] = 1
    first[90:100, 40:180] = 2  # touches the excavation, and reaches over tile borders
    first[110:140, 20:170] = 2  # touches nothing, and does so too
    second = np.zeros(shape, dtype=int)
    second[60:120, 90:190] = 1
    hole = np.zeros(shape, dtype=bool)
    hole[100:130, 60:75] = True
    path = write_scene(tmp_path / "in" / "s2_20200305.tif", {"red": first, "blue": second},
                       nodata=hole)  # fmt: skip
    return path, first, second, hole


def models(patches=(64, 64)):
    return [
        ladder(M1, "red", patch=patches[0], name="m1"),
        ladder(("dumping_ground",), "blue", patch=patches[1], name="m2"),
    ]


OPTIONS = MapOptions(margin_px=8, batch_tiles=2)


def test_the_mask_holds_what_every_model_finds(drawn, tmp_path):
    scene, first, second, hole = drawn
    (result,) = map_components([str(scene)], bundles=models(), out=tmp_path / "o", options=OPTIONS)
    with rasterio.open(result.outputs["components"]) as file:
        bits = file.read(1)
        assert (file.dtypes, file.nodata, file.shape) == (("uint16",), NODATA_BITS, (150, 203))
        assert file.tags()["BIT_0"] == "excavation"
        assert file.tags()["BIT_5"] == "preparatory_work_area"
        assert file.transform == UTM
    expected = (first == 1) * 1 + (first == 2) * 32 + (second == 1) * 2
    np.testing.assert_array_equal(bits, np.where(hole, NODATA_BITS, expected))
    assert (bits == 1 + 2).any()
    assert cog_validate(result.outputs["components"], quiet=True)[0]
    counts = {"excavation": 1, "dumping_ground": 2, "preparatory_work_area": 32}
    assert list(result.area_ha) == list(counts)
    for name, bit in counts.items():
        pixels = ((bits & bit > 0) & ~hole).sum()
        assert result.area_ha[name] == pytest.approx(pixels * 0.01, rel=2e-3)
    assert result.rules is None
    assert "rules" not in result.to_json()


def test_each_model_says_what_it_says_alone(drawn, tmp_path):
    scene = drawn[0]
    options = replace(OPTIONS, scores=True)
    (result,) = map_components([str(scene)], bundles=models(), out=tmp_path / "o", options=options)
    frame = geopandas.read_file(result.outputs["gpkg"])
    table = geopandas.read_parquet(result.outputs["parquet"])
    assert list(frame.columns) == list(table.columns)
    assert frame.geometry.geom_equals(table.geometry).all()
    assert len(frame) == result.polygons
    bit_of = {"excavation": 0, "dumping_ground": 1, "preparatory_work_area": 5}
    assert dict(zip(frame["class"], frame["class_id"], strict=True)) == bit_of
    for bundle in models():
        name = bundle.spec.name
        (alone,) = map_scenes([str(scene)], bundle=bundle, out=tmp_path / name, options=options)
        for kind in ("classes", "scores"):
            with (
                rasterio.open(result.outputs[f"{kind}-{name}"]) as ours,
                rasterio.open(alone.outputs[kind]) as theirs,
            ):
                hole = drawn[3]  # other bands, other holes
                np.testing.assert_array_equal(ours.read()[:, ~hole], theirs.read()[:, ~hole])
                assert ours.descriptions == theirs.descriptions
        own = frame[frame["model"] == name].reset_index(drop=True)
        other = geopandas.read_file(alone.outputs["gpkg"])
        assert own.geometry.geom_equals(other.geometry).all()
        np.testing.assert_allclose(own["mean_score"], other["mean_score"])
        np.testing.assert_allclose(own["area_ha"], other["area_ha"])
        assert own.geometry.area.sum() == pytest.approx(own.geometry.union_all().area)
    assert frame.geometry.iloc[0].intersects(frame[frame["model"] == "m2"].geometry.iloc[0])


def test_every_tile_is_read_once(drawn, tmp_path, monkeypatch):
    windows = []
    known = Scene.read

    def counted(scene, window):
        windows.append(window)
        return known(scene, window)

    monkeypatch.setattr(Scene, "read", counted)
    (result,) = map_components(
        [str(drawn[0])], bundles=models((64, 96)), out=tmp_path / "o", options=OPTIONS
    )
    assert len(windows) == len(set(windows)) == result.tiles
    assert {window.width for window in windows} == {96}  # the largest that a model knows


def test_item_and_picture(drawn, tmp_path):
    (result,) = map_components([str(drawn[0])], bundles=models(), out=tmp_path / "o")
    item = pystac.Item.from_file(result.outputs["stac"])
    fields = item.assets["components"].extra_fields["classification:bitfields"]
    assert [(f["name"], f["offset"], f["length"]) for f in fields] == [
        ("excavation", 0, 1),
        ("dumping_ground", 1, 1),
        ("preparatory_work_area", 5, 1),
    ]
    described = item.properties["headframe:models"]
    assert [m["name"] for m in described] == ["m1", "m2"]
    assert described[1]["mlm:input"][0]["bands"] == ["blue"]
    classes = item.assets["classes-m1"].extra_fields["classification:classes"]
    assert classes[1]["name"] == "excavation"
    assert sorted(item.assets) == [
        "classes-m1", "classes-m2", "components", "gpkg", "parquet", "png",
    ]  # fmt: skip
    for asset in item.assets.values():
        assert (tmp_path / "o" / asset.href).is_file()
    picture = np.asarray(Image.open(result.outputs["png"]))
    legend = bit_legend([m.spec for m in models()])
    for info in legend.bits:
        assert (picture == info.color).all(axis=2).any(), info.name
    assert not picture[110, 65].any()  # nodata is black


RULES = ComponentRules(rules=(PREPARATION_AT_EXCAVATION,), skipped={"dam-at-tailings": "no dam"})


@pytest.mark.parametrize("tile", [48, 64, 256])
def test_rules_see_no_tile_borders(drawn, tmp_path, tile):
    scene, first, second, hole = drawn
    options = replace(OPTIONS, tile_px=tile, simplify_m=0)
    (result,) = map_components(
        [str(scene)], bundles=models(), out=tmp_path / "o", options=options, rules=RULES
    )
    stray = np.zeros_like(hole)
    stray[110:140, 20:170] = True
    bits = read(result.outputs["components"])
    expected = (first == 1) * 1 + ((first == 2) & ~stray) * 32 + (second == 1) * 2
    np.testing.assert_array_equal(bits, np.where(hole, NODATA_BITS, expected))
    removed = int((stray & (first == 2) & ~hole).sum())
    assert result.rules == [
        {
            "rule": "preparation-at-excavation",
            "pixels": {"preparatory_work_area": removed},
            "objects": {"preparatory_work_area": 1},
        },
        {"rule": "dam-at-tailings", "skipped": "no dam"},
    ]
    item = json.loads(Path(result.outputs["stac"]).read_text())
    assert item["properties"]["headframe:rules"] == result.rules
    # the polygons and areas follow; the model's own classes stay what it said
    frame = geopandas.read_file(result.outputs["gpkg"])
    own = frame[frame["class"] == "preparatory_work_area"]
    mask = rasterio.features.rasterize(own.geometry, out_shape=bits.shape, transform=UTM)
    np.testing.assert_array_equal(mask == 1, (expected & 32 > 0) & ~hole)
    assert result.area_ha["preparatory_work_area"] == pytest.approx(own["area_ha"].sum(), rel=2e-3)
    np.testing.assert_array_equal(read(result.outputs["classes-m1"]), np.where(hole, 255, first))


def test_the_guard_makes_nodata_of_snow(tmp_path):
    shape = (70, 90)
    found = np.zeros(shape, dtype=int)
    found[10:40, 10:60] = 1
    snow = np.zeros(shape, dtype=bool)
    snow[30:50, 50:75] = True
    swir = np.where(snow, -0.5, 1)  # dark in SWIR under snow that is bright in green
    scene = write_scene(
        tmp_path / "a.tif",
        {"red": found, "green": np.where(snow, 4, 0), "nir": found + 1, "swir16": swir},
    )
    rules = ComponentRules(snow_cloud=SnowCloud(), bands=("green", "nir", "swir16"))
    bundles = [ladder(("excavation",), "red", name="m1")]
    (result,) = map_components(
        [str(scene)], bundles=bundles, out=tmp_path / "o", options=OPTIONS, rules=rules
    )
    bits = read(result.outputs["components"])
    np.testing.assert_array_equal(bits, np.where(snow, NODATA_BITS, found))
    np.testing.assert_array_equal(read(result.outputs["classes-m1"]), np.where(snow, 255, found))
    assert result.rules == [{"rule": "snow-cloud", "nodata_pixels": int(snow.sum())}]
    frame = geopandas.read_file(result.outputs["gpkg"])
    assert frame["area_ha"].sum() == pytest.approx((found[~snow] == 1).sum() * 0.01, rel=2e-3)


class StopError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 5, 8])
def test_a_stopped_run_goes_on_to_the_same_bytes(drawn, tmp_path, after):
    calls = 0

    class Breaking(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, pixels):
            nonlocal calls
            calls += 1
            if calls > after:
                raise StopError
            return self.inner(pixels)

    options = replace(OPTIONS, scores=True)
    sound = [replace(b, fingerprint=b.spec.name) for b in models()]
    broken = [sound[0], replace(sound[1], network=Breaking(sound[1].network))]
    scene = [str(drawn[0])]
    with pytest.raises(StopError):
        map_components(scene, bundles=broken, out=tmp_path / "o", options=options, rules=RULES)
    assert not [p for p in (tmp_path / "o").iterdir() if not p.name.startswith(".part-")]
    run = {"bundles": sound, "options": options, "rules": RULES}
    (result,) = map_components(scene, out=tmp_path / "o", **run)
    assert (result.resumed_rows > 0) == (after >= 5)
    map_components(scene, out=tmp_path / "undisturbed", **run)
    assert contents(tmp_path / "o") == contents(tmp_path / "undisturbed")


def test_a_run_stopped_while_merging_goes_on_without_scoring(drawn, tmp_path, monkeypatch):
    scene = [str(drawn[0])]
    run = {"bundles": models(), "options": OPTIONS, "rules": RULES}
    with monkeypatch.context() as patched:

        def stop(*args, **kwargs):
            raise StopError

        patched.setattr(merging, "keep_regions", stop)
        with pytest.raises(StopError):
            map_components(scene, out=tmp_path / "o", **run)
    (result,) = map_components(scene, out=tmp_path / "o", **run)
    assert (result.scored, result.resumed_rows > 0) == (0, True)
    map_components(scene, out=tmp_path / "undisturbed", **run)
    assert contents(tmp_path / "o") == contents(tmp_path / "undisturbed")


def test_finished_maps_are_known_and_replaced(drawn, tmp_path, caplog):
    scene, out = [str(drawn[0])], tmp_path / "o"
    (first,) = map_components(scene, bundles=models(), out=out, options=OPTIONS, rules=RULES)
    with caplog.at_level(logging.WARNING, logger="headframe"):
        (again,) = map_components(scene, bundles=models(), out=out, options=OPTIONS, rules=RULES)
    assert "already mapped" in caplog.text
    assert again.skipped
    assert (again.outputs, again.rules) == (first.outputs, first.rules)
    (other,) = map_components(scene, bundles=models(), out=out, options=OPTIONS)
    assert not other.skipped  # without rules it is another map
    (single,) = map_scenes(scene, bundle=models()[0], out=out, options=OPTIONS)
    assert sorted(p.name.partition(".")[2] for p in out.iterdir()) == [
        "classes.tif", "gpkg", "parquet", "png", "stac.json",
    ]  # fmt: skip
    assert not single.skipped


def test_without_crs_there_are_no_polygons(drawn, tmp_path):
    first = drawn[1]
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        scene = write_scene(
            tmp_path / "a.tif", {"red": first, "blue": first}, crs=None,
            transform=Affine.identity(),
        )  # fmt: skip
    (result,) = map_components([str(scene)], bundles=models(), out=tmp_path / "o", rules=RULES)
    assert sorted(result.outputs) == ["classes-m1", "classes-m2", "components", "png", "stac"]
    assert result.area_ha is None
    assert result.rules[0]["objects"] == {"preparatory_work_area": 1}


@contextmanager
def disk_of(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [400, 2_500, 20_000, 90_000])
def test_a_full_disk_is_one_error_and_leaves_nothing(drawn, tmp_path, size):
    out = tmp_path / "o"
    with disk_of(size), pytest.raises(OutputError, match=r"Free some space|choose"):
        map_components([str(drawn[0])], bundles=models(), out=out, options=OPTIONS, rules=RULES)
    assert list(out.iterdir()) == []


def test_the_threshold_is_for_models_of_two_classes(drawn, tmp_path):
    options = replace(OPTIONS, threshold=1.0)
    (result,) = map_components([str(drawn[0])], bundles=models(), out=tmp_path / "o",
                               options=options)  # fmt: skip
    bits = read(result.outputs["components"])
    known = bits[bits != NODATA_BITS]
    assert not (known & 2).any()
    assert (known & 1).any()
    with pytest.raises(InputError, match="--threshold means nothing to model m1"):
        map_components([str(drawn[0])], bundles=models()[:1], out=tmp_path / "p", options=options)


def spec_of(class_names, *, name="m", bands=("red", "green", "blue"), sensor="sentinel-2-l2a"):
    infos = [ClassInfo(i, n, (i, 0, 0)) for i, n in enumerate(["background", *class_names])]
    n = len(bands)
    inputs = InputSpec(sensor, bands, 10.0, (0.1,) * n, (0.2,) * n, ((0.0, 0.1, 0.2),) * n)
    return ModelSpec(name, "unet", {}, inputs, ClassMap(tuple(infos)), patch_px=64)


def test_bits_of_the_ten_stay_where_labels_have_them():
    four = [spec_of(s.class_map.names[1:]) for s in CLASS_SETS.values()]
    legend = bit_legend([*four, spec_of(["lake", "Settling Pond", "transformed_area"])])
    assert legend.bit_of["tailings_storage_facility"] == 9
    assert legend.bit_of["transformed_area"] == 10
    assert legend.bit_of["lake"] == 11
    assert list(legend.bit_of.values()) == list(range(12))
    lake = legend.tables[4]
    assert lake[:4].tolist() == [0, 1 << 11, 1 << 3, 1 << 10]
    assert lake[255] == NODATA_BITS
    assert legend.info(4, 2).name == "settling_pond"


def test_a_mask_has_fifteen_bits():
    bit_legend([spec_of([f"c{i}" for i in range(5)])])
    with pytest.raises(InputError, match=r"no bit is left for its class 'c5'"):
        bit_legend([spec_of([f"c{i}" for i in range(6)])])


def test_what_is_read_for_several_models():
    rgb = spec_of(["a"])
    more = spec_of(["a"], bands=("swir16", "red"))
    assert union_inputs([rgb]) is rgb.inputs
    joined = union_inputs([rgb, more], ["nir"])
    assert joined.bands == ("red", "green", "blue", "swir16", "nir")
    assert joined.sensor == "sentinel-2-l2a"
    assert joined.mean[:4] == (0.1,) * 4
    assert np.isnan(joined.mean[4])
    top = spec_of(["a"], bands=("cirrus",), sensor="sentinel-2-l1c")
    assert union_inputs([rgb, top]).sensor == "sentinel-2-l1c"
    radar = spec_of(["a"], bands=("vv",), sensor="sentinel-1-grd")
    both = union_inputs([rgb, radar])
    assert both.sensor == "sentinel-2-l2a+sentinel-1-grd"
    assert union_inputs([radar, replace(rgb, inputs=both)]).sensor == both.sensor
    other = spec_of(["a"], name="tm", sensor="landsat-tm")
    with pytest.raises(InputError, match=r"no scene can serve m \(sentinel-2-l2a\), tm"):
        union_inputs([rgb, other])


def test_names_of_models_are_fit_for_files():
    bundles = [ladder(M1, "red", name=name) for name in ("a b/ü", "a b/ü", "..")]
    bundles = [replace(b, fingerprint=str(i)) for i, b in enumerate(bundles)]
    ensemble = Ensemble.of(bundles, device="cpu")
    assert [m.name for m in ensemble.members] == ["a-b", "a-b-2", "model"]
    with pytest.raises(InputError, match=r"is given twice"):
        Ensemble.of([bundles[0], bundles[0]], device="cpu")
