"""What the machine was like while something was measured: a time without it is half a time."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

CPUINFO, STAT = Path("/proc/cpuinfo"), Path("/proc/stat")
BUSY = 0.1  # share of the cores' time beyond which other processes spoil a measurement
SHORT = 0.25  # seconds of a core below which the kernel's counters, in ticks of 10 ms, tell nothing


@dataclass
class Conditions:
    """threads: of PyTorch on the CPU. cores: that this process may use. clock_mhz: of the device, mean over cores.
    load_average: over the last minute. others: share 0 .. 1 of those cores' time that other processes used.
    None: not known here.

    Other processes are all but this one and those of its children that have ended and been waited for. On a virtual
    machine, time stolen by its host counts as others'. What others do on a GPU is not seen.
    """

    threads: int
    cores: int
    clock_mhz: float | None = None
    load_average: float | None = None
    others: float | None = None

    @property
    def busy(self) -> bool:
        """Whether others used more than a tenth of the cores; False where that is not known."""
        return self.others is not None and self.others > BUSY

    @property
    def said(self) -> str:
        if self.others is None:
            return "what other processes used is not known here"
        found = f"other processes used {100 * self.others:.0f} % of {self.cores} core{'s' * (self.cores != 1)}"
        return f"{found}: these times are not to be trusted" if self.busy else found


@contextmanager
def watched(device: torch.device | None = None) -> Iterator[Conditions]:
    """Yield Conditions whose clock_mhz, load_average and others are filled when the block ends, also by an error.

    device: whose clock to read; None and cpu mean the CPU.
    """
    cores = _cores()
    found = Conditions(torch.get_num_threads(), len(cores))
    before, own = _ticks(cores), _own()
    try:
        yield found
    finally:
        found.others = _others(before, _ticks(cores), _own() - own)
        found.clock_mhz = _cuda_mhz(device) if device is not None and device.type == "cuda" else _cpu_mhz()
        found.load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _own() -> float:
    """CPU seconds of this process and of its children that were waited for."""
    return sum(os.times()[:4])


def _ticks(cores: list[int]) -> tuple[float, float] | None:
    """Seconds since boot that these cores were busy (stolen ones too), and in all. None where no one counts them."""
    try:
        rows = re.findall(r"^cpu(\d+) (.+)$", STAT.read_text(), re.M)
    except OSError:
        return None
    counts = [list(map(int, row.split()))[:8] for core, row in rows if int(core) in cores]
    if not counts:
        return None
    idle, total = sum(sum(row[3:5]) for row in counts), sum(map(sum, counts))  # idle and iowait; guest is in user
    return (total - idle) / os.sysconf("SC_CLK_TCK"), total / os.sysconf("SC_CLK_TCK")


def _others(before: tuple | None, after: tuple | None, own: float) -> float | None:
    """others = (busy - own) / all, of what the cores spent between two counts, in seconds."""
    if before is None or after is None:
        return None
    busy, total = (late - early for early, late in zip(before, after))
    return min(max((busy - own) / total, 0.0), 1.0) if total >= SHORT else None


def _cpu_mhz() -> float | None:
    try:
        found = re.findall(r"^cpu MHz\s*: ([\d.]+)$", CPUINFO.read_text(), re.M)
    except OSError:
        return None
    return sum(map(float, found)) / len(found) if found else None


def _cuda_mhz(device: torch.device) -> float | None:
    try:
        return float(torch.cuda.clock_rate(device))
    except Exception:  # it asks a library that need not be there, each kind of whose absence has its own error
        return None
