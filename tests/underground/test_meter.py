import time

import pytest

from headframe.underground import meter as module
from headframe.underground.meter import Meter


@pytest.fixture
def clock(monkeypatch):
    """Stand the clocks still; give a function that moves them on."""
    now = [0.0, 0.0]

    def sleep(wall, cpu):
        now[0] += wall
        now[1] += cpu

    monkeypatch.setattr(module, "_now", lambda: (now[0], now[1]))
    return sleep


def test_what_no_part_takes_is_the_rest(clock):
    meter = Meter(("read", "look", "glue"), rest="glue")
    for _ in range(2):
        with meter.frame():
            with meter.of("read"):
                clock(1, 0.5)
            clock(0.25, 0.25)
            meter.add({"look": 0.0, "glue": 0.0}, {})
    clock(9, 9)  # between frames nothing is counted
    assert meter.parts["read"].to_json() == {
        "frames": 2, "seconds": 2.0, "cpu_seconds": 1.0, "frames_per_second": 1.0,
        "frames_per_cpu_second": 2.0,
    }  # fmt: skip
    glue = meter.parts["glue"]
    assert (glue.seconds, glue.cpu_seconds, glue.frames) == (0.5, 0.5, 2)
    assert meter.parts["look"].to_json()["frames_per_second"] is None


def test_parts_measured_elsewhere_are_not_counted_twice(clock):
    meter = Meter(("look", "glue"), rest="glue")
    with meter.frame():
        clock(3, 6)
        meter.add({"look": 2.0, "glue": 0.5}, {"look": 5.0, "glue": 0.5})
    look, glue = meter.parts["look"], meter.parts["glue"]
    assert (look.seconds, look.cpu_seconds, look.frames) == (2, 5, 1)
    assert (glue.seconds, glue.cpu_seconds, glue.frames) == (1, 1, 1)


def test_a_frame_that_fails_is_counted(clock):
    meter = Meter(("read", "glue"), rest="glue")

    def fail():
        clock(1, 1)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), meter.of("read"):
        fail()
    assert meter.parts["read"].seconds == 1


def test_real_clocks():
    meter = Meter(("read", "glue"), rest="glue")
    with meter.of("read"):
        time.sleep(0.1)
    assert meter.parts["read"].seconds >= 0.1
    assert meter.parts["read"].cpu_seconds < meter.parts["read"].seconds
