"""One `kill -9` of one of two processes that search; scripts/tune_kill.py does more, on more."""

import importlib.util
import sys
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState


@pytest.fixture
def script(repo_root, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_root / "scripts"))
    spec = importlib.util.spec_from_file_location("tune_kill", repo_root / "scripts/tune_kill.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tune_kill", module)
    spec.loader.exec_module(module)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return module


@pytest.mark.slow
def test_two_processes_make_all_trials_though_one_is_killed(script, tmp_path):
    outcome = script.check(tmp_path, trials=4, kills=0, chips=64, seed=0)
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert outcome.faults == [], log
    assert outcome.kills, log  # it was at work
    assert sum(outcome.states.values()) == 4


def test_what_is_wrong_is_noticed(script, tmp_path):
    (tmp_path / "trials.csv").write_text("trial\n0\n", encoding="utf-8")
    (tmp_path / "best.yaml").write_text("train: {steps: 3}\n", encoding="utf-8")
    (tmp_path / "checkpoint.pt").write_text("", encoding="utf-8")

    def row(number, state, starts):
        attrs = {"owner": {"starts": starts}}
        return SimpleNamespace(number=number, state=state, params={"a": 1}, user_attrs=attrs)

    rows = [row(0, TrialState.COMPLETE, 1), row(1, TrialState.RUNNING, 1)]
    search = SimpleNamespace(rows=lambda: rows, trials=3, out=tmp_path)
    faults = " | ".join(script.faults_of(search, [0]))
    for fault in (
        "trial 1 has not ended",
        "2 trials, not 3",
        "twice: [('a', 1)]",
        "trial 0 lost its process",
        "the table has 1 rows",
        "best.yaml is not the recipe",
        "left behind",
    ):
        assert fault in faults
