"""The cost of a trajectory in operations, seconds and bytes, and the state of the machine while it is measured."""

from .conditions import Conditions, watched
from .latency import (
    Arm,
    Latency,
    Throughput,
    WarmUp,
    cuda_events,
    interleaved,
    median_interval,
    throughput,
    timed,
    warm_up,
)
from .macs import Cost, call_cost
from .memory import peak_mb, trunk_bytes

__all__ = [
    "Arm",
    "Conditions",
    "Cost",
    "Latency",
    "Throughput",
    "WarmUp",
    "call_cost",
    "cuda_events",
    "interleaved",
    "median_interval",
    "peak_mb",
    "throughput",
    "timed",
    "trunk_bytes",
    "warm_up",
    "watched",
]
