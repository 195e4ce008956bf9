"""Samplers: they see only x = x0 + sigma eps and denoise(x, sigma) -> x0."""

from .ddim import DDIM, PRESETS, preset

__all__ = ["DDIM", "PRESETS", "preset"]
