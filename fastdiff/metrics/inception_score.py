"""The Inception Score (Salimans et al. 2016): exp of the mean KL divergence from class probabilities to their mean."""

import numpy as np


def split_divergences(probabilities: np.ndarray, order: np.ndarray, splits: int) -> list[np.ndarray]:
    """KL(p(y|x) || p(y)) of each image, split by split; p(y) is the split's own mean.

    probabilities (N classes), each row summing to 1. order: a permutation of 0 .. N - 1; the score depends on it.
    Split i has places i N // splits .. (i + 1) N // splits of the order, as in the original code.
    """
    p = np.asarray(probabilities, dtype=np.float64)[order]
    n = len(p)
    if n < splits:
        raise ValueError(f"{n} images cannot be cut into {splits} splits; lower metrics.is_splits or raise budget.n")
    parts = [p[i * n // splits : (i + 1) * n // splits] for i in range(splits)]
    tiny = np.finfo(np.float64).tiny
    return [(q * (np.log(q.clip(tiny)) - np.log(q.mean(0).clip(tiny)))).sum(1) for q in parts]


def shuffled(n: int) -> np.ndarray:
    """The benchmark's order: a fixed shuffle (seed 2020, as in torch-fidelity), the same for every arm."""
    return np.random.RandomState(2020).permutation(n)


def split_scores(probabilities: np.ndarray, order: np.ndarray, splits: int) -> np.ndarray:
    """exp(mean divergence) of each split (splits). The original code's `std` is the standard deviation of this."""
    return np.array([np.exp(kl.mean()) for kl in split_divergences(probabilities, order, splits)])


def inception_score(probabilities: np.ndarray, order: np.ndarray, splits: int) -> float:
    """Mean over splits of exp(mean divergence), between 1 and the number of classes."""
    return float(np.mean(split_scores(probabilities, order, splits)))
