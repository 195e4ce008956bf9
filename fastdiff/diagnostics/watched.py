"""A network that shows what enters each join of its decoder. Nothing is hooked or patched."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any


class Watched:
    """The network itself. Before it joins at rung i, it calls see(i, u, d).

    u (B C_u H W): the main branch, which DeepCache keeps at branch i + 1. d (B C_d H W): the skip, already multiplied
    by its factor of Skip-Tuning.
    """

    def __init__(self, unet: Any, see: Callable):
        self.unet, self.see = unet, see

    def __getattr__(self, name: str):
        return getattr(self.unet, name)

    def up(self, i: int, h: Any, skip: Any, emb: Any):
        self.see(i, h[0] if isinstance(h, tuple) else h, skip)  # NCSN++ carries (x, aux) and joins x
        return self.unet.up(i, h, skip, emb)


def watched(denoiser: Any, see: Callable):
    """The denoiser with its network watched. Every call is full and eager."""
    return replace(denoiser.uncached(), unet=Watched(denoiser.unet, see), runner=None)
