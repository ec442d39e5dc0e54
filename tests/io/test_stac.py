"""STAC items of maps."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pystac
from affine import Affine
from odc.geo.geobox import GeoBox

from headframe.core.classmap import ClassInfo, ClassMap
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.io.stac import MLM, MapRecord, write_item

TURNED = GeoBox((40, 52), Affine(9, 1, 4e5, 1, -10, 8e6), "EPSG:32733")


def spec(*names: str) -> ModelSpec:
    infos = [ClassInfo(i, n, (i, 0, 255)) for i, n in enumerate(["background", *names])]
    inputs = InputSpec("sentinel-2-l2a", ("red",), 10.0, (0.1,), (0.2,), ((0.0, 0.1, 0.2),))
    return ModelSpec("m", "unet", {}, inputs, ClassMap(tuple(infos)), patch_px=64)


def written(folder: Path, models, suffixes, **options) -> dict:
    outputs = {suffix: folder / f"x{suffix}" for suffix in suffixes}
    date = datetime(2020, 1, 2, tzinfo=UTC)
    record = MapRecord(
        "x", "s.tif", (40, 52), options.pop("geobox", TURNED), date, models, outputs, {"a": 1},
        **options,
    )  # fmt: skip
    write_item(folder / "x.json", record)
    return json.loads((folder / "x.json").read_text(encoding="utf-8"))


def test_one_model(tmp_path):
    suffixes = (".classes.tif", ".scores.tif", ".gpkg", ".parquet", ".png")
    item = written(tmp_path, {"": (spec("pit"), "aa")}, suffixes)
    pystac.Item.from_dict(item)
    assert list(item["assets"]) == ["classes", "scores", "gpkg", "parquet", "png"]
    classes = item["assets"]["classes"]
    assert classes["href"] == "x.classes.tif"
    assert [c["name"] for c in classes["classification:classes"]] == ["background", "pit"]
    assert "classification:classes" not in item["assets"]["scores"]
    facts = item["properties"]
    assert (facts["headframe:model_sha256"], facts["mlm:name"], facts["a"]) == ("aa", "m", 1)
    assert MLM in item["stac_extensions"]
    assert (facts["proj:shape"], facts["proj:transform"][:3]) == ([40, 52], [9, 1, 4e5])


def test_several_models(tmp_path):
    models = {"p": (spec("pit"), "aa"), "d": (spec("dam", "pond"), "bb")}
    suffixes = (".components.tif", ".p.classes.tif", ".d.classes.tif", ".d.scores.tif", ".gpkg")
    item = written(tmp_path, models, suffixes, bits=[ClassInfo(3, "dam", (1, 2, 255))])
    names = ["components", "classes-p", "classes-d", "scores-d", "gpkg"]
    assert list(item["assets"]) == names
    assert item["assets"]["classes-d"]["title"] == "Classes of d"
    assert len(item["assets"]["classes-d"]["classification:classes"]) == 3
    (field,) = item["assets"]["components"]["classification:bitfields"]
    assert (field["offset"], field["classes"][1]["color_hint"]) == (3, "0102FF")
    assert MLM not in item["stac_extensions"]
    told = item["properties"]["headframe:models"]
    assert [(m["name"], m["headframe:model_sha256"]) for m in told] == [("p", "aa"), ("d", "bb")]


def test_a_map_that_lies_nowhere(tmp_path):
    item = written(tmp_path, {"": (spec("pit"), "aa")}, (".png",), geobox=None)
    assert item["geometry"] is None
    assert item["properties"]["proj:code"] is None
