"""Standard errors and intervals of metrics, and verdicts on differences."""

from .influence import (
    Estimate,
    correlation,
    difference,
    estimate,
    few,
    first_order,
    frechet_expansion,
    inception_score_influence,
    kid_influence,
    outside,
    prdc_influence,
    standard_error,
)
from .verdicts import LEVEL, WORDS, Verdict, holm, p_value, verdicts

__all__ = [
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
    "holm",
    "inception_score_influence",
    "kid_influence",
    "outside",
    "p_value",
    "prdc_influence",
    "standard_error",
    "verdicts",
]
