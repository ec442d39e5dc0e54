import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headframe.core.errors import FormatError, MissingFileError
from headframe.io.scene import scene_sources, scene_stem

ITEM = {"type": "Feature", "stac_version": "1.0.0", "assets": {}, "properties": {}}


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def places(inputs):
    return [(Path(source).name, str(folder)) for source, folder in scene_sources(inputs)]


def test_one_file(tmp_path):
    touch(tmp_path, "a/scene.tif")
    source = str(tmp_path / "a" / "scene.tif")
    assert scene_sources([source]) == [(source, Path())]


def test_files_lie_below_their_common_parent(tmp_path):
    touch(tmp_path, "a/scene.tif", "b/deep/scene.tif")
    inputs = [str(tmp_path / "b/deep/scene.tif"), str(tmp_path / "a/scene.tif")]
    assert places(inputs) == [("scene.tif", "b/deep"), ("scene.tif", "a")]


def test_folder_gives_scenes_and_items_but_no_maps_and_no_hidden_files(tmp_path):
    touch(tmp_path, "y/2.TIFF", "1.vrt", "y/3.jp2", "4.txt", ".5.tif", "y/6.classes.tif", "7.json")
    (tmp_path / "y/8.json").write_text(json.dumps(ITEM))
    (tmp_path / "y/9.json").write_text(json.dumps(ITEM | {"properties": {"mlm:name": "x"}}))
    (tmp_path / "y/list.json").write_text("[1]")
    assert places([str(tmp_path)]) == [
        ("1.vrt", "."),
        ("2.TIFF", "y"),
        ("3.jp2", "y"),
        ("8.json", "y"),
    ]


def test_folder_without_scenes(tmp_path):
    with pytest.raises(FormatError, match=r"holds no scenes \(\.tif"):
        scene_sources([str(tmp_path)])


def test_globs_and_duplicates(tmp_path):
    touch(tmp_path, "a/1.tif", "a/2.tif", "b/1.tif")
    inputs = [str(tmp_path / "*" / "1.tif"), str(tmp_path / "a"), str(tmp_path / "b" / ".." / "a")]
    assert places(inputs) == [("1.tif", "a"), ("1.tif", "b"), ("2.tif", "a")]
    assert places([str(tmp_path / "[ab]")]) == [("1.tif", "a"), ("2.tif", "a"), ("1.tif", "b")]


@pytest.mark.parametrize(
    ("name", "said"), [("none.tif", "no such file or folder"), ("*.tif", "no file matches")]
)
def test_missing(tmp_path, name, said):
    with pytest.raises(MissingFileError, match=said):
        scene_sources([str(tmp_path / name)])


def test_equal_stems_get_folders_of_their_own(tmp_path):
    touch(tmp_path, "a.tif", "a.vrt", "b.tif")
    assert places([str(tmp_path)]) == [("a.tif", "a.tif"), ("a.vrt", "a.vrt"), ("b.tif", ".")]


def test_urls():
    urls = [
        "https://x.org/t/1/B04.tif?sig=a/b",
        "s3://bucket/t/2/B04.tif",
        "https://x.org/t/1/B04.tif?sig=c",
    ]
    found = scene_sources(urls)
    assert [source for source, _ in found] == urls
    assert len({(folder, scene_stem(source)) for source, folder in found}) == 3
    assert scene_sources(["https://x.org/t/1/B04.tif"])[0][1] == Path()
    assert scene_sources(["/vsicurl/https://x.org/t/B04.tif"])[0][1] == Path()


def test_urls_beside_files(tmp_path):
    touch(tmp_path, "B04.tif")
    found = scene_sources([str(tmp_path / "B04.tif"), "https://x.org/t/B04.tif"])
    assert [str(folder) for _, folder in found] == [".", "remote"]


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("a/b.c.tif", "b.c"),
        ("https://x.org/a/b.tif?x=/y.z", "b"),
        ("https://x.org/items/S2A_1", "S2A_1"),
        ("s3://bucket/", "bucket"),
    ],
)
def test_stems(source, stem):
    assert scene_stem(source) in (stem, "scene")


@given(
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.sampled_from("ab"), st.sampled_from(["tif", "vrt"])),
        min_size=1,
        max_size=12,
    )
)
def test_two_scenes_never_share_a_place(parts):
    urls = [f"https://x.org/{folder}/{name}.{suffix}" for folder, name, suffix in parts]
    found = scene_sources(urls)
    assert len(found) == len(set(urls))
    assert len({(folder, scene_stem(source)) for source, folder in found}) == len(found)
    assert all(not folder.is_absolute() and ".." not in folder.parts for _, folder in found)
