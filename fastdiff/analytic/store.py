"""Stored norms: a json of their own, and the official ms_eps file in and out."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..files import locate, read_json, write, write_json
from ..weights.checkpoints import read_array
from .score_norms import Joint, Norm, Store


def read_store(path: Path, kind: Any = Norm) -> dict:
    """Stored norms; empty when there are none yet. Norms of stores that know eps_ms alone have no mse.

    The file has a list for each statistic of `kind`, of [sigma, mean, se], or of [t, t_full, r, mean, se] for shallow
    calls. kind: a tuple of statistics, each followed by its standard error; the later ones may be missing.
    """
    if not path.exists():
        return {}
    lists, found = read_json(path), {}
    for name in kind._fields[::2]:
        for *where, mean, se in lists.get(name, []):
            at = where[0] if len(where) == 1 else Joint(*where)
            found[at] = [*found.get(at, []), mean, se]
    return {at: kind(*values) for at, values in found.items()}


def write_store(path: Path, identity: dict, norms: Store, kind: Any = Norm) -> None:
    """Add norms to a store, keeping those that are there."""
    merged = {**read_store(path, kind), **norms}
    lists = {
        name: [
            [*(at if isinstance(at, tuple) else [at]), *merged[at][i : i + 2]]
            for at in sorted(merged)
            if merged[at][i] is not None
        ]
        for i, name in zip(range(0, len(kind._fields), 2), kind._fields[::2])
    }
    write_json(path, {"identity": identity, **lists})


def import_official(file: str, levels: np.ndarray) -> dict[float, Norm]:
    """An Analytic-DPM `ms_eps` file: array of length N + 1, index 0 unused, entry n at level n. Nothing is executed."""
    path = locate(file)
    values = read_array(path, "ms_eps file of Analytic-DPM")
    if values.shape != (len(levels) + 1,):
        raise ValueError(
            f"{path} has shape {values.shape}; ({len(levels) + 1},) is needed for {len(levels)} noise levels"
        )
    if not np.isfinite(values[1:]).all() or (values[1:] < 0).any():
        raise ValueError(f"{path} holds values that are negative or not finite; it is no ms_eps file")
    return {float(sigma): Norm(float(value), math.nan) for sigma, value in zip(levels, values[1:])}


def export_official(store: Store, levels: np.ndarray, path: Path) -> None:
    """Write norms as an Analytic-DPM `ms_eps` file (float32 tensor, index 0 unused). All N levels are needed."""
    import torch

    missing = sum(float(sigma) not in store for sigma in levels)
    if missing:
        raise ValueError(
            f"{missing} of {len(levels)} noise levels have no score norm yet; estimate them first (levels=all)"
        )
    values = torch.tensor([0.0] + [store[float(sigma)].eps_ms for sigma in levels], dtype=torch.float32)
    write(path, lambda file: torch.save(values, file))
