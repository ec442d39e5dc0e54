import csv

import pytest

from headframe.core.errors import DatasetError, FormatError, MissingFileError
from headframe.io.images import image_size, read_image
from headframe.underground import frames as module
from headframe.underground.frames import FrameOptions, extract_frames, find_videos


class Steps:
    def __init__(self):
        self.jobs = []

    def start(self, label, total):
        self.jobs.append([label, total, 0])

    def advance(self, n=1):
        self.jobs[-1][2] += n

    def finish(self):
        pass


def rows_of(out):
    with (out / "frames.csv").open(newline="") as table:
        return list(csv.DictReader(table))


def test_every_so_many_seconds(tmp_path, make_video):
    video = make_video(tmp_path / "shift.mp4", rotation=-90)
    steps = Steps()
    report = extract_frames(
        [video], tmp_path / "out", options=FrameOptions(every_s=0.7), progress=steps
    )
    rows = rows_of(tmp_path / "out")
    assert [float(row["seconds"]) for row in rows] == pytest.approx([0, 0.7, 1.4, 2.1, 2.8])
    assert [int(row["index"]) for row in rows] == [0, 7, 14, 21, 28]
    assert int(rows[1]["pts"]) == 7 * 1024
    assert rows[1]["file"] == "shift-f000007-000000.700s.png"
    assert rows[1]["video"] == str(video)
    assert image_size(tmp_path / "out" / rows[1]["file"]) == (62, 48)  # upright
    assert report.written == len(report.rows) == 5
    assert report.troubles == ()
    assert steps.jobs == [["shift.mp4", 3, 2]]


def test_variable_frame_rate_takes_the_first_frame_of_each_step(tmp_path, make_video):
    video = make_video(tmp_path / "a.mkv", frames=6, pts=[0, 1, 12, 13, 31, 40])
    report = extract_frames([video], tmp_path / "out", options=FrameOptions(every_s=1.0))
    assert [row.seconds for row in report.rows] == pytest.approx([0, 1.2, 3.1, 4.0])


def test_count_is_spread_evenly_or_taken_from_the_beginning(tmp_path, make_video):
    video = make_video(tmp_path / "a.mp4")
    spread = extract_frames([video], tmp_path / "1", options=FrameOptions(count=4))
    assert [row.index for row in spread.rows] == [0, 10, 19, 29]
    first = extract_frames([video], tmp_path / "2", options=FrameOptions(every_s=0.2, count=3))
    assert [row.index for row in first.rows] == [0, 2, 4]
    all_of_few = extract_frames([video], tmp_path / "3", options=FrameOptions(count=99))
    assert len(all_of_few.rows) == 30
    everything = extract_frames([video], tmp_path / "4", options=FrameOptions(suffix=".jpg"))
    assert len(everything.rows) == 30
    assert everything.rows[0].file.endswith(".jpg")


def test_count_without_time_stamps(tmp_path, make_video, monkeypatch):
    monkeypatch.setattr(module, "time_stamps", lambda path: None)
    video = make_video(tmp_path / "a.mp4")
    report = extract_frames([video], tmp_path / "out", options=FrameOptions(count=3))
    assert [row.index for row in report.rows] == [0, 14, 29]


def test_names_that_clash(tmp_path, make_video):
    videos = [make_video(tmp_path / name, frames=2) for name in ("x/a.mp4", "y/a.mp4", "x/a.mkv")]
    report = extract_frames(find_videos([tmp_path]), tmp_path / "out", options=FrameOptions())
    assert len({row.file for row in report.rows}) == 6
    assert {row.file.split("-f0")[0] for row in report.rows} == {"x-a", "x-a-2", "y-a"}
    assert {row.video for row in report.rows} == {str(video) for video in videos}


def test_a_broken_and_an_unreadable_video_do_not_stop_the_others(tmp_path, make_video):
    whole = make_video(tmp_path / "a.mp4", frames=4)
    broken = make_video(tmp_path / "b.mp4", container={"movflags": "+faststart"})
    broken.write_bytes(broken.read_bytes()[:-1500])
    (tmp_path / "c.mp4").write_bytes(b"")
    report = extract_frames(find_videos([tmp_path]), tmp_path / "out", options=FrameOptions())
    of_broken = [row for row in report.rows if row.video == str(broken)]
    assert 3 < len(of_broken) < 30
    assert len(report.rows) == len(of_broken) + 4
    assert report.failed == 1
    assert [line.split(":")[0] for line in report.troubles] == [
        str(broken),
        str(tmp_path / "c.mp4"),
    ]
    again = extract_frames(find_videos([tmp_path]), tmp_path / "out", options=FrameOptions())
    assert again.troubles == report.troubles
    assert again.written == 0
    assert whole.exists()


def test_nothing_readable(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(FormatError, match=r"a\.mp4: is empty"):
        extract_frames([tmp_path / "a.mp4"], tmp_path / "out", options=FrameOptions())
    (tmp_path / "b.mp4").write_bytes(b"xx")
    with pytest.raises(FormatError, match="none of 2 videos"):
        extract_frames(find_videos([tmp_path]), tmp_path / "out", options=FrameOptions())


def test_a_killed_run_goes_on(tmp_path, make_video, monkeypatch):
    video = make_video(tmp_path / "a.mp4")
    out, options = tmp_path / "out", FrameOptions(every_s=0.3)
    real, count = module.write_image, []

    def dies(path, pixels, **more):
        if len(count) == 4:
            raise KeyboardInterrupt
        count.append(path)
        real(path, pixels, **more)

    monkeypatch.setattr(module, "write_image", dies)
    with pytest.raises(KeyboardInterrupt):
        extract_frames([video], out, options=options)
    assert not (out / "frames.csv").exists()
    monkeypatch.setattr(module, "write_image", real)
    report = extract_frames([video], out, options=options)
    assert (len(report.rows), report.written) == (10, 6)
    assert extract_frames([video], out, options=options).written == 0
    (out / report.rows[3].file).unlink()
    assert extract_frames([video], out, options=options).written == 1


def test_a_changed_video_is_taken_anew_and_other_options_are_refused(tmp_path, make_video):
    video, out = make_video(tmp_path / "a.mp4", frames=8), tmp_path / "out"
    extract_frames([video], out, options=FrameOptions())
    before = read_image(out / "a-f000000-000000.000s.png")
    make_video(video, frames=9, codec="mpeg4")
    report = extract_frames([video], out, options=FrameOptions())
    assert report.written == 9
    assert (read_image(out / report.rows[0].file) != before).any()
    with pytest.raises(DatasetError, match="taken otherwise"):
        extract_frames([video], out, options=FrameOptions(every_s=2))
    (out / "frames.json").write_text("{")
    with pytest.raises(DatasetError, match="is damaged"):
        extract_frames([video], out, options=FrameOptions())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"every_s": 0}, "--every 0"),
        ({"count": 0}, "--count 0"),
        ({"suffix": ".gif"}, "png or jpg"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(DatasetError, match=match):
        FrameOptions(**options)


def test_finding(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        find_videos([tmp_path / "x.mp4"])
    with pytest.raises(FormatError, match="no videos"):
        find_videos([tmp_path])
    (tmp_path / "odd.bin").write_bytes(b"x")
    assert find_videos([tmp_path / "odd.bin"]) == [tmp_path / "odd.bin"]
