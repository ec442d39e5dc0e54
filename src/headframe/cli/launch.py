"""Where the ``headframe`` command begins: large pages of memory first, then the command.

Networks move gigabytes through memory; in pages of 4 KiB a processor, above all a virtual one,
spends much of its time looking up where a page is. glibc asks Linux for pages of 2 MiB if it is
told so before a program starts, so the program starts itself once more. Results stay the same.
"""

import os
import sys
from collections.abc import Mapping, Sequence

HEAVY = frozenset(
    {
        *("train", "experiment", "tune", "evaluate", "map", "prompt", "propose", "refine"),
        *("underground", "enhance", "demo", "label"),
    }
)
"""Verbs that run networks."""

SWITCH = "GLIBC_TUNABLES"
LARGE_PAGES = "glibc.malloc.hugetlb=1"
_FIRST = (2, 35)
"""The version of glibc that has the switch."""


def start() -> None:
    """Run the command line; exits the process."""
    if wants_large_pages(sys.orig_argv, sys.argv, os.environ):
        os.environ[SWITCH] = LARGE_PAGES
        try:
            os.execv(sys.executable, sys.orig_argv)
        except OSError:  # without large pages it is slower, no more
            del os.environ[SWITCH]
    from headframe.cli.main import main

    main()


def wants_large_pages(
    command: Sequence[str], words: Sequence[str], environment: Mapping[str, str]
) -> bool:
    """Tell whether a command line is to start once more.

    Args:
        command: the interpreter with all it was given, ``sys.orig_argv``.
        words: ``sys.argv``.
        environment: a user's own setting of the switch is left alone.
    """
    heavy = len(words) > 1 and words[1] in HEAVY and "--help" not in words
    if not heavy or SWITCH in environment or not (sys.executable and command):
        return False
    return _glibc() >= _FIRST


def _glibc() -> tuple[int, ...]:
    """Version of glibc; empty elsewhere."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        return tuple(int(part) for part in version.split(".")) if name == "glibc" else ()
    except (AttributeError, ValueError, OSError):
        return ()
