"""One run of W&B a cell: its knobs, numbers, curves and images. Doing it twice changes nothing."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..report.samples import contact_sheet
from .opening import Part, Session, Trouble

SHEET = 64  # images of a contact sheet
ROWS = 16  # images of the table beside the images of the baseline
CURVES = {"sigma": "max", "var": "max", "cov_x0": "max", "eps_ms": "mean", "full_call": "mean"}  # name -> its summary


@dataclass(frozen=True)
class CellView:
    """What W&B is shown of a cell.

    row: its line of the table. knobs: the columns that are settings; the others become summary metrics, under names
    that W&B can sort and filter by. config: what is kept nested beside the flat knobs. generation: key of its images.
    curve: a point a step, with any of CURVES. samples, baseline: uint8 (N C H W) of this cell and of its baseline,
    image i from the same noise in both. uses: names of the artifacts it was measured with.
    """

    row: dict[str, Any]
    knobs: Sequence[str]
    config: dict[str, Any]
    generation: str
    group: str | None = None
    tags: tuple[str, ...] = ()
    curve: Sequence[dict[str, float]] = ()
    samples: np.ndarray | None = None
    baseline: np.ndarray | None = None
    uses: tuple[str, ...] = ()


def track(session: Session, view: CellView) -> Trouble | None:
    """Write one cell as one W&B run, id = key: a repeated cell updates its run. Returns what went wrong, or None."""
    row = view.row
    knobs = {name: row.get(name) for name in view.knobs}
    knobs = {name: value for name, value in knobs.items() if said(value) is not None}
    config = knobs | view.config | {"uses": list(view.uses)}
    return session.written(
        row["key"], partial(_parts, view), id=row["key"], group=view.group, job_type="cell",
        name=f"{row['sampler']}-{row['steps']} {row['key'][:6]}", tags=list(view.tags), config=config,
    )  # fmt: skip


def _parts(view: CellView, run) -> Iterable[Part]:
    yield "numbers", lambda: run.summary.update(numbers(view.row, view.knobs))
    if view.samples is not None:
        yield "samples", lambda: _log_sheet(run, view.samples)
        yield "the table of samples", lambda: _table(run, view)
    if view.curve:
        yield "curves", lambda: log_curve(run, view.curve, CURVES, "step")
    if view.samples is not None:
        yield "the artifact of samples", lambda: _grid_artifact(run, view)
    if view.uses and not run.offline:  # W&B offline cannot say what a run used; the config does
        yield "lineage", lambda: [run.use_artifact(f"{name}:latest") for name in view.uses]


def numbers(row: dict[str, Any], knobs: Sequence[str]) -> dict[str, float | str]:
    """What a table's line measures, under names for W&B."""
    return {
        summary_name(name): value
        for name, value in row.items()
        if name not in knobs and isinstance(value, (int, float, str)) and said(value) is not None
    }


def summary_name(name: str) -> str:
    """`fid[mnist-classifier,n=1000]` -> `fid_mnist_classifier_n_1000`: W&B sorts and filters by such names only."""
    return re.sub(r"\W+", "_", name).strip("_")


def said(value: Any):
    """What W&B takes: NaN, which no column of words may hold, is nothing."""
    return None if isinstance(value, float) and math.isnan(value) else value


def log_curve(run: Any, points: Sequence[dict[str, float]], names: dict[str, str], axis: str) -> None:
    """Points as series over `axis`, as curve/<name>. A run that was resumed has its first points already: W&B would
    append them again."""
    run.define_metric(f"curve/{axis}", hidden=True)
    for name, summary in names.items():
        if any(name in point for point in points):
            run.define_metric(f"curve/{name}", step_metric=f"curve/{axis}", summary=summary)
    for at, point in enumerate(points):
        if at >= run.starting_step:
            run.log({f"curve/{name}": value for name, value in point.items()}, step=at)


def _log_sheet(run, samples: np.ndarray) -> None:
    import wandb

    sheet = wandb.Image(contact_sheet(samples[:SHEET]))
    if run.starting_step == 0:
        run.log({"samples": sheet}, step=0)
    else:  # its history cannot be written again
        run.summary["samples"] = sheet


def _table(run, view: CellView) -> None:
    """Image by image beside the baseline. In the summary, not logged: another sync replaces it."""
    import wandb

    sets = {"this cell": view.samples} | ({} if view.baseline is None else {"baseline, same noise": view.baseline})
    count = min(ROWS, *map(len, sets.values()))
    rows = [[i, *(wandb.Image(contact_sheet(images[i : i + 1], 1)) for images in sets.values())] for i in range(count)]
    run.summary["samples_table"] = wandb.Table(columns=["image", *sets], data=rows)


def _grid_artifact(run, view: CellView) -> None:
    import wandb
    from PIL import Image

    artifact = wandb.Artifact(f"samples-{view.generation}", type="samples", metadata={"cell": view.row["key"]})
    with artifact.new_file("samples.png", "wb") as file:
        Image.fromarray(contact_sheet(view.samples[:SHEET])).save(file, "PNG")
    run.log_artifact(artifact)
