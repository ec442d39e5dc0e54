import pytest

from headframe.core.errors import DatasetError, MissingFileError
from headframe.datasets.manifest import read_manifest, write_manifest


def test_round_trip(tmp_path, fakes):
    wanted = fakes.manifest(splits={"train": ("a",)}, sites={"a": {"country": "peru"}}, scale=1.0)
    write_manifest(tmp_path, wanted)
    found = read_manifest(tmp_path)
    assert found == wanted
    assert found.class_map == fakes.CLASSES


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"gsd_m": 10.0', '"gsd_m": 10.0, "band": 1', "unknown key 'band'; did you mean 'bands'"),
        ('"gsd_m": 10.0', '"gsd_m": -1', "gsd_m: .*greater than 0"),
        ("sentinel-2-l1c", "sentinel-9", "sensor: .*unknown sensor"),
        ('"green"', '"blue"', "bands: .*each once"),
        ('"index": 1', '"index": 5', "classes: .*indices"),
    ],
)
def test_bad_values_are_named(tmp_path, fakes, old, new, message):
    write_manifest(tmp_path, fakes.manifest())
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        read_manifest(tmp_path)


def test_no_manifest(tmp_path):
    with pytest.raises(MissingFileError, match=r"dataset\.json"):
        read_manifest(tmp_path)
    (tmp_path / "dataset.json").mkdir()
    with pytest.raises(DatasetError, match="cannot be read"):
        read_manifest(tmp_path)
