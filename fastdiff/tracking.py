"""Weights & Biases as a view of the ledger: one run per cell. Nothing here can stop a measurement."""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tracker:
    """name: wandb or none. mode: offline (no account; `make sync` uploads later), online or disabled."""

    name: str = "none"
    project: str = "fastdiff"
    entity: str | None = None
    mode: str = "offline"

    def __post_init__(self):
        if self.name not in ("none", "wandb"):
            raise ValueError(f"tracker '{self.name}' is not one of: none, wandb")
        if self.mode not in ("disabled", "offline", "online"):
            raise ValueError(f"tracker.mode '{self.mode}' is not one of: disabled, offline, online")


def track(
    tracker: Tracker, row: dict[str, Any], knobs: list[str], group: str | None, samples: np.ndarray | None
) -> str | None:
    """Write one cell as one W&B run: id = key, flat scalar config, summary metrics, a sample grid.

    row: the cell's line of the table; `knobs` names the columns that are settings, the others become summary metrics,
    their names in the letters that W&B sorts and filters by. samples uint8 (N C H W). A repeated cell updates its run.
    Returns what went wrong, or None.
    """
    return _tried(tracker, row.get("key"), lambda: _write_cell(tracker, row, knobs, group, samples))


def track_sweep(tracker: Tracker, name: str, lines: list[dict[str, Any]]) -> str | None:
    """Write a finished sweep as one W&B run: the table of its cells, whose verdicts are adjusted for all of them, and
    how many cells have which verdict. Returns what went wrong, or None."""
    return _tried(tracker, f"the table of {name}", lambda: _write_sweep(tracker, name, lines))


def _tried(tracker: Tracker, what: str, write: Callable[[], None]) -> str | None:
    if tracker.name == "none":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        write()
    except Exception as error:  # whatever W&B raises, the measurement is safe in the ledger
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return f"W&B could not record {what} ({reason}); the ledger has it, `make sync` replays it"
    return None


def _write_sweep(tracker, name, lines) -> None:
    import wandb

    columns = list(dict.fromkeys(column for line in lines for column in line))
    rows = [[_said(line.get(column)) for column in columns] for line in lines]
    verdicts = [line["verdict"] for line in lines if line.get("verdict")]
    sweep = re.sub(r"[^\w.-]+", "-", f"sweep-{name}")  # an id may not have every character of a name
    with wandb.init(
        project=tracker.project, entity=tracker.entity, mode=tracker.mode, id=sweep, resume="allow",
        group=name, name=f"sweep {name}", job_type="sweep",
    ) as run:  # fmt: skip
        run.summary.update({f"cells_{word}": verdicts.count(word) for word in dict.fromkeys(verdicts)})
        run.summary["cells"] = len(lines)
        run.summary["cells_table"] = wandb.Table(columns=columns, data=rows)  # not logged: another sync replaces it


def _said(value):
    """What W&B takes: NaN, which no column of words may hold, is nothing."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _write_cell(tracker, row, knobs, group, samples) -> None:
    import wandb

    config = {name: _said(row[name]) for name in knobs}
    metrics = {
        re.sub(r"\W+", "_", name).strip("_"): value
        for name, value in row.items()
        if name not in knobs and isinstance(value, (int, float, str)) and _said(value) is not None
    }
    with wandb.init(
        project=tracker.project, entity=tracker.entity, mode=tracker.mode, id=row["key"], resume="allow",
        group=group, name=f"{row['sampler']}-{row['steps']} {row['key'][:6]}", job_type="cell", config=config,
    ) as run:  # fmt: skip
        run.summary.update(metrics)
        if samples is not None:
            run.summary["samples"] = wandb.Image(contact_sheet(samples))


def contact_sheet(samples: np.ndarray, columns: int = 8) -> np.ndarray:
    """uint8 (N C H W) -> one image (H' W') or (H' W' 3) with the samples in rows of `columns`."""
    n, c, h, w = samples.shape
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, c, h, w), np.uint8)
    sheet[:n] = samples
    sheet = sheet.reshape(rows, columns, c, h, w).transpose(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c)
    return sheet[..., 0] if c == 1 else sheet


def logged_in() -> bool:
    """Whether an upload has a chance; asks nobody."""
    import wandb

    return bool(wandb.login(prompt=False))
