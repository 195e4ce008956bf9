"""Features -> statistics -> metric."""

from .features import Extractor, Features, MetricsCard, build_extractor
from .fid import Moments, frechet, frechet_of, moments
from .inception_score import inception_score, shuffled, split_scores
from .kid import kid, kid_subsets
from .prdc import prdc

__all__ = [
    "Extractor",
    "Features",
    "MetricsCard",
    "Moments",
    "build_extractor",
    "frechet",
    "frechet_of",
    "inception_score",
    "kid",
    "kid_subsets",
    "moments",
    "prdc",
    "shuffled",
    "split_scores",
]
