"""Trials of one study, shared by many processes: exactly N, none twice, the dead ones requeued.

Optuna keeps the trials in a database and proposes their values. What it leaves to its callers is
done here. Two workers that both see N - 1 trials would both start one more, and two that ask at
the same moment may be told the same combination; so a worker claims its trial under a file lock,
which the operating system drops with the process. A worker killed in the middle of a trial leaves
it marked as running; whoever claims next sees that its process is gone, or, on another machine,
that its heartbeat has stopped, and puts that very trial back into the queue. A study of N trials
thus has N rows, whatever died on the way.

This module knows no networks, so that its races can be tested in seconds.
"""

import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from headframe.core.errors import JobError, OutputError, RecipeError
from headframe.io.files import make_folder

HEARTBEAT_S = 30.0
GRACE_S = 300.0
"""A worker on another machine that was silent for so long is taken for dead."""
MAX_STARTS = 5
"""A trial whose process died so often has failed: it is the trial that kills."""
PRUNING_SHARE = 20
"""Trials are not stopped before this share of their run, per cent."""
_LOCK_TIMEOUT_S = 300.0
_BUSY_S = 120.0
_DRAWS = 32

_LOG = logging.getLogger("headframe")
Values = Mapping[str, Any]


@dataclass(frozen=True)
class StudyPlan:
    """What a study looks for, and among what.

    Attributes:
        name: of the study; a storage may hold several.
        space: Optuna's distribution of each parameter.
        trials: rows the study shall have in the end, by all workers together.
        seed: with one worker, trial k draws the same values whenever it is run.
        settings: plain values that all workers of the study must share; kept in the study.
        allowed: says whether a combination may be tried at all.
    """

    name: str
    space: Mapping[str, BaseDistribution]
    trials: int
    seed: int = 0
    settings: Mapping[str, Any] | None = None
    allowed: Callable[[Values], bool] = lambda values: True


class UntriedSampler(BaseSampler):
    """Tree-structured Parzen estimator that never proposes a combination a second time.

    The draw is seeded by the study's seed and the trial's number, so it is a function of these
    and of the trials known by then: a process that goes on after a kill proposes what the killed
    one would have.
    """

    def __init__(self, plan: StudyPlan) -> None:
        self._plan = plan

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Give the whole space: all parameters are drawn at once."""
        return dict(self._plan.space)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Draw one untried combination; parameters that ``trial`` has already are kept."""
        others = study.get_trials(deepcopy=False)
        tried = {combination(t.params) for t in others if t.number != trial.number}
        seed = self._plan.seed * 1_000_003 + trial.number
        guided = TPESampler(seed=seed % 2**32)
        blind = TPESampler(seed=seed % 2**32, n_startup_trials=2**31)
        for attempt in range(2 * _DRAWS):
            tpe = guided if attempt < _DRAWS else blind
            values = {
                name: trial.params[name]
                if name in trial.params
                else tpe.sample_independent(study, trial, name, distribution)
                for name, distribution in search_space.items()
            }
            if combination(values) not in tried and self._plan.allowed(values):
                return values
        return self._any_left(tried, trial.params)

    def _any_left(self, tried: set[str], given: Values) -> dict[str, Any]:
        """Walk the grid in order where drawing finds nothing more: nearly all has been tried."""
        for values in grid(self._plan.space):
            if all(values[name] == value for name, value in given.items()) and (
                combination(values) not in tried and self._plan.allowed(values)
            ):
                return values
        raise JobError(f"study {self._plan.name}: no untried combination is left.")

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401 - Optuna's own signature
        """Refuse: a parameter outside the space would not be part of the combination."""
        raise JobError(f"study {self._plan.name}: {param_name!r} is not in the space.")


def combination(values: Values) -> str:
    """Name one combination of values; two are the same if and only if their names are."""
    return repr(sorted(values.items()))


def grid(space: Mapping[str, BaseDistribution]) -> Iterator[dict[str, Any]]:
    """Walk the combinations of a space of choices in order; nothing where one is a range."""
    names = list(space)
    if not names:
        yield {}
        return
    first = space[names[0]]
    rest = {name: space[name] for name in names[1:]}
    for value in getattr(first, "choices", ()):
        for values in grid(rest):
            yield {names[0]: value, **values}


class SharedTrials:
    """One worker's door to the trials of a study."""

    def __init__(self, url: str, plan: StudyPlan, *, lock_folder: Path) -> None:
        """Open the study or begin it.

        Args:
            url: of a database that SQLAlchemy knows, e.g. ``sqlite:///tune.db``.
            plan: what is looked for; settings must be those the study was begun with.
            lock_folder: where workers meet when the database is on a server; SQLite's lock lies
                beside its file.

        Raises:
            OutputError: the storage cannot be opened.
            RecipeError: the study was begun with other settings.
        """
        self.plan = plan
        self._token = uuid.uuid4().hex
        self.lock = FileLock(_lock_path(url, lock_folder), timeout=_LOCK_TIMEOUT_S)
        sqlite = url.startswith("sqlite")
        options = {"connect_args": {"timeout": _BUSY_S}} if sqlite else {"pool_pre_ping": True}
        try:
            with self.lock:  # two workers that make the tables at once trip over each other
                self._storage = RDBStorage(url, engine_kwargs=options)
                self.study = optuna.create_study(
                    storage=self._storage,
                    study_name=plan.name,
                    sampler=UntriedSampler(plan),
                    pruner=optuna.pruners.MedianPruner(
                        n_startup_trials=5, n_warmup_steps=PRUNING_SHARE
                    ),
                    direction="maximize",
                    load_if_exists=True,
                )
                self._agree(url)
        except (SQLAlchemyError, ImportError, OSError, RuntimeError) as exc:
            if isinstance(exc, JobError):
                raise
            reason = " ".join(str(exc).split())[:200]
            raise OutputError(
                f"{url}: cannot be used as storage ({reason}). Give e.g. sqlite:///tune.db."
            ) from exc

    def _agree(self, url: str) -> None:
        """Note the settings in a new study; compare them in one that exists."""
        for key, value in (self.plan.settings or {}).items():
            known = self.study.user_attrs
            if key not in known:
                self.study.set_user_attr(key, value)
            elif known[key] != value:
                raise RecipeError(
                    f"{url}: study {self.plan.name} was begun with another {key} "
                    f"({_shortly(known[key], value)}). Use the same, or another --storage."
                )

    # --- claiming -------------------------------------------------------------------------------

    def claim(self) -> Trial | None:
        """Take the next trial: a requeued one first, else a new one; None where all are taken."""
        with self.lock:
            self._requeue_the_dead()
            rows = self.study.get_trials(deepcopy=False)
            queued = any(row.state == TrialState.WAITING for row in rows)
            if not queued and len(rows) >= self.plan.trials:
                return None
            trial = self.study.ask(fixed_distributions=dict(self.plan.space))
            starts = 1 + _starts(self._row(trial.number))
            owner = {"token": self._token, **_this_process(), "starts": starts}
            trial.set_user_attr("owner", {**owner, "claimed": time.time()})
            return trial

    def _requeue_the_dead(self) -> None:
        """Put trials whose worker is gone back into the queue; only under the lock."""
        for row in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            owner = row.user_attrs.get("owner")
            if owner is not None and owner["token"] != self._token and _alive(owner, row):
                continue
            if _starts(row) >= MAX_STARTS:
                _LOG.warning(
                    "trial %d: its process died %d times; it counts as failed.",
                    row.number,
                    MAX_STARTS,
                )
                self._note(row.number, "notes", {"error": f"its process died {MAX_STARTS} times"})
                self._set_state(row.number, TrialState.FAIL)
            else:
                _LOG.info("trial %d: its process is gone; requeued.", row.number)
                self._set_state(row.number, TrialState.WAITING)

    @contextmanager
    def holding(self, trial: Trial) -> Iterator[None]:
        """Show that the claimed trial's worker lives; requeue the trial if it is interrupted."""
        stop = threading.Event()
        thread = threading.Thread(target=self._beat, args=(trial.number, stop), daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            with self.lock:
                if self.mine(trial):
                    owner = self._row(trial.number).user_attrs["owner"]
                    owner = {**owner, "starts": owner["starts"] - 1}  # stopped, it did not kill
                    self._note(trial.number, "owner", owner)
                    self._set_state(trial.number, TrialState.WAITING)
            raise
        finally:
            stop.set()
            thread.join()

    def _beat(self, number: int, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_S):
            try:
                self._note(number, "beat", time.time())
            except (optuna.exceptions.OptunaError, SQLAlchemyError) as exc:
                _LOG.debug("trial %d: no heartbeat written (%s).", number, exc)
        self._storage.remove_session()

    # --- reporting ------------------------------------------------------------------------------

    def mine(self, trial: Trial) -> bool:
        """Whether the trial still is this worker's: a machine that slept may have lost it."""
        row = self._row(trial.number)
        owner = row.user_attrs.get("owner", {})
        return row.state == TrialState.RUNNING and owner.get("token") == self._token

    def report(self, trial: Trial, value: float, *, share: int) -> bool:
        """Note an intermediate value and say whether the trial should stop.

        Args:
            trial: claimed by this worker.
            value: the objective so far.
            share: how much of the run is done, per cent. A share noted before a kill stands.
        """
        if share not in self._row(trial.number).intermediate_values:
            trial.report(value, share)
        return trial.should_prune()

    def settle(
        self,
        trial: Trial,
        state: TrialState,
        *,
        value: float | None = None,
        notes: Values | None = None,
    ) -> bool:
        """End a trial.

        Args:
            trial: claimed by this worker.
            state: COMPLETE with a value, PRUNED or FAIL.
            value: the objective.
            notes: plain values kept with the trial, as its user attribute ``notes``.

        Returns:
            False, and nothing is written, where another worker has taken the trial over.
        """
        with self.lock:
            if not self.mine(trial):
                return False
            if notes:
                self._note(trial.number, "notes", dict(notes))
            self.study.tell(trial, value, state=state)
            return True

    def rows(self) -> list[FrozenTrial]:
        """All trials by number."""
        return self.study.get_trials(deepcopy=False)

    def unfinished(self) -> list[int]:
        """Numbers of the trials that wait or run."""
        return [row.number for row in self.rows() if not row.state.is_finished()]

    def _row(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    def _id(self, number: int) -> int:
        study = self._storage.get_study_id_from_name(self.plan.name)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)

    def _note(self, number: int, key: str, value: object) -> None:
        self._storage.set_trial_user_attr(self._id(number), key, value)

    def _set_state(self, number: int, state: TrialState) -> None:
        self._storage.set_trial_state_values(self._id(number), state)


def _lock_path(url: str, folder: Path) -> Path:
    """Where the workers of a storage meet.

    Raises:
        OutputError: no database, one in memory, or a folder that cannot be made.
    """
    try:
        parsed = make_url(url)
    except SQLAlchemyError as exc:
        raise OutputError(f"--storage {url!r} is no database. Try sqlite:///tune.db.") from exc
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise OutputError(
                f"--storage {url!r} is forgotten with its process. Give e.g. sqlite:///tune.db."
            )
        file = Path(str(parsed.database))
        folder, name = file.parent, f"{file.name}.lock"
    else:
        name = "claims.lock"
    make_folder(folder, option="--storage")
    return folder / name


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"place": _place(), "pid": pid, "born": psutil.Process(pid).create_time()}


def _place() -> str:
    """Name this machine, and within it the container: process ids mean nothing elsewhere."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return f"{platform.node()}/{namespace}"


def _starts(row: FrozenTrial) -> int:
    return int(row.user_attrs.get("owner", {}).get("starts", 0))


def _alive(owner: Values, row: FrozenTrial) -> bool:
    """Whether the process that holds a trial lives, as far as can be seen from here."""
    if owner["place"] != _place():
        last = max(float(row.user_attrs.get("beat", 0)), float(owner["claimed"]))
        return time.time() - last < GRACE_S
    try:
        process = psutil.Process(int(owner["pid"]))
        same = abs(process.create_time() - float(owner["born"])) < GRACE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _shortly(before: object, now: object) -> str:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *now]:
            if before.get(key) != now.get(key):
                return f"{key}: {_shortly(before.get(key), now.get(key))}"
    return f"{before!r}, now {now!r}"
