"""Bad input through the command's own main: one line on stderr, exit 2, nothing half-written."""

import os
import resource
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from headframe.cli import main as cli

DISK_BYTES = 30_000
"""A file may not grow beyond this where a test plays a full disk."""


@dataclass
class Desk:
    """A folder with good input, to be spoilt; ``images/alpha/00000.tif`` is the scene."""

    root: Path
    model: Path

    @property
    def images(self):
        return self.root / "images"

    @property
    def scene(self):
        return self.images / "alpha" / "00000.tif"

    @property
    def polygons(self):
        return self.root / "sites.kml"

    @property
    def recipe(self):
        return self.root / "recipe.yaml"

    @property
    def out(self):
        return self.root / "out"

    def words(self, verb, *, out=None):
        out = str(out or self.out)
        return {
            "label": [
                "label", str(self.images), "--polygons", str(self.polygons), "--out", out,
            ],
            "map": ["map", str(self.scene), "--model", str(self.model), "--out", out],
            "train": [
                "train", str(self.recipe), "--data", str(self.root), "--out", out,
                "--accelerator", "cpu",
            ],
            "evaluate": ["evaluate", str(self.model), str(self.root), "--out", out],
        }[verb]  # fmt: skip


@pytest.fixture(scope="module")
def model(make, tmp_path_factory):
    return make.bundle(tmp_path_factory.mktemp("model") / "random")


@pytest.fixture
def desk(make, model, tmp_path):
    """Two sites of one chip, with outlines, masks (so that it is a raw data set) and a recipe."""
    made = Desk(tmp_path / "desk", model)
    for number, site in enumerate(("alpha", "bravo")):
        name = Path(site) / "00000.tif"
        make.scene(made.images / name, make.pixels(seed=number), east_m=50_000 * number)
        mask = np.zeros((1, 96, 128), np.uint8)
        mask[:, 20:60, 30:90] = 1
        make.scene(made.root / "masks" / name, mask, names=None, east_m=50_000 * number)
    second = make.kml("bravo", make.ring(east_m=50_000)).split("<Document>")[1]
    text = make.kml("alpha").replace("</Document></kml>", "") + second
    made.polygons.write_text(text, encoding="utf-8")
    made.recipe.write_text(
        "model: {architecture: fpn, init: none}\ndata: {all_sites: true}\n"
        "train: {steps: 2, batch: 2, crop_px: 32}\n",
        encoding="utf-8",
    )
    return made


@pytest.fixture
def run(capfd):
    """Run the command in this process; give its code, stdout and lines on stderr."""

    def call(words):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(word) for word in words])
        out, err = capfd.readouterr()
        return stop.value.code, out, err.splitlines()

    return call


@pytest.fixture
def refused(desk, run):
    """Run, and expect exit 2, one line with ``parts`` on stderr, and no half-written file."""

    def call(words, *parts):
        code, out, lines = run(words)
        assert code == 2, lines
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        for part in parts:
            assert part.lower() in lines[0].lower()
        assert out == ""
        assert_whole(desk.out)

    return call


def assert_whole(folder):
    """Every file that bears a final name can be read to its end, and no other is left."""
    if not folder.is_dir():
        return
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if ".part" in path.name]
    for path in files:
        if path.suffix in (".tif", ".png"):
            with (
                warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
                rasterio.open(path) as file,
            ):
                file.read()


def truncate(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def test_the_good_input_is_good(desk, run):
    for verb in ("label", "map", "train", "evaluate"):
        code, _, lines = run(desk.words(verb, out=desk.root / f"out-{verb}"))
        assert (code, lines) == (0, []), verb
        assert_whole(desk.root / f"out-{verb}")


# --- scenes and chips ------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["label", "map"])
def test_missing_scene(desk, refused, verb):
    words = desk.words(verb)
    words[1] = str(desk.root / "nowhere.tif")
    refused(words, "nowhere.tif")


@pytest.mark.parametrize("verb", ["label", "map"])
def test_text_named_tif(desk, refused, verb):
    desk.scene.write_text("this is no image\n", encoding="utf-8")
    refused(desk.words(verb), "00000.tif")


@pytest.mark.parametrize("verb", ["label", "map"])
@pytest.mark.parametrize("share", [0.05, 0.6])
def test_truncated_tiff(desk, refused, verb, share):
    truncate(desk.scene, share)
    refused(desk.words(verb), "00000.tif")


def test_no_crs_stops_label(desk, make, refused):
    make.scene(desk.scene, crs=None)
    refused(desk.words("label"), "00000.tif", "reference system")


def test_no_crs_maps_the_pixel_grid_with_one_warning(desk, make, run):
    make.scene(desk.scene, crs=None)
    code, _, lines = run(desk.words("map"))
    assert code == 0
    assert len(lines) == 1
    assert lines[0].startswith("warning: ")
    assert "00000.tif" in lines[0]
    written = {path.name for path in desk.out.rglob("*") if path.is_file()}
    assert "00000.classes.tif" in written
    assert not [name for name in written if name.endswith((".gpkg", ".parquet"))]
    with rasterio.open(desk.out / "00000.classes.tif") as file:
        assert file.shape == (96, 128)
        assert file.crs is None


def test_wrong_band_count_for_the_landsat_preset(desk, refused):
    refused([*desk.words("label"), "--preset", "landsat-8band"], "00000.tif", "3")


def test_a_band_missing(desk, make, refused):
    make.scene(desk.scene, make.pixels(bands=2))
    refused(desk.words("map"), "00000.tif", "red", "--bands")


def test_bands_without_names_are_not_guessed(desk, make, refused):
    make.scene(desk.scene, names=None, photometric="MINISBLACK")
    refused(desk.words("map"), "00000.tif", "--bands")


@pytest.mark.parametrize("verb", ["label", "map"])
def test_wholly_nan(desk, make, refused, verb):
    nan = np.full((3, 96, 128), np.nan, np.float32)
    make.scene(desk.scene, nan)
    shutil.rmtree(desk.images / "bravo")
    allowed = ["--allow-empty", "bravo"] if verb == "label" else []
    if verb == "label":
        desk.polygons.write_text(make_one(desk), encoding="utf-8")
    refused([*desk.words(verb), *(allowed if verb == "map" else [])], "00000.tif")


def make_one(desk):
    text = desk.polygons.read_text(encoding="utf-8")
    return text[: text.index("</Placemark>") + len("</Placemark>")] + "</Document></kml>"


# --- outlines --------------------------------------------------------------------------------


def test_missing_polygons(desk, refused):
    desk.polygons.unlink()
    refused(desk.words("label"), "sites.kml")


def test_zero_area_polygon(desk, make, refused):
    point = make.ring().split(" ")[0]
    desk.polygons.write_text(make.kml("alpha", " ".join([point] * 4)), encoding="utf-8")
    refused(desk.words("label"), "sites.kml", "alpha")


def test_external_entity(desk, make, refused):
    desk.polygons.write_text(make.kml_with_entity(), encoding="utf-8")
    refused(desk.words("label"), "sites.kml", "entit")


def test_archive_bomb(desk, make, refused):
    path = desk.root / "bomb.kmz"
    path.write_bytes(make.kmz_bomb())
    words = desk.words("label")
    words[words.index("--polygons") + 1] = str(path)
    refused(words, "bomb.kmz")


def test_sites_that_do_not_meet(desk, make, refused):
    desk.polygons.write_text(make.kml("zulu"), encoding="utf-8")
    refused(desk.words("label"), "alpha", "zulu")


# --- places to write -------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["label", "map", "train", "evaluate"])
def test_a_file_where_the_folder_should_be(desk, refused, verb):
    place = desk.root / "taken"
    place.write_text("mine", encoding="utf-8")
    refused(desk.words(verb, out=place / "out"), "taken")
    assert place.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("verb", ["label", "map", "train", "evaluate"])
def test_a_folder_that_cannot_be_written(desk, refused, verb):
    if not Path("/proc/self").exists():
        pytest.skip("no /proc here, and root may write everywhere else")
    refused(desk.words(verb, out="/proc/headframe"), "/proc/headframe")


@pytest.mark.parametrize("verb", ["label", "map", "train"])
def test_full_disk(desk, verb):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))

    done = subprocess.run(
        [sys.executable, "-c", "from headframe.cli.main import main; main()", *desk.words(verb)],
        preexec_fn=small_files,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 2, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert str(desk.out) in lines[0]
    assert_whole(desk.out)


# --- models, recipes, data sets --------------------------------------------------------------


@pytest.mark.parametrize("verb", ["map", "evaluate"])
def test_unknown_model(desk, refused, verb):
    desk.model = "tailngs"
    refused(desk.words(verb), "tailngs")


@pytest.mark.parametrize("verb", ["map", "evaluate"])
@pytest.mark.parametrize("harm", ["cut", "flip", "gone", "json"])
def test_corrupted_bundle(desk, refused, tmp_path, verb, harm):
    copy = tmp_path / "harmed"
    shutil.copytree(desk.model, copy)
    desk.model = copy
    weights = copy / "model.safetensors"
    if harm == "cut":
        truncate(weights)
    elif harm == "flip":
        weights.write_bytes(b"\xff" * 64 + weights.read_bytes()[64:])
    elif harm == "gone":
        weights.unlink()
    else:
        truncate(copy / "model.json")
    refused(desk.words(verb), "harmed")


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_missing_dataset(desk, refused, verb):
    words = [w.replace(str(desk.root), "/nowhere/set") if w == str(desk.root) else w
             for w in desk.words(verb)]  # fmt: skip
    refused(words, "/nowhere/set")


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_broken_chip_is_named_and_skipped(desk, run, verb):
    truncate(desk.scene, 0.3)
    code, _, lines = run(desk.words(verb))
    assert code == 0, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("warning: ")
    assert "alpha/00000.tif" in lines[0]


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_chip_without_data_is_named_and_skipped(desk, make, run, verb):
    make.scene(desk.scene, np.full((3, 96, 128), np.nan, np.float32))
    code, _, lines = run(desk.words(verb))
    assert code == 0, lines
    assert len(lines) == 1, lines
    assert "alpha/00000.tif" in lines[0]


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_dataset_of_broken_chips_only(desk, run, verb):
    for path in desk.images.rglob("*.tif"):
        path.write_text("no image", encoding="utf-8")
    code, _, lines = run(desk.words(verb))
    assert code == 2
    assert lines[-1].startswith("error: ")
    assert_whole(desk.out)


def test_missing_recipe(desk, refused):
    desk.recipe.unlink()
    refused(desk.words("train"), "recipe.yaml")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train: {stepz: 3}\n", ["stepz", "steps"]),
        ("train: {steps: many}\n", ["train.steps", "many"]),
        ("model: {architecture: unett}\ndata: {all_sites: true}\n", ["unett", "unet"]),
        ("loss: {name: dise}\ndata: {all_sites: true}\nmodel: {init: none}\n", ["dise", "dice"]),
        ("data: {bands: [red, thermal], all_sites: true}\nmodel: {init: none}\n", ["thermal"]),
        ("a: [\n", ["yaml"]),
    ],
)
def test_recipe_that_cannot_be_followed(desk, refused, text, parts):
    desk.recipe.write_text(text, encoding="utf-8")
    refused(desk.words("train"), *parts)


@pytest.mark.parametrize("verb", ["check", "stats", "show", "split"])
def test_a_dataset_that_is_none(desk, refused, verb):
    extra = ["--out", str(desk.out / "sheet.png")] if verb == "show" else []
    refused(["dataset", verb, "/nowhere/set", *extra], "/nowhere/set")
