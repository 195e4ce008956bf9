"""How a network is run: its two functions, whole and shallow, eager or compiled; and the layout of its memory."""

import time
import types
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..device import COMPILE
from .protocol import Join, JoinAt, State, UNet, walk

Factors = Sequence[Tensor | None]  # per join (K, knobs), or None: that join has no effect on the call

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SMALL = 1024  # pixels; for smaller channels-last maps PyTorch 2.14 computes norms group by group, with strides


class Runner:
    """The functions of one network: every rung (`full`), and the rungs above a kept trunk (`shallow`).

    joins: what accelerators do where the decoder joins (`fastdiff.accelerators.joins_of`). branch: where the kept
    tensor sits; None: nothing is kept; 0: the output is kept, and there is no shallow function. compile: `none` runs
    eagerly. `default` makes one graph of each function with torch.compile; it accepts no other shapes than the first,
    and never falls back to eager. `reduce-overhead` replays the graphs as CUDA graphs. Calls with guidance have twice
    the batch, and graphs of their own. Factors, noise levels, labels and trunk are tensor arguments: other values of a
    knob, other steps or seeds compile nothing again. tf32: whether a GPU may round the operands of float32 products;
    None: torch's own setting. Raises ValueError for another compile mode.
    """

    def __init__(
        self,
        unet: UNet,
        joins: Sequence[Join] = (),
        branch: int | None = None,
        compile: str = "none",
        tf32: bool | None = None,
    ):
        if compile not in COMPILE:
            raise ValueError(f"compile '{compile}' is not one of: {', '.join(COMPILE)}")
        self.joins, self.branch, self.compile, self._unet, self._tf32 = tuple(joins), branch, compile, unet, tf32
        self._products = nullcontext if tf32 is None else lambda: products("tf32" if tf32 else "ieee")
        self._made: dict[tuple[str, bool], Callable] = {}

    def _function(self, kind: str, guided: bool) -> Callable:
        if (kind, guided) not in self._made:
            unet, joins, branch = self._unet, self.joins, self.branch or None

            def full(x, c_noise, cond, factors):
                return walk(unet, x, c_noise, cond, _join(joins, factors), branch)

            def shallow(x, c_noise, cond, factors, trunk):
                return walk(unet, x, c_noise, cond, _join(joins, factors), branch, trunk)[0]

            function = full if kind == "full" else shallow
            self._made[kind, guided] = _Graph(function, self.compile) if self.static else function
        return self._made[kind, guided]

    def full(
        self, x: Tensor, c_noise: Tensor, cond: Tensor | None, factors: Factors = (), guided: bool = False
    ) -> tuple[Tensor, State]:
        """x (B C H W), c_noise (B), cond (B) -> the output (B C_out H W) and what the branch keeps (None without)."""
        with self._products():
            out, kept = self._function("full", guided)(x, c_noise, cond, tuple(factors))
        kept = out if self.branch == 0 else kept
        if self.compile == "reduce-overhead":  # the next replay writes where this one's outputs are
            kept = _copied(kept)
        return out, kept

    def shallow(
        self, x: Tensor, c_noise: Tensor, cond: Tensor | None, factors: Factors, trunk: State, guided: bool = False
    ) -> Tensor:
        """The output (B C_out H W), with a trunk in place of the deeper part."""
        with self._products():
            return self._function("shallow", guided)(x, c_noise, cond, tuple(factors), trunk)

    def eagerly(self, joins: Sequence[Join], branch: int | None) -> "Runner":
        """The same network's functions without graphs."""
        return Runner(self._unet, joins, branch, tf32=self._tf32)

    @property
    def static(self) -> bool:
        """Whether all calls must have the same shapes."""
        return self.compile != "none"

    @property
    def graphs(self) -> int:
        """Graphs made so far: 0 .. 2, with a guidance that changes from call to call up to 4."""
        return sum(isinstance(graph, _Graph) and graph.seconds is not None for graph in self._made.values())

    @property
    def seconds(self) -> float:
        """What making them took, the first run of each included."""
        return sum(graph.seconds or 0.0 for graph in self._made.values() if isinstance(graph, _Graph))


def _join(joins: Sequence[Join], factors: Factors) -> JoinAt | None:
    """What `walk` calls at each rung; None where no join has an effect."""
    if all(factor is None for factor in factors):
        return None

    def join(i: int, h: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        for member, factor in zip(joins, factors):
            if factor is not None and i in member.rungs:
                h, skip = member.function(h, skip, factor[i])
        return h, skip

    return join


class _Graph:
    """A compiled function and the seconds of its first call."""

    def __init__(self, function: Callable, mode: str):
        # torch counts recompilations per code object, and all branches share the code of `walk`.
        copy = types.FunctionType(
            function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
        )
        self.function = torch.compile(copy, fullgraph=True, dynamic=False, mode=mode)
        self.seconds: float | None = None

    def __call__(self, *arguments):
        if self.seconds is not None:
            return self.function(*arguments)
        begun = time.perf_counter()
        found = self.function(*arguments)
        self.seconds = time.perf_counter() - begun
        return found


@contextmanager
def products(precision: str):
    """Precision of float32 matrix products and convolutions on a GPU inside this block: `ieee` or `tf32`."""
    cudnn: Any = torch.backends.cudnn  # torch has no type for its `conv`
    backends = torch.backends.cuda.matmul, cudnn.conv
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = precision
        yield
    finally:
        for backend, was in zip(backends, before):
            backend.fp32_precision = was


def _copied(trunk: State) -> State:
    if isinstance(trunk, tuple):  # NCSN++ carries two tensors; one may be None
        return tuple(_copied(each) for each in trunk)
    return None if trunk is None else trunk.clone()


class SmallMapNorm(nn.GroupNorm):
    """GroupNorm that copies small channels-last maps to contiguous ones, and its result back to channels-last.

    On a CPU the two copies cost far less than the strides. In a graph the norm is fused.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or x.ndim != 4 or x.shape[2] * x.shape[3] >= SMALL:
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


def laid_out(unet: nn.Module, memory_format: str) -> nn.Module:
    """Change a network's weights, and so its states, to `memory_format`, a key of FORMATS. In place; returns it."""
    unet = unet.to(memory_format=FORMATS[memory_format])
    if memory_format == "channels_last" and next(unet.parameters()).device.type == "cpu":
        for module in list(unet.modules()):
            for name, norm in module.named_children():
                if type(norm) is nn.GroupNorm:
                    setattr(module, name, _small_map_norm(norm))
        if hasattr(unet, "channels_last"):
            unet.channels_last()
    return unet


def _small_map_norm(norm: nn.GroupNorm) -> SmallMapNorm:
    """The same norm with the same weights."""
    made = SmallMapNorm(norm.num_groups, norm.num_channels, norm.eps, affine=False)
    made.affine, made.weight, made.bias = norm.affine, norm.weight, norm.bias
    return made.train(norm.training)
