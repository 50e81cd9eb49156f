"""What the allocator holds free goes back to the system."""

import ctypes
import sys


def return_free_memory() -> bool:
    """Have glibc return what it holds free.

    By itself it returns none that lies between pieces in use, which grows over hours of
    tagging though no more is in use (docs/results.md, "Memory over 200,000 docs").

    RETURNS (bool): Whether there is an allocator that was asked.
    """
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True
