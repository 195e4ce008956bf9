"""Any trained network as `denoise(x, sigma) -> x0`, with the plans at work inside one trajectory."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..accelerators import DeepCache, SkipTuning
from ..diffusion.spacing import Curves
from ..unets import Runner, build, laid_out
from ..weights.checkpoints import read_network
from ..weights.model_card import ModelCard

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64, "tf32": torch.float32}


def load_unet(card: ModelCard, device="cpu", precision: str = "float32", memory_format: str = "contiguous"):
    """The card's network on a device, in evaluation mode. precision: bfloat16, float32 or float64. memory_format of
    its weights, which decides that of its states: contiguous or channels_last."""
    if precision not in DTYPES:
        raise ValueError(f"precision '{precision}' is not one of: {', '.join(DTYPES)}")
    arch, state = read_network(card)
    return laid_out(build(card.family, arch, state).to(device, DTYPES[precision]), memory_format)


@dataclass(frozen=True)
class Denoiser:
    """x = x0 + sigma eps in, raw x0 = E[x0 | x] out. sigma <-> n is known here and nowhere else.

    unet: on its device, in its precision. guidance g: x0 = x0_uncond + g (x0_cond - x0_uncond) (Ho & Salimans 2022,
    their 1 + w), both halves in one network call, so that they share one trunk; identity 1.
    value_range: what the data's pixels span; (-inf, inf) for latents. decode: what turns those into images
    (`fastdiff.sampling.latents`).
    curves: what optimal trajectories are placed by (`fastdiff.bench.score_norms.placed`); no other needs it.
    runner: the network's functions where they are made once for many trajectories (`unets.Runner`); None: eager.
    """

    unet: Any
    card: ModelCard
    skip_tuning: SkipTuning = SkipTuning()
    deepcache: DeepCache = DeepCache()
    guidance: float = 1.0
    value_range: tuple[float, float] = (-1.0, 1.0)
    curves: Curves | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    runner: Runner | None = None

    def __post_init__(self):
        if self.runner is not None and self.runner.branch != self._branch:
            raise ValueError(f"the runner is of branch {self.runner.branch}, the plan of branch {self._branch}")
        if not self.deepcache.off and self.deepcache.branch > self.unet.rungs:
            raise ValueError(f"branch is {self.deepcache.branch}; this network's skips are 1 .. {self.unet.rungs}")
        rows = getattr(self.unet, "label_rows", None)
        if self.guidance != 1 and rows is not None and rows <= self.card.classes:
            raise ValueError(
                f"guidance is {self.guidance}, but model '{self.card.name}' knows its {rows} labels and was not trained"
                ' with "no label"; use guidance=1'
            )
        if self.guidance != 1 and not self.card.classes and not getattr(self.unet, "context", None):
            raise ValueError(
                f"guidance is {self.guidance}, but model '{self.card.name}' is unconditional; use guidance=1"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.card.shape)

    @property
    def levels(self) -> np.ndarray | None:
        """The N training sigmas, ascending, float64; None for a network that takes any."""
        return self.card.levels

    @property
    def sigma_min(self) -> float:
        return self.card.sigma_min

    @property
    def sigma_max(self) -> float:
        return self.card.sigma_max

    @property
    def span(self) -> tuple[float, float]:
        """The range of sigma that trajectories cover: inside sigma_min .. sigma_max, and finite."""
        return self.card.span

    @property
    def vp(self) -> bool:
        """Whether the network was trained on x / sqrt(1 + sigma^2), a process that preserves variance."""
        return self.card.preconditioning.vp

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

    def prior_scale(self, sigma: float) -> float:
        """x at the start of a trajectory = prior_scale(its first sigma) * z: sqrt(1 + sigma^2) for VP networks, sigma
        in EDM space."""
        return (1 + sigma**2) ** 0.5 if self.vp else sigma

    def c_noise(self, sigma: float) -> float:
        """What the network is fed at a noise level. Raises ValueError outside the range the network was trained on."""
        if not max(self.sigma_min * (1 - 1e-9), 1e-12) <= sigma <= self.sigma_max * (1 + 1e-9):
            raise ValueError(
                f"sigma {sigma:.6g} is outside this network's range {self.sigma_min:.6g} .. {self.sigma_max:.6g}"
            )
        return self.card.preconditioning.noise(sigma)

    def rounded(self, sigma: float) -> float:
        """The noise level the network takes sigma for: sigma itself, but for iDDPM preconditioning, which rounds."""
        return self.card.rounded(sigma)

    def level(self, sigma: float) -> float:
        """Where sigma lies in `span`: 0 least noise, 1 most, linear in log sigma."""
        low, high = map(math.log, self.span)
        return min(max((math.log(sigma) - low) / (high - low), 0.0), 1.0)

    def uncached(self) -> "Denoiser":
        """The same network with every call full, without graphs."""
        return replace(self, deepcache=DeepCache(), runner=self.runner and self.runner.eagerly(None))

    def eager(self) -> "Denoiser":
        """The same without graphs, for batches of any size."""
        return replace(self, runner=self.runner and self.runner.eagerly(self._branch))

    @property
    def _branch(self) -> int | None:
        return None if self.deepcache.off else self.deepcache.branch

    @torch.inference_mode()
    def prepare(self, batch: int, cond=None) -> None:
        """Make the graphs of a compiled network for batches of that size, so that no clock runs then. cond: `start`."""
        cached = self._branch is not None
        plan = DeepCache(2, self._branch) if cached else self.deepcache
        denoise = replace(self, deepcache=plan).start(1 + cached, cond)
        x = torch.zeros(batch, *self.shape, device=self.device)
        for _ in range(1 + cached):
            denoise(x, self.span[1])

    def start(
        self, calls: int, cond: Tensor | None = None, asked: int | None = None
    ) -> Callable[[Tensor, float], Tensor]:
        """Begin one trajectory of `calls` network calls, `asked` of which the user asked for (None: all).

        cond: int64 labels (B); a context (B L D); or a pair of those, the second that of no prompt, which a network
        without labels needs for guidance; or None. Returns (x (B C H W), sigma) -> raw x0 (B C H W) in the dtype of x.
        Its trunk belongs to this trajectory alone and dies with it. Raises RuntimeError on call number calls + 1.
        """
        if self.guidance != 1 and not isinstance(cond, tuple) and (cond is None or not self.card.classes):
            needs = "labels" if self.card.classes else "a pair, the context and that of no prompt"
            raise ValueError(f"guidance needs {needs}: give cond")
        full_calls = self.deepcache.full_calls(calls, asked)
        branch = self._branch
        scales: dict[tuple, Tensor] = {}  # one tensor for all calls with the same factors
        weight = self._weight
        exact = torch.promote_types(torch.float32, weight.dtype)
        wrapper = self.card.preconditioning
        if isinstance(cond, tuple):
            cond = cond[0] if self.guidance == 1 else torch.cat(cond)
        elif self.guidance != 1:
            if cond.ndim != 1 or cond.is_floating_point():
                raise ValueError(f"guidance needs integer labels (B), not cond of shape {tuple(cond.shape)}")
            cond = torch.cat([cond, torch.full_like(cond, self.card.classes)])
        run = self.runner or Runner(self.unet, branch)
        call, trunk = 0, None

        def denoise(x: Tensor, sigma: float) -> Tensor:
            nonlocal call, trunk
            if call == calls:
                raise RuntimeError(f"this trajectory was begun for {calls} network calls; one more was asked for")
            at, call = call, call + 1
            factors = tuple(self.skip_tuning.scales(self.unet.rungs, self.level(sigma), full_calls[at], branch))
            if factors not in scales:
                scales[factors] = self._scales(factors, exact, run.static)
            inputs = (x / wrapper.scale(sigma)).to(weight.dtype)
            if self.guidance != 1:
                inputs = torch.cat([inputs, inputs])
            if run.static:  # a graph is of one layout, and the first x of a trajectory may have another than the next
                inputs = inputs.contiguous()
            c_noise = torch.full((len(inputs),), self.c_noise(sigma), device=x.device, dtype=exact)
            if full_calls[at]:
                out, trunk = run.full(inputs, c_noise, cond, scales[factors])
            else:
                out = run.shallow(inputs, c_noise, cond, scales[factors], trunk)
            skip, gain = wrapper.skip(sigma), wrapper.out(sigma)
            noisy = x if len(out) == len(x) else torch.cat([x, x])
            # A learned sigma is left out; the copy is this call's own, in one pass over what the network left cold.
            seen = out[:, : x.shape[1]].to(x.dtype, memory_format=torch.contiguous_format, copy=True)
            return self._guided(seen.mul_(gain).add_(noisy if skip == 1 else skip * noisy))

        return denoise

    def _scales(self, factors: tuple[float, ...], dtype: torch.dtype, static: bool) -> Tensor | None:
        """Factors as a walk takes them. Eagerly nothing is multiplied by 1; a graph takes any as an argument."""
        if not static and all(factor == 1 for factor in factors):
            return None
        pinned = self.device.type == "cuda" and torch.cuda.is_available()  # from other memory a GPU is waited for
        return torch.tensor(factors, dtype=dtype, device="cpu", pin_memory=pinned).to(self.device, non_blocking=True)

    def _guided(self, x0: Tensor) -> Tensor:
        if self.guidance == 1:
            return x0
        cond, uncond = x0.chunk(2)
        return uncond + self.guidance * (cond - uncond)
