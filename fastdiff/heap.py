"""What the C library does with memory that tensors have given back. glibc's; elsewhere nothing is changed."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h


def keep_freed() -> bool:
    """Keep freed memory for the next tensor instead of handing it back to the system; whether that could be had.

    A network call on a CPU gives back and asks for hundreds of megabytes, and every page that comes anew has to be
    cleared first. Of the whole process: entry points call it, the library never does.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, -1))
    return False


def hand_back() -> None:
    """Hand back now what is free."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
