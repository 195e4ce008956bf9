"""Accelerators as plans: frozen answers to questions about a trajectory. Nothing here touches a network."""

from .deepcache import DeepCache
from .skip_tuning import SkipTuning

__all__ = ["DeepCache", "SkipTuning"]
