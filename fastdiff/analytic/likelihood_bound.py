"""The variational bound on -log p(x0) of a sampler's chain: what metrics=nll measures, in bits per dimension.

With q the forward process of Bao et al. 2022, eq. 2 (any eta > 0) and p the sampler's steps, in x = x0 + sigma eps:

    -log p(x0) <= KL(q(x_T | x0), N(0, 1 + T^2)) + sum of KL(q(x_s | x_t, x0), p(x_s | x_t)) - E log p(x0 | x_t1)
    prior    sum over pixels of (bbar - 1 - log bbar + x0^2 / (1 + T^2)) / 2, bbar = T^2 / (1 + T^2), T the first sigma
    step     d (lam2 / var + log(var / lam2) - 1) / 2 + (1 - keep / t)^2 ||x0 - x0_net||^2 / (2 var)
    decoder  -log of the mass that N(x0_net, v) has in the pixel's bin; v = lam2(1 | 2) / (1 + sigma_1^2) where the last
             call is at level 1, whatever the sampler's variance, else bbar of its level

x0_net is clipped to the data's range. lam2, keep, var are those of the sampler (`fastdiff.samplers.ddim`), without
sigma2_clip: that is for pictures. One noise per term and image. The conventions are the official code's.

Under DeepCache p(x_s | x_t) is p(x_s | x_t, x_full), a chain that remembers the input of its last full call. Given x0,
q is Markov from the noisiest level down, so that q(x_s | x_t, x_full, x0) = q(x_s | x_t, x0): every term stays as it
is, with x_t and x_full of one chain of q. Then noise is not one per term, but a chain itself (`chained`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..data import Images
from . import ScoreNorms, as_inputs, kept
from .estimate import drawn, means

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-12  # no bin has less mass than this
PARTS = ("decoder", "steps", "prior")


class Terms(NamedTuple):
    """What the bound needs to know of a network at one noise level, with standard errors: `spacing.Curves`."""

    recon: float
    recon_se: float
    decoder: float
    decoder_se: float


def check(cell: Any) -> None:
    """Raises ValueError, with the reason, for a cell that has no such bound."""
    sampler, held_out = cell.sampler, cell.data.held_out
    if not hasattr(sampler, "coefficients"):
        raise ValueError("metrics=nll bounds a chain of Gaussian steps: use sampler=ddpm, ddpm_large or analytic_ddpm")
    if sampler.eta == 0:
        raise ValueError("metrics=nll is infinite at eta=0: the forward process has no variance; use sampler=ddpm")
    if not cell.model.noise_levels.vp:
        raise ValueError(
            f"metrics=nll is of VP networks, whose chain starts from a known prior; '{cell.model.name}' is none"
        )
    if cell.guidance != 1:
        raise ValueError(
            f"guidance is {cell.guidance:g}; metrics=nll is of the network's own distribution: use guidance=1"
        )
    if cell.budget.n > held_out:
        raise ValueError(
            f"budget.n is {cell.budget.n}; data '{cell.data.name}' has {held_out} held-out images for metrics=nll"
        )


def terms(
    denoiser: Any, sampler: Any, x0: Tensor, noise: Callable, cond: Any = None, cov_x0: list[float] | None = None
) -> Tensor:
    """Terms of the bound in nats, float64 (K + 1, B): the decoder, the steps by ascending noise level, the prior.

    x0 float32 (B C H W) in the data's range; noise: number of the call, from the noisiest -> eps (B C H W), independent
    of each other. A step from a level to itself (spacing `quadratic`) is no step and has no term.
    """
    import torch

    sigmas, high = sampler.sigmas(denoiser.noise_levels), denoiser.value_range[1]
    if not denoiser.noise_levels.vp or not math.isfinite(high):
        raise ValueError("the bound is of VP networks on pixels: this one has no known prior, or no bins")
    rows = replace(sampler, sigma2_clip=0.0).coefficients(sigmas, cov_x0, vp=True)
    denoise, found = denoiser.start(sigmas[:-1], cond, sampler.asked), [prior(x0, sigmas[0])]
    noise = chained(noise, sigmas, sampler.eta) if denoiser.cached else noise
    for i, (keep, var) in enumerate(rows):
        t, s = sigmas[i], sigmas[i + 1]
        gap, decoder = at_level(denoise, denoiser, x0, noise(i), t, s == 0)
        if s == t:
            continue
        if s == 0:
            found.append(decoder)
            break
        d, lam2 = x0[0].numel(), sampler.eta**2 * s**2 * (1 - s**2 / t**2)
        found.append(d * (lam2 / var + math.log(var / lam2) - 1) / 2 + (1 - keep / t) ** 2 * gap / (2 * var))
    return torch.stack(found[::-1])


def chained(noise: Callable, sigmas: list[float], eta: float) -> Callable:
    """Independent noise -> the eps of a chain of q: eps_s = r eps_t + sqrt(1 - r^2) z, r = keep / s. Call by call."""
    eps = None

    def next_eps(i: int):
        nonlocal eps
        if i == 0:
            eps = noise(0)
        else:
            r = kept(sigmas[i - 1], sigmas[i], eta)
            eps = r * eps + math.sqrt(1 - r**2) * noise(i)
        return eps

    return next_eps


def at_level(denoise: Callable, denoiser: Any, x0: Tensor, z: Tensor, t: float, decode: bool = True) -> tuple:
    """||x0 - x0_net||^2, and the decoder's nats (None unless wanted), of each image (B), at x = x0 + t z."""
    x0_net = denoise(x0 + t * z, t).clamp(*denoiser.value_range)
    gap = (x0 - x0_net).double().square().flatten(1).sum(1)
    return gap, discretised(
        x0, x0_net, decoder_var(denoiser.noise_levels.levels, t), denoiser.value_range
    ) if decode else None


def prior(x0: Tensor, t: float) -> Tensor:
    """KL(N(x0, t^2), N(0, 1 + t^2)) of each image (B): what x at the first level still tells of x0."""
    bbar = t**2 / (1 + t**2)
    return ((bbar - 1 - math.log(bbar)) + x0.double().square() / (1 + t**2)).flatten(1).sum(1) / 2


def decoder_var(levels: np.ndarray, t: float) -> float:
    """v of the decoder at level t, in pixels squared."""
    if t > levels[0] * (1 + 1e-9):
        return t**2 / (1 + t**2)
    s, t = float(levels[0]), float(levels[1])
    return s**2 * (1 - s**2 / t**2) / (1 + s**2)


def discretised(x0: Tensor, mean: Tensor, v: float, value_range: tuple[float, float]) -> Tensor:
    """-log of the mass of N(mean, v) in the bins of x0, nats of each image (B), float64 sums.

    Bins are a grey level wide, half of one, h = 1 / 255 for [-1, 1], to either side; the outermost are open. The normal
    distribution function is (1 + tanh(sqrt(2 / pi) (u + 0.044715 u^3))) / 2 in float32, and masses below 1e-12 count as
    that: both decide the result where the network is far off, and both are the official code's (after Ho et al. 2020).
    """
    import torch

    low, high = value_range
    half, centre, edge = (high - low) / 510, (high + low) / 2, 0.999 * (high - low) / 2

    def below(u):
        return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))

    upper, lower = (below((x0 - mean + side) / math.sqrt(v)) for side in (half, -half))
    mass = torch.where(x0 < centre - edge, upper, torch.where(x0 > centre + edge, 1 - lower, upper - lower))
    return -mass.clamp(min=TINY).log().double().flatten(1).sum(1)


def bits(
    denoiser: Any,
    sampler: Any,
    images: Images,
    n: int,
    seed: int,
    cov_x0: list[float] | None,
    batch: int,
    progress: Callable[[int], object] = id,
) -> np.ndarray:
    """Bits per dimension of the first n images: float64 (3 n), the shares of PARTS."""
    import torch

    from ..diffusion.noise import LIKELIHOOD, noise_of

    parts = []
    with torch.inference_mode():
        for part in np.split(np.arange(n), range(batch, n, batch)):
            x0, cond = as_inputs(denoiser, images, part)
            noise = noise_of(seed, part, x0.shape[1:], denoiser.device, LIKELIHOOD)
            found = terms(denoiser, sampler, x0, noise, cond, cov_x0) / (x0[0].numel() * math.log(2))
            parts.append(torch.stack([found[0], found[1:-1].sum(0), found[-1]]).cpu().numpy())
            progress(int(part[-1]) + 1)
    return np.concatenate(parts, 1)


def estimate_terms(
    denoiser: Any, images: Images, sigmas: Iterable[float], knobs: ScoreNorms, batch: int, progress: Callable = iter
) -> dict[float, Terms]:
    """recon and decoder per dimension at each sigma, over the training images and noise of `gamma.estimate`."""
    import torch

    denoiser, found = denoiser.uncached(), {}
    if not denoiser.noise_levels.vp:
        raise ValueError(
            "the bound of variance small or large is of VP networks: use variance=analytic, or spacing=karras"
        )
    with torch.inference_mode():
        batches = [(x0, noise(0), cond) for x0, noise, cond in drawn(denoiser, images, knobs, batch)]
        for sigma in progress(sorted(set(sigmas))):
            each = [at_level(denoiser.start([sigma], cond), denoiser, x0, z, sigma) for x0, z, cond in batches]
            size = batches[0][0][0].numel()
            found[sigma] = Terms(*means([torch.stack(pair) / size for pair in each], sigma))
    return found
