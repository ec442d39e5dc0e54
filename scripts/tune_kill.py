"""Kill `tune` with SIGKILL in the middle of trials and check that nothing is lost or done twice.

First one process is killed and started again, ``--kills`` times; then a second joins it on the
same storage, one of the two is killed and stays dead, and the other must take over its trial. In
the end the study must have exactly ``--trials`` trials, all ended, no combination twice, and every
trial that lost its process must have been started again.

    python scripts/tune_kill.py                    # 20 trials, 2 + 1 kills
    python scripts/tune_kill.py --trials 4 --kills 0 --keep kills
"""

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import optuna
from filelock import FileLock
from kill_and_resume import ENVIRONMENT, draw_input
from optuna.trial import FrozenTrial, TrialState

from headframe.engine.recipe import load_recipe

SPACE = """
model.options.encoder: [tf_efficientnet_lite0]
model.architecture: [fpn, unet]
train.lr: [3.0e-4, 1.0e-3, 3.0e-3]
train.batch: [4, 8]
train.optimizer: [adam, adamw, sgd]
loss.name: [ce, focal]
"""
RECIPE = """
name: small
model: {architecture: fpn, init: none}
data: {fold: {index: 0, of: 4}}
train: {epochs: 2, batch: 4, crop_px: 64, checkpoint_every: 2}
"""


@dataclass(frozen=True)
class Outcome:
    """What a search that was killed left behind.

    Attributes:
        kills: numbers of the trials that lost their process.
        states: trials by state.
        seconds: from the first start to the end of the last process.
        faults: what is wrong; empty if nothing is.
    """

    kills: list[int]
    states: dict[str, int]
    seconds: float
    faults: list[str]


class Search:
    """A search in a folder, and the processes that work on it."""

    def __init__(self, folder: Path, *, trials: int, chips: int, seed: int) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.trials = trials
        self.storage = f"sqlite:///{folder / 'tune.db'}"
        self.rng = random.Random(seed)
        draw_input(folder, chips=chips, size=64, scene=64)
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
        label = ("label", folder / "images", "--polygons", folder / "sites.kml")
        done = self._start(*label, "--preset", "plain", "--out", folder / "data")
        if done.wait() != 0:
            raise SystemExit("label failed")

    def worker(self) -> subprocess.Popen[bytes]:
        recipe, space = self.folder / "recipe.yaml", self.folder / "space.yaml"
        data = ("--data", self.folder / "data", "--out", self.out, "--accelerator", "cpu")
        return self._start(
            "tune", recipe, "--space", space, "--trials", self.trials,
            "--storage", self.storage, *data,
        )  # fmt: skip

    def _start(self, *words: object) -> subprocess.Popen[bytes]:
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-c", "from headframe.cli.main import main; main()"),
                    *map(str, words),
                ],
                env=os.environ | ENVIRONMENT,
                stdout=log,
                stderr=log,
            )

    def rows(self) -> list[FrozenTrial]:
        if not (self.folder / "tune.db").is_file():
            return []
        # Optuna makes missing tables whenever it looks: not while a worker makes them.
        with FileLock(self.folder / "tune.db.lock"):
            try:
                study = optuna.load_study(study_name="small", storage=self.storage)
            except KeyError:  # a worker was killed before it began the study
                return []
            return study.get_trials(deepcopy=False)

    def held_by(self, pid: int) -> dict[int, int]:
        """Trials that run in a process, or would if it lived, and how often each was started."""
        owners = {
            row.number: row.user_attrs.get("owner", {})
            for row in self.rows()
            if row.state == TrialState.RUNNING
        }
        return {n: owner["starts"] for n, owner in owners.items() if owner.get("pid") == pid}

    def kill(self, workers: list[subprocess.Popen[bytes]], *, after_s: float) -> list[int]:
        """Kill a worker a moment after it was seen at a trial; give the trials it held then."""
        victim = None
        while victim is None and any(worker.poll() is None for worker in workers):
            time.sleep(0.2)
            busy = [worker for worker in workers if self.held_by(worker.pid)]
            victim = self.rng.choice(busy) if busy else None
        if victim is None:
            return []  # all came to their end: the caller sees that nobody was killed
        time.sleep(self.rng.uniform(0, after_s))
        held = self.held_by(victim.pid)
        victim.kill()
        victim.wait()
        return [row.number for row in self.rows() if self._is_lost(row, held)]

    def _is_lost(self, row: FrozenTrial, held: dict[int, int]) -> bool:
        """Whether a trial lost its process; not if it ended first, but if another took it over."""
        if row.number not in held:
            return False
        return not row.state.is_finished() or row.user_attrs["owner"]["starts"] > held[row.number]


def check(folder: Path, *, trials: int, kills: int, chips: int, seed: int) -> Outcome:
    """Search with kills and look at what is left."""
    search = Search(folder, trials=trials, chips=chips, seed=seed)
    began = time.monotonic()
    lost: list[int] = []
    first = search.worker()
    for _ in range(kills):
        lost += search.kill([first], after_s=10)
        first = search.worker()
    pair = [first, search.worker()]
    lost += search.kill(pair, after_s=0.5)  # well within a trial
    faults = [f"a worker ended with {w.returncode}" for w in pair if w.wait() not in (0, -9)]
    return Outcome(
        kills=lost,
        states=dict(Counter(row.state.name.lower() for row in search.rows())),
        seconds=time.monotonic() - began,
        faults=faults + faults_of(search, lost),
    )


def faults_of(search: Search, lost: list[int]) -> list[str]:
    """Name what a finished search got wrong."""
    rows = search.rows()
    names = [repr(sorted(row.params.items())) for row in rows]
    faults = [f"trial {row.number} has not ended" for row in rows if not row.state.is_finished()]
    if len(rows) != search.trials:
        faults.append(f"{len(rows)} trials, not {search.trials}")
    faults += [f"twice: {name}" for name, count in Counter(names).items() if count > 1]
    for number in set(lost):
        if rows[number].user_attrs["owner"]["starts"] <= lost.count(number):
            faults.append(f"trial {number} lost its process and was not started again")
    with (search.out / "trials.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    if len(table) != search.trials:
        faults.append(f"the table has {len(table)} rows")
    if load_recipe(search.out / "best.yaml").train.epochs is None:
        faults.append("best.yaml is not the recipe")
    left = [*search.out.rglob(".part*"), *search.out.rglob("checkpoint.pt")]
    return faults + [f"left behind: {path}" for path in left]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--kills", type=int, default=2, help="of the process that works alone")
    parser.add_argument("--chips", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="work here and keep it")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        outcome = check(
            folder,
            trials=options.trials,
            kills=options.kills,
            chips=options.chips,
            seed=options.seed,
        )
    counts = ", ".join(f"{count} {state}" for state, count in outcome.states.items())
    print(f"killed in trials {outcome.kills}; in the end {counts}, in {outcome.seconds:.0f} s")
    print("\n".join(outcome.faults) or "exactly as many trials as asked for, none twice")
    raise SystemExit(1 if outcome.faults else 0)


if __name__ == "__main__":
    main()
