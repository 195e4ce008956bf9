"""One normal form for all U-Nets (rungs), and the one function that runs them.

A U-Net is K rungs. Rung i makes skip i on the way down and consumes it on the way up; rung 0 is the full-resolution one
(`conv_in`), rung K - 1 the innermost. A trailing down- or upsample belongs to the rung it closes, so that the state
entering `up(i)` is exactly the main-branch operand of concat i: the one tensor that DeepCache keeps.
"""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

Emb = Any  # whatever the network's blocks need to know of noise level and condition
State = Any  # what travels between rungs; opaque, because NCSN++ carries (x, aux)


# (rung, main operand, skip) -> the pair that the decoder joins
JoinAt = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


class Join(Protocol):
    """What one accelerator does where the decoder joins (`fastdiff.accelerators.joins_of`). rungs: where it acts."""

    @property
    def function(self) -> Callable[[Any, Any, Any], tuple[Any, Any]]: ...

    @property
    def rungs(self) -> tuple[int, ...]: ...


class UNet(Protocol):
    """A trained noise- or data-predicting network, cut into rungs. Only skips are plain tensors."""

    rungs: int  # K = number of skips = number of decoder concats; 0: not cut, `mid` is the whole network

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


def walk(
    unet: UNet,
    x: Tensor,
    c_noise: Tensor,
    cond: Tensor | None,
    join: JoinAt | None = None,
    branch: int | None = None,
    trunk: State = None,
) -> tuple[Tensor, State]:
    """Run a U-Net once, whole or only its shallow part.

    x (B C H W), c_noise (B), cond (B) or None. join: what accelerators do with the two operands where rung i joins
    them; None leaves them as they are. It acts on the first entry of a state that is a tuple.

    `trunk` None: every rung runs, and the state entering up(branch - 1), before the join, comes back as the trunk.
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
        skip = skips.pop()  # a skip that was joined is freed: what comes next finds its memory
        if join is not None:
            main, skip = join(i, h[0] if isinstance(h, tuple) else h, skip)
            h = (main, *h[1:]) if isinstance(h, tuple) else main
        h = unet.up(i, h, skip, emb)
    return unet.head(h, emb), trunk
