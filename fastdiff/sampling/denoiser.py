"""Any trained network as `denoise(x, sigma) -> x0`, with the accelerators at work inside one trajectory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..accelerators import Accelerator, Call, Join, branch_of, cache_of, joins_of, plan
from ..accelerators.plan import Rows, check_branch, neutral_rows
from ..diffusion.noise_levels import NoiseLevels
from ..unets import Runner, build, laid_out
from ..unets.protocol import State
from ..weights.checkpoints import read_network
from ..weights.model_card import ModelCard

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64, "tf32": torch.float32}


def load_unet(
    card: ModelCard, device: str = "cpu", precision: str = "float32", memory_format: str = "contiguous"
) -> Any:
    """The card's network on a device, in evaluation mode. precision: bfloat16, float32 or float64. memory_format of
    its weights, which decides that of its states: contiguous or channels_last."""
    if precision not in DTYPES:
        raise ValueError(f"precision '{precision}' is not one of: {', '.join(DTYPES)}")
    arch, state = read_network(card)
    unet: Any = build(card.family, arch, state)
    return laid_out(unet.to(device, DTYPES[precision]), memory_format)


@dataclass(frozen=True)
class Denoiser:
    """x = x0 + sigma eps in, raw x0 = E[x0 | x] out.

    unet: a `fastdiff.unets.UNet`, on its device, in its precision. accelerators: members that are off have no effect.
    guidance g: x0 = x0_uncond + g (x0_cond - x0_uncond) (Ho & Salimans 2022, their 1 + w), both halves in one network
    call, which share one trunk; identity 1. value_range: what the data's pixels span; (-inf, inf) for latents.
    noise_levels: the card's, with curves
    where an optimal trajectory needs them. decode: latents -> images (`fastdiff.sampling.latents`). runner: the
    network's functions where they are made once for many trajectories (`unets.Runner`); None: eager.
    """

    unet: Any
    card: ModelCard
    accelerators: tuple[Accelerator, ...] = ()
    guidance: float = 1.0
    value_range: tuple[float, float] = (-1.0, 1.0)
    noise_levels: NoiseLevels = None  # type: ignore[assignment]  # None: the card's
    decode: Callable[[Tensor], Tensor] | None = None
    runner: Runner | None = None

    def __post_init__(self):
        object.__setattr__(self, "accelerators", tuple(member for member in self.accelerators if not member.off))
        if self.noise_levels is None:
            object.__setattr__(self, "noise_levels", self.card.noise_levels)
        if self.runner is not None and (self.runner.branch, self.runner.joins) != (self.branch, self.joins):
            raise ValueError("the runner was made for other accelerators; make one with the joins and branch of these")
        check_branch(self.branch, self.unet.rungs)
        if self.guidance != 1:
            self._check_guidance(self.guidance)

    def _check_guidance(self, weight: float) -> None:
        """Raises ValueError for a network that knows no guidance."""
        rows = getattr(self.unet, "label_rows", None)
        if rows is not None and rows <= self.card.classes:
            raise ValueError(
                f"guidance is {weight}, but model '{self.card.name}' knows its {rows} labels and was not trained"
                ' with "no label"; use guidance=1'
            )
        if not self.card.classes and not getattr(self.unet, "context", None):
            raise ValueError(f"guidance is {weight}, but model '{self.card.name}' is unconditional; use guidance=1")

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.card.shape)

    @property
    def branch(self) -> int | None:
        """Where the kept tensor sits: 0 the output, 1 .. K the trunk; None without a cache."""
        return branch_of(self.accelerators)

    @cached_property
    def joins(self) -> tuple[Join, ...]:
        return joins_of(self.accelerators, self.unet.rungs)

    @property
    def cached(self) -> bool:
        return cache_of(self.accelerators) is not None

    @property
    def cov_max(self) -> float:
        """((b - a) / 2)^2 for data in [a, b]: no x0 can vary more (Analytic-DPM, Cor. 1)."""
        low, high = self.value_range
        return ((high - low) / 2) ** 2

    @property
    def device(self) -> torch.device:
        return self._weight.device

    @property
    def _weight(self) -> Tensor:
        return next(self.unet.parameters())

    def c_noise(self, sigma: float) -> float:
        """What the network is fed at a noise level. Raises ValueError outside the range the network was trained on."""
        self.noise_levels.check(sigma)
        return self.card.preconditioning.noise(sigma)

    def uncached(self) -> "Denoiser":
        """The same network with every call full, without graphs."""
        return self.with_accelerators([member.uncached() for member in self.accelerators if not member.caches])

    def eager(self) -> "Denoiser":
        """The same without graphs, for batches of any size."""
        return self.with_accelerators(self.accelerators)

    def with_accelerators(self, accelerators: Sequence[Accelerator]) -> "Denoiser":
        """The same network with other accelerators, without graphs."""
        found = replace(self, accelerators=tuple(accelerators), runner=None)
        runner = self.runner and self.runner.eagerly(found.joins, found.branch)
        return replace(found, runner=runner)

    def _plan(self, sigmas: Sequence[float], asked: int | None) -> tuple[Call, ...]:
        return plan(self.accelerators, sigmas, self.noise_levels, asked, self.unet.rungs, self.guidance)

    @torch.inference_mode()
    def prepare(self, batch: int, cond: Any, sigmas: Sequence[float], asked: int | None = None) -> None:
        """Run a trajectory as far as its last new kind of call, on batches of that size: makes the graphs of a compiled
        network outside the clock, and takes the memory of every kind of call once. cond, sigmas, asked: `start`."""
        calls, new = self._plan(sigmas, asked), {}
        for at, call in enumerate(calls):
            new.setdefault((call.runs, call.halves), at)
        denoise = self.start(sigmas, cond, asked)
        x = torch.zeros(batch, *self.shape, device=self.device)
        for call in calls[: max(new.values()) + 1]:
            denoise(x, call.sigma)

    def start(
        self, sigmas: Sequence[float], cond: Any = None, asked: int | None = None
    ) -> Callable[[Tensor, float], Tensor]:
        """Begin one trajectory that calls the network at these noise levels, in this order (`Sampler.call_sigmas`).

        asked: the calls that the user's steps ask for (None: all). cond: int64 labels (B); a context (B L D); or a pair
        of those, the second one of no prompt, which a network without labels needs for guidance; or None. Returns
        (x (B C H W), sigma) -> raw x0 (B C H W) in the dtype of x. Kept tensors belong to this trajectory alone and die
        with it. Raises RuntimeError on one call more, or on a call at another noise level than was said.
        """
        calls = self._plan(sigmas, asked)
        guided = [call.guidance for call in calls if call.guidance != 1]
        if guided and self.guidance == 1:
            self._check_guidance(guided[0])
        conditions = _Conditions(cond, self.card.classes, bool(guided))
        tensors: dict[Rows, Tensor] = {}  # one tensor for all calls with the same factors
        weight = self._weight
        exact = torch.promote_types(torch.float32, weight.dtype)
        wrapper = self.card.preconditioning
        run = self.runner or Runner(self.unet, self.joins, self.branch)
        joining = [member for member in self.accelerators if member.joins]
        kept: dict[int, State] = {}
        at = -1

        def factors(call: Call) -> tuple[Tensor | None, ...]:
            """Factors as a walk takes them. Eagerly no join without effect runs; a graph takes any as an argument."""
            found: list[Tensor | None] = []
            for member, rows in zip(joining, call.factors):
                if rows is None and run.static:
                    rows = neutral_rows(member, self.unet.rungs)
                if rows is not None and rows not in tensors:
                    tensors[rows] = self._tensor(rows, exact)
                found.append(None if rows is None else tensors[rows])
            return tuple(found)

        def output(call: Call, x: Tensor) -> Tensor:
            """What the network says (B C_out H W), or (2 B C_out H W) under guidance."""
            batch = len(x) * call.halves
            trunk = None if call.runs else _mixed(kept, call.sources, batch)
            if trunk is not None and self.branch == 0:
                return trunk
            inputs = (x / wrapper.scale(call.sigma)).to(weight.dtype)
            if call.halves == 2:
                inputs = torch.cat([inputs, inputs])
            if run.static:  # a graph is of one layout, and the first x of a trajectory may have another than the next
                inputs = inputs.contiguous()
            c_noise = torch.full((batch,), self.c_noise(call.sigma), device=x.device, dtype=exact)
            told, guided = conditions.of(call.halves), call.halves == 2
            if not call.runs:
                return run.shallow(inputs, c_noise, told, factors(call), trunk, guided)
            out, state = run.full(inputs, c_noise, told, factors(call), guided)
            if call.last_reader is not None:
                kept[at] = state
            return out

        def denoise(x: Tensor, sigma: float) -> Tensor:
            nonlocal at
            if at + 1 == len(calls):
                raise RuntimeError(f"this trajectory was begun for {len(calls)} network calls; one more was asked for")
            at += 1
            call = calls[at]
            if sigma != call.sigma:
                raise RuntimeError(f"call {at} of this trajectory is at sigma {call.sigma:g}, not {sigma:g}")
            out = output(call, x)
            for source in [source for source in kept if (calls[source].last_reader or 0) <= at]:
                del kept[source]
            skip, gain = wrapper.skip(sigma), wrapper.out(sigma)
            noisy = x if call.halves == 1 else torch.cat([x, x])
            # A learned sigma is left out; the copy is this call's own, in one pass over what the network left cold.
            seen = out[:, : x.shape[1]].to(x.dtype, memory_format=torch.contiguous_format, copy=True)
            x0 = seen.mul_(gain).add_(noisy if skip == 1 else skip * noisy)
            if call.halves == 1:
                return x0
            cond, uncond = x0.chunk(2)
            return uncond + call.guidance * (cond - uncond)

        return denoise

    def _tensor(self, rows: Rows, dtype: torch.dtype) -> Tensor:
        pinned = self.device.type == "cuda" and torch.cuda.is_available()  # from other memory a GPU is waited for
        return torch.tensor(rows, dtype=dtype, device="cpu", pin_memory=pinned).to(self.device, non_blocking=True)


class _Conditions:
    """What the network is told, with and without guidance. Raises ValueError where guidance lacks something."""

    def __init__(self, cond: Any, classes: int, guided: bool):
        self._alone = cond[0] if isinstance(cond, tuple) else cond
        self._both = None
        if not guided:
            return
        if isinstance(cond, tuple):
            self._both = torch.cat(cond)
            return
        if cond is None or not classes:
            needs = "labels" if classes else "a pair, the context and that of no prompt"
            raise ValueError(f"guidance needs {needs}: give cond")
        if cond.ndim != 1 or cond.is_floating_point():
            raise ValueError(f"guidance needs integer labels (B), not cond of shape {tuple(cond.shape)}")
        self._both = torch.cat([cond, torch.full_like(cond, classes)])

    def of(self, halves: int) -> Tensor | None:
        return self._alone if halves == 1 else self._both


def _mixed(kept: dict[int, State], sources: Sequence[tuple[int, float]], batch: int) -> State:
    """The weighted sum of kept tensors; of each the first `batch` images, which are the conditional half."""
    if len(sources) == 1 and sources[0][1] == 1:
        return _each(lambda one: one[:batch] if len(one) > batch else one, kept[sources[0][0]])
    states = [kept[source] for source, _ in sources]
    weights = [weight for _, weight in sources]
    return _each(lambda *all_: sum(w * one[:batch] for w, one in zip(weights, all_)), *states)


def _each(function: Callable[..., Tensor], *states: State) -> State:
    """A function of tensors on states: tensors, None, or tuples of those (NCSN++ carries (x, aux))."""
    if isinstance(states[0], tuple):
        return tuple(_each(function, *parts) for parts in zip(*states))
    return None if states[0] is None else function(*states)
