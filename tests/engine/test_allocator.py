"""Freed memory that is kept: fewer page faults for the same work."""

import os
import subprocess
import sys

import pytest

from headframe.engine import allocator

WORK = """
import resource
from headframe.engine.allocator import keep_freed_memory
assert {keep}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bytearray(48 * 2**20)  # numpy would ask for huge pages, whose number is chance
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep):
    program = WORK.format(keep=keep)
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=plain
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has the switch")
def test_memory_is_asked_for_once_and_used_again():
    assert faults("keep_freed_memory()") * 5 < faults("True")


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)
    assert not allocator.keep_freed_memory()


def test_a_c_library_without_the_switch_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    assert not allocator.keep_freed_memory()


def test_an_older_c_library_gets_the_most_it_takes(monkeypatch):
    asked = []

    class Older:
        def mallopt(self, switch, value):
            asked.append((switch, value))
            return int(switch != -3 or value <= 2**25)

    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: Older())
    assert allocator.keep_freed_memory()
    assert asked == [(-3, 2**30), (-3, 2**25), (-1, 2**31 - 1)]
