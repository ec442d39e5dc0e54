from fractions import Fraction

import av
import numpy as np
import pytest

from headframe.core.errors import FormatError, GridMismatchError, JobError, MissingFileError
from headframe.io.video import VideoReader, VideoWriter


def make(path, *, frames=30, rotation=0, codec="libx264", size=(62, 48), pts=None, **options):
    """Write a video with a red square in the top left corner and a blue that counts frames.

    Noise keeps its packets large, so that what is cut off the file is frames.
    """
    container = av.open(str(path), "w", options=options.pop("container", {}))
    stream = container.add_stream(codec, rate=10, options=options.pop("stream", {}))
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    if rotation:
        stream.set_display_rotation(rotation)
    for number in range(frames):
        pixels = np.random.default_rng(number).integers(0, 60, (*size[::-1], 3), np.uint8)
        pixels[..., 2] += np.uint8(number * 4 % 160)
        pixels[:12, :12] = (250, 0, 0)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = number if pts is None else pts[number]
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    container.close()
    return path


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def read(path):
    with VideoReader(path) as reader:
        return list(reader.frames()), reader


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_all_frames_with_times(tmp_path, codec):
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    frames, reader = read(make(tmp_path / "a.mp4", codec=codec, stream=quiet))
    assert [f.index for f in frames] == list(range(30))
    assert frames[12].seconds == pytest.approx(1.2)
    assert frames[12].pts * reader.info.time_base == Fraction(12, 10)
    assert frames[3].pixels.shape == (48, 62, 3)
    assert frames[3].pixels.dtype == np.uint8
    assert reader.trouble is None
    assert (reader.info.height, reader.info.width, reader.info.frames) == (48, 62, 30)
    assert reader.info.duration_s == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, (4, 4)), (90, (-5, 4)), (180, (-5, -5)), (-90, (4, -5))]
)
def test_rotation_is_followed(tmp_path, rotation, corner):
    frames, reader = read(make(tmp_path / "a.mp4", frames=2, rotation=rotation))
    pixels = frames[0].pixels
    assert pixels.shape[:2] == ((48, 62) if rotation % 180 == 0 else (62, 48))
    assert (reader.info.height, reader.info.width) == pixels.shape[:2]
    assert reader.info.rotation == rotation % 360
    assert pixels[corner][0] > 200
    assert pixels[corner][1] < 60


def test_variable_frame_rate_and_late_start(tmp_path):
    pts = [7, 8, 11, 30, 31]
    frames, reader = read(make(tmp_path / "a.mkv", frames=5, pts=pts))
    assert [round(f.seconds, 3) for f in frames] == [0.0, 0.1, 0.4, 2.3, 2.4]
    assert [f.pts * reader.info.time_base for f in frames] == [Fraction(p, 10) for p in pts]


def test_odd_size(tmp_path):
    frames, _ = read(make(tmp_path / "a.mkv", frames=2, size=(63, 47), codec="ffv1"))
    assert frames[1].pixels.shape == (47, 63, 3)


def test_only_wanted_frames_are_given(tmp_path):
    with VideoReader(make(tmp_path / "a.mp4")) as reader:
        some = list(reader.frames(lambda index, pts, seconds: index % 10 == 9))
    assert [f.index for f in some] == [9, 19, 29]
    assert int(some[2].pixels[30:, 30:, 2].mean()) > int(some[0].pixels[30:, 30:, 2].mean()) + 40


def test_a_broken_tail_gives_what_can_be_read(tmp_path):
    whole = make(tmp_path / "a.mp4", container={"movflags": "+faststart"})
    frames, reader = read(cut(whole, 0.6))
    assert 5 < len(frames) < 30
    assert "frames are missing" in reader.trouble
    assert f"{len(frames)} frames were read" in reader.trouble
    assert str(whole) in reader.trouble
    assert "\n" not in reader.trouble


def test_a_broken_tail_where_no_frames_are_counted(tmp_path):
    recipe = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    path = make(tmp_path / "a.mp4", frames=90, container=recipe, stream={"g": "10"})
    frames, reader = read(path)
    assert len(frames) == 90
    assert reader.trouble is None
    assert reader.info.frames is None
    frames, reader = read(cut(path, 0.5))
    assert 20 < len(frames) < 60


def test_a_length_that_is_not_reached_is_told(tmp_path, monkeypatch):
    path = make(tmp_path / "a.mkv", frames=40)
    monkeypatch.setattr("headframe.io.video.SLACK_S", 0.0)
    with VideoReader(path) as reader:
        list(reader.frames())
        assert reader.info.frames is None
        assert reader.trouble is not None
        assert "it ends after 3.9 of 4.0 s" in reader.trouble


def test_damage_in_the_middle_is_skipped(tmp_path):
    path = make(tmp_path / "a.mp4", container={"movflags": "+faststart"}, stream={"g": "5"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 900] = np.random.default_rng(0).bytes(900)
    path.write_bytes(content)
    frames, reader = read(path)
    assert 20 <= len(frames) < 30
    assert frames[-1].seconds == pytest.approx(2.9)
    assert "could not be decoded" in reader.trouble


def test_files_that_are_no_videos(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video" * 99)
    cut(make(tmp_path / "headless.mp4"), 0.6)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    for name, match in {
        "empty.mp4": "is empty",
        "text.mp4": "cannot be read as a video",
        "headless.mp4": "cannot be read as a video",
        "sound.wav": "holds no pictures",
    }.items():
        with pytest.raises(FormatError, match=match) as info:
            VideoReader(tmp_path / name)
        assert str(tmp_path / name) in str(info.value)
        assert "\n" not in str(info.value)
    with pytest.raises(MissingFileError, match="no such file"):
        VideoReader(tmp_path / "gone.mp4")


def test_writing_keeps_times_and_colours(tmp_path):
    times = [0.0, 0.1, 0.25, 1.0]
    with VideoWriter(tmp_path / "w.mp4", rate=10) as writer:
        for time in times:
            writer.write(np.full((46, 62, 3), (int(time * 200), 90, 20), np.uint8), seconds=time)
    frames, reader = read(tmp_path / "w.mp4")
    assert [f.seconds for f in frames] == pytest.approx(times)
    np.testing.assert_allclose(frames[3].pixels[9, 9], (200, 90, 20), atol=6)
    assert reader.info.codec == "h264"
    assert [p.name for p in tmp_path.iterdir()] == ["w.mp4"]


def test_writing_at_a_rate_and_of_odd_size(tmp_path):
    with VideoWriter(tmp_path / "w.mp4", rate=Fraction(30000, 1001)) as writer:
        for _ in range(4):
            writer.write(np.zeros((47, 63, 3), np.uint8))
        writer.write(np.zeros((47, 63, 3), np.uint8), seconds=0.0)  # too late to be first
    frames, _ = read(tmp_path / "w.mp4")
    assert frames[0].pixels.shape == (48, 64, 3)
    assert [round(f.seconds, 4) for f in frames] == [0.0, 0.0334, 0.0667, 0.1001, 0.1001]


def two_sizes(path):
    with VideoWriter(path) as writer:
        writer.write(np.zeros((6, 8, 3), np.uint8))
        writer.write(np.zeros((4, 5, 3), np.uint8))


def test_what_goes_wrong_leaves_no_video_behind(tmp_path):
    with pytest.raises(JobError, match="no frame"), VideoWriter(tmp_path / "a.mp4"):
        pass
    with pytest.raises(GridMismatchError, match="5 x 4, the first was 8 x 6"):
        two_sizes(tmp_path / "b.mp4")
    assert list(tmp_path.iterdir()) == []
