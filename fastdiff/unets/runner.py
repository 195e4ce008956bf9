"""How a network is run: its two functions, whole and shallow, eager or compiled; and the layout of its memory."""

import time
import types
from collections.abc import Callable
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from ..device import COMPILE
from .protocol import State, walk

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SMALL = 1024  # pixels; for smaller channels-last maps PyTorch 2.14 computes norms group by group, with strides


class Runner:
    """full(x, c_noise, cond, scales) -> output, trunk; shallow(x, c_noise, cond, scales, trunk) -> output.

    branch None: there is no shallow function. compile: `none` runs eagerly. `default` makes one graph of each function
    with torch.compile; it accepts no other shapes than the first, and never falls back to eager. `reduce-overhead`
    replays the graphs as CUDA graphs. Factors, noise levels, labels and trunk are tensor arguments: other values of
    rho, interval, steps or seed compile nothing again. tf32: whether a GPU may round the operands of float32 products;
    None: torch's own setting. Raises ValueError for other values.
    """

    def __init__(self, unet, branch: int | None = None, compile: str = "none", tf32: bool | None = None):
        if compile not in COMPILE:
            raise ValueError(f"compile '{compile}' is not one of: {', '.join(COMPILE)}")
        self.branch, self.compile, self._unet, self._tf32 = branch, compile, unet, tf32
        self._products = nullcontext if tf32 is None else lambda: products("tf32" if tf32 else "ieee")

        def full(x, c_noise, cond, scales):
            return walk(unet, x, c_noise, cond, scales, branch)

        def shallow(x, c_noise, cond, scales, trunk):
            return walk(unet, x, c_noise, cond, scales, branch, trunk)[0]

        self._made: list[_Graph] = []
        self._full, self._shallow = self._graph(full), self._graph(shallow)

    def _graph(self, function: Callable) -> Callable:
        if self.compile == "none":
            return function
        self._made.append(_Graph(function, self.compile))
        return self._made[-1]

    def full(self, x: Tensor, c_noise: Tensor, cond: Tensor | None, scales: Tensor | None) -> tuple[Tensor, State]:
        with self._products():
            out, trunk = self._full(x, c_noise, cond, scales)
        if self.compile == "reduce-overhead":  # the next replay overwrites these outputs
            trunk = _copied(trunk)
        return out, trunk

    def shallow(self, x: Tensor, c_noise: Tensor, cond: Tensor | None, scales: Tensor | None, trunk: State) -> Tensor:
        with self._products():
            return self._shallow(x, c_noise, cond, scales, trunk)

    def eagerly(self, branch: int | None) -> "Runner":
        """A Runner of the same network for this branch, without graphs."""
        return Runner(self._unet, branch, tf32=self._tf32)

    @property
    def static(self) -> bool:
        """Whether all calls must have the same shapes."""
        return self.compile != "none"

    @property
    def graphs(self) -> int:
        """Graphs made so far: 0, 1 or 2."""
        return sum(graph.seconds is not None for graph in self._made)

    @property
    def seconds(self) -> float:
        """Seconds spent on making them, including the first run of each."""
        return sum(graph.seconds or 0.0 for graph in self._made)


class _Graph:
    """A compiled function and the seconds of its first call."""

    def __init__(self, function: Callable, mode: str):
        # torch counts recompilations per code object, and all branches share the code of `walk`.
        copy = types.FunctionType(
            function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
        )
        self.function, self.seconds = torch.compile(copy, fullgraph=True, dynamic=False, mode=mode), None

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
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv
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
