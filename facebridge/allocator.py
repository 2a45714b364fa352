"""Keep big activations in the heap: on Linux, glibc gives each back to the system and faults it in again.

What is computed stays the same to the bit; only the page faults go.
"""

import ctypes
import os
import sys

SWITCH = "FACEBRIDGE_KEEP_MEMORY"
"""Environment variable: 0 leaves the allocator as it is."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)
_ONE_GIB = 1 << 30


def keep_memory() -> bool:
    """Let this process keep the memory of big arrays for the next ones.

    Returns:
        Whether it was done: not outside Linux with glibc, and not where the environment says no.
    """
    if not sys.platform.startswith("linux") or os.environ.get(SWITCH) == "0":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, _ONE_GIB) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
