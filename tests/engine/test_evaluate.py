import json
import logging

import numpy as np
import pytest
from PIL import Image

from headframe.core.errors import BandError, DatasetError, OutputError, UnitError, UnknownNameError
from headframe.engine.evaluate import check_fit, choose_split, evaluate, evaluate_chips
from headframe.engine.evaluation_report import ranked
from headframe.engine.prediction import channels_of, predict_chip, score_chip


def chip(*, tp, fp, fn, shape=(37, 53), nodata=0):
    """Red band and truth with these numbers of target pixels, from the top left on."""
    red, truth = np.zeros(shape[0] * shape[1]), np.zeros(shape[0] * shape[1], int)
    red[: tp + fp] = 1
    truth[:tp] = 1
    truth[tp + fp : tp + fp + fn] = 1
    if nodata:
        red[-nodata:] = np.nan
        truth[-nodata:] = 255
    return red.reshape(shape), truth.reshape(shape)


@pytest.fixture
def dataset(fakes):
    return fakes.FakeDataset(
        [
            ("north", "train", *chip(tp=80, fp=20, fn=0)),
            ("north", "train", *chip(tp=10, fp=0, fn=30, shape=(64, 32))),
            ("east", "val", *chip(tp=0, fp=0, fn=0)),
            ("south", "test", *chip(tp=50, fp=50, fn=50, nodata=9)),
            ("west", "test", *chip(tp=60, fp=0, fn=0, shape=(20, 90))),
        ]
    )


def test_pooled_and_imagewise_scores_by_hand(dataset, fakes):
    found = evaluate(fakes.bundle(), dataset, split="all").to_json()
    assert found["chips"] == 5
    assert found["split"] == "all"
    assert found["target"] == "tailings"
    assert found["pooled"]["iou"] == pytest.approx(200 / 350, abs=1e-6)
    assert found["pooled"]["precision"] == pytest.approx(200 / 270, abs=1e-6)
    assert found["pooled"]["recall"] == pytest.approx(200 / 280, abs=1e-6)
    assert found["pooled"]["f1"] == pytest.approx(400 / 550, abs=1e-6)
    pixels = 3 * 37 * 53 + 64 * 32 + 20 * 90 - 9
    assert found["pixels"] == pixels
    assert found["pooled"]["accuracy"] == pytest.approx(1 - 150 / pixels, abs=1e-6)
    # The empty chip is left out: four images count.
    assert found["imagewise"]["iou"] == pytest.approx((0.8 + 0.25 + 1 / 3 + 1) / 4, abs=1e-6)
    assert found["classes"]["tailings"]["iou"] == found["pooled"]["iou"]
    assert "sites" not in found


def test_by_site_and_by_split(dataset, fakes):
    found = evaluate(fakes.bundle(), dataset, split="all", by="site").to_json()
    assert list(found["sites"]) == ["east", "north", "south", "west"]
    north = found["sites"]["north"]
    assert (north["chips"], north["tp"], north["fp"], north["fn"]) == (2, 90, 20, 30)
    assert north["iou"] == pytest.approx(90 / 140, abs=1e-6)
    assert found["sites"]["east"]["iou"] is None
    assert found["splits"]["test"]["iou"] == pytest.approx(110 / 210, abs=1e-6)
    assert found["splits"]["train"]["chips"] == 2
    low, high = found["interval95"]
    assert low < found["pooled"]["iou"] < high


def test_json_is_strict(dataset, fakes):
    only_empty = evaluate(fakes.bundle(), dataset, split="val", by="site").to_json()
    assert only_empty["pooled"]["iou"] is None
    assert only_empty["interval95"] == [None, None]
    assert only_empty["boundary_iou"] is None
    assert only_empty["paper"]["iou"] == 1.0
    json.dumps(only_empty, allow_nan=False)


def test_boundary_iou_is_pooled(dataset, fakes):
    perfect = evaluate_chips(fakes.bundle(), dataset, dataset.chips("test")[1:])
    assert perfect.boundary_iou == 1
    poor = evaluate_chips(fakes.bundle(), dataset, dataset.chips("test"))
    assert 0 < poor.boundary_iou < 1


def test_threshold_is_the_bundles(dataset, fakes):
    chips = dataset.chips("test")
    plain = evaluate_chips(fakes.bundle(), dataset, chips)
    everything = evaluate_chips(fakes.bundle(threshold=0.0), dataset, chips)
    assert everything.scores("pooled").of(1)["recall"] == 1
    assert everything.target_iou < plain.target_iou


def test_more_classes_are_read_in_full(dataset, fakes):
    model = fakes.bundle(fakes.ThreeClasses(), classes=fakes.three_classes())
    found = evaluate_chips(model, dataset, dataset.chips("train"))
    assert found.classes.names == ("background", "cloud", "tailings")
    assert found.target_iou == pytest.approx(90 / 140)
    assert set(found.to_json()["classes"]) == {"background", "cloud", "tailings"}
    assert found.to_json()["cloud_free_iou"] == pytest.approx(found.cloud_free_iou, abs=1e-6)


@pytest.mark.parametrize("flips", [1, 4, 8])
def test_chips_of_any_size_come_back_in_place(flips, fakes):
    rng = np.random.default_rng(2)
    for shape in ((1, 1), (5, 40), (33, 32), (64, 96)):
        red = rng.random((1, *shape)).astype(np.float32)
        image = np.concatenate([red, np.zeros_like(red)])
        scores = score_chip(fakes.bundle(test_flips=flips), image)
        assert scores.shape == (1, *shape)
        expected = 1 / (1 + np.exp(-20 * (red - 0.5) / 0.25))
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_nodata_in_any_band_is_ignored(fakes):
    image = np.ones((2, 8, 9), np.float32)
    image[1, 2, 3] = np.nan
    pred = predict_chip(fakes.bundle(), image)
    assert pred[2, 3] == 255
    assert (np.delete(pred.ravel(), 2 * 9 + 3) == 1).all()
    assert np.isnan(score_chip(fakes.bundle(), image)[:, 2, 3]).all()


def test_bands_are_matched_by_name_not_by_place(dataset, fakes):
    shuffled = fakes.FakeDataset(
        [("north", "test", *chip(tp=8, fp=2, fn=1))], bands=("green", "red", "blue")
    )
    assert evaluate(fakes.bundle(), shuffled).target_iou == pytest.approx(8 / 11)
    assert channels_of(fakes.spec().inputs, shuffled.bands, source="x") == [1, 0]


def test_a_missing_band_is_named(fakes):
    poor = fakes.FakeDataset([("north", "test", *chip(tp=8, fp=2, fn=1))], bands=("blue", "red"))
    with pytest.raises(BandError, match=r"has bands blue, red; the model needs green too"):
        evaluate(fakes.bundle(), poor)


def test_auto_is_the_test_part_of_the_models_own_data_set_only(dataset, fakes):
    own = fakes.bundle(training={"dataset_id": "fake-1"})
    other = fakes.bundle(training={"dataset_id": "another"})
    assert choose_split(own, dataset, "auto") == "test"
    assert choose_split(other, dataset, "auto") == "all"
    assert choose_split(fakes.bundle(), dataset, "auto") == "all"
    assert choose_split(own, dataset, "val") == "val"
    unsplit = fakes.FakeDataset([("north", None, *chip(tp=8, fp=2, fn=1))])
    assert choose_split(own, unsplit, "auto") == "all"
    assert evaluate(own, unsplit).to_json()["splits"] == {
        "none": evaluate(own, unsplit, by="site").to_json()["sites"]["north"]
    }
    assert evaluate(own, dataset, split=None).split == "all"
    with pytest.raises(UnknownNameError, match="closest: test"):
        choose_split(own, dataset, "tests")


def test_sites_seen_in_training_are_named(dataset, caplog, fakes):
    model = fakes.bundle(training={"sites": ["north", "west", "elsewhere"]})
    with caplog.at_level(logging.WARNING, "headframe"):
        found = evaluate(model, dataset, split="all")
    assert found.in_sample == ("north", "west")
    assert "2 of 4 sites were among the training sites of fake (north, west)" in caplog.text
    caplog.clear()
    assert evaluate(model, dataset, split="val").in_sample == ()
    assert caplog.text == ""


def test_an_empty_split_is_an_error(dataset, fakes):
    with pytest.raises(DatasetError, match="no chip in split test"):
        evaluate(fakes.bundle(), fakes.FakeDataset([]), split="test")
    with pytest.raises(DatasetError, match="no chips to evaluate"):
        evaluate_chips(fakes.bundle(), dataset, [])


def test_models_that_do_not_fit_are_refused(dataset, caplog, fakes):
    radar = fakes.FakeDataset([("north", None, *chip(tp=8, fp=2, fn=1))], sensor="sentinel-1-grd")
    with pytest.raises(UnitError, match="holds db"):
        check_fit(fakes.bundle(), radar)
    other = fakes.FakeDataset([], sensor="sentinel-2-l2a")
    with caplog.at_level(logging.WARNING, "headframe"):
        check_fit(fakes.bundle(), other)
    assert "holds sentinel-2-l2a; model fake was trained on sentinel-2-l1c" in caplog.text
    dataset.manifest.class_map = fakes.spec().classes
    with pytest.raises(DatasetError, match="has classes background, tailings; model fake writes"):
        check_fit(fakes.bundle(classes=fakes.three_classes()), dataset)


def test_best_median_and_worst(dataset, fakes):
    found = evaluate(fakes.bundle(), dataset, split="all")
    assert [(t, r.chip.image.stem) for t, r in ranked(found)] == [
        ("best", "00004"),
        ("median", "00000"),
        ("worst", "00001"),
    ]
    two = evaluate_chips(fakes.bundle(), dataset, dataset.chips("test"))
    assert [t for t, _ in ranked(two)] == ["best", "worst"]
    empty = evaluate_chips(fakes.bundle(), dataset, dataset.chips("val"))
    assert [t for t, _ in ranked(empty)] == ["best"]


def test_the_report(dataset, tmp_path, fakes):
    found = evaluate(fakes.bundle(), dataset, split="all", out=tmp_path / "deep" / "report")
    folder = tmp_path / "deep" / "report"
    written = json.loads((folder / "scores.json").read_text())
    assert written["pooled"] == found.to_json()["pooled"]
    rows = (folder / "sites.csv").read_text().splitlines()
    assert rows[0] == "site,chips,iou,f1,precision,recall,accuracy,tp,fp,fn"
    assert rows[1] == "east,1,,,,,1.0,0,0,0"
    assert len(rows) == 5
    rows = (folder / "classes.csv").read_text().splitlines()
    assert rows[0] == ("site,class,chips,iou,recall,precision,accuracy,jaccard_accuracy,tp,fp,fn")
    assert rows[1] == "east,tailings,1,,,,1.0,,0,0,0"
    assert rows[2].startswith("north,tailings,2,0.642857,0.75,0.818182,")
    assert rows[2].endswith(",0.642857,90,20,30")
    assert not (folder / "sites").exists()
    with Image.open(folder / "panels.png") as picture:
        assert picture.width == 1200
        assert picture.height > 900
    assert not [p for p in folder.iterdir() if p.name.startswith(".part")]


def test_a_report_by_site_has_a_picture_a_site_and_a_row_a_class(dataset, tmp_path, fakes):
    model = fakes.bundle(fakes.ThreeClasses(), classes=fakes.three_classes())
    found = evaluate(model, dataset, split="all", by="site", out=tmp_path)
    rows = found.class_rows()
    assert [(r["site"], r["class"]) for r in rows[:3]] == [
        ("east", "cloud"),
        ("east", "tailings"),
        ("north", "cloud"),
    ]
    north = next(r for r in rows if (r["site"], r["class"]) == ("north", "tailings"))
    assert (north["tp"], north["fp"], north["fn"]) == (90, 20, 30)
    assert north["jaccard_accuracy"] == north["iou"] == pytest.approx(90 / 140)
    json.dumps(found.to_json(), allow_nan=False)
    names = sorted(p.name for p in (tmp_path / "sites").iterdir())
    assert names == ["east.png", "north.png", "south.png", "west.png"]
    with Image.open(tmp_path / "sites" / "north.png") as picture:
        assert picture.width == 900  # the image and two classes
        assert picture.height > 600  # two chips


def test_sites_whose_names_are_no_file_names_keep_their_own_pictures(fakes, tmp_path):
    both = [(name, "test", *chip(tp=9, fp=0, fn=0)) for name in ("a/b", "a b", "..")]
    evaluate(fakes.bundle(), fakes.FakeDataset(both), split="all", by="site", out=tmp_path)
    names = sorted(p.name for p in (tmp_path / "sites").iterdir())
    assert names == ["a_b-2.png", "a_b.png", "site.png"]


def test_a_report_that_cannot_be_written(dataset, tmp_path, fakes):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot be made \("):
        evaluate(fakes.bundle(), dataset, split="all", out=tmp_path / "file")


def test_progress_is_told(dataset, fakes):
    calls = []

    class Recorder:
        def start(self, label, total):
            calls.append((label, total))

        def advance(self, n=1):
            calls.append(n)

        def finish(self):
            calls.append("end")

    evaluate(fakes.bundle(), dataset, split="test", progress=Recorder())
    assert calls == [("Evaluating fake", 2), 1, 1, "end"]


def test_a_chip_without_data_counts_nowhere(fakes):
    full = chip(tp=8, fp=2, fn=1)
    gone = (np.full((9, 7), np.nan), np.full((9, 7), 255))
    dataset = fakes.FakeDataset([("north", None, *full), ("south", None, *gone)])
    found = evaluate(fakes.bundle(), dataset).to_json()
    alone = evaluate(fakes.bundle(), fakes.FakeDataset([("north", None, *full)])).to_json()
    assert (found["chips"], found["chips_without_data"]) == (2, 1)
    for part in ("pooled", "imagewise", "paper"):
        assert found[part] == alone[part]
    nothing = evaluate(fakes.bundle(), fakes.FakeDataset([("south", None, *gone)])).to_json()
    assert nothing["pooled"]["iou"] is None


def test_a_folder_without_permission(dataset, tmp_path, fakes, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OutputError, match="cannot be written"):
        evaluate(fakes.bundle(), dataset, split="all", out=tmp_path)
