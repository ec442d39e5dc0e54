"""One `kill -9` of each long verb; scripts/kill_and_resume.py does ten of each, on more."""

import importlib.util

import pytest


@pytest.fixture(scope="module")
def script(repo_root):
    path = repo_root / "scripts" / "kill_and_resume.py"
    spec = importlib.util.spec_from_file_location("kill_and_resume", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_killed_run_is_taken_up(script, tmp_path, capsys):
    outcomes = script.check(tmp_path, ["label", "train", "map"], times=1, seed=3, small=True)
    printed = capsys.readouterr().out
    assert sum(outcome.in_time for outcome in outcomes) == 3, printed
    assert not any(outcome.faults for outcome in outcomes), printed


def test_a_changed_file_is_noticed(script, tmp_path):
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(text, encoding="utf-8")
        (tmp_path / name / "y.json").write_text(f'{{"created": {text}}}', encoding="utf-8")
    (tmp_path / "b" / ".part-z").write_text("", encoding="utf-8")
    faults = script.same_files(tmp_path / "a", tmp_path / "b")
    assert "differs: x.txt" in faults
    assert "left behind: .part-z" in faults
    assert not [fault for fault in faults if "y.json" in fault]


def test_another_loss_or_batch_is_noticed(script, tmp_path):
    for name, loss, batch in (("a", 0.5, "f0"), ("b", 0.51, "f0"), ("c", 0.5, "f1")):
        folder = tmp_path / name
        (folder / "bundle").mkdir(parents=True)
        (folder / "result.json").write_text("{}", encoding="utf-8")
        (folder / "bundle" / "model.safetensors").write_bytes(b"")
        text = f"step,loss,batch\n1,{loss},{batch}\n"
        (folder / "metrics.csv").write_text(text, encoding="utf-8")
    a, b, c = (tmp_path / name for name in "abc")
    assert script.same_training(a, a) == []
    assert "losses differ" in script.same_training(a, b)[0]
    assert "batches differ" in script.same_training(a, c)[0]
