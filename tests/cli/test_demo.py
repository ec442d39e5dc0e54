"""``headframe demo`` from the command line: its errors, each one line."""

import pytest

from headframe.cli.main import main
from headframe.surface.demo import BACKBONE

CASES = [
    (["--live", "10", "50", "--stac-url", "http://127.0.0.1:9/"], 1, "the STAC API gives no"),
    (["--live", "-20.2", "-143.4"], 2, "give longitude"),
    (["--live", "10", "50", "--model", "tailings-s2-rg"], 2, f"closest: {BACKBONE}"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), CASES)
def test_live_errors(arguments, code, text, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", str(tmp_path / "live"), *arguments])
    assert stop.value.code == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert text in lines[0]


def test_folder_of_something_else(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("do not touch", encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "holds no demo" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "headframe demo --live" in shown
    assert "drawn" in shown
