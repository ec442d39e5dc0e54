"""The rules of sharing, with trials that take no time, in processes that are killed for real."""

import os
import subprocess
import sys
import time

import optuna
import psutil
import pytest
from filelock import FileLock
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from headframe.core.errors import JobError, OutputError, RecipeError
from headframe.engine import trials as module
from headframe.engine.trials import MAX_STARTS, SharedTrials, StudyPlan, combination, grid

SPACE = {name: CategoricalDistribution([0, 1, 2]) for name in "ab"}
WORKER = """
import sys, time
from pathlib import Path
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from headframe.engine.trials import SharedTrials, StudyPlan
folder, wanted, hang = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "hang"
space = {name: CategoricalDistribution([0, 1, 2]) for name in "abc"}
plan = StudyPlan("race", space, wanted)
shared = SharedTrials(f"sqlite:///{folder}/t.db", plan, lock_folder=folder)
while True:
    trial = shared.claim()
    if trial is None:
        if not shared.unfinished():
            break
        time.sleep(0.05)
        continue
    with shared.holding(trial):
        if hang:
            time.sleep(600)
        shared.settle(trial, TrialState.COMPLETE, value=float(trial.params["a"]))
"""


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def shared(tmp_path):
    """Make doors to one study of up to nine combinations."""

    def make(trials=9, **changes):
        plan = StudyPlan(**{"name": "s", "space": SPACE, "trials": trials, **changes})
        return SharedTrials(f"sqlite:///{tmp_path / 't.db'}", plan, lock_folder=tmp_path)

    return make


def finish(worker, value=None):
    trial = worker.claim()
    value = trial.params["a"] if value is None else value
    assert worker.settle(trial, TrialState.COMPLETE, value=value)
    return trial


def test_processes_make_exactly_n_trials_none_twice_and_take_over_the_dead(tmp_path):
    def start(*words):
        return subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), "12", *words])

    doomed = start("hang")
    database = tmp_path / "t.db"
    others = []
    try:
        while not (database.is_file() and running(database)):
            assert doomed.poll() is None
            time.sleep(0.1)
        doomed.kill()
        doomed.wait()
        assert running(database) == [0]
        others = [start("work") for _ in range(2)]
        assert [other.wait() for other in others] == [0, 0]
    finally:
        for process in (doomed, *others):
            process.kill()
            process.wait()
    rows = optuna.load_study(study_name="race", storage=f"sqlite:///{database}").trials
    assert [row.state for row in rows] == [TrialState.COMPLETE] * 12
    assert len({combination(row.params) for row in rows}) == 12
    assert [row.user_attrs["owner"]["starts"] for row in rows] == [2] + [1] * 11


def running(database):
    with FileLock(f"{database}.lock"):  # Optuna makes missing tables: not while a worker does
        try:
            study = optuna.load_study(study_name="race", storage=f"sqlite:///{database}")
        except KeyError:  # the study is not begun yet
            return []
        rows = study.get_trials(states=(TrialState.RUNNING,))
    return [row.number for row in rows if "owner" in row.user_attrs]


def test_all_of_a_grid_is_tried_once_and_no_more(shared):
    worker = shared(trials=9)
    tried = [combination(finish(worker).params) for _ in range(9)]
    assert sorted(tried) == sorted(combination(values) for values in grid(SPACE))
    assert worker.claim() is None
    more = shared(trials=10)
    with pytest.raises(JobError, match="no untried combination is left"):
        more.claim()


def test_a_combination_that_may_not_be_is_never_drawn(shared):
    worker = shared(trials=6, allowed=lambda values: values["a"] != 1)
    assert {finish(worker).params["a"] for _ in range(6)} == {0, 2}


def test_the_same_seed_draws_the_same_trials(tmp_path):
    ranges = {"x": FloatDistribution(0, 1), "b": SPACE["b"]}

    def draws(name, *, seed, doors):
        plan = StudyPlan("s", ranges, 4, seed=seed)
        url = f"sqlite:///{tmp_path / name}.db"
        opened = [SharedTrials(url, plan, lock_folder=tmp_path) for _ in range(doors)]
        return [finish(opened[k % doors], value=0.5).params for k in range(4)]

    alone = draws("one", seed=3, doors=1)
    assert alone == draws("two", seed=3, doors=2)  # as if killed and started again
    assert alone != draws("other", seed=4, doors=1)


def test_what_is_stopped_goes_back_into_the_queue(shared):
    worker = shared()
    trial = worker.claim()
    with pytest.raises(KeyboardInterrupt), worker.holding(trial):
        raise KeyboardInterrupt
    assert worker.unfinished() == [0]
    again = worker.claim()
    assert (again.number, again.params) == (0, trial.params)
    assert again.user_attrs["owner"]["starts"] == 1  # being stopped is not dying


def test_a_trial_that_kills_its_process_again_and_again_has_failed(shared, monkeypatch):
    worker = shared()
    alive = True
    monkeypatch.setattr(module, "_alive", lambda owner, row: alive)
    first = worker.claim()
    assert shared().claim().number == 1
    alive = False
    for _ in range(MAX_STARTS - 1):
        assert shared().claim().number in (0, 1)
        assert shared().claim().number in (0, 1)
    assert shared().claim().number == 2
    rows = worker.rows()
    assert [row.state for row in rows[:2]] == [TrialState.FAIL] * 2
    assert rows[0].user_attrs["notes"] == {"error": f"its process died {MAX_STARTS} times"}
    assert not worker.settle(first, TrialState.COMPLETE, value=1.0)


def test_a_trial_taken_over_is_no_longer_its_first_workers(shared, monkeypatch):
    slow, other = shared(), shared()
    trial = slow.claim()
    monkeypatch.setattr(module, "_alive", lambda owner, row: False)
    taken = other.claim()
    assert taken.number == trial.number
    assert not slow.mine(trial)
    assert other.mine(taken)
    assert not slow.settle(trial, TrialState.COMPLETE, value=9.0)
    assert other.settle(taken, TrialState.COMPLETE, value=1.0)
    assert other.rows()[0].value == 1.0


def test_who_is_alive(shared):
    worker = shared()
    worker.claim()
    row = worker.rows()[0]
    owner = row.user_attrs["owner"]
    assert owner["pid"] == os.getpid()
    assert module._alive(owner, row)
    assert not module._alive({**owner, "born": owner["born"] - 1e6}, row)  # a number used again
    gone = next(pid for pid in range(2**21, 2, -1) if not psutil.pid_exists(pid))
    assert not module._alive({**owner, "pid": gone}, row)
    far = {**owner, "place": "elsewhere/1", "pid": gone}
    assert module._alive(far, row)
    assert not module._alive({**far, "claimed": time.time() - module.GRACE_S - 1}, row)


def test_the_heartbeat_is_written(shared, monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    worker = shared()
    trial = worker.claim()
    with worker.holding(trial):
        until = time.monotonic() + 10
        while "beat" not in worker.rows()[0].user_attrs:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_the_slow_half_is_pruned_and_a_report_stands(shared):
    worker = shared()
    for value in range(5):
        trial = worker.claim()
        assert not worker.report(trial, 0.5 + 0.1 * value, share=50)
        worker.settle(trial, TrialState.COMPLETE, value=value)
    trial = worker.claim()
    assert not worker.report(trial, 0.1, share=10)  # too early to say
    assert worker.report(trial, 0.2, share=50)
    worker.report(trial, 0.9, share=50)  # again, after a restart: the first stands
    worker.settle(trial, TrialState.PRUNED)
    assert worker.rows()[5].intermediate_values == {10: 0.1, 50: 0.2}


def test_another_space_needs_another_study(shared):
    shared(settings={"space": {"train.lr": [1, 2]}})
    with pytest.raises(RecipeError, match=r"another space \(train\.lr: \[1, 2\], now \[1\]\)"):
        shared(settings={"space": {"train.lr": [1]}})


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("tune.db", "is no database. Try sqlite:///tune.db"),
        ("sqlite://", "is forgotten with its process"),
        ("sqlite:////proc/none/t.db", "cannot be made"),
        ("nodb://host/x", "cannot be used as storage"),
    ],
)
def test_what_is_no_storage(url, match, tmp_path):
    with pytest.raises(OutputError, match=match):
        SharedTrials(url, StudyPlan("s", SPACE, 1), lock_folder=tmp_path)


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello " * 1000)
    with pytest.raises(OutputError, match=r"notes\.txt: cannot be used as storage"):
        SharedTrials(f"sqlite:///{path}", StudyPlan("s", SPACE, 1), lock_folder=tmp_path)
