"""Weights & Biases as a view of the ledger: one run per cell. Nothing here can stop a measurement."""

from .cells import CURVES, CellView, summary_name, track
from .opening import Session, Tracker, Trouble, default_entity, folder, logged_in
from .sweeps import Source, sweep_id, track_source, track_sweep

__all__ = [
    "CURVES",
    "CellView",
    "Session",
    "Source",
    "Tracker",
    "Trouble",
    "default_entity",
    "folder",
    "logged_in",
    "summary_name",
    "sweep_id",
    "track",
    "track_source",
    "track_sweep",
]
