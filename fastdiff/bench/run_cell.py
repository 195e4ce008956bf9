"""The story of one cell: load, plan, sample, score, time, store.

torch and all that needs it are imported on the way, so that a cell which is already in the ledger costs no import.
"""

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..data import load
from ..device import device_name
from .blocks import blocks, sampling
from .cell import Cell, key
from .cost import calls_of, cost_of, most_kept
from .kept_images import UINT8, Kept
from .ledger import Ledger, provenance
from .records import Applied, Failed, Quality, Scalar, Speed, from_json
from .resources import Resources, labels_of, load_denoiser, scorer_of
from .score_norms import Estimator, norms_note, placed, score_covariances
from .scoring import SCORED, score, score_bound


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: kind `quality` or `failed`; reused when nothing had to be measured."""

    key: str
    kind: str
    reused: bool
    record: Quality | Failed


def speed_key(cell: Cell) -> str:
    return key(cell.speed(device_name(cell.device)))


def finished(cell: Cell, ledger: Ledger) -> bool:
    """Whether a cell is measured: its quality, by all metrics of today, and where images are generated this machine's
    speed."""
    timed = not cell.metrics.generates_images or ledger.path("speed", speed_key(cell)).exists()
    return timed and scored(cell, ledger) is not None


def scored(cell: Cell, ledger: Ledger) -> Quality | None:
    """A cell's quality record, unless an earlier version made it, with fewer metrics."""
    record = ledger.read("quality", cell.key)
    known = record is not None and (not cell.metrics.generates_images or record.scored >= SCORED)
    return record if known else None


def run_cell(
    cell: Cell,
    ledger: Ledger,
    settings: dict,
    force: bool = False,
    progress: Callable[[int], object] = id,
    save_images: int = 0,
    resources: Resources | None = None,
) -> Outcome:
    """Measure a cell, or find it in the ledger. A cell that fails leaves a record of kind `failed`; nothing is raised.

    settings: the conf it came from, kept beside the record. progress(images done) is called after every batch.
    save_images: so many of the first images are kept (`fastdiff.bench.kept_images`). resources: what cells of one owner
    share; None: this cell shares nothing.
    """
    kept = Kept(cell, ledger, save_images)
    if force:
        ledger.forget(cell, speed_key(cell) if cell.metrics.generates_images else None)
    if finished(cell, ledger) and kept.complete:
        return Outcome(cell.key, "quality", True, ledger.read("quality", cell.key))
    try:
        record = _measure(cell, ledger, settings, progress, kept, resources or Resources())
    except Exception as error:  # a sweep goes on whatever one of its cells does
        reason = " ".join(str(error).split()) or type(error).__name__
        old = ledger.read("quality", cell.key)
        if old is not None and scored(cell, ledger) is None:  # of an earlier version: worth more than none
            print(f"{cell.key} keeps the metrics it had: {reason}", file=sys.stderr)
            return Outcome(cell.key, "quality", True, old)
        record = Failed(
            cell.key, reason, settings, type(error).__name__, traceback=traceback.format_exc(), made=provenance()
        )
        with suppress(OSError):  # a full disk may be the reason
            ledger.write("failed", cell.key, record)
        return Outcome(cell.key, "failed", False, record)
    ledger.path("failed", cell.key).unlink(missing_ok=True)
    return Outcome(cell.key, "quality", False, record)


def _measure(
    cell: Cell, ledger: Ledger, settings: dict, progress: Callable, kept: Kept, resources: Resources
) -> Quality:
    spent: dict[str, float] = {}

    @contextmanager
    def phase(name: str):
        begun = time.perf_counter()
        yield
        spent[name] = time.perf_counter() - begun

    with phase("load"):
        images, held_out = resources.get("images", cell.data.identity(), lambda: load(cell.data))
        denoiser, labels = load_denoiser(cell, resources), labels_of(cell, images, resources)
        extractor, reference = (
            scorer_of(cell, ledger, images, resources) if cell.metrics.generates_images else (None, None)
        )
    with phase("score_norms"):
        estimator = Estimator(denoiser.eager(), images)
        denoiser = replace(denoiser, noise_levels=placed(cell, ledger, denoiser.noise_levels, estimator))
        cov_x0 = score_covariances(cell, ledger, denoiser.noise_levels, estimator)
    if not cell.metrics.generates_images:
        with phase("score"):
            values, influence = score_bound(cell, denoiser, held_out, cov_x0, progress)
    else:
        with phase("generate"):
            sample = sampling(cell, denoiser, labels, cov_x0)
            texts = labels.texts if cell.metrics.needs_prompts else None
            found = blocks(cell, ledger, sample, extractor, progress, kept.add, texts)
            kept.finish(sample, labels)
            if finished(cell, ledger):  # only images were missing
                return ledger.read("quality", cell.key)
        with phase("score"):
            values, influence = score(cell, found.features, found.probabilities, reference)

    machine = {"device": device_name(cell.device), "precision": cell.device.precision, "made": provenance()}
    kept_as = {}
    if cell.metrics.generates_images:
        if found.made or not ledger.path("speed", speed_key(cell)).exists():
            speed = measure_speed(cell, sample, found.seconds) | memory(cell, denoiser, labels, resources)
            ledger.write("speed", speed["key"], from_json(Speed, speed | machine))
        if (known := scored(cell, ledger)) is not None:  # only the speed of this machine was missing
            return known
        old = ledger.read("quality", cell.key)
        if isinstance(old, Quality) and not found.made:  # its images are as they were
            ledger.write_influence(cell.key, influence)
            known = replace(old, scored=SCORED, values=values, rescored=machine["made"])
            return ledger.write("quality", cell.key, known)
        kept_as = {"uint8": UINT8, "images": kept.where}
    record = Quality(
        cell.key,
        cell.quality(),
        settings,
        **applied(cell),
        n=cell.budget.n,
        values=values,
        cost=cost_of(cell, resources, denoiser.noise_levels, denoiser.unet.rungs),
        speed_key=speed_key(cell),
        seconds=spent,
        norms_note=norms_note(cell),
        scored=SCORED,
        compiled={"graphs": denoiser.runner.graphs, "seconds": denoiser.runner.seconds}
        if denoiser.runner.static
        else None,
        **kept_as,
        **machine,
    )
    ledger.write_influence(cell.key, influence)
    return ledger.write("quality", cell.key, record)


def applied(cell: Cell) -> dict[str, Any]:
    """The fields of a quality record that say what is at work, with the knobs that have an effect."""
    norms = cell.generation().get("score_norms", {})
    used = {"images": norms.get("images"), "levels": norms.get("levels")}
    used |= {"estimator": cell.score_norms.estimator} if cell.analytic else {}
    used |= {"cached": cell.score_norms.cached} if cell.analytic and cell.cache is not None else {}
    knobs = _scalars(cell.sampler.shown())
    usual = _scalars(cell.sampler.baseline().shown())
    return {
        "sampler": Applied(cell.sampler_name, cell.describe_sampler(), _without(knobs, "steps")),
        "solver": cell.sampler.solver,
        "accelerators": tuple(
            Applied(member.name, member.describe(), _scalars(member.shown()))
            for member in sorted(cell.accelerators, key=lambda member: member.name)
        ),
        "score_norms": Applied("score_norms", "", _scalars(used)) if _scalars(used) else None,
        "baseline": cell.baseline,
        "baseline_knobs": {knob: value for knob, value in usual.items() if knobs.get(knob) != value},
    }


def _without(knobs: dict[str, Scalar], name: str) -> dict[str, Scalar]:
    return {knob: value for knob, value in knobs.items() if knob != name}


def _scalars(knobs: dict[str, Any]) -> dict[str, Scalar]:
    """Knobs as a table shows them: without those that nothing reads; a tuple as its members, joined by commas."""
    return {
        knob: ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value)
        if isinstance(value, (tuple, list))
        else value
        for knob, value in knobs.items()
        if value is not None
    }


def measure_speed(cell: Cell, sample: Callable, seconds: list[float]) -> dict:
    """A speed record, protocol `quick`: the generation batches after the first; if there are none, three are timed."""
    from ..profiling import throughput

    if len(seconds) < 2:
        seconds = [batch.seconds for batch in sample(np.arange(4 * cell.device.batch))]
    identity = cell.speed(device_name(cell.device))
    measured = throughput(seconds[1:], cell.device.batch)._asdict()
    return {"key": key(identity), "identity": identity, "protocol": "quick", **measured}


def memory(cell: Cell, denoiser: Any, labels: Callable | None, resources: Resources) -> dict:
    """peak_mb: of a batch's calls, one of each kind (`profiling.peak_mb`; None where it cannot be measured). trunk_mb:
    what a trajectory of a batch keeps between its calls; 0 without a cache."""
    from ..profiling import peak_mb, trunk_bytes
    from ..sampling.denoiser import DTYPES
    from ..sampling.generate import condition

    batch, kept, card, branch = cell.device.batch, 0, cell.model, denoiser.branch
    calls = calls_of(cell, denoiser.noise_levels, denoiser.unet.rungs)
    if branch is not None:
        held = most_kept(calls) * DTYPES[cell.device.precision].itemsize
        of = [card.family, card.arch, list(denoiser.shape), branch, card.classes > 0]
        made = (card.family, card.arch, denoiser.shape, branch, 1, card.classes > 0)
        kept = held * resources.get("trunk", of, lambda: trunk_bytes(*made))

    def peak() -> float | None:
        cond = condition(labels, np.arange(batch), denoiser.device)
        sigmas = cell.sampler.call_sigmas(denoiser.noise_levels)
        return peak_mb(lambda: denoiser.prepare(batch, cond, sigmas, cell.sampler.asked), denoiser.device)

    kinds = sorted({(call.runs, call.halves) for call in calls})
    joined = [member.name for member in cell.accelerators if member.joins]
    same = [card.identity(), asdict(cell.device), branch, joined, kinds]  # factors and steps do not count
    return {"peak_mb": resources.get("peak", same, peak), "trunk_mb": batch * kept / 1e6}
