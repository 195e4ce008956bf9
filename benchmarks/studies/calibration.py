"""Do intervals and verdicts hold? Pairs of arms are drawn many times from pools of features, and each pair is tested.

In a null the true difference is exactly 0:
    independent   two disjoint subsets of one pool. Their difference has the variance 2 sd^2 / n, with the pool's sd
    paired        images of two arms with the same law. The order of each pair is random, and the pair is exchangeable
    real          draws with replacement from the reference images; with probability r both arms get the same image. The
                  distance is 0 up to its bias. First-order standard errors are too large there, by a factor of sqrt(2)
In an alternative two arms differ. Their images have the same noise (paired) or no image in common (unpaired).
"""

import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastdiff.metrics.fid import Moments, frechet, moments
from fastdiff.statistics.influence import Estimate, correlation, difference, first_order, frechet_expansion
from fastdiff_benchmarks.studies.jackknife import BLOCKS, frechet_left_out, jackknife

Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]  # features (n D) of both arms


def independent(pool_a: np.ndarray, pool_b: np.ndarray, n: int) -> Draw:
    """n images of each pool, with different indices. A null if both are the same pool."""
    _enough(pool_a, 2 * n)

    def draw(random):
        chosen = random.permutation(len(pool_a))[: 2 * n]
        return pool_a[chosen[:n]], pool_b[chosen[n:]]

    return draw


def paired(pool_a: np.ndarray, pool_b: np.ndarray, n: int, exchanged: bool) -> Draw:
    """The same n indices of both pools. exchanged: put each pair in a random order. This makes a null."""
    _enough(pool_a, n)

    def draw(random):
        chosen = random.permutation(len(pool_a))[:n]
        a, b = pool_a[chosen], pool_b[chosen]
        swap = (random.random(n) < 0.5 * exchanged)[:, None]
        return np.where(swap, b, a), np.where(swap, a, b)

    return draw


def real(images: np.ndarray, n: int, r: float) -> Draw:
    """n draws with replacement for each arm. With probability r the second arm gets the image of the first."""

    def draw(random):
        first, second = random.integers(len(images), size=(2, n))
        return images[first], images[np.where(random.random(n) < r, first, second)]

    return draw


def _enough(pool: np.ndarray, needed: int) -> None:
    if len(pool) < needed:
        raise ValueError(f"a pool of {len(pool)} images is too small for draws of {needed}; make pool larger")


class Case(NamedTuple):
    """Two arms to draw from.

    arms: their name in tables. paired: whether image i of one arm belongs to image i of the other. draw: n -> Draw.
    known: the difference of the whole pools, None for a null.
    """

    arms: str
    paired: bool
    draw: Callable[[int], Draw]
    known: float | None = None


def rows(case: Case, n: int, pairs: int, reference: Moments, seed: int, progress: Callable) -> list[dict]:
    """Test `pairs` pairs of n images. Returns one row per method for a null, and one row for an alternative."""
    blocks = BLOCKS if case.known is None else 0
    own_seed = [seed, zlib.crc32(case.arms.encode()), int(case.paired), n]  # the same draws with any other cases
    found = trials(case.draw(n), pairs, reference, case.paired, own_seed, blocks, progress)
    row = {
        "arms": case.arms,
        "paired": case.paired,
        "n": n,
        "pairs": pairs,
        "distance": float(found.distances.mean()),
        "r": float(found.correlations.mean()),
        "sd": float(found.differences.std(ddof=1)),
    }
    if case.known is None:
        return [row | {"method": method} | judged for method, judged in of_nulls(found).items()]
    known = {"known_difference": case.known, "mean_difference": float(found.differences.mean())}
    return [row | known | of_alternatives(found, case.known)]


class Trials(NamedTuple):
    """Arrays with one entry per pair: the difference of the distances, standard errors and verdicts by method, the mean
    of both distances, and the correlation of the influence values."""

    differences: np.ndarray
    errors: dict[str, np.ndarray]
    verdicts: dict[str, np.ndarray]  # sign of the difference if it is significant, else 0
    distances: np.ndarray
    correlations: np.ndarray


def trials(draw: Draw, pairs: int, reference: Moments, pair: bool, seed, blocks: int, progress: Callable) -> Trials:
    """Draw `pairs` pairs and test each at the 5 % level.

    Methods: `influence` (influence values, psi and delta), `first order` (psi alone) and, if blocks > 0, `jackknife`.
    pair: whether image i of one arm belongs to image i of the other. seed: for numpy's default_rng.
    """
    random, each = np.random.default_rng(seed), []
    for _ in range(pairs):
        arms = draw(random)
        values = [frechet(moments(arm), reference) for arm in arms]
        psi = [frechet_expansion(arm, reference) for arm in arms]
        found = {
            "influence": difference(*values, *psi, paired=pair),
            "first order": difference(*values, *map(first_order, psi), paired=pair),
        }
        if blocks:
            left = [frechet_left_out(arm, reference, blocks) for arm in arms]
            found["jackknife"] = _jackknifed(*values, *left, pair)
        each.append((found, sum(values) / 2, correlation(*psi)))
        progress(1)
    found, distances, correlations = zip(*each)
    by = {method: np.array([one[method] for one in found]) for method in found[0]}  # value, se, low, high
    errors = {method: of[:, 1] for method, of in by.items()}
    apart = {method: np.sign(of[:, 0]) * ((of[:, 2] > 0) | (of[:, 3] < 0)) for method, of in by.items()}
    differences = by["influence"][:, 0]
    return Trials(differences, errors, apart, np.array(distances), np.array(correlations))


def _jackknifed(a: float, b: float, left_a: np.ndarray, left_b: np.ndarray, pair: bool) -> Estimate:
    """The jackknife of a difference. The blocks of unpaired arms are independent: their variances add."""
    if pair:
        return jackknife(a - b, left_a - left_b)
    one, other = jackknife(a, left_a), jackknife(b, left_b)
    se = math.hypot(one.se, other.se)
    wide = (one.high - a) / one.se * se
    return one._replace(value=a - b, se=se, low=a - b - wide, high=a - b + wide)


def of_nulls(found: Trials) -> dict[str, dict[str, float]]:
    """By method: the share of false verdicts, and the stated over the empirical standard error, with 95 % intervals."""
    pairs, sd = len(found.differences), float(found.differences.std(ddof=1))
    low, high = (1 / (1 + end * relative_error(found.differences)) for end in (1.96, -1.96))
    judged = {}
    for method, errors in found.errors.items():
        ratio = float(errors.mean()) / sd
        false = share(int(np.count_nonzero(found.verdicts[method])), pairs, "false_verdict_rate")
        judged[method] = false | {"se_over_sd": ratio, "se_over_sd.low": ratio * low, "se_over_sd.high": ratio * high}
    return judged


def of_alternatives(found: Trials, known: float) -> dict[str, float]:
    """Power by influence values: the share of significant pairs in the right and in the wrong direction."""
    pairs, apart = len(found.differences), found.verdicts["influence"]
    right = share(int((apart == np.sign(known)).sum()), pairs, "power")
    return right | {"wrong_direction": float((apart == -np.sign(known)).mean())}


def share(count: int, pairs: int, name: str) -> dict[str, float]:
    """A share with its 95 % interval (Wilson)."""
    from scipy.stats import binomtest

    low, high = binomtest(count, pairs).proportion_ci(method="wilson")
    return {name: count / pairs, f"{name}.low": float(low), f"{name}.high": float(high)}


def relative_error(values: np.ndarray) -> float:
    """Standard error of the sd of N values, divided by the sd: sqrt((kurtosis - 1) / (4 N))."""
    centred = values - values.mean()
    kurtosis = (centred**4).mean() / (centred**2).mean() ** 2
    return math.sqrt((kurtosis - 1) / (4 * len(values)))
