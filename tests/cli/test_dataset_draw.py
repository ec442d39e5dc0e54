"""`headframe dataset draw`, as a user calls it."""

import json

import pytest

from headframe.cli import main as cli


def run(*words):
    with pytest.raises(SystemExit, match=r"^[0-9]$") as end:
        cli.main([str(word) for word in words])
    return end.value.code


def test_drawn_then_checked(tmp_path, capsys):
    words = ("dataset", "draw", "--out", tmp_path / "ds", "--sites", 3, "--dates", 1)
    assert run(*words, "--size-px", 128, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["chips"] == {"train": 1, "val": 1, "test": 1}
    assert report["drawn"] == 3
    assert run(*words, "--size-px", 128) == 0
    assert "0 images drawn" in capsys.readouterr().out
    assert run("dataset", "check", tmp_path / "ds") == 0


def test_bad_numbers_are_one_line(tmp_path, capsys):
    assert run("dataset", "draw", "--out", tmp_path / "ds", "--size-px", 64) == 2
    error = capsys.readouterr().err
    assert "--size-px 64: must be 128 to 1200" in " ".join(error.split())
    assert not (tmp_path / "ds").exists()
