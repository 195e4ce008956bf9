"""Memory: the peak during a piece of work, and the size of a cached trunk."""

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..device import release_freed_memory
from .macs import on_meta

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def peak_mb(work: Callable[[], object], device: torch.device) -> float | None:
    """Peak memory of work() in MB (10^6 bytes); None where it cannot be measured.

    On CUDA: everything that PyTorch had allocated at the peak, weights and inputs included. On a Linux CPU: the rise of
    the peak resident set over the resident set before, which excludes weights. Call work() once before: a first call
    also counts memory that libraries keep from it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) / 1e6
    if device.type != "cpu" or not _reset_peak():
        return None
    before = _peak_kib()
    work()
    return (_peak_kib() - before) * 1024 / 1e6


def _reset_peak() -> bool:
    """Set the peak to what is resident now; returns whether that is possible here.

    Freed memory that the C library keeps is released first: work that reuses it would seem to need none.
    """
    release_freed_memory()
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return _peak_kib() is not None


def _peak_kib() -> int | None:
    """The peak resident set, read from /proc: psutil has no peak on Linux, and the one of getrusage cannot be reset."""
    found = re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(), re.M)
    return int(found[1]) if found else None


def trunk_bytes(
    family: str, arch: dict, shape: tuple[int, int, int], branch: int, itemsize: int, labels: bool = False
) -> int:
    """Bytes that a cache keeps per image at this branch, with `itemsize` bytes a number: the size of the state that
    enters up(branch - 1), or of the output (branch 0), counted on meta tensors. With guidance it keeps twice as much.

    Raises ValueError for a branch that the network does not have.
    """
    out, trunk = on_meta(family, arch, shape, branch, labels)(branch)
    return _numbers(trunk if branch else out) * itemsize


def _numbers(state) -> int:
    """The number of elements of a state: a tensor, None, or a tuple of states (NCSN++ carries (x, aux))."""
    if isinstance(state, Tensor):
        return state.numel()
    return 0 if state is None else sum(map(_numbers, state))
