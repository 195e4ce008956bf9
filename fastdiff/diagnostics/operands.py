"""What enters each decoder concat of a network, looked at from beside it: nothing is hooked or patched."""

from collections.abc import Callable
from dataclasses import replace

from ..accelerators import DeepCache


class Watched:
    """The network itself, which tells see(i, u, d) the operands of every concat i before it runs it.

    u (B C_u H W): the main branch, which is DeepCache's trunk of branch i + 1. d (B C_d H W): the skip as it is eaten,
    its factor of Skip-Tuning included.
    """

    def __init__(self, unet, see: Callable):
        self.unet, self.see = unet, see

    def __getattr__(self, name: str):
        return getattr(self.unet, name)

    def up(self, i, h, skip, emb):
        self.see(i, h[0] if isinstance(h, tuple) else h, skip)  # NCSN++ carries (x, aux), and it is x that is joined
        return self.unet.up(i, h, skip, emb)


def watched(denoiser, see: Callable):
    """The denoiser with every call full, eager, and looked at."""
    return replace(denoiser, unet=Watched(denoiser.unet, see), deepcache=DeepCache(), runner=None)
