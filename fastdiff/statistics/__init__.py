"""How sure a number is, and whether two differ."""

from .influence import Estimate, difference, estimate, frechet_influence, inception_score_influence

__all__ = ["Estimate", "difference", "estimate", "frechet_influence", "inception_score_influence"]
