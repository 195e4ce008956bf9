"""Influence values of the kernel distance, with their second order."""

import numpy as np

from ..metrics.kid import between, halves


def kid_expansion(features: np.ndarray, reference: np.ndarray, reference_within: float) -> tuple[float, np.ndarray]:
    """KID of an arm's features (N D) against a fixed reference's (M D), and psi and delta (2 N).

    psi_i = 2 (within_i - between_i) less its mean: to first order what image i adds to a mean over pairs (Hoeffding
    1948). Each within_i is itself a mean over the other images, so that what is quadratic in the images counts twice;
    delta_i, half the change of psi_i from those of odd to those of even number, is what `influence` corrects it by.
    reference_within: `metrics.kid.within(reference).mean()`. Raises ValueError below four images.
    """
    n = len(features)
    if n < 4:
        raise ValueError(f"KID's influence values compare two halves of two images at least; {n} images were given")
    even, odd = halves(features)
    own, other = (even + odd) / (n - 1), between(features, reference)
    is_even = np.arange(n) % 2 == 0
    delta = even / ((n + 1) // 2 - is_even) - odd / (n // 2 - ~is_even)
    psi = 2 * (own - other)
    value = float(own.mean() + reference_within - 2 * other.mean())
    return value, np.stack([psi - psi.mean(), delta - delta.mean()])
