import csv
import json

import numpy as np
import pytest

from headframe.core.errors import DatasetError
from headframe.io.images import find_images, read_image, write_image
from headframe.underground import frame_filter, frame_scores
from headframe.underground.contact_sheet import Cell, write_sheets
from headframe.underground.faces import Face, find_faces, hide_faces
from headframe.underground.filter_report import write_decisions
from headframe.underground.frame_filter import FilterOptions, Targets, judge_frames
from headframe.underground.frame_scores import (
    hash_distance,
    likeness,
    measure_frame,
    normalised,
    small_grey,
)


def rough(seed, height=72, width=96):
    """Draw blocks of light with sharp edges, another arrangement for each seed."""
    blocks = np.random.default_rng(seed).integers(20, 235, (9, 12))
    luma = np.kron(blocks, np.ones((height // 9, width // 12))).astype(np.uint8)
    return np.stack([luma, luma, (luma * 0.9).astype(np.uint8)], -1)


def smooth(seed, height=72, width=96):
    rows, columns = np.mgrid[0:height, 0:width]
    luma = 120 + 100 * np.sin(rows / 40 + seed) * np.cos(columns / 50)
    return np.repeat(luma.astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    write_image(folder / "01-good.png", rough(1))
    write_image(folder / "02-same.png", np.clip(rough(1).astype(int) + 3, 0, 255).astype(np.uint8))
    write_image(folder / "03-dark.png", rough(2) // 20)
    write_image(folder / "04-blur.png", smooth(0.3))
    write_image(folder / "05-flat.png", np.where(rough(4) > 120, 200, 80).astype(np.uint8))
    write_image(folder / "06-other.png", rough(6))
    (folder / "07-empty.png").write_bytes(b"")
    write_image(folder / "08-first-again.png", rough(1))
    return folder


def decide(folder, **more):
    options = FilterOptions(**{"faces": "off", **more})
    return {d.file.name[:2]: d for d in judge_frames(find_images([folder]), options=options)}


def test_each_fault_is_found_and_told(frames):
    found = decide(frames)
    assert {name: d.reasons for name, d in found.items()} == {
        "01": (),
        "02": ("repeated",),
        "03": ("dark", "collapsed"),
        "04": ("blurred",),
        "05": ("collapsed",),
        "06": (),
        "07": ("unreadable",),
        "08": (),  # the last kept frame is 06
    }
    assert found["02"].like == "01-good.png"
    assert found["02"].ssim > 0.95
    assert found["06"].like == "01-good.png"
    assert found["06"].distance > 4
    assert "is empty" in found["07"].review[0]


def test_thresholds_are_options(frames):
    assert decide(frames, lookback=5)["08"].reasons == ("repeated",)
    assert decide(frames, ssim=1.0)["02"].kept
    assert decide(frames, hash_distance=-1)["02"].kept
    assert decide(frames, blur=0)["04"].kept
    assert decide(frames, min_levels=2)["05"].kept
    assert decide(frames, min_levels=2, dark_p95=5)["03"].kept
    assert decide(frames, dark_mean=500, dark_p95=500)["01"].reasons == ("dark",)


def test_darkness_is_not_blur(tmp_path):
    bright, dark = measure_frame(rough(3), dark_mean=12, faces=False), rough(3) // 12
    dim = measure_frame(dark, dark_mean=12, faces=False)
    assert dim.sharpness == pytest.approx(bright.sharpness, rel=0.25)
    assert dim.mean_luma < bright.mean_luma / 10


def test_measures_by_hand():
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, 24:] = 100
    scores = measure_frame(pixels, dark_mean=12, faces=False)
    assert (scores.height, scores.width, scores.levels) == (32, 48, 2)
    assert scores.mean_luma == 50
    assert scores.p95_luma == 100
    assert scores.lit_share == 0.5
    # 0 0 255 255 in each row: the Laplacian is 255 and -255 in two of 48 columns
    assert scores.sharpness == pytest.approx(2 * 255**2 / 48)
    assert measure_frame(np.full((9, 9, 3), 7, np.uint8), dark_mean=12, faces=False).sharpness == 0
    np.testing.assert_array_equal(normalised(np.full((2, 2), 9, np.uint8)), 0)


def test_likeness_and_hashes():
    assert hash_distance("ff00000000000000", "0f00000000000001") == 5
    first, other = small_grey(rough(1)), small_grey(rough(2))
    assert likeness(first, first) == pytest.approx(1.0)
    assert likeness(first, other) < 0.5
    assert likeness(first, first[:-1]) == 0
    assert likeness(first[:3], first[:3]) == 1


def test_large_frames_are_measured_reduced():
    wide = np.kron(smooth(0.3), np.ones((1, 15, 1))).astype(np.uint8)
    assert small_grey(wide).shape[1] == frame_scores.SMALL_PX
    assert measure_frame(wide, dark_mean=12, faces=False).width == 96 * 15


def test_borderline_frames_are_listed(tmp_path):
    folder = tmp_path / "f"
    dim = (rough(2).astype(float) * 11 / rough(2).mean()).astype(np.uint8)
    write_image(folder / "01.png", dim)
    spot = np.zeros((72, 96, 3), np.uint8)
    spot[5:12, 5:12] = rough(5)[20:27, 20:27]
    write_image(folder / "02.png", spot)
    write_image(folder / "03.png", rough(3))
    write_image(folder / "04.png", rough(3))
    sharp = measure_frame(rough(3), dark_mean=12, faces=False).sharpness
    found = decide(folder, blur=sharp * 0.9, ssim=0.999, min_levels=17)
    assert "near darkness" in found["01"].review[0]
    assert any("little is lit" in why for why in found["02"].review)
    assert any("near blur" in why for why in found["03"].review)
    assert any("near repetition: 0 bits" in why for why in decide(folder, ssim=1.0)["04"].review)
    levels = len(np.unique(frame_scores.cv2.cvtColor(rough(3), 7)))
    near = decide(folder, min_levels=levels - 1)["03"]
    assert any("near collapse" in why for why in near.review)


def test_frames_without_a_target_are_left_out(frames):
    seen = []

    def count(pixels):
        seen.append(pixels.shape)
        return int(pixels[0, 0, 0] == rough(6)[0, 0, 0])

    files = find_images([frames])
    options = FilterOptions(faces="off")
    journal = frames / "scores.jsonl"
    targets = Targets("six", count)
    found = list(judge_frames(files, options=options, journal=journal, count_targets=targets))
    assert [d.file.name for d in found if d.kept] == ["06-other.png"]
    assert found[0].reasons == ("no target",)
    assert [d.targets for d in found][:6] == [0, 0, None, None, None, 1]  # 02 repeats no kept one
    asked = len(seen)
    assert asked < len(files)  # not asked of what is rejected already
    again = list(judge_frames(files, options=options, journal=journal, count_targets=targets))
    assert [d.targets for d in again] == [d.targets for d in found]
    assert len(seen) == asked  # counts are kept
    other = Targets("none", lambda pixels: 0)
    assert not any(
        d.kept for d in judge_frames(files, options=options, journal=journal, count_targets=other)
    )


def test_a_stopped_run_need_not_measure_again(frames, tmp_path, monkeypatch):
    files, journal = find_images([frames]), tmp_path / "scores.jsonl"
    judged = judge_frames(files, options=FilterOptions(faces="off"), journal=journal)
    for _ in range(3):
        next(judged)
    judged.close()
    with journal.open("a") as out:
        out.write('{"key": "half')
    count = []
    real = frame_filter.measure_frame
    monkeypatch.setattr(
        frame_filter, "measure_frame", lambda *a, **k: (count.append(1), real(*a, **k))[1]
    )
    again = list(judge_frames(files, options=FilterOptions(faces="off"), journal=journal))
    assert len(count) == 4  # eight files: three known, one unreadable
    assert [d.reasons for d in again] == [d.reasons for d in decide(frames).values()]


def test_what_is_written(frames, tmp_path):
    options = FilterOptions(faces="blur")
    decisions = list(judge_frames(find_images([frames]), options=options))
    out = tmp_path / "out"
    written = write_decisions(decisions, out, options=options)
    assert {p.name for p in written} == {
        "filter.csv", "review.csv", "kept.txt", "kept.png", "rejected.png", "kept",
    }  # fmt: skip
    with (out / "filter.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 8
    assert rows[1]["decision"] == "rejected"
    assert rows[1]["reasons"] == "repeated"
    assert float(rows[1]["ssim"]) > 0.95
    assert rows[6]["mean_luma"] == ""
    assert sorted(p.name for p in (out / "kept").iterdir()) == [
        "01-good.png", "06-other.png", "08-first-again.png",
    ]  # fmt: skip
    np.testing.assert_array_equal(read_image(out / "kept" / "01-good.png"), rough(1))
    assert (out / "kept.txt").read_text().splitlines()[0] == str(frames / "01-good.png")


def test_faces_are_hidden_on_sheets_and_copies(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_scores, "find_faces", lambda pixels: (Face(30, 20, 10, 12),))
    options = FilterOptions(faces="blur")
    decisions = list(judge_frames([frames / "01-good.png"], options=options))
    assert "1 faces" in decisions[0].review[-1]
    write_decisions(decisions, tmp_path / "out", options=options)
    copied = read_image(tmp_path / "out" / "kept" / "01-good.png")
    assert (copied[20:32, 30:40] != rough(1)[20:32, 30:40]).any()
    np.testing.assert_array_equal(copied[50:], rough(1)[50:])


def test_hiding_changes_nothing_else_and_copes_with_edges():
    pixels = rough(9)
    hidden = hide_faces(pixels, (Face(90, 2, 20, 20), Face(500, 500, 9, 9)), margin=0.0)
    np.testing.assert_array_equal(hidden[:, :90], pixels[:, :90])
    np.testing.assert_array_equal(hidden[22:], pixels[22:])
    assert hidden[2:22, 90:].std() < pixels[2:22, 90:].std()
    np.testing.assert_array_equal(pixels, rough(9))


def test_a_real_face_is_found_in_any_size():
    data = pytest.importorskip("skimage.data")
    portrait = data.astronaut()
    for picture, scale in ((portrait, 1), (np.kron(portrait, np.ones((3, 3, 1), np.uint8)), 3)):
        faces = find_faces(picture)
        hits = [
            f
            for f in faces
            if f.x < 222 * scale < f.x + f.width and f.y < 115 * scale < f.y + f.height
        ]
        assert len(hits) == 1
    assert find_faces(np.zeros((60, 80, 3), np.uint8)) == ()
    hidden = hide_faces(portrait, find_faces(portrait))
    assert not any(f.x < 222 < f.x + f.width for f in find_faces(hidden) if f.y < 115)


def test_sheets_have_pages(tmp_path):
    cells = [Cell(rough(n), "a-very-long-name" * 9 + f"{n}.png", "note") for n in range(33)]
    written = write_sheets(cells, tmp_path / "s.png", title="all")
    assert [p.name for p in written] == ["s.png", "s-2.png"]
    assert read_image(written[0]).shape[1] == read_image(written[1]).shape[1]
    assert write_sheets([], tmp_path / "none.png", title="none") == []


def test_a_cell_may_bring_its_second_picture(tmp_path):
    black, white = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)
    plain, both = (
        read_image(write_sheets([Cell(black, "", "", other)], tmp_path / name, title="")[0])
        for name, other in (("a.png", None), ("b.png", white))
    )
    assert (plain[32:72, 8:48] == 0).all()
    assert (plain[32:72, 158:198] == 0).all()
    assert (both[32:72, 158:198] == 255).all()


@pytest.mark.parametrize("bad", [{"faces": "maybe"}, {"lookback": 0}])
def test_bad_options(bad):
    with pytest.raises(DatasetError, match=f"--{next(iter(bad))}"):
        FilterOptions(**bad)


@pytest.mark.realdata
def test_real_mine_frames_are_kept_and_the_darkest_is_listed(shared_data):
    found = {
        d.file.name: d
        for d in judge_frames(
            find_images([shared_data / "coal-mine-frames", shared_data / "lol-dark"]),
            options=FilterOptions(faces="off"),
        )
    }
    assert [name for name, d in found.items() if not d.kept] == ["780.png"]
    assert found["780.png"].reasons == ("dark",)
    assert found["780.png"].review
    json.dumps([str(d.file) for d in found.values()])
