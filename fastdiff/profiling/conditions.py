"""The state of the machine during a measurement: other processes, clock, load. A time means little without them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

BUSY = 0.1  # share of the cores' time; if other processes use more, a measurement is not trusted
SHORT = 0.25  # seconds of a core; the kernel counts in ticks of 10 ms, too coarse for less


@dataclass
class Conditions:
    """threads: of PyTorch on the CPU. cores: that this process may use. clock_mhz: of the device, mean over cores.
    load_average: over the last minute. others: share in [0, 1] of those cores' time that other processes used. None:
    unknown on this machine.

    Other processes are all except this one and its children that have ended. On a virtual machine, time that the host
    takes away counts as others'. What others do on a GPU is not measured.
    """

    threads: int
    cores: int
    clock_mhz: float | None = None
    load_average: float | None = None
    others: float | None = None

    @property
    def busy(self) -> bool:
        """Whether others used more than a tenth of the cores; False if that is unknown."""
        return self.others is not None and self.others > BUSY

    @property
    def said(self) -> str:
        if self.others is None:
            return "what other processes used is not known here"
        found = f"other processes used {100 * self.others:.0f} % of {self.cores} core{'s' * (self.cores != 1)}"
        return f"{found}: these times are not to be trusted" if self.busy else found


@contextmanager
def watched(device: torch.device | None = None) -> Iterator[Conditions]:
    """Yield Conditions. clock_mhz, load_average and others are filled in when the block ends, also by an error.

    device: the device whose clock is read; None and cpu mean the CPU.
    """
    cores = _cores()
    found = Conditions(torch.get_num_threads(), len(cores))
    before, own = _seconds(cores), _own()
    try:
        yield found
    finally:
        found.others = _others(before, _seconds(cores), _own() - own)
        found.clock_mhz = _cuda_mhz(device) if device is not None and device.type == "cuda" else _cpu_mhz()
        found.load_average = psutil.getloadavg()[0]


def _cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _own() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _seconds(cores: list[int]) -> tuple[float, float] | None:
    """Seconds since boot that these cores were busy, and all their seconds. None if unknown."""
    try:
        rows = [row for core, row in enumerate(psutil.cpu_times(percpu=True)) if core in cores]
    except (OSError, psutil.Error):
        return None
    total = sum(sum(row[:8]) for row in rows)  # without guests, which user contains already
    return total - sum(row.idle + getattr(row, "iowait", 0.0) for row in rows), total


def _others(before: tuple | None, after: tuple | None, own: float) -> float | None:
    """others = (busy - own) / total, in seconds between two counts."""
    if before is None or after is None:
        return None
    busy, total = (late - early for early, late in zip(before, after))
    return min(max((busy - own) / total, 0.0), 1.0) if total >= SHORT else None


def _cpu_mhz() -> float | None:
    try:
        found = psutil.cpu_freq()
    except (OSError, NotImplementedError, AttributeError):  # AttributeError: psutil has no cpu_freq on this system
        return None
    return found.current if found else None


def _cuda_mhz(device: torch.device) -> float | None:
    try:
        return float(torch.cuda.clock_rate(device))
    except Exception:  # torch asks a library that may be missing, and every way of missing has its own error
        return None
