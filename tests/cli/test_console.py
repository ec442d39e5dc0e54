import json
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from headframe.cli import console


@dataclass
class Point:
    x: float
    where: Path


def test_emit_json_writes_plain_json(capsys):
    value = {"p": Point(float("nan"), Path("a/b")), "n": np.float32(0.5), 3: (np.arange(2), None)}
    console.emit_json(value)
    assert json.loads(capsys.readouterr().out) == {
        "p": {"x": None, "where": "a/b"},
        "n": 0.5,
        "3": [[0, 1], None],
    }


def test_emit_json_refuses_what_json_cannot_say():
    with pytest.raises(TypeError, match="not JSON serializable"):
        console.emit_json({"f": object()})


def test_table_in_a_pipe_cuts_nothing(capsys):
    console.table("Scores", ("site", "IoU"), [("s" * 200, 0.123456), ("b [x]", None)])
    out = capsys.readouterr().out
    assert "s" * 200 in out
    assert "0.1235" in out
    assert "b [x]" in out
    assert max(len(line) for line in out.splitlines()) < 300


def test_say_goes_to_stdout_as_written(capsys):
    console.say("wrote [red]3[/red] files " + "x" * 200)
    assert capsys.readouterr().out == "wrote [red]3[/red] files " + "x" * 200 + "\n"


def test_progress_is_silent_where_stderr_is_no_terminal(capsys):
    with console.progress() as bar:
        bar.advance()
        bar.start("tiles", 2)
        bar.advance(2)
        bar.finish()
        bar.finish()
    assert capsys.readouterr() == ("", "")


def test_progress_shows_one_bar_on_a_terminal():
    screen = StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)
    with console.RichProgress(terminal) as bar:
        bar.start("tiles", 3)
        bar.advance(3)
    assert "tiles" in screen.getvalue()
    assert "3/3" in screen.getvalue()
