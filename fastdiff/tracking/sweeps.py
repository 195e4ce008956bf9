"""Runs of W&B beside those of cells: a sweep with its table, and what cells were measured with, as artifacts."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .cells import log_curve, said
from .opening import Part, Session, Trouble


@dataclass(frozen=True)
class Source:
    """What cells were measured with. name: of its run and of its artifact, content-keyed. kind: `reference` or
    `score_norms`. curve: points over sigma, of norms."""

    name: str
    kind: str
    files: tuple[Path, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    curve: Sequence[dict[str, float]] = ()


def track_source(session: Session, source: Source) -> Trouble | None:
    """Write a source as one W&B run that logs it as an artifact: where the lineage of cells begins."""
    return session.written(
        source.name, partial(_source_parts, source), id=source.name, name=source.name, job_type=source.kind,
        tags=[source.kind], config=source.metadata,
    )  # fmt: skip


def _source_parts(source: Source, run) -> Iterable[Part]:
    yield "the artifact", lambda: _log_files(run, source)
    if source.curve:
        names = dict.fromkeys((name for point in source.curve for name in point if name != "sigma"), "mean")
        yield "curves", lambda: log_curve(run, source.curve, names, "sigma")


def _log_files(run, source: Source) -> None:
    import wandb

    artifact = wandb.Artifact(source.name, type=source.kind, metadata=source.metadata)
    for path in source.files:
        artifact.add_file(str(path), policy="immutable")  # else W&B keeps a copy of its own
    run.log_artifact(artifact)


def track_sweep(session: Session, name: str, lines: list[dict[str, Any]]) -> Trouble | None:
    """Write a finished sweep as one W&B run: the table of its cells, whose verdicts are adjusted for all of them, and
    how many cells have which verdict. Returns what went wrong, or None."""
    return session.written(
        f"the table of {name}", partial(_sweep_parts, lines), id=sweep_id(name), group=name,
        name=f"sweep {name}", job_type="sweep", tags=["sweep"],
    )  # fmt: skip


def sweep_id(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", f"sweep-{name}")  # an id may not have every character of a name


def _sweep_parts(lines: list[dict[str, Any]], run) -> Iterable[Part]:
    verdicts = [line["verdict"] for line in lines if line.get("verdict")]
    counts = {f"cells_{word}": verdicts.count(word) for word in dict.fromkeys(verdicts)}
    yield "numbers", lambda: run.summary.update(counts | {"cells": len(lines)})
    yield "the table", lambda: _log_table(run, lines)


def _log_table(run, lines: list[dict[str, Any]]) -> None:
    import wandb

    columns = list(dict.fromkeys(column for line in lines for column in line))
    rows = [[said(line.get(column)) for column in columns] for line in lines]
    run.summary["cells_table"] = wandb.Table(columns=columns, data=rows)  # not logged: another sync replaces it
