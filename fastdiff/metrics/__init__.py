"""Features -> statistics -> metric."""

from .features import Extractor, Features, MetricsCard, build_extractor
from .fid import Moments, frechet, moments
from .inception_score import inception_score, shuffled

__all__ = [
    "Extractor",
    "Features",
    "MetricsCard",
    "Moments",
    "build_extractor",
    "frechet",
    "inception_score",
    "moments",
    "shuffled",
]
