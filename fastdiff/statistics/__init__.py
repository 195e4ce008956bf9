"""How sure a number is, and whether two differ."""

from .influence import (
    Estimate,
    correlation,
    difference,
    estimate,
    few,
    first_order,
    frechet_expansion,
    inception_score_influence,
    outside,
    standard_error,
)
from .jackknife import BLOCKS, frechet_left_out, jackknife, jackknife_error
from .verdicts import LEVEL, WORDS, Verdict, holm, p_value, verdicts

__all__ = [
    "BLOCKS",
    "LEVEL",
    "WORDS",
    "Estimate",
    "Verdict",
    "correlation",
    "difference",
    "estimate",
    "few",
    "first_order",
    "frechet_expansion",
    "frechet_left_out",
    "holm",
    "inception_score_influence",
    "jackknife",
    "jackknife_error",
    "outside",
    "p_value",
    "standard_error",
    "verdicts",
]
