"""What reading ahead and writing behind keep when a step fails."""

import time

import pytest

from headframe.engine.mapping.pipeline import run_pipeline


def _failing_at(number, step):
    def run(value):
        if value == number:
            raise ValueError(f"at {number}")
        return step(value)

    return run


def _same(value):
    return value


def test_batches_come_in_order():
    written = []
    run_pipeline(range(9), read=_same, compute=lambda v: v * 10, write=written.append)
    assert written == [v * 10 for v in range(9)]


@pytest.mark.parametrize("broken", ["read", "compute"])
@pytest.mark.parametrize("at", [0, 1, 2, 3, 5, 8])
def test_what_was_computed_before_an_error_is_written(broken, at):
    written = []

    def write_slowly(value):
        time.sleep(0.02)
        written.append(value)

    steps = {"read": _same, "compute": _same}
    steps[broken] = _failing_at(at, _same)
    with pytest.raises(ValueError, match=f"at {at}"):
        run_pipeline(range(9), **steps, write=write_slowly)
    assert written == list(range(at))


@pytest.mark.parametrize("at", [0, 1, 4, 8])
def test_nothing_is_written_after_an_error_of_writing(at):
    written = []
    with pytest.raises(ValueError, match=f"at {at}"):
        run_pipeline(range(9), read=_same, compute=_same, write=_failing_at(at, written.append))
    assert written == list(range(at))
