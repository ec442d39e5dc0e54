"""What the C library does with memory that a training gives back: keep it, and it is faster."""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Of ``mallopt(3)``."""
_KEPT_BYTES = 2**31 - 1
_MAPPED_FROM = (2**30, 2**25)
"""Bytes; C libraries before glibc 2.35 take no more than the second."""


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, for the next training step.

    By default glibc asks the system for every large tensor anew and gives it back at once, and the
    system clears each page before it hands it out. A convolution net of 256-pixel crops spent a
    third of its time on a CPU that way (``EXPERIMENTS.md``). The process then holds the most that
    it ever used until it ends. Calling it again does nothing more.

    Returns:
        Whether it was set: only glibc, so Linux, has the switch.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mapped = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _MAPPED_FROM)
    return bool(mapped and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
