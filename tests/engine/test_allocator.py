"""Freed memory that is kept: fewer page faults for the same work."""

import os
import platform
import subprocess
import sys

import pytest

from headframe.engine import allocator
from headframe.engine.allocator import keep_freed_memory

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the switch")
def test_memory_is_asked_for_once_and_used_again():
    assert faults("keep_freed_memory()") * 5 < faults("True")


def test_glibc_takes_the_settings():
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


def test_a_c_library_without_the_switch_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()
