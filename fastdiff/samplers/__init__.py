"""Samplers: they see only x = x0 + sigma eps and denoise(x, sigma) -> x0."""

from .ddim import DDIM, PRESETS, preset
from .dpmpp_2m import DPMpp2M
from .euler import Euler
from .heun import Heun
from .plms import PLMS
from .unipc import UniPC

# by the name of a sampler; every other name is a preset of DDIM
SOLVERS = {"dpmpp_2m": DPMpp2M, "euler": Euler, "heun": Heun, "plms": PLMS, "unipc": UniPC}

__all__ = ["DDIM", "DPMpp2M", "Euler", "Heun", "PLMS", "PRESETS", "SOLVERS", "UniPC", "preset"]
