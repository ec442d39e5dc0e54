"""The self-labelling loop with fake networks: a scene in, polygons to judge out, labels back."""

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from PIL import Image
from scipy import ndimage
from torch import nn

from headframe.core.classmap import binary_class_map
from headframe.core.errors import CrsError, FormatError, InputError, OutputError
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.datasets.check import check_dataset
from headframe.engine.bundle import Bundle
from headframe.engine.everything import EverythingOptions
from headframe.engine.mapping import MapOptions
from headframe.engine.prompting.prompter import Prompter
from headframe.surface import assist as module
from headframe.surface import propose as propose_module
from headframe.surface.assist import AssistOptions, assist, iou
from headframe.surface.labelling import LabelOptions, label_images
from headframe.surface.propose import ProposeOptions, propose

GRID = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 8_000_000.0)
DISCS = ((40, 30, 12), (110, 45, 18), (100, 82, 2))
"""Bright discs (column, row, radius) on a scene of 150 x 96; the last has 0.13 ha."""
RGB = ("red", "green", "blue")
INPUTS = InputSpec("sentinel-2-l2a", RGB, 10.0, (0.2,) * 3, (0.1,) * 3, ((0.05, 0.05, 0.4),) * 3)
SPEC = ModelSpec(
    name="bright",
    architecture="fpn",
    options={},
    inputs=INPUTS,
    classes=binary_class_map("tailings"),
    patch_px=64,
)


class Bright(nn.Module):
    """A segmenter for which what is bright is a mine."""

    def forward(self, pixels):
        return 4 * pixels.mean(dim=1, keepdim=True)


class Shrinker(nn.Module):
    """In place of SAM: the bright blob at the middle of a box, without its outermost pixels."""

    def __init__(self, by=1):
        super().__init__()
        self.size_px, self.stride, self.base, self.by = 64, 1, "shrinker", by
        self.register_buffer("pixel_mean", torch.zeros(3))
        self.register_buffer("pixel_std", torch.ones(3))

    def encode(self, pixels):
        return pixels.mean(dim=1, keepdim=True)

    def decode(self, embedding, prompts, *, multimask=False, tokens=None):
        blobs, _ = ndimage.label(embedding[0, 0].numpy() > 0.6)
        masks = []
        for x, y in (prompts.boxes.view(-1, 2, 2).mean(dim=1) + 0.5).long().tolist():
            number = blobs[min(y, 63), min(x, 63)]
            blob = ndimage.binary_erosion(blobs == number, iterations=self.by, border_value=1)
            masks.append(np.where(blob & (number > 0), 8.0, -8.0))
        logits = torch.from_numpy(np.stack(masks)).float()[:, None]
        return logits, torch.full((len(masks), 1), 0.9)


def picture(discs=DISCS):
    rows, cols = np.mgrid[:96, :150]
    values = np.full((3, 96, 150), 500, np.uint16)
    for col, row, radius in discs:
        values[:, (cols - col) ** 2 + (rows - row) ** 2 <= radius**2] = 4000
    return values


def write_scene(path, values, *, crs="EPSG:32721", grid=GRID):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width,
        dtype=values.dtype, crs=crs, transform=grid, nodata=0,
    ) as sink:  # fmt: skip
        sink.write(values)
        sink.descriptions = ("B04", "B03", "B02")
    return path


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """One scene, and networks that need no weights."""
    write_scene(tmp_path / "images" / "rio" / "new.tif", picture())
    prompter = Prompter("shrinker", "1", Shrinker(), takes_points=False)
    monkeypatch.setattr(module, "load_bundle", lambda source: Bundle(SPEC, Bright().eval(), "b"))
    monkeypatch.setattr(module, "load_prompter", lambda source, device: prompter)
    monkeypatch.setattr(propose_module, "load_prompter", lambda source, device: prompter)
    return tmp_path


OPTIONS = AssistOptions(map=MapOptions(min_area_ha=0.5, device="cpu"))


def run(desk, *, out="review.gpkg", options=OPTIONS, sam="sam"):
    return assist([str(desk / "images")], model="m", out=desk / out, sam=sam, options=options)


def everything(desk, out="review.gpkg"):
    return propose(str(desk / "images" / "rio" / "new.tif"), model="any", out=desk / out)


def test_the_loop_from_a_scene_to_a_data_set(desk):
    report = run(desk)
    assert (report.scenes, report.proposals, report.tightened) == (1, {"tailings": 2}, 2)
    assert 0.8 < report.agreement < 1
    frame = gpd.read_file(report.out).sort_values("area_ha").reset_index(drop=True)
    assert list(frame["review"]) == ["todo", "todo"]
    assert set(frame["model"]) == {"bright"}
    assert set(frame["sam"]) == {"shrinker"}
    assert set(frame["scene"]) == {"new"}
    for row, (col, line, radius) in zip(frame.to_crs(32721).itertuples(), DISCS[:2], strict=True):
        centre = shapely.Point(GRID * (col + 0.5, line + 0.5))
        assert row.geometry.centroid.distance(centre) < 3
        # one pixel less all round, or one of 2 x 2 where SAM saw it on a coarser level
        assert (radius - 2.5) ** 2 < 100 * row.area_ha / np.pi < radius**2
    assert report.style.read_text().count("<category ") == 5
    assert np.asarray(Image.open(report.pictures[0])).std() > 10
    frame["review"] = ["accept", "reject"]
    pyogrio.write_dataframe(frame, report.out, layer="review")
    for again in (run, everything):
        with pytest.raises(OutputError, match=r"review\.gpkg: 2 of its 2 polygons are judged"):
            again(desk)
    made = label_images(
        [desk / "images"], out=desk / "ds", options=LabelOptions(reviewed=report.out)
    )
    assert made.provenance == {"manual": 0, "assisted": 0, "automatic": 1}
    found = np.asarray(Image.open(next((desk / "ds").glob("*/labels/rio/00000.png"))))
    assert found[30, 40] == 2
    assert found[45, 110] == 0
    assert check_dataset(desk / "ds").polygons == made.provenance


def test_without_sam_the_models_own_outlines_are_proposed(desk):
    report = run(desk, sam=None)
    assert (report.tightened, report.agreement) == (0, None)
    frame = gpd.read_file(report.out)
    whole = [(ndimage.label(picture()[0] > 1000)[0] == n).sum() / 100 for n in (1, 2)]
    assert sorted(frame["area_ha"]) == pytest.approx(sorted(whole), rel=1e-3)
    assert frame["agreement"].isna().all()
    assert set(frame["sam"].fillna("")) == {""}


def test_where_sam_disagrees_the_models_outline_stays(desk):
    report = run(desk, options=AssistOptions(map=OPTIONS.map, min_agreement=0.99))
    assert report.tightened == 0
    frame = gpd.read_file(report.out)
    assert (frame["agreement"] < 0.99).all()
    assert frame["agreement"].notna().all()


def test_a_stopped_run_goes_on_and_leaves_nothing_behind(desk, monkeypatch):
    write_scene(desk / "images" / "alto" / "old.tif", picture(DISCS[:1]))
    calls = []
    real = module._tightened

    def dies(source, *rest):
        calls.append(source)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(source, *rest)

    monkeypatch.setattr(module, "_tightened", dies)
    with pytest.raises(KeyboardInterrupt):
        run(desk)
    assert not (desk / "review.gpkg").exists()
    monkeypatch.setattr(
        module, "_tightened", lambda source, *rest: calls.append(source) or real(source, *rest)
    )
    report = run(desk)
    assert len(calls) == 3  # the first scene was not asked again
    assert len(report.pictures) == 2
    assert sorted(gpd.read_file(report.out)["id"]) == ["new-1", "new-2", "old-1"]
    assert not list(desk.glob(".*-work"))


def test_bad_input_is_told_and_leaves_nothing_behind(desk):
    with pytest.raises(FormatError, match=r"Name it \*\.gpkg"):
        run(desk, out="review.shp")
    with pytest.raises(InputError, match="--min-agreement 2 is not between"):
        AssistOptions(min_agreement=2)
    write_scene(desk / "images" / "rio" / "new.tif", picture(), crs=None)
    with pytest.raises(CrsError, match="has no CRS, so polygons on it have no place"):
        run(desk)
    assert not list(desk.glob(".*-work"))


def test_nothing_found_gives_a_file_to_draw_in(desk):
    write_scene(desk / "images" / "rio" / "new.tif", picture(()))
    report = run(desk)
    assert report.proposals == {}
    assert pyogrio.read_info(report.out)["features"] == 0


def test_overlap_by_hand():
    assert iou(shapely.box(0, 0, 2, 2), shapely.box(1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert iou(shapely.Polygon(), shapely.Polygon()) == 0.0


def test_everything_is_proposed_and_can_be_judged_too(desk):
    """Outlines lie where the discs are, on a scene in UTM, and areas are those of the pixels."""
    masks = EverythingOptions(points_per_side=16, min_area_ha=0.5)
    out = desk / "all.gpkg"
    report = propose(
        str(desk / "images" / "rio" / "new.tif"),
        model="any", out=out, options=ProposeOptions(masks=masks, kind="pit"),
    )  # fmt: skip
    frame = gpd.read_file(out)
    assert (report.proposals, len(frame)) == (2, 2)
    assert set(frame["class"]) == {"pit"}
    assert frame["stability"].tolist() == [1.0, 1.0]
    assert frame["score"].tolist() == pytest.approx([0.9, 0.9])
    assert report.area_ha == pytest.approx(frame["area_ha"].sum(), abs=1e-3)
    centres = sorted((~GRID * c.coords[0]) for c in frame.to_crs(32721).centroid)
    np.testing.assert_allclose(centres, [(40.5, 30.5), (110.5, 45.5)], atol=0.1)
    assert np.asarray(Image.open(report.picture)).std() > 10
    assert not list(desk.glob(".*-work"))


def test_proposals_go_on_where_they_stopped(desk, monkeypatch):
    source, out = str(desk / "images" / "rio" / "new.tif"), desk / "all.gpkg"
    real, calls = propose_module.find_everything, []

    def dies(*args, work, **rest):
        real(*args, work=work, **rest)
        calls.append(sorted(path.name for path in work.iterdir()))
        raise KeyboardInterrupt

    monkeypatch.setattr(propose_module, "find_everything", dies)
    with pytest.raises(KeyboardInterrupt):
        propose(source, model="any", out=out)
    kept = sorted((desk / ".all.gpkg-work" / "kept").iterdir())
    assert [path.name for path in kept] == calls[0]
    monkeypatch.setattr(propose_module, "find_everything", real)
    assert propose(source, model="any", out=out).proposals >= 2
    assert not (desk / ".all.gpkg-work").exists()
