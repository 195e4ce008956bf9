"""What a trajectory costs: operations and seconds."""

from .latency import Throughput, throughput
from .macs import Cost, call_cost, trajectory_cost

__all__ = ["Cost", "Throughput", "call_cost", "throughput", "trajectory_cost"]
