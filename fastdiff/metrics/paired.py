"""Images compared one by one with the slow sampler's images of the same seed: PSNR, SSIM, distance of features.

The quality of a set says nothing about single images: an accelerated sampler can keep FID and draw other pictures.
"""

import math
from statistics import NormalDist

import numpy as np

from .extractor import check_pixels
from .fid import check_finite

WORST_IS_LOW = {"psnr": True, "ssim": True, "largest_difference": False, "feature_distance": False}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
WINDOW = 11  # pixels a side of SSIM's Gaussian window (Wang et al. 2004)


def paired(
    pixels: np.ndarray,
    slow_pixels: np.ndarray,
    features: np.ndarray | None = None,
    slow_features: np.ndarray | None = None,
    batch: int = 250,
) -> dict[str, np.ndarray]:
    """Compare image i of both sets, which have the same noise. pixels: uint8 (N C H W), 0 .. 255.

    Returns float64 (N) each: `psnr` (dB); `largest_difference` (levels; 0 only for identical images); `ssim` in
    [-1, 1], for images of at least 11 pixels a side; `feature_distance`, where features (N D) are given. Raises
    ValueError for unequal shapes, for no images, and for features that are NaN or infinite, naming the first bad image.
    """
    _alike(pixels, slow_pixels, "images")
    for array in (pixels, slow_pixels):
        check_pixels(array)
    if len(pixels) == 0:
        raise ValueError("there are no images to compare; give at least one")
    parts = [slice(start, start + batch) for start in range(0, len(pixels), batch)]
    found = {"psnr": np.concatenate([_psnr(pixels[part], slow_pixels[part]) for part in parts])}
    found["largest_difference"] = np.concatenate([_difference(pixels[part], slow_pixels[part]) for part in parts])
    if min(pixels.shape[2:]) >= WINDOW:
        found["ssim"] = np.concatenate([_ssim(pixels[part], slow_pixels[part]) for part in parts])
    if features is not None and slow_features is not None:
        if len(features) != len(pixels):
            raise ValueError(f"{len(features)} images have features, but {len(pixels)} pixels")
        found["feature_distance"] = feature_distance(features, slow_features)
    return found


def feature_distance(features: np.ndarray, slow_features: np.ndarray) -> np.ndarray:
    """Euclidean distance (N) between the features (N D) of each pair. Raises what `paired` raises."""
    _alike(features, slow_features, "features")
    check_finite(features)
    check_finite(slow_features)
    return np.linalg.norm(features.astype(np.float64) - slow_features, axis=1)


def _psnr(pixels: np.ndarray, slow: np.ndarray) -> np.ndarray:
    """10 log10(255^2 / mse). Identical images get the mse of one value off by one level, 1 / (C H W), because infinity
    would become the mean of its set."""
    mse = ((pixels.astype(np.float64) - slow) ** 2).mean((1, 2, 3))
    return 10 * np.log10(255**2 / mse.clip(min=1 / pixels[0].size))


def _difference(pixels: np.ndarray, slow: np.ndarray) -> np.ndarray:
    return np.abs(pixels.astype(np.float64) - slow).max((1, 2, 3))


def _ssim(pixels: np.ndarray, slow: np.ndarray) -> np.ndarray:
    """SSIM with a Gaussian window of 11 pixels, sigma 1.5. Mean over pixels and channels."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    images, targets = (torch.from_numpy(array).double() for array in (pixels, slow))
    return structural_similarity_index_measure(images, targets, data_range=255.0, reduction="none").numpy().reshape(-1)


def summary(found: dict[str, np.ndarray], worst: int = 8, first: int = 0) -> dict[str, dict]:
    """For each measure of `paired`: n, mean, se, the 95 % interval of the mean, quantiles, and the worst cases.

    worst: number of worst cases. first: number of the first image. `worst` has the numbers of these images, worst
    first, and `worst_values` their values. The interval is mean -+ 1.96 sd / sqrt(n).
    """
    return {name: _summary(values, WORST_IS_LOW[name], worst, first) for name, values in found.items()}


def _summary(values: np.ndarray, low: bool, worst: int, first: int) -> dict:
    n, mean = len(values), float(values.mean())
    se = float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    z = NormalDist().inv_cdf(0.975)
    order = np.argsort(values if low else -values, kind="stable")[:worst]
    return {
        "n": n,
        "mean": mean,
        "se": se,
        "low": mean - z * se,
        "high": mean + z * se,
        "quantiles": dict(zip(map(str, QUANTILES), np.quantile(values, QUANTILES).tolist())),
        "worst": (first + order).tolist(),
        "worst_values": values[order].tolist(),
    }


def _alike(a: np.ndarray, b: np.ndarray, what: str) -> None:
    if a.shape != b.shape:
        raise ValueError(f"paired {what} have the same shape; these have {a.shape} and {b.shape}")
