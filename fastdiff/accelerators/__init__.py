"""Accelerators: plans that answer questions about a trajectory. Nothing here touches a network."""

from .base import ACCELERATORS, RUN, Accelerator, Sources, Trajectory, register
from .deepcache import DeepCache
from .plan import Call, Join, branch_of, cache_of, joins_of, plan
from .skip_tuning import SkipTuning

__all__ = [
    "ACCELERATORS",
    "RUN",
    "Accelerator",
    "Call",
    "DeepCache",
    "Join",
    "SkipTuning",
    "Sources",
    "Trajectory",
    "branch_of",
    "cache_of",
    "joins_of",
    "plan",
    "register",
]
