"""Counter-based noise: the same image for any batch size, device or order of work.

Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") in int64 arithmetic, then
Box-Muller in float64, rounded to float32. A value depends on (seed, stream, image index, step, pixel) and on nothing
else: no generator, no state. Float64 because vectorised float32 `log` and `cos` may differ in the last bit between
the body and the tail of a tensor; after rounding to float32 that difference is gone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Noise = Callable[[int], Tensor]  # step index -> (B C H W) standard normal; index 0 is the start

SAMPLING, SCORE_NORMS, LIKELIHOOD, LABELS = 0, 1, 2, 3  # streams: what is drawn for one purpose is never met in another
TUNE, CONFIRM = 4, 5  # of images that a knob is tuned on, and that confirm it
IMAGES = {"all": SAMPLING, "tune": TUNE, "confirm": CONFIRM}  # the stream of generated images, by `Budget.part`

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def philox4x32(counter: Sequence[Tensor], key: tuple[int, int], rounds: int = 10) -> list[Tensor]:
    """Four int64 tensors of 32-bit words -> four tensors of 32 random bits, of the shape they broadcast to.

    Known answers: Random123's kat_vectors.
    """
    a, b, c, d = counter[0].clone(), counter[1], counter[2].clone(), counter[3]
    k0, k1 = key
    for _ in range(rounds):  # in place: nothing else around a network call costs as much
        p, q = a.mul_(_MULTIPLIERS[0]), c.mul_(_MULTIPLIERS[1])  # wraps around in int64; the bits are those of uint64
        a, b = ((q >> 32) ^ b).bitwise_xor_(k0).bitwise_and_(_WORD), q
        c, d = ((p >> 32) ^ d).bitwise_xor_(k1).bitwise_and_(_WORD), p
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return [a, b & _WORD, c, d & _WORD]  # q and p keep what is above their word until a mask takes it away


def normals(seed: int, stream: int, indices: Tensor, step: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normals (len(indices), *shape), float32, on the device of `indices` (B, int64 image indices >= 0)."""
    size = 1
    for side in shape:
        size *= side
    quads = -(-size // 4)
    pixel, image = torch.arange(quads, device=indices.device)[None], indices[:, None]
    words = philox4x32([pixel, image & _WORD, image >> 32, torch.full_like(pixel[:, :1], step)], (seed & _WORD, stream))
    # (0, 1]: never log(0); the pairs (0, 1) and (2, 3) make two normals each
    u = [word.double().add_(1).mul_(2.0**-32) for word in words]
    values = torch.empty(len(indices), quads, 4, dtype=torch.float32, device=indices.device)
    for i in (0, 2):
        radius, angle = u[i].log_().mul_(-2).sqrt_(), u[i + 1].mul_(2 * torch.pi)
        values[..., i] = angle.cos().mul_(radius)
        values[..., i + 1] = angle.sin_().mul_(radius)
    return values.reshape(len(indices), -1)[:, :size].reshape(len(indices), *shape)


def uniform_labels(seed: int, classes: int, indices: Sequence[int]):
    """A class 0 .. classes - 1 for each of the images `indices`, all alike likely: int64 (B), of numpy."""
    image = torch.as_tensor(indices, dtype=torch.int64)
    zero = torch.zeros_like(image)
    words = philox4x32([zero, image & _WORD, image >> 32, zero], (seed & _WORD, LABELS))
    return (words[0] * classes >> 32).numpy()


def noise_of(
    seed: int, indices: Sequence[int], shape: tuple[int, ...], device: Any = "cpu", stream: int = SAMPLING
) -> Noise:
    """The noise of images `indices` (their numbers, >= 0) under a seed in [0, 2**32)."""
    if not 0 <= seed <= _WORD:
        raise ValueError(f"seed is {seed}; it must be in 0 .. 2**32 - 1")
    if min(indices, default=0) < 0:
        raise ValueError(f"image {min(indices)} was asked for; images are numbered from 0")
    at = torch.as_tensor(indices, dtype=torch.int64).to(device)
    return lambda step: normals(seed, stream, at, step, tuple(shape))
