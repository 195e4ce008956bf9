"""Do intervals and verdicts keep their promise? Pairs of arms are drawn again and again from pools of features.

Nulls, whose true difference is exactly 0, so that the finite pool adds nothing:
    independent   two disjoint subsets of one pool: their difference varies by twice sd^2 / n, sd that of the pool
    paired        images of two arms of one law, each pair in a random order: the pair is exchangeable
    real          draws with replacement from the reference's own images, with probability r the same in both arms: the
                  distance is 0 but for its bias, where first-order standard errors are sqrt(2) too large
Alternatives: images of two arms that differ, on the same noise (paired) or on disjoint ones (unpaired).
"""

import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..metrics.fid import Moments, frechet, moments
from .influence import Estimate, correlation, difference, first_order, frechet_expansion
from .jackknife import BLOCKS, frechet_left_out, jackknife

Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]  # features (n D) of both arms


def independent(pool_a: np.ndarray, pool_b: np.ndarray, n: int) -> Draw:
    """n images of each pool, none of the same number. A null where both are one pool."""
    _enough(pool_a, 2 * n)

    def draw(random):
        chosen = random.permutation(len(pool_a))[: 2 * n]
        return pool_a[chosen[:n]], pool_b[chosen[n:]]

    return draw


def paired(pool_a: np.ndarray, pool_b: np.ndarray, n: int, exchanged: bool) -> Draw:
    """The same n images of both pools. exchanged: each pair in a random order, which makes it a null."""
    _enough(pool_a, n)

    def draw(random):
        chosen = random.permutation(len(pool_a))[:n]
        a, b = pool_a[chosen], pool_b[chosen]
        swap = (random.random(n) < 0.5 * exchanged)[:, None]
        return np.where(swap, b, a), np.where(swap, a, b)

    return draw


def real(images: np.ndarray, n: int, r: float) -> Draw:
    """n draws with replacement for each arm; with probability r the second arm has the first one's image."""

    def draw(random):
        first, second = random.integers(len(images), size=(2, n))
        return images[first], images[np.where(random.random(n) < r, first, second)]

    return draw


def _enough(pool: np.ndarray, needed: int) -> None:
    if len(pool) < needed:
        raise ValueError(f"a pool of {len(pool)} images is too small for draws of {needed}; make pool larger")


class Case(NamedTuple):
    """What is drawn: a name for tables, whether image i of both arms belongs together, n -> Draw, and the difference of
    the whole pools, None for a null."""

    arms: str
    paired: bool
    draw: Callable[[int], Draw]
    known: float | None = None


def rows(case: Case, n: int, pairs: int, reference: Moments, seed: int, progress: Callable) -> list[dict]:
    """What `pairs` pairs of n images found: of a null one row a method, of an alternative one row."""
    blocks = BLOCKS if case.known is None else 0
    own_seed = [seed, zlib.crc32(case.arms.encode()), int(case.paired), n]  # whatever other cases there are
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
    """Of every pair (pairs): the difference of its distances, the standard errors and verdicts by each method, the mean
    distance, and r of the influence values."""

    differences: np.ndarray
    errors: dict[str, np.ndarray]
    told_apart: dict[str, np.ndarray]  # sign of the difference where it is told apart, else 0
    distances: np.ndarray
    correlations: np.ndarray


def trials(draw: Draw, pairs: int, reference: Moments, pair: bool, seed, blocks: int, progress: Callable) -> Trials:
    """Draw `pairs` pairs and judge each at the 5 % level: by influence values (psi and delta), by psi alone (`first
    order`) and, with blocks > 0, by the jackknife. pair: whether image i of both arms belongs together.

    seed: of the draws, as numpy's default_rng takes it.
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
    """Of unpaired arms, block k of one has nothing to do with block k of the other: their variances add."""
    if pair:
        return jackknife(a - b, left_a - left_b)
    one, other = jackknife(a, left_a), jackknife(b, left_b)
    se = math.hypot(one.se, other.se)
    wide = (one.high - a) / one.se * se
    return one._replace(value=a - b, se=se, low=a - b - wide, high=a - b + wide)


def of_nulls(found: Trials) -> dict[str, dict[str, float]]:
    """By method: the share of false verdicts and stated over empirical standard error, each with its 95 % interval."""
    pairs, sd = len(found.differences), float(found.differences.std(ddof=1))
    low, high = (1 / (1 + end * relative_error(found.differences)) for end in (1.96, -1.96))
    judged = {}
    for method, errors in found.errors.items():
        ratio = float(errors.mean()) / sd
        false = share(int(np.count_nonzero(found.told_apart[method])), pairs, "false_verdict_rate")
        judged[method] = false | {"se_over_sd": ratio, "se_over_sd.low": ratio * low, "se_over_sd.high": ratio * high}
    return judged


def of_alternatives(found: Trials, known: float) -> dict[str, float]:
    """Power by influence values: the share of pairs told apart in the right direction, and in the wrong one."""
    pairs, apart = len(found.differences), found.told_apart["influence"]
    right = share(int((apart == np.sign(known)).sum()), pairs, "power")
    return right | {"wrong_direction": float((apart == -np.sign(known)).mean())}


def share(count: int, pairs: int, name: str) -> dict[str, float]:
    """A share with its 95 % interval by Wilson."""
    from scipy.stats import binomtest

    low, high = binomtest(count, pairs).proportion_ci(method="wilson")
    return {name: count / pairs, f"{name}.low": float(low), f"{name}.high": float(high)}


def relative_error(values: np.ndarray) -> float:
    """Standard error of the sd of values, over the sd: sqrt((kurtosis - 1) / (4 N))."""
    centred = values - values.mean()
    kurtosis = (centred**4).mean() / (centred**2).mean() ** 2
    return math.sqrt((kurtosis - 1) / (4 * len(values)))
