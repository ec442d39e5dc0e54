import numpy as np
import pytest
import rasterio
from PIL import Image

from headframe.core.errors import FormatError, MissingFileError, OutputError, UnsafeFileError
from headframe.io import images
from headframe.io.images import (
    find_images,
    image_size,
    read_float,
    read_image,
    to_uint8,
    write_image,
)


@pytest.fixture
def scene():
    """(5, 8, 3): each corner has a colour of its own, so that a turn or a mirror shows."""
    pixels = np.full((5, 8, 3), 40, np.uint8)
    pixels[0, 0], pixels[0, -1] = (250, 0, 0), (0, 250, 0)
    pixels[-1, 0], pixels[-1, -1] = (0, 0, 250), (250, 250, 0)
    return pixels


def write_deep(path, pixels):
    """Write (H, W, C) uint16 as GDAL does, without a place on earth."""
    driver = "PNG" if path.suffix == ".png" else "GTiff"
    height, width, count = pixels.shape
    more = {"photometric": "RGB"} if (driver, count) == ("GTiff", 3) else {}
    with rasterio.open(
        path, "w", driver=driver, height=height, width=width, count=count, dtype="uint16", **more
    ) as out:
        out.write(pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.PNG"])
def test_what_is_written_is_read(tmp_path, scene, name):
    write_image(tmp_path / name, scene)
    np.testing.assert_array_equal(read_image(tmp_path / name), scene)
    assert image_size(tmp_path / name) == (5, 8)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_formats_stay_close(tmp_path, name):
    smooth = np.tile(np.linspace(10, 90, 32, dtype=np.uint8)[None, :, None], (24, 1, 3))
    write_image(tmp_path / name, smooth, quality=95)
    read = read_image(tmp_path / name)
    assert read.shape == (24, 32, 3)
    assert np.abs(read.astype(int) - smooth).max() <= 6


def test_grey_gets_three_channels(tmp_path):
    write_image(tmp_path / "g.png", np.array([[0, 9, 200]], np.uint8))
    np.testing.assert_array_equal(read_image(tmp_path / "g.png")[0, :, 1], [0, 9, 200])
    assert read_image(tmp_path / "g.png").shape == (1, 3, 3)


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "LA"])
def test_odd_modes_become_rgb(tmp_path, scene, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image = Image.fromarray(scene).convert("L") if mode == "LA" else Image.fromarray(scene)
    image.convert(mode).save(path)
    assert read_image(path).shape == (5, 8, 3)


def test_transparency_lies_on_black(tmp_path):
    rgba = np.zeros((1, 2, 4), np.uint8)
    rgba[0, 0], rgba[0, 1] = (200, 100, 50, 255), (200, 100, 50, 0)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], [[200, 100, 50], [0, 0, 0]])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_8_and_16_bit_alike(tmp_path, scene, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(scene).save(tmp_path / "a.png", exif=exif)
    upright = read_image(tmp_path / "a.png")
    assert upright.shape == ((5, 8, 3) if orientation < 5 else (8, 5, 3))
    assert image_size(tmp_path / "a.png") == upright.shape[:2]
    np.testing.assert_array_equal(images._turn(scene, orientation), upright)
    if orientation == 6:  # the camera was held so that the top is at the right
        np.testing.assert_array_equal(upright[0, -1], scene[0, 0])
        np.testing.assert_array_equal(upright[0, 0], scene[-1, 0])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_kept_for_networks_and_rounded_for_eyes(tmp_path, name, channels):
    deep = np.zeros((2, 3, channels), np.uint16)
    deep[0, :, :] = np.array([0, 257, 65535], np.uint16)[:, None]
    deep[1, 0] = 130  # between 0 and 1 of 255: lost in 8 bits
    write_deep(tmp_path / name, deep)
    eight = read_image(tmp_path / name)
    np.testing.assert_array_equal(eight[0, :, 0], [0, 1, 255])
    assert eight[1, 0, 2] == 1
    exact = read_float(tmp_path / name)
    assert exact.dtype == np.float32
    assert exact.shape == (3, 2, 3)
    assert exact[0, 1, 0] == pytest.approx(130 / 65535)


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_alpha_lies_on_black(tmp_path, channels):
    deep = np.full((1, 2, channels), 60000, np.uint16)
    deep[0, 0, -1], deep[0, 1, -1] = 65535, 0
    write_deep(tmp_path / "a.png", deep)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 0], [233, 0])


def test_float_of_8_bits(tmp_path, scene):
    write_image(tmp_path / "a.png", scene)
    floats = read_float(tmp_path / "a.png")
    assert floats.shape == (3, 5, 8)
    assert floats[0, 0, 0] == pytest.approx(250 / 255)
    np.testing.assert_array_equal(to_uint8(floats), scene)
    assert to_uint8(np.array([[[-1.0]], [[2.0]], [[0.5]]], np.float32)).tolist() == [
        [[0, 255, 128]]
    ]


def test_12_megapixels(tmp_path):
    wide = np.zeros((3000, 4000, 3), np.uint8)
    wide[:, 2000:] = 7
    write_image(tmp_path / "a.jpg", wide)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (3000, 4000, 3)
    assert (read[0, 0, 0], read[-1, -1, 0]) == (0, 7)


def test_bad_files_get_one_line_each(tmp_path, scene):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 120, 3), np.uint8)).save(
        tmp_path / "whole.jpg"
    )
    cut = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    write_deep(tmp_path / "deep.png", np.ones((64, 64, 3), np.uint16) * 999)
    half = (tmp_path / "deep.png").read_bytes()
    (tmp_path / "deep.png").write_bytes(half[: len(half) - 60])
    for name, match in {
        "empty.jpg": "is empty",
        "text.jpg": "not a picture",
        "cut.jpg": "damaged or cut short",
        "float.tif": "32-bit numbers",
        "deep.png": "damaged or cut short",
    }.items():
        with pytest.raises(FormatError, match=match) as info:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(info.value)
        assert "\n" not in str(info.value)
    with pytest.raises(MissingFileError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(FormatError, match="is a folder"):
        read_image(tmp_path)


def test_16_bit_integers_with_a_sign_are_refused(tmp_path):
    with rasterio.open(
        tmp_path / "s.tif", "w", driver="GTiff", height=2, width=3, count=1, dtype="int16"
    ) as out:
        out.write(np.ones((1, 2, 3), np.int16))
    with pytest.raises(FormatError, match="int16"):
        read_image(tmp_path / "s.tif")


def test_bombs_are_refused(tmp_path, scene, monkeypatch):
    write_image(tmp_path / "a.png", scene)
    monkeypatch.setattr(images, "MAX_PIXELS", 39)
    with pytest.raises(UnsafeFileError, match="8 x 5 pixels"):
        read_image(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 40)
    assert read_image(tmp_path / "a.png").shape == (5, 8, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    with pytest.raises(UnsafeFileError, match="40 pixels"):
        read_image(tmp_path / "a.png")


def test_finding(tmp_path, scene):
    for name in ("b.JPG", "a.png", "deep/c.tif", ".part-x.png", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names = [p.relative_to(tmp_path).as_posix() for p in find_images([tmp_path])]
    assert names == ["a.png", "b.JPG", "deep/c.tif"]
    assert find_images([tmp_path / "a.png", tmp_path]) == find_images([tmp_path])
    with pytest.raises(MissingFileError, match="no such file or folder"):
        find_images([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="no photographs"):
        find_images([tmp_path / "empty"])


def test_unknown_kind_to_write(tmp_path, scene):
    with pytest.raises(OutputError, match="unknown kind of picture"):
        write_image(tmp_path / "a.gif", scene)


@pytest.mark.realdata
def test_real_frames(shared_data):
    frames = find_images([shared_data / "coal-mine-frames", shared_data / "lol-dark"])
    assert len(frames) == 7
    for path in frames:
        assert read_image(path).shape[:2] == image_size(path)
