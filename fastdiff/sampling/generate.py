"""Images of consecutive seeds, batch by batch: float trajectories in, uint8 out, seconds beside."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diffusion.noise import noise_of


@dataclass(frozen=True)
class Batch:
    """pixels uint8 (B C H W) and the seconds its trajectory took (device synchronised)."""

    pixels: np.ndarray
    seconds: float


def to_uint8(x: Tensor, value_range: tuple[float, float]) -> Tensor:
    """(x - a) / (b - a) * 255, rounded half to even, clamped to 0 .. 255."""
    low, high = value_range
    return ((x - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)


def to_host(*tensors: Tensor) -> list[np.ndarray]:
    """Tensors as arrays. From a GPU they go into pinned memory side by side, without waiting, and are waited for once;
    no later trajectory has begun, so that no clock sees the transfer."""
    if not tensors[0].is_cuda:
        return [tensor.numpy() for tensor in tensors]
    arrays = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for array, tensor in zip(arrays, tensors):
        array.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return [array.numpy() for array in arrays]


def condition(labels: Callable | None, indices: np.ndarray, device: torch.device):
    """What the network is told of images `indices`, on the device: `labels` as `generate` has it; None of nothing."""
    found = None if labels is None else labels(indices)
    return torch.from_numpy(found).to(device) if isinstance(found, np.ndarray) else found


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def generate(
    denoiser: Any,
    sampler: Any,
    seed: int,
    indices: np.ndarray,
    labels: Callable | None,
    cov_x0: list[float] | None,
    batch: int,
    noise: Callable = noise_of,
) -> Iterator[Batch]:
    """Images `indices` under `seed`, in order.

    labels: indices -> int64 labels (B), a pair of contexts on the denoiser's device (`Denoiser.start`), or None.
    noise: (seed, indices, shape, device) -> `fastdiff.diffusion.noise.Noise`. Latents are decoded; only their
    trajectories are timed. A compiled network has graphs of one shape: its last batch is filled with its last image.

    Raises FloatingPointError, naming the first bad image, when a trajectory ends in NaN or infinity.
    """
    for part in np.split(indices, range(batch, len(indices), batch)):
        whole = part
        if denoiser.runner is not None and denoiser.runner.static and len(part) < batch:
            whole = np.concatenate([part, np.repeat(part[-1:], batch - len(part))])
        found = _trajectory(denoiser, sampler, seed, whole, labels, cov_x0, noise)
        yield found if whole is part else Batch(found.pixels[: len(part)], found.seconds)


@torch.inference_mode()
def _trajectory(denoiser, sampler, seed, part, labels, cov_x0, noise) -> Batch:
    device = denoiser.device
    cond = condition(labels, part, device)
    if denoiser.runner is not None and denoiser.runner.static and not denoiser.runner.graphs:
        denoiser.prepare(len(part), cond, sampler.call_sigmas(denoiser.noise_levels), sampler.asked)
    synchronise(device)
    begun = time.perf_counter()
    x = sampler(denoiser, noise(seed, part, denoiser.shape, device), cond, cov_x0)
    synchronise(device)
    seconds = time.perf_counter() - begun
    decoded, value_range = (x, denoiser.value_range)
    if denoiser.decode is not None:
        decoded, value_range = denoiser.decode(x), denoiser.decode.value_range
    finite, pixels = to_host(torch.isfinite(x).flatten(1).all(1), to_uint8(decoded, value_range))
    if (bad := ~finite).any():
        raise FloatingPointError(
            f"image {part[bad.argmax()]} is NaN or infinite ({bad.sum()} of its batch of {len(part)} are)"
        )
    return Batch(pixels, seconds)
