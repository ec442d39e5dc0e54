"""From scenes of band files and polygons to a set in MineSegSAT's layout."""

import csv
import json
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from headframe.core.errors import DatasetError, OutputError
from headframe.datasets import tile_plan, tiler
from headframe.datasets.check import check_dataset
from headframe.datasets.chips import open_dataset
from headframe.datasets.minesegsat import band_maxima, read_metadata
from headframe.datasets.tile_plan import TileOptions, deal_tiles, paper_counts
from headframe.datasets.tiler import tile_scenes
from headframe.io.bandfiles import BAND_METRES
from headframe.io.claimed import working

CRS = "EPSG:32610"
X, Y = 600_000, 5_000_040
SHAPE = (54, 90)  # rows, columns at 10 m: 9 x 15 cells of 60 m


def write_scene(folder, *, x=X, y=Y, crs=CRS, value=1000, empty=None):
    """Band k adds k to 1000 + 10 * row + 100 * col of the 60 m cell; ``empty`` cells are nodata."""
    folder.mkdir(parents=True)
    cells = np.full((SHAPE[0] // 6, SHAPE[1] // 6), value, np.int64)
    cells += 10 * np.arange(cells.shape[0])[:, None] + 100 * np.arange(cells.shape[1])
    for k, (band, metres) in enumerate(BAND_METRES.items()):
        n = 60 // metres
        values = np.kron(cells + k, np.ones((n, n))).astype(np.uint16)
        if empty is not None:
            rows, cols = empty
            values[rows.start * n : rows.stop * n, cols.start * n : cols.stop * n] = 0
        with rasterio.open(
            folder / f"{band}.tif",
            "w",
            driver="GTiff",
            count=1,
            height=values.shape[0],
            width=values.shape[1],
            dtype="uint16",
            crs=crs,
            transform=Affine(metres, 0, x, 0, -metres, y),
        ) as sink:
            sink.write(values, 1)
    return folder


def box(row, col, height, width, *, x=X, y=Y):
    """A rectangle of 10 m pixels of the scene."""
    return shapely.box(x + 10 * col, y - 10 * (row + height), x + 10 * (col + width), y - 10 * row)


def write_polygons(path, shapes, sites=None, crs=CRS):
    data = {"geometry": shapes, "area": [1.0] * len(shapes)}
    if sites is not None:
        data["site"] = sites
    gpd.GeoDataFrame(data, crs=crs).to_crs("EPSG:4326").to_file(path)
    return path


def table(out):
    with (out / "dataset_splits.csv").open() as file:
        return list(csv.DictReader(file))


def contents(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def made(tmp_path):
    """One scene of 2 x 4 squares of 24 pixels (and a rest), four of which meet a polygon."""
    scene = write_scene(tmp_path / "s1")
    shapes = [box(3, 2, 5, 7), box(20, 40, 8, 4), box(24, 48, 3, 3), box(50, 10, 4, 4)]
    polygons = write_polygons(tmp_path / "p.gpkg", shapes, ["a", "b", "c", "d"])
    out = tmp_path / "ds"
    report = tile_scenes([str(scene)], polygons=polygons, out=out, options=TileOptions(tile_m=240))
    return out, report


def test_tiles_are_full_squares_that_meet_a_polygon(made):
    out, report = made
    names = [row["data_path"] for row in table(out)]
    # b lies in two squares; c only touches the others' corners; d is below the last full square
    assert names == [f"tiles/s1_r{r:04d}_c{c:04d}" for r, c in ((0, 0), (0, 1), (1, 1), (1, 2))]
    assert report.tiles == {"train": 2, "val": 1, "test": 1}
    assert report.skipped == 0
    assert report.grouped_by == "site"
    assert report.with_target == 1.0
    assert not (out / ".tile").exists()


def test_every_band_covers_the_same_ground_and_the_mask_is_the_polygon(made):
    out, _ = made
    folder = out / "tiles/s1_r0001_c0002"
    for k, (band, metres) in enumerate(BAND_METRES.items()):
        with rasterio.open(folder / f"{band}.tif") as source:
            assert source.shape == (240 // metres, 240 // metres)
            assert tuple(source.bounds) == (X + 480, Y - 480, X + 720, Y - 240)
            assert source.nodata == 0
            assert source.descriptions == (band,)
            assert source.read(1)[0, 0] == 1000 + 40 + 800 + k
            assert source.read(1)[-1, 0] == 1000 + 70 + 800 + k
    with rasterio.open(folder / "mask.tif") as source:
        mask = source.read(1)
    assert mask.sum() == 9
    assert mask[:3, :3].all()


def test_the_set_is_a_data_set(made):
    out, report = made
    assert check_dataset(out).findings == ()
    dataset = open_dataset(out)
    assert dataset.manifest.classes[-1].name == "mining"
    by_site = {chip.site: chip for chip in dataset.chips()}
    assert set(by_site) == {"a", "b", "c"}
    arrays = dataset.read(by_site["a"])
    assert arrays.image.shape == (12, 24, 24)
    assert np.argwhere(arrays.label == 1).min(axis=0).tolist() == [3, 2]
    assert arrays.label.sum() == 35
    assert report.target_share == pytest.approx((35 + 32 + 9) / (4 * 24 * 24), abs=1e-6)


def test_metadata_are_of_training_tiles(made):
    out, _ = made
    train = [row for row in table(out) if row["split"] == "train"]
    values = []
    for row in train:
        with rasterio.open(out / row["data_path"] / "B05.tif") as source:
            values.append(source.read(1).astype(float))
    found = read_metadata(out, "B05")
    assert found == {
        "min": np.min(values),
        "max": np.max(values),
        "mean": pytest.approx(np.mean(values), abs=1e-3),
        "std": pytest.approx(np.std(values), abs=1e-3),
    }
    assert band_maxima(out, open_dataset(out).manifest)["rededge071"] == np.max(values) / 1e4


def test_the_same_call_again_changes_nothing_and_another_is_refused(made, tmp_path, monkeypatch):
    out, report = made
    before = contents(out)
    monkeypatch.setattr(tiler, "plan_tiles", None)  # nothing is planned, so nothing is cut
    arguments = {"polygons": tmp_path / "p.gpkg", "out": out}
    again = tile_scenes(
        [str(tmp_path / "s1")], options=TileOptions(tile_m=240, workers=3), **arguments
    )
    assert again == report
    assert contents(out) == before
    with pytest.raises(OutputError, match="made from other scenes, polygons or options"):
        tile_scenes([str(tmp_path / "s1")], options=TileOptions(tile_m=360), **arguments)
    (out / "dataset.json").unlink()
    with pytest.raises(OutputError, match="made from other scenes"):
        tile_scenes([str(tmp_path / "s1")], options=TileOptions(tile_m=240), **arguments)


@pytest.mark.parametrize("cuts", [0, 2])
def test_a_killed_run_goes_on_and_ends_with_the_same_files(made, tmp_path, monkeypatch, cuts):
    out, _ = made
    before = contents(out)
    shutil.rmtree(out)
    cut = tiler._Cutter.cut
    done = []

    def fails(self, tile):
        if len(done) == cuts:
            (out / "tiles" / tile.name).mkdir(parents=True)  # left without a record
            raise KeyboardInterrupt
        done.append(tile)
        cut(self, tile)

    call = {
        "polygons": tmp_path / "p.gpkg",
        "out": out,
        "options": TileOptions(tile_m=240),
    }
    monkeypatch.setattr(tiler._Cutter, "cut", fails)
    with pytest.raises(KeyboardInterrupt):
        tile_scenes([str(tmp_path / "s1")], **call)
    assert not (out / "dataset_splits.csv").exists()
    monkeypatch.setattr(tiler._Cutter, "cut", cut)
    with pytest.raises(OutputError, match="unfinished data set made from other"):
        tile_scenes([str(tmp_path / "s1")], **{**call, "options": TileOptions(tile_m=300)})
    tile_scenes([str(tmp_path / "s1")], **call)
    assert contents(out) == before


def test_foreign_files_and_a_second_run_are_refused(tmp_path, made):
    out = tmp_path / "other"
    out.mkdir()
    (out / "thesis.doc").write_text("x")
    call = {"polygons": tmp_path / "p.gpkg", "options": TileOptions(tile_m=240)}
    with pytest.raises(OutputError, match=r"is not empty \(thesis.doc\)"):
        tile_scenes([str(tmp_path / "s1")], out=out, **call)
    with pytest.raises(OutputError, match="cannot be written"):
        tile_scenes([str(tmp_path / "s1")], out=out / "thesis.doc", **call)
    with (
        working(tmp_path / "busy", tiler.WORK_NAME, "x", made_from="scenes"),
        pytest.raises(OutputError, match="another run is writing here"),
    ):
        tile_scenes([str(tmp_path / "s1")], out=tmp_path / "busy", **call)


def test_scenes_are_merged_by_crs_and_squares_without_data_skipped(tmp_path, caplog):
    write_scene(tmp_path / "in/a", empty=(range(4, 9), range(15)))
    write_scene(tmp_path / "in/b", x=X + 60 * 10 + 6, value=3000, empty=(range(9), range(10)))
    write_scene(tmp_path / "in/c", crs="EPSG:32611", value=5000)
    shapes = [box(2, 2, 4, 4), box(30, 2, 4, 4), box(2, 125, 4, 4)]
    polygons = write_polygons(tmp_path / "p.geojson", shapes)
    other = gpd.GeoDataFrame(geometry=[box(26, 50, 4, 4)], crs="EPSG:32611").to_crs("EPSG:4326")
    both = gpd.GeoDataFrame(
        geometry=[*gpd.read_file(polygons).geometry, *other.geometry], crs="EPSG:4326"
    )
    both.to_file(polygons)
    out = tmp_path / "ds"
    report = tile_scenes(
        [str(tmp_path / "in")], polygons=polygons, out=out, options=TileOptions(tile_m=240)
    )
    rows = table(out)
    assert [row["data_path"] for row in rows] == [
        "tiles/c_r0001_c0002",
        "tiles/mosaic1_r0000_c0000",
        "tiles/mosaic1_r0000_c0005",
    ]
    assert report.skipped == 1
    assert report.grouped_by == "touching"
    assert len(report.notes) == 1
    assert "b: lies off the grid of a by 6 m" in caplog.text
    with rasterio.open(out / "tiles/mosaic1_r0000_c0005/B02.tif") as source:
        assert source.read(1)[0, :2].tolist() == [0, 3000 + 1000 + 2]
    apart = tile_scenes(
        [str(tmp_path / "in")],
        polygons=polygons,
        out=tmp_path / "apart",
        options=TileOptions(tile_m=240, merge=False),
    )
    assert {row["data_path"].split("_")[0] for row in table(tmp_path / "apart")} == {
        "tiles/a",
        "tiles/b",
        "tiles/c",
    }
    assert apart.notes == ()


def test_as_paper_deals_single_tiles_and_writes_the_published_columns(tmp_path):
    scene = write_scene(tmp_path / "s1")
    polygons = write_polygons(tmp_path / "p.gpkg", [box(0, 0, 54, 90)])
    out = tmp_path / "ds"
    report = tile_scenes(
        [str(scene)],
        polygons=polygons,
        out=out,
        options=TileOptions(tile_m=180, as_paper=True, workers=2, seed=3),
    )
    assert report.tiles == {"train": 11, "val": 2, "test": 2}
    assert report.grouped_by == "tile"
    assert list(table(out)[0]) == ["data_path", "mask_path", "split"]
    assert check_dataset(out).passed
    assert read_metadata(out, "B04")["max"] == 1080 + 1400  # of all tiles
    near = write_polygons(tmp_path / "near.gpkg", [box(2, 20, 5, 40)])
    one = tile_scenes(
        [str(scene)], polygons=near, out=tmp_path / "g", options=TileOptions(tile_m=240)
    )
    assert one.tiles == {"train": 3, "val": 0, "test": 0}
    assert "no tile in val and test" in one.notes[0]


def test_paper_counts_are_those_of_the_paper():
    assert paper_counts(134, (0.7, 0.15, 0.15)) == (94, 20)
    assert paper_counts(10, (0.7, 0.15, 0.15)) == (7, 2)
    assert paper_counts(3, (1.0, 0.0, 0.0)) == (3, 0)


def planned(name, row, col, *, polygons=(), sites=(), scene="s", mosaic=0):
    grid = tile_plan.GeoBox(
        (24, 24), Affine(10, 0, X + 240 * col + 9e4 * mosaic, 0, -10, Y - 240 * row), CRS
    )
    return tile_plan.PlannedTile(name, mosaic, row, col, grid, polygons, sites, scene)


def groups(tiles, group_by):
    options = TileOptions(group_by=group_by, fractions=(0.5, 0.25, 0.25))
    dealt = deal_tiles(tiles, options)
    split = {}
    for part, site in dealt.values():
        assert split.setdefault(site, part) == part  # a site is in one split
    return {name: site for name, (_, site) in dealt.items()}


def test_grouping():
    tiles = [
        planned("a", 0, 0, polygons=(1,), sites=("x",), scene="s1"),
        planned("b", 1, 1, polygons=(2,), sites=("y",), scene="s1"),
        planned("c", 5, 5, polygons=(2,), sites=("y",), scene="s2"),
        planned("d", 0, 9, polygons=(3,), sites=("x",), scene="s2"),
        planned("e", 0, 0, polygons=(4,), sites=("z",), scene="s3", mosaic=1),
    ]
    assert groups(tiles, "touching") == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "e"}
    assert groups(tiles, "site") == {"a": "x", "b": "y", "c": "y", "d": "x", "e": "z"}
    assert groups(tiles, "scene") == {"a": "s1", "b": "s1", "c": "s2", "d": "s2", "e": "s3"}
    assert groups(tiles, None) == groups(tiles, "site")
    nameless = [planned("a", 0, 0), planned("b", 0, 1), planned("c", 3, 3, sites=("q",))]
    assert groups(nameless, None) == {"a": "a", "b": "a", "c": "c"}


def test_bad_requests_are_named(tmp_path):
    for side in (100, 60, -120):
        with pytest.raises(DatasetError, match=f"--tile-m {side}: must be a multiple of 60"):
            TileOptions(tile_m=side)
    with pytest.raises(DatasetError, match="--fractions"):
        TileOptions(fractions=(0.5, 0.1, 0.1))
    scene = write_scene(tmp_path / "s1", empty=(range(9), range(15)))
    far = write_polygons(tmp_path / "far.gpkg", [box(900, 900, 4, 4)])
    call = {"out": tmp_path / "ds", "options": TileOptions(tile_m=240)}
    with pytest.raises(DatasetError, match="no whole square of 240 m in 1 scene"):
        tile_scenes([str(scene)], polygons=far, **call)
    near = write_polygons(tmp_path / "near.gpkg", [box(1, 1, 4, 4)])
    with pytest.raises(DatasetError, match="none of 1 squares that meet a polygon holds data"):
        tile_scenes([str(scene)], polygons=near, **call)
    other = tmp_path / "S2A_MSIL1C_2021"
    write_scene(other)
    write_scene(tmp_path / "s2")
    with pytest.raises(DatasetError, match="sentinel-2-l1c and sentinel-2-l2a: one data set"):
        tile_scenes(
            [str(tmp_path / "s2"), str(other)],
            polygons=near,
            out=tmp_path / "mixed",
            options=TileOptions(tile_m=240, merge=False),
        )


def test_metadata_file_is_plain_json(made):
    out, _ = made
    content = json.loads((out / "metadata/B8A_metadata.json").read_text())
    assert list(content) == ["min", "max", "mean", "std"]
