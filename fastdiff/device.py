"""The device that a network runs on: its settings, what `auto` means, and its name in records.

torch is imported inside functions only: a finished cell is recognised without it.
"""

import ctypes
import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .knobs import build

BLOCK = 250  # consecutive seeds that are generated and kept together; a batch is not larger
PRECISIONS = ("bfloat16", "float32", "tf32")
COMPILE = ("default", "none", "reduce-overhead")
MEMORY_FORMATS = ("channels_last", "contiguous")

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # options of mallopt, from malloc.h


@dataclass(frozen=True)
class Device:
    """Where and how the network runs.

    name: cpu, cuda or cuda:<number>. precision: of weights and states; tf32 is float32 whose products a GPU rounds.
    batch: images per call. threads: of the CPU; None is torch's choice. compile: see `fastdiff.unets.Runner`.
    memory_format: of weights and states. Raises ValueError, with the menu, for other values.
    """

    name: str = "cpu"
    precision: str = "float32"
    batch: int = 50
    threads: int | None = None
    compile: str = "none"
    memory_format: str = "contiguous"

    def __post_init__(self):
        choices = {"precision": PRECISIONS, "compile": COMPILE, "memory_format": MEMORY_FORMATS}
        for knob, known in choices.items():
            if getattr(self, knob) not in known:
                menu = ", ".join(sorted([*known, *(["auto"] if knob == "precision" else [])]))
                raise ValueError(f"{knob} '{getattr(self, knob)}' is not one of: {menu}")
        if not self.name.startswith("cuda"):
            if self.precision == "tf32":
                raise ValueError(f"precision 'tf32' needs a GPU; use precision=float32 on device '{self.name}'")
            if self.compile == "reduce-overhead":
                raise ValueError(
                    f"compile 'reduce-overhead' needs CUDA graphs; use compile=default on device '{self.name}'"
                )
        if not 1 <= self.batch <= BLOCK:
            raise ValueError(f"device.batch is {self.batch}; 1 .. {BLOCK} images per call are possible")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"device.threads is {self.threads}; at least 1 is needed (null = torch's choice)")


def resolved_device(settings: dict[str, Any], exact: bool = False) -> Device:
    """Settings of the group `device` -> Device.

    Name `auto` becomes cuda if there is a GPU, else cpu. Precision `auto` becomes bfloat16 if the device has hardware
    for it, else float32. exact: precision `auto` is float32. Likelihoods ask for this: bfloat16 changed the embedded
    network's by 0.05 bits per dimension. Raises ValueError for an unknown device or one that is not there.
    """
    name, precision = settings.get("name", "auto"), settings.get("precision", "auto")
    kind = str(name).split(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device '{name}' is not one of: auto, cpu, cuda, cuda:<number>")
    if name == "auto":
        name = "cuda" if _has_cuda() else "cpu"
    elif kind == "cuda" and not _has_cuda():
        raise ValueError(f"device '{name}' was asked for, but torch finds no GPU; use device=cpu")
    if precision == "auto":
        precision = "bfloat16" if not exact and _has_bfloat16(name) else "float32"
    return build(Device, {**settings, "name": name, "precision": precision}, "device")


def device_name(device: Device) -> str:
    """The name of the hardware. Speed records are filed under it: a CPU's speed never stands in for a GPU's."""
    if device.name == "cpu":
        return f"{_cpuinfo('model name') or platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    import torch

    return torch.cuda.get_device_name(device.name)


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory for the next tensor. Returns whether it could (glibc only).

    A network call on a CPU frees and allocates hundreds of megabytes, and the system has to clear every new page. The
    setting acts on the whole process: entry points call this, the library does not.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, -1))
    return False


def release_freed_memory() -> None:
    """Give the memory that the C library keeps back to the system (glibc only)."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _has_cuda() -> bool:
    if sys.platform == "linux" and not Path("/dev/nvidiactl").exists() and not Path("/dev/dxg").exists():
        return False  # no driver: torch need not be imported
    import torch

    return torch.cuda.is_available()


def _has_bfloat16(name: str) -> bool:
    """Whether the device multiplies bfloat16 in hardware: GPUs from compute capability 8.0 (Ampere) on."""
    if name == "cpu":
        return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpuinfo("flags").split())
    import torch

    return torch.cuda.get_device_capability(name) >= (8, 0)


def _cpuinfo(field: str) -> str:
    """A field of /proc/cpuinfo; "" where there is none. psutil and platform know neither a CPU's name nor its flags,
    py-cpuinfo needs a second to find them, and torch.cpu would cost the import of torch."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")
    return ""
