"""Verdicts on a family of comparisons at a stated level: better, worse, or indistinguishable.

p = erfc(|a - b| / se / sqrt 2), two-sided, adjusted for the family by Holm's step-down (Holm 1979): the chance that any
verdict of the family calls equal arms different is at most `level`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .influence import Estimate

LEVEL = 0.05
WORDS = ("better", "worse", "indistinguishable")


class Verdict(NamedTuple):
    """word: one of WORDS, or None without an interval. p: of the comparison alone. adjusted: p for its family."""

    word: str | None
    p: float
    adjusted: float


def p_value(found: Estimate) -> float:
    """Two-sided p by the normal distribution. nan without a standard error; 1 for a difference of exactly 0."""
    if found.value == 0:
        return math.nan if math.isnan(found.se) else 1.0
    return 0.0 if found.se == 0 else math.erfc(abs(found.value) / found.se / math.sqrt(2))


def holm(p: Sequence[float], unseen: int = 0) -> np.ndarray:
    """Adjusted p (m), in the order given. The i-th smallest becomes the max over j <= i of min(1, (m - j + 1) p_j).

    nan stays nan and does not count. unseen: planned comparisons of the family that were not made; they count with
    p = 1.
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted, known = np.full(len(p), math.nan), np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    stepped = p[order] * (np.arange(len(order), 0, -1) + unseen)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted


def verdicts(
    found: Sequence[Estimate], signs: int | Sequence[int] = 1, level: float = LEVEL, unseen: int = 0
) -> list[Verdict]:
    """One verdict for each difference (arm - other) of a family, adjusted for all of them and `unseen` more.

    signs: 1 where lower is better, -1 where higher is better (`metrics.cards.sign`): one for all, or one for each.
    Raises ValueError for other signs, and for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1, as 0.05")
    signs = [signs] * len(found) if isinstance(signs, int) else list(signs)
    if len(signs) != len(found) or not set(signs) <= {1, -1}:
        raise ValueError(f"signs are {signs}; 1 (lower is better) or -1, one for each of {len(found)}, are needed")
    p = [p_value(each) for each in found]
    adjusted = [float(each) for each in holm(p, unseen)]
    return [Verdict(_word(e.value * s, q, level), one, q) for e, s, one, q in zip(found, signs, p, adjusted)]


def _word(loss: float, adjusted: float, level: float) -> str | None:
    if math.isnan(adjusted):
        return None
    if adjusted >= level:
        return "indistinguishable"
    return "better" if loss < 0 else "worse"
