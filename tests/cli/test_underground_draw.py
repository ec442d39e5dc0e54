"""`headframe underground draw`, as a user calls it."""

import json

import pytest

from headframe.cli.main import main


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["underground", "draw", *(str(word) for word in words)])
    shown = capsys.readouterr()
    return end.value.code, shown.out, shown.err


def test_drawn(capsys, tmp_path):
    out = tmp_path / "drawn"
    words = ["--images", 2, "--tunnels", 2, "--size", 64, 72, "--light", 0.05, "--out", out]
    code, said, _ = run(capsys, *words, "--video", "--seconds", 0.2, "--json")
    assert code == 0
    report = json.loads(said)
    assert (report["images"], report["drawn"], report["films"]) == (2, 2, 1)
    assert sorted(p.name for p in (out / "images").iterdir()) == ["tunnel_0000", "tunnel_0001"]
    assert sorted(p.name for p in (out / "films").iterdir()) == [
        "film_000-bright.mp4", "film_000.json", "film_000.mp4",
    ]  # fmt: skip
    code, said, _ = run(capsys, *words, "--video", "--seconds", 0.2)
    assert code == 0
    assert "2 photographs of 2 tunnels, 0 of them new; 1 films" in " ".join(said.split())


def test_bad_input_is_one_line(capsys, tmp_path):
    for words, told in (
        (["--size", 10, 64], "--size 10: must be 64 to 4096"),
        (["--light", 0], "light is 0"),
        (["--images", 0], "--images 0: must be 1"),
    ):
        code, _, warned = run(capsys, *words, "--out", tmp_path / "x")
        assert code == 2
        assert told in " ".join(warned.split())
        assert warned.startswith("error: ")
        assert not (tmp_path / "x").exists()
