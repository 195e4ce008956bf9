"""Score norms for Analytic-DPM: estimated once by Monte Carlo, stored under everything they depend on.

What is estimated is eps_ms = E ||eps(x)||^2 / d at a noise level (the paper's Gamma = eps_ms / (1 - alpha_bar), eq. 8).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .files import locate, read_json, sha256, write, write_json


class Norm(NamedTuple):
    """Mean and standard error of eps_ms at one noise level (nan where an imported file does not tell)."""

    eps_ms: float
    se: float


Store = Mapping[float, Norm]  # sigma -> norm


@dataclass(frozen=True)
class ScoreNorms:
    """Where score norms come from: `images` training images and noise of `seed`, or an official ms_eps `file`."""

    images: int = 256
    seed: int = 0
    file: str | None = None

    def __post_init__(self):
        if self.images < 2:
            raise ValueError(f"analytic.images is {self.images}; at least 2 are needed for a standard error")

    def identity(self) -> dict:
        if self.file is not None:
            return {"file_sha256": sha256(locate(self.file))}
        return {"images": self.images, "seed": self.seed}


def estimate(
    denoiser, images, sigmas: Iterable[float], knobs: ScoreNorms, batch: int, progress: Callable = iter
) -> dict[float, Norm]:
    """eps_ms at each sigma (> 0) by Monte Carlo (Bao et al. 2022, eq. 8): one noise per image, mean and standard error.

    images: training `Images` (pixels uint8 (N C H W), labels). Every level sees the same images and the same noise z,
    which makes the curve smooth; every call is full, whatever the denoiser's cache. Float64 sums.
    """
    import torch

    from .noise import SCORE_NORMS, noise_of

    if knobs.images > len(images):
        raise ValueError(f"analytic.images is {knobs.images}, but the data has {len(images)} training images")
    chosen = np.sort(np.random.default_rng(knobs.seed).choice(len(images), knobs.images, replace=False))
    low, high = denoiser.value_range
    denoiser, device, norms = denoiser.uncached(), denoiser.device, {}
    with torch.inference_mode():
        batches = []
        for part in np.split(chosen, range(batch, len(chosen), batch)):
            x0 = torch.from_numpy(images.pixels[part]).to(device).float() / 255 * (high - low) + low
            labels = images.label_of(part) if denoiser.card.classes else None
            cond = None if labels is None else torch.from_numpy(labels).to(device)
            batches.append((x0, noise_of(knobs.seed, part, x0.shape[1:], device, SCORE_NORMS)(0), cond))
        for sigma in progress(sorted(set(sigmas))):
            per_image = []
            for x0, z, cond in batches:
                x = x0 + sigma * z
                eps = (x - denoiser.start(1, cond)(x, sigma)) / sigma
                per_image.append(eps.double().square().mean((1, 2, 3)))
            values = torch.cat(per_image).cpu().numpy()
            if not np.isfinite(values).all():
                raise FloatingPointError(
                    f"the network gives NaN or infinite values at sigma {sigma:.4g}; check its weights"
                )
            norms[sigma] = Norm(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))
    return norms


def covariances(
    store: Store, sigmas: list[float], full_calls: list[bool] | None, estimator: str, cov_max: float
) -> list[float]:
    """cov_x0 of each step: clip(t^2 (1 - eps_ms(t)), 0, cov_max), which is Cor. 1 of the paper.

    sigmas: the trajectory, ending with 0. full_calls: which calls run every rung; the norms are those of the uncached
    network for every call. estimator: `eps_ms`.
    """
    if estimator != "eps_ms":
        raise ValueError(f"estimator '{estimator}' is not one of: eps_ms")
    missing = [t for t in sigmas[:-1] if t not in store]
    if missing:
        raise ValueError(
            f"no score norm for {len(missing)} of {len(sigmas) - 1} noise levels (first: sigma {missing[0]:.6g})"
        )
    return [min(max(t**2 * (1 - store[t].eps_ms), 0.0), cov_max) for t in sigmas[:-1]]


def read_store(path: Path) -> dict[float, Norm]:
    """Stored norms; empty when there are none yet."""
    return {sigma: Norm(mean, se) for sigma, mean, se in read_json(path)["eps_ms"]} if path.exists() else {}


def write_store(path: Path, identity: dict, norms: Store) -> None:
    """Add norms to a store, keeping those that are there."""
    merged = {**read_store(path), **norms}
    write_json(path, {"identity": identity, "eps_ms": [[sigma, *merged[sigma]] for sigma in sorted(merged)]})


def import_official(file: str, levels: np.ndarray) -> dict[float, Norm]:
    """An Analytic-DPM `ms_eps` file: array of length N + 1, index 0 unused, entry n at level n. Nothing is executed."""
    import torch

    path = locate(file)
    rebuild = np.empty(0).__reduce__()[0]  # of module numpy.core in NumPy 1, numpy._core in 2: files come from both
    names = [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("_core", "core")]
    arrays = [np.ndarray, np.dtype, type(np.dtype("float32")), type(np.dtype("float64"))]
    try:
        with torch.serialization.safe_globals([*arrays, *names]):
            values = np.asarray(torch.load(path, map_location="cpu", weights_only=True), dtype=np.float64)
    except Exception as error:  # each way of being damaged has an error of its own; what is wrong is the file
        raise ValueError(f"{path} is not a readable ms_eps file ({type(error).__name__}); it was not loaded") from error
    if values.shape != (len(levels) + 1,):
        raise ValueError(
            f"{path} has shape {values.shape}; ({len(levels) + 1},) is needed for {len(levels)} noise levels"
        )
    if not np.isfinite(values[1:]).all() or (values[1:] < 0).any():
        raise ValueError(f"{path} holds values that are negative or not finite; it is no ms_eps file")
    return {float(sigma): Norm(float(value), math.nan) for sigma, value in zip(levels, values[1:])}


def export_official(store: Store, levels: np.ndarray, path: Path) -> None:
    """Write norms as an Analytic-DPM `ms_eps` file (float32 tensor, index 0 unused). All N levels are needed."""
    import torch

    missing = sum(float(sigma) not in store for sigma in levels)
    if missing:
        raise ValueError(
            f"{missing} of {len(levels)} noise levels have no score norm yet; estimate them first (levels=all)"
        )
    values = torch.tensor([0.0] + [store[float(sigma)].eps_ms for sigma in levels], dtype=torch.float32)
    write(path, lambda file: torch.save(values, file))
