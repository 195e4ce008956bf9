"""What becomes of memory that was given back: tensors' by the C library (glibc's; elsewhere nothing is changed),
frames' by Python."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_Result = TypeVar("_Result")

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


def in_one_stack(call: Callable[[], _Result]) -> _Result:
    """The result of call(), in which all Python frames lie in one piece of memory, as deep as anybody calls.

    CPython (3.11 and later) keeps frames in pieces of 16 kB and gives a piece back as soon as it is empty. A loop that
    happens to run at the end of one asks for the next and gives it back in every call it makes, and each time the cores
    of other threads are told: seen to cost 6 % of a network call, or nothing, by how deep the loop was called from.
    """
    return call()


# A frame so large that its piece is a megabyte, of which it takes a little over half and touches nothing.
in_one_stack.__code__ = in_one_stack.__code__.replace(co_stacksize=70_000)
