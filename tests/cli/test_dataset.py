import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from headframe.cli import main as cli


@pytest.fixture
def root(tmp_path):
    """A raw folder of four sites, one chip each."""
    for i in range(4):
        values = np.random.default_rng(i).integers(300, 3000, (3, 16, 24)).astype(np.uint16)
        mask = np.zeros((1, 16, 24), np.uint8)
        mask[:, 3:6, 2 : 5 + i] = 1
        for kind, array in (("images", values), ("masks", mask)):
            path = tmp_path / "raw" / kind / f"s{i}" / "0.tif"
            path.parent.mkdir(parents=True)
            with rasterio.open(
                path,
                "w",
                driver="GTiff",
                count=len(array),
                height=16,
                width=24,
                dtype=array.dtype,
                crs="EPSG:32721",
                transform=from_origin(500_000 + 999 * i, 8_000_000, 10, 10),
            ) as sink:
                sink.write(array)
                if kind == "images":
                    sink.descriptions = ("B02", "B03", "B04")
    return tmp_path / "raw"


def run(*words):
    with pytest.raises(SystemExit, match=r"^[0-9]$") as end:
        cli.main([str(word) for word in words])
    return end.value.code


def test_the_whole_way(root, tmp_path, capsys):
    assert run("dataset", "check", root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    words = ("--fractions", "0.5", "0.25", "0.25", "--seed", "1")
    assert run("dataset", "split", root, *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["chips"] == {"train": 2, "val": 1, "test": 1}
    assert run("dataset", "split", root, *words, "--as-paper") == 0
    assert "share sites" in capsys.readouterr().out
    assert run("dataset", "stats", root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["chips"] == 4
    assert run("dataset", "stats", root, "--no-write") == 0
    assert "blue" in capsys.readouterr().out
    assert run("dataset", "show", root, "--out", tmp_path / "sheet.png") == 0
    assert (tmp_path / "sheet.png").is_file()


def test_a_planted_leak_exits_2(root, capsys):
    for kind in ("images", "masks"):
        (root / kind / "copy").mkdir()
        (root / kind / "copy" / "0.tif").write_bytes((root / kind / "s1" / "0.tif").read_bytes())
    assert run("dataset", "check", root) == 2
    assert "same pixels" in capsys.readouterr().out


def test_bad_fractions_are_one_line(root, capsys):
    assert run("dataset", "split", root, "--fractions", "0.5", "0.5", "0.5") == 2
    assert "sum to 1" in capsys.readouterr().err


def test_coarsen(root, tmp_path, capsys):
    words = ("--buffer-m", "20", "--simplify-m", "0", "--shift-m", "0")
    assert run("dataset", "coarsen", root, "--out", tmp_path / "wide", *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["chips"] == told["polygons"] == told["coarse"] == 4
    assert told["coarse_share"] > told["fine_share"] > 0
    assert run("dataset", "coarsen", root, "--out", tmp_path / "other", *words) == 0
    assert "4 outlines made 4" in capsys.readouterr().out
    assert run("dataset", "coarsen", root, "--out", tmp_path / "wide") == 2
    assert "is there already. Choose another --out." in capsys.readouterr().err
    assert run("dataset", "coarsen", root, "--out", tmp_path / "third", "--shift-m", "-1") == 2
