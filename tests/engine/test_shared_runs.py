"""Runs of one comparison shared by processes, and taken up after a kill."""

import csv
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from headframe.core.errors import OutputError
from headframe.engine import experiment as module
from headframe.engine.experiment import Plan, experiment
from headframe.engine.recipe import parse_recipe
from headframe.engine.shared_runs import share

FORK = multiprocessing.get_context("fork")
PLAN = Plan(folds=(0, 1, 2), of=3, seeds=(0, 1))
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs that note who did them and take no time; ``before`` may hold one up."""
    told = tmp_path / "runs.txt"
    state = SimpleNamespace(before=lambda place: None, done=lambda: told.read_text().split())

    def network(recipe, dataset, folder, hardware, progress):
        place = f"{folder.parent.name}/{folder.name}"
        state.before(place)
        with told.open("a") as file:
            file.write(f"{place}\n")
        chips = [{"site": s, "chip": "0", "confusion": [[50, 9], [0, 41]]} for s in "ab"]
        return {"chips": chips, "chips_one_view": chips, "seconds": 1.0, "parameters": 7}

    told.touch()
    monkeypatch.setattr(module, "_network", network)
    monkeypatch.setattr(module, "open_labelled", lambda data: None)
    monkeypatch.setattr(module, "_test_parts", lambda dataset, recipe: None)
    return state


def recipe(name):
    content = {"name": name, "data": {"dataset": "DS"}, "model": {"architecture": "fpn"}}
    return parse_recipe(content, source="test")


def table(out):
    with (out / "table.csv").open() as file:
        return {row["recipe"]: int(row["runs"]) for row in csv.DictReader(file)}


def start(work, *args):
    process = FORK.Process(target=work, args=args)
    process.start()
    return process


def test_two_processes_do_each_run_once(runs, tmp_path):
    out, both = tmp_path / "out", FORK.Barrier(2)
    runs.before = lambda place: time.sleep(0.05)

    def work():
        both.wait(300)
        rows = experiment([recipe("a"), recipe("b")], plan=PLAN, out=out)
        (tmp_path / str(os.getpid())).write_text(" ".join(f"{r.recipe}{r.runs}" for r in rows))

    processes = [start(work) for _ in range(2)]
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
        assert (tmp_path / str(process.pid)).read_text() == "a6 b6"
    done = runs.done()
    assert len(done) == len(set(done)) == 12
    assert table(out) == {"a": 6, "b": 6}


def test_a_killed_comparison_repeats_no_finished_run(runs, tmp_path):
    out = tmp_path / "out"

    def work():
        def strike(place):
            if len(runs.done()) == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        runs.before = strike
        experiment([recipe("a"), recipe("b")], plan=PLAN, out=out)

    process = start(work)
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    first = runs.done()
    assert (len(first), table(out)) == (3, {"a": 2, "b": 1})
    experiment([recipe("a"), recipe("b")], plan=PLAN, out=out)  # the dead owner's lock is free
    done = runs.done()
    assert done[:3] == first
    assert len(done) == len(set(done)) == 12
    assert table(out) == {"a": 6, "b": 6}


def test_jobs_of_another_process_come_last_and_are_waited_for(tmp_path, caplog):
    holding, release = FORK.Event(), FORK.Event()

    def hold():
        for _ in share(["one"], out=tmp_path, name=str):
            holding.set()
            release.wait(300)

    process = start(hold)
    assert holding.wait(300)
    seen = []
    for job in share(["one", "two", "three"], out=tmp_path, name=str):
        seen.append(job)
        if job == "three":
            assert process.is_alive()
            threading.Timer(2.0, release.set).start()
    process.join(300)
    assert seen == ["two", "three", "one"]
    assert "one: waiting for another process to end it." in caplog.text


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match=r"out: cannot be written"):
        list(share(["one"], out=tmp_path / "out", name=str))
    assert Path(tmp_path / "out").is_file()
