"""One normal form for all U-Nets (rungs), and the one function that runs them.

A U-Net is K rungs. Rung i makes skip i on the way down and eats it on the way up; rung 0 is the full-resolution one
(`conv_in`), rung K - 1 the innermost. A trailing down- or upsample belongs to the rung it closes, so that the state
entering `up(i)` is exactly the main-branch operand of concat i: the one tensor that DeepCache keeps.
"""

from typing import Any, Protocol

from torch import Tensor

Emb = Any  # whatever the network's blocks need to know of noise level and condition
State = Any  # what travels between rungs; opaque, because NCSN++ carries (x, aux)


class UNet(Protocol):
    """A trained noise- or data-predicting network, cut into rungs. Only skips are plain tensors."""

    rungs: int  # K = number of skips = number of decoder concats

    def embed(self, c_noise: Tensor, cond: Tensor | None) -> Emb:
        """c_noise (B) and condition (B) -> embedding."""

    def down(self, i: int, h: State, emb: Emb) -> tuple[State, Tensor]:
        """Encoder part of rung i -> state, skip_i (B C_i H_i W_i). `down(0)` takes the image."""

    def mid(self, h: State, emb: Emb) -> State:
        """The bottleneck."""

    def up(self, i: int, h: State, skip: Tensor, emb: Emb) -> State:
        """Decoder part of rung i: concat, block, attention, trailing upsample."""

    def head(self, h: State, emb: Emb) -> Tensor:
        """State after `up(0)` -> output (B C_out H W)."""


def walk(unet, x, c_noise, cond, scales, branch=None, trunk=None) -> tuple[Tensor, State]:
    """Run a U-Net once, whole or only its shallow part.

    x (B C H W), c_noise (B), cond (B) or None, scales (K): factor of skip i where rung i eats it (Skip-Tuning,
    Def. 3.1). A tensor argument, never a constant, so that sweeping rho compiles nothing anew. None: every factor is 1,
    and nothing is multiplied.

    `trunk` None: every rung runs, and the state entering up(branch - 1) comes back as the trunk.
    `trunk` given: only rungs 0 .. branch - 1 run, with the trunk in place of the deeper part (DeepCache, eq. 4 and 5;
    `branch` is the paper's m, counted from 1). The trunk is read, never written to.

    Returns the output (B C_out H W) and the trunk (None without a branch).
    """
    emb = unet.embed(c_noise, cond)
    depth = unet.rungs if trunk is None else branch
    h, skips = x, []
    for i in range(depth):
        h, skip = unet.down(i, h, emb)
        skips.append(skip)
    h = unet.mid(h, emb) if trunk is None else trunk
    for i in reversed(range(depth)):
        if branch is not None and i == branch - 1:
            trunk = h
        skip = skips.pop()  # eaten skips are let go: what comes next finds their memory
        h = unet.up(i, h, skip if scales is None else skip * scales[i], emb)
    return unet.head(h, emb), trunk
