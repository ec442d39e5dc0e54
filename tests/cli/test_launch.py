"""The command starts itself once more with large pages, where that is of use."""

import os
import subprocess
import sys

import pytest

from headframe.cli import launch
from headframe.cli.launch import LARGE_PAGES, SWITCH, wants_large_pages

ME = ["python", "headframe"]
PROGRAM = """
import os, sys
from headframe.cli import launch, main
told = lambda: (os.getpid(), os.environ.get("GLIBC_TUNABLES"), sys.flags.utf8_mode, sys.argv[1:])
main.main = lambda: print(*told())
sys.argv[0] = "headframe"
launch.start()
"""


@pytest.fixture
def glibc(monkeypatch):
    monkeypatch.setattr(launch, "_glibc", lambda: (2, 36))


@pytest.mark.parametrize(
    ("words", "environment", "wanted"),
    [
        (["headframe", "train", "r.yaml"], {}, True),
        (["headframe", "underground", "segment"], {}, True),
        (["headframe", "train", "--help"], {}, False),
        (["headframe", "models", "list"], {}, False),
        (["headframe"], {}, False),
        (["headframe", "map"], {SWITCH: "glibc.malloc.check=3"}, False),
    ],
)
def test_who_starts_once_more(glibc, words, environment, wanted):
    assert wants_large_pages(ME, words, environment) == wanted


@pytest.mark.parametrize("version", [(), (2, 31)])
def test_other_libraries_are_left_alone(monkeypatch, version):
    monkeypatch.setattr(launch, "_glibc", lambda: version)
    assert not wants_large_pages(ME, ["headframe", "train"], {})


def test_an_interpreter_that_cannot_start_once_more_goes_on(glibc, monkeypatch):
    def refused(*_):
        raise PermissionError

    ran = []
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setattr(sys, "argv", ["headframe", "train"])
    monkeypatch.setattr(launch.os, "execv", refused)
    monkeypatch.setattr("headframe.cli.main.main", lambda: ran.append(SWITCH in os.environ))
    launch.start()
    assert ran == [False]


@pytest.mark.skipif(launch._glibc() < (2, 35), reason="needs glibc 2.35")
def test_it_is_the_same_process_with_the_same_words(tmp_path):
    script = tmp_path / "command.py"
    script.write_text(PROGRAM)
    environment = {key: value for key, value in os.environ.items() if key != SWITCH}
    command = [sys.executable, "-X", "utf8", str(script), "map", "a b.tif", "--out", "x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == f"{process.pid} {LARGE_PAGES} 1 ['map', 'a b.tif', '--out', 'x']\n"
