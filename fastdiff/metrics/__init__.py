"""Features -> statistics -> metric."""

from . import clean_fid as _registers_its_extractor  # noqa: F401
from .cards import ImageMetrics, LikelihoodBound, MetricsCard, PromptMetrics, build_extractor, metrics_card
from .extractor import EXTRACTORS, Extractor, Features, register
from .fid import Moments, frechet, frechet_of, moments
from .inception_score import inception_score, shuffled, split_scores
from .kid import kid, kid_subsets
from .prdc import prdc

__all__ = [
    "EXTRACTORS",
    "Extractor",
    "Features",
    "ImageMetrics",
    "LikelihoodBound",
    "MetricsCard",
    "Moments",
    "PromptMetrics",
    "build_extractor",
    "frechet",
    "frechet_of",
    "inception_score",
    "kid",
    "kid_subsets",
    "metrics_card",
    "moments",
    "prdc",
    "register",
    "shuffled",
    "split_scores",
]
