"""Samplers: they see only x = x0 + sigma eps and denoise(x, sigma) -> x0."""

from .ddim import DDIM, PRESETS, preset
from .dpmpp_2m import DPMpp2M
from .edm_ablation import EDMAblation
from .euler import Euler
from .heun import Heun
from .plms import PLMS
from .unipc import UniPC

# by the name of a sampler; every other name is a preset of DDIM
SOLVERS = {"dpmpp_2m": DPMpp2M, "edm_ablation": EDMAblation, "euler": Euler, "heun": Heun, "plms": PLMS, "unipc": UniPC}

__all__ = ["DDIM", "DPMpp2M", "EDMAblation", "Euler", "Heun", "PLMS", "PRESETS", "SOLVERS", "UniPC", "preset"]
