"""Monte Carlo over training images: both estimators from the same network calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..accelerators import RUN, Accelerator, Sources, Trajectory
from ..data import Images
from .score_norms import Joint, Norm
from .settings import ScoreNorms

if TYPE_CHECKING:
    from torch import Tensor


def as_inputs(denoiser: Any, images: Images, part: np.ndarray) -> tuple:
    """Images `part` as the network sees them: x0 float32 (B C H W) in the data's range, and labels (B) or None."""
    import torch

    low, high = denoiser.value_range
    if not math.isfinite(high - low):
        raise ValueError("score norms and bounds are taken of images, but this network's data are latents, and nothing"
                         " here encodes images: use a sampler without analytic variance and spacing=dp")  # fmt: skip
    x0 = torch.from_numpy(images.pixels[part]).to(denoiser.device).float() / 255 * (high - low) + low
    labels = images.label_of(part) if denoiser.card.classes else None
    return x0, None if labels is None else torch.from_numpy(labels).to(denoiser.device)


def drawn(denoiser: Any, images: Images, knobs: ScoreNorms, batch: int) -> list[tuple]:
    """(x0, noise, labels) of batches of the images that the knobs choose; noise: number -> (B C H W)."""
    from ..diffusion.noise import SCORE_NORMS, noise_of

    if knobs.images > len(images):
        raise ValueError(f"score_norms.images is {knobs.images}, but the data has {len(images)} training images")
    chosen = np.sort(np.random.default_rng(knobs.seed).choice(len(images), knobs.images, replace=False))
    found = []
    for part in np.split(chosen, range(batch, len(chosen), batch)):
        x0, cond = as_inputs(denoiser, images, part)
        found.append((x0, noise_of(knobs.seed, part, x0.shape[1:], denoiser.device, SCORE_NORMS), cond))
    return found


def moments(denoise: Callable, x0: Tensor, z: Tensor, sigma: float, value_range: tuple[float, float]) -> Tensor:
    """The statistics of a `Norm` of each image, float64 (4 B), for what the network says at x = x0 + sigma z."""
    import torch

    x = x0 + sigma * z
    raw = denoise(x, sigma)
    eps = ((x - raw) / sigma).double()
    e, c = z.double() - eps, (raw.clamp(*value_range) - x0).double() / sigma
    return torch.stack([(a * b).mean((1, 2, 3)) for a, b in ((eps, eps), (e, e), (c, c), (c, e))])


def estimate(
    denoiser: Any, images: Images, sigmas: Iterable[float], knobs: ScoreNorms, batch: int, progress: Callable = iter
) -> dict[float, Norm]:
    """Norms at each sigma (> 0) (Bao et al. 2022, eq. 8): one noise per image, means and standard errors.

    images: training `Images` (pixels uint8 (N C H W), labels). Every level sees the same images and the same noise z,
    which makes the curve smooth. Every call is full, even if the denoiser has a cache. Float64 sums.
    """
    import torch

    denoiser, norms = denoiser.uncached(), {}
    with torch.inference_mode():
        batches = [(x0, noise(0), cond) for x0, noise, cond in drawn(denoiser, images, knobs, batch)]
        for sigma in progress(sorted(set(sigmas))):
            found = [
                moments(denoiser.start([sigma], cond), x0, z, sigma, denoiser.value_range) for x0, z, cond in batches
            ]
            norms[sigma] = Norm(*means(found, sigma))
    return norms


@dataclass(frozen=True)
class _Pair(Accelerator):
    """The cache of two calls: the second reads what the first keeps."""

    name = "pair"

    branch: Any = 1

    @property
    def off(self) -> bool:
        return False

    def sources(self, trajectory: Trajectory) -> list[Sources]:
        return [RUN, ((0, 1.0),)]


def estimate_joint(
    denoiser: Any, images: Images, calls: Iterable[Joint], knobs: ScoreNorms, batch: int, progress: Callable = iter
) -> dict[Joint, Norm]:
    """Norms of shallow calls: eps of the network is a function of x_t and of x_full, drawn from their joint law in q.

    The branch and the factors of skips are the denoiser's, on the full call and on the shallow one as in a trajectory.
    x_t is that of `estimate` (noise number 0), x_full = x0 + t_full (r z + sqrt(1 - r^2) z') with z' noise number 1.
    """
    import torch

    members = [_Pair(member.branch) if member.caches else member for member in denoiser.accelerators]
    denoiser, norms = denoiser.with_accelerators(members), {}
    with torch.inference_mode():
        batches = [(x0, noise(0), noise(1), cond) for x0, noise, cond in drawn(denoiser, images, knobs, batch)]
        for call in progress(sorted(set(calls))):
            found = []
            for x0, z, fresh, cond in batches:
                denoise = denoiser.start([call.t_full, call.t], cond)
                denoise(x0 + call.t_full * (call.r * z + math.sqrt(1 - call.r**2) * fresh), call.t_full)
                found.append(moments(denoise, x0, z, call.t, denoiser.value_range))
            norms[call] = Norm(*means(found, call.t))
    return norms


def means(found: list, sigma: float) -> list[float]:
    """Batches of statistics (S B) -> the S means, each followed by its standard error."""
    import torch

    values = torch.cat(found, 1).cpu().numpy()
    if not np.isfinite(values).all():
        raise FloatingPointError(f"the network gives NaN or infinite values at sigma {sigma:.4g}; check its weights")
    return [float(each) for v in values for each in (v.mean(), v.std(ddof=1) / math.sqrt(len(v)))]
