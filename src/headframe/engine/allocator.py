"""Memory that is freed and wanted again a moment later."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 512 * 2**20
_ARENAS = 2
TRAINING_BYTES = 2**31 - 1
"""What a training step frees may be more than a map's tiles; the most that the switch takes."""


def keep_freed_memory(most_bytes: int = 2 * _LARGE) -> bool:
    """Ask glibc to reuse large blocks rather than to return them to the kernel.

    Each tile, and each training step, frees and allocates the same blocks of megabytes. By
    default glibc maps such blocks anew every time, and the kernel clears every page: a third of
    the time of a map on two cores, and of a convolution net's training. Holds for the whole
    process; elsewhere than on glibc nothing happens.

    Args:
        most_bytes: free memory beyond this is returned nevertheless.

    Returns:
        Whether all three settings were taken.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = (
        (_M_MMAP_THRESHOLD, _LARGE),
        (_M_TRIM_THRESHOLD, most_bytes),
        (_M_ARENA_MAX, _ARENAS),
    )
    return all(mallopt(option, value) == 1 for option, value in settings)
