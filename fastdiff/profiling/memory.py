"""Bytes: the peak of what really ran, and what a cached trunk holds by the network's shapes."""

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..device import release_freed_memory
from .macs import on_meta

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def peak_mb(work: Callable[[], object], device: torch.device) -> float | None:
    """Peak memory of work() in MB (10^6 bytes); None where it cannot be had.

    On CUDA all that PyTorch had allocated at the peak, weights and inputs too. On a Linux CPU the rise of the resident
    set's high-water mark over what was resident before: weights do not count, and a first call counts what libraries
    keep from it, so call work() once before.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) / 1e6
    if device.type != "cpu" or not _reset():
        return None
    before = _kib("VmHWM")
    work()
    return (_kib("VmHWM") - before) * 1024 / 1e6


def _reset() -> bool:
    """Bring the high-water mark down to what is resident; whether that can be done here.

    Freed memory that the C library kept is handed back first: work that found it there would seem to need none.
    """
    release_freed_memory()
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return _kib("VmHWM") is not None


def _kib(name: str) -> int | None:
    found = re.search(rf"^{name}:\s*(\d+) kB$", STATUS.read_text(), re.M)
    return int(found[1]) if found else None


def trunk_bytes(
    family: str, arch: dict, shape: tuple[int, int, int], branch: int, itemsize: int, labels: bool = False
) -> int:
    """Bytes that DeepCache keeps for one image of a batch at this branch, `itemsize` bytes a number: the state entering
    up(branch - 1), counted on meta tensors. Guidance runs two halves for each image and keeps twice this.

    Raises ValueError for a branch that the network does not have.
    """
    _, trunk = on_meta(family, arch, shape, branch, labels)(branch)
    return _numbers(trunk) * itemsize


def _numbers(state) -> int:
    """How many numbers a state holds: a tensor, None, or a tuple of states (NCSN++ carries (x, aux))."""
    if isinstance(state, Tensor):
        return state.numel()
    return 0 if state is None else sum(map(_numbers, state))
