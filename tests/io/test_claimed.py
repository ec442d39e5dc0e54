"""Folders of long work."""

import json

import pytest

from headframe.core.errors import OutputError
from headframe.io.claimed import begin, held, read_mark, working, write_mark

FROM = {"made_from": "scenes or options"}


def test_one_run_at_a_time(tmp_path):
    with held(tmp_path / "a" / "b", out=tmp_path / "a"):
        with pytest.raises(OutputError, match=r"a: another run is writing here\. Wait"):
            held(tmp_path / "a" / "b", out=tmp_path / "a").__enter__()
        with pytest.raises(OutputError, match=r"b: busy\."), held(tmp_path / "a/b", busy="busy."):
            pass
        with held(tmp_path / "a" / "b", lock="other.lock"):
            pass
    with held(tmp_path / "a" / "b"):
        pass


def test_what_fails_inside_is_not_the_folders_fault(tmp_path):
    with pytest.raises(OSError, match=r"^mine$") as caught, held(tmp_path):
        raise OSError("mine")
    assert not isinstance(caught.value, OutputError)
    with held(tmp_path):  # let go of all the same
        pass


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_file_in_the_way(tmp_path, where):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match=r"cannot be written \(.*Choose another --out"):
        held(tmp_path / where).__enter__()
    with pytest.raises(OutputError, match=r"cannot be written \(.*Choose another --out"):
        working(tmp_path / where, ".w", "m", **FROM).__enter__()


def test_work_is_taken_up_with_the_same_mark_only(tmp_path):
    out = tmp_path / "ds"
    with working(out, ".w", "one", **FROM) as work:
        assert work == out / ".w"
        (work / "record").write_text("x", encoding="utf-8")
        (out / "made").mkdir()
    with working(out, ".w", "one", **FROM) as work:
        assert (work / "record").is_file()
    with pytest.raises(OutputError, match=r"unfinished data set made from other scenes or opt"):
        working(out, ".w", "on", **FROM).__enter__()
    (out / ".w" / "plan.json").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="unfinished data set made from other"):
        working(out, ".w", "one", **FROM).__enter__()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    for name in ("thesis.txt", "budget.ods"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match=r"is not empty \(budget\.ods, thesis\.txt\)"):
        working(tmp_path, ".w", "one", **FROM).__enter__()
    assert not (tmp_path / ".w").exists()


def test_marks(tmp_path):
    path = tmp_path / "job.json"
    assert read_mark(path) is None
    write_mark(path, "abc")
    assert read_mark(path) == "abc"
    for text in ("{", "[]", "{}"):
        path.write_text(text, encoding="utf-8")
        assert read_mark(path) is None


def test_a_request_is_noted_and_compared(tmp_path):
    path = tmp_path / "made.json"
    rules = {"key": "request", "foreign": ("images",), "kind": "images"}
    begin(path, {"size": 3, "seed": 0}, **rules)
    noted = path.read_bytes()
    assert json.loads(noted)["request"] == {"size": 3, "seed": 0}
    (tmp_path / "images").mkdir()
    begin(path, {"size": 3, "seed": 0}, **rules)
    assert path.read_bytes() == noted
    with pytest.raises(OutputError, match=r"was begun with seed 0, now 1\. Ask for the same"):
        begin(path, {"size": 3, "seed": 1}, **rules)
    for text in ("{", "[]", "{}", '{"request": 3}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(OutputError, match=r"made\.json: damaged"):
            begin(path, {"size": 3}, **rules)
    path.unlink()
    with pytest.raises(OutputError, match="holds images of another making"):
        begin(path, {"size": 3}, **rules)
