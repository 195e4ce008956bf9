"""Samplers: they see only x = x0 + sigma eps and denoise(x, sigma) -> x0."""

from .base import SAMPLERS, Sampler, register
from .ddim import DDIM, PRESETS, preset
from .dpmpp_2m import DPMpp2M
from .euler import Euler
from .heun import Heun
from .plms import PLMS
from .unipc import UniPC

__all__ = ["DDIM", "PLMS", "PRESETS", "SAMPLERS", "DPMpp2M", "Euler", "Heun", "Sampler", "UniPC", "preset", "register"]
