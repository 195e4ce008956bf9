"""Score norms for Analytic-DPM: estimated once by Monte Carlo, stored under everything they depend on."""

from .curve import grid, interpolated
from .estimate import as_inputs, estimate, estimate_joint, moments
from .score_norms import Joint, Norm, Store, covariances, joints, kept
from .settings import ESTIMATORS, ScoreNorms
from .store import export_official, import_official, read_store, write_store

__all__ = [
    "ESTIMATORS",
    "Joint",
    "Norm",
    "ScoreNorms",
    "Store",
    "as_inputs",
    "covariances",
    "estimate",
    "estimate_joint",
    "export_official",
    "grid",
    "import_official",
    "interpolated",
    "joints",
    "kept",
    "moments",
    "read_store",
    "write_store",
]
