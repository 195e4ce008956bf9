"""Samplers: they see only x = x0 + sigma eps and denoise(x, sigma) -> x0."""

from .ddim import DDIM, PRESETS, preset
from .heun import Heun

SOLVERS = {"heun": Heun}  # by the name of a sampler; every other name is a preset of DDIM

__all__ = ["DDIM", "Heun", "PRESETS", "SOLVERS", "preset"]
