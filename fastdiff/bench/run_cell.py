"""The story of one cell: load, plan, sample, score, time, store.

torch and all that needs it are imported on the way, so that a cell which is already in the ledger costs no import.
"""

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

import numpy as np

from ..data import load
from ..device import device_name
from .blocks import blocks, sampling
from .cell import Cell, key
from .kept_images import UINT8, Kept
from .ledger import Ledger, provenance
from .resources import labels_of, load_denoiser, scorer_of, shared
from .score_norms import norms_note, placed, score_covariances
from .scoring import SCORED, score, score_bound


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: kind `quality` or `failed`; reused when nothing had to be measured."""

    key: str
    kind: str
    reused: bool
    record: dict


def speed_key(cell: Cell) -> str:
    return key(cell.speed(device_name(cell.device)))


def finished(cell: Cell, ledger: Ledger) -> bool:
    """Whether a cell is measured: its quality, by all metrics of today, and where images are generated this machine's
    speed."""
    timed = cell.metrics.bound or ledger.path("speed", speed_key(cell)).exists()
    return timed and scored(cell, ledger) is not None


def scored(cell: Cell, ledger: Ledger) -> dict | None:
    """A cell's quality record, unless an earlier version made it, with fewer metrics."""
    record = ledger.read("quality", cell.key)
    known = record is not None and (cell.metrics.bound or record.get("scored", 1) >= SCORED)
    return record if known else None


def run_cell(
    cell: Cell,
    ledger: Ledger,
    settings: dict,
    force: bool = False,
    progress: Callable[[int], object] = id,
    save_images: int = 0,
) -> Outcome:
    """Measure a cell, or find it in the ledger. A cell that fails leaves a record of kind `failed`; nothing is raised.

    settings: the conf it came from, kept beside the record. progress(images done) is called after every batch.
    save_images: so many of the first images are kept (`fastdiff.bench.kept_images`).
    """
    kept = Kept(cell, ledger, save_images)
    if force:
        ledger.forget(cell, None if cell.metrics.bound else speed_key(cell))
    if finished(cell, ledger) and kept.complete:
        return Outcome(cell.key, "quality", True, ledger.read("quality", cell.key))
    try:
        record = _measure(cell, ledger, settings, progress, kept)
    except Exception as error:  # a sweep goes on whatever one of its cells does
        reason = " ".join(str(error).split()) or type(error).__name__
        old = ledger.read("quality", cell.key)
        if old is not None and scored(cell, ledger) is None:  # of an earlier version: worth more than none
            print(f"{cell.key} keeps the metrics it had: {reason}", file=sys.stderr)
            return Outcome(cell.key, "quality", True, old)
        record = {"kind": "failed", "key": cell.key, "reason": reason, "error": type(error).__name__}
        record |= {"settings": settings, "made": provenance(), "traceback": traceback.format_exc()}
        with suppress(OSError):  # a full disk may be the reason
            ledger.write("failed", cell.key, record)
        return Outcome(cell.key, "failed", False, record)
    ledger.path("failed", cell.key).unlink(missing_ok=True)
    return Outcome(cell.key, "quality", False, record)


def _measure(cell: Cell, ledger: Ledger, settings: dict, progress: Callable, kept: Kept) -> dict:
    spent: dict[str, float] = {}

    @contextmanager
    def phase(name: str):
        begun = time.perf_counter()
        yield
        spent[name] = time.perf_counter() - begun

    with phase("load"):
        images, held_out = shared("images", cell.data.identity(), lambda: load(cell.data))
        denoiser, labels = load_denoiser(cell), labels_of(cell, images)
        extractor, reference = (None, None) if cell.metrics.bound else scorer_of(cell, ledger, images)
    with phase("score_norms"):
        denoiser = placed(cell, ledger, denoiser, images)
        cov_x0 = score_covariances(cell, ledger, denoiser.eager(), images)
    if cell.metrics.bound:
        with phase("score"):
            values, influence = score_bound(cell, denoiser, held_out, cov_x0, progress)
    else:
        with phase("generate"):
            sample = sampling(cell, denoiser, labels, cov_x0)
            texts = labels.texts if cell.metrics.prompted else None
            found = blocks(cell, ledger, sample, extractor, progress, kept.add, texts)
            kept.finish(sample, labels)
            if finished(cell, ledger):  # only images were missing
                return ledger.read("quality", cell.key)
        with phase("score"):
            values, influence = score(cell, found.features, found.probabilities, reference)

    machine = {"device": device_name(cell.device), "precision": cell.device.precision, "made": provenance()}
    if not cell.metrics.bound:
        if found.made or not ledger.path("speed", speed_key(cell)).exists():
            speed = measure_speed(cell, sample, found.seconds) | memory(cell, denoiser, labels)
            ledger.write("speed", speed["key"], speed | machine)
        if (known := scored(cell, ledger)) is not None:  # only the speed of this machine was missing
            return known
        machine |= {"uint8": UINT8} | ({"images": kept.where} if kept.where else {})
        if (old := ledger.read("quality", cell.key)) is not None and not found.made:  # its images are as they were
            ledger.write_influence(cell.key, influence)
            known = old | {"scored": SCORED, "values": values, "rescored": machine["made"]}
            return ledger.write("quality", cell.key, known)
    record = {"kind": "quality", "key": cell.key, "identity": cell.quality(), "settings": settings, "n": cell.budget.n}
    record |= {"scored": SCORED, "values": values, "cost": costs(cell, denoiser), "seconds": spent}
    record |= {"score_norms": norms_note(cell)}
    if denoiser.runner.static:
        record |= {"compiled": {"graphs": denoiser.runner.graphs, "seconds": denoiser.runner.seconds}}
    record |= {"speed_key": speed_key(cell), **machine}
    ledger.write_influence(cell.key, influence)
    return ledger.write("quality", cell.key, record)


def costs(cell: Cell, denoiser) -> dict:
    """nfe, full calls and MACs per image over the whole trajectory; guidance runs every call on two inputs."""
    from ..profiling import call_cost, trajectory_cost

    calls = cell.sampler.calls(denoiser)
    full_calls = cell.deepcache.full_calls(calls, cell.sampler.asked)

    def cost(branch):
        arguments = (cell.model.family, cell.model.arch, tuple(cell.model.shape), branch, cell.model.classes > 0)
        return shared("cost", list(arguments), lambda: call_cost(*arguments))

    full, shallow = cost(None), cost(None if cell.deepcache.off else cell.deepcache.branch)
    copies = 1 if cell.guidance == 1 else 2
    total = trajectory_cost(full, shallow, full_calls) * copies
    per_call = {"full_call_macs": full.macs, "shallow_call_macs": shallow.macs}
    return {"nfe": calls * copies, "full_calls": sum(full_calls) * copies, **total._asdict(), **per_call}


def measure_speed(cell: Cell, sample: Callable, seconds: list[float]) -> dict:
    """A speed record, protocol `quick`: the generation batches after the first; if there are none, three are timed."""
    from ..profiling import throughput

    if len(seconds) < 2:
        seconds = [batch.seconds for batch in sample(np.arange(4 * cell.device.batch))]
    identity = cell.speed(device_name(cell.device))
    measured = throughput(seconds[1:], cell.device.batch)._asdict()
    return {"kind": "speed", "key": key(identity), "identity": identity, "protocol": "quick", **measured}


def memory(cell: Cell, denoiser, labels: Callable | None) -> dict:
    """peak_mb: of a batch's full call and, under a cache, a shallow one after it (`profiling.peak_mb`; None where it
    cannot be had). trunk_mb: what a trajectory of a batch keeps between its calls; 0 without a cache."""
    from ..profiling import peak_mb, trunk_bytes
    from ..sampling.denoiser import DTYPES
    from ..sampling.generate import condition

    batch, kept = cell.device.batch, 0
    if not cell.deepcache.off:
        itemsize = DTYPES[cell.device.precision].itemsize * (1 if cell.guidance == 1 else 2)
        card = cell.model
        of = [card.family, card.arch, list(denoiser.shape), cell.deepcache.branch, itemsize, card.classes > 0]
        kept = shared("trunk", of, lambda: trunk_bytes(*of[:2], denoiser.shape, *of[3:]))

    def peak():
        cond = condition(labels, np.arange(batch), denoiser.device)
        return peak_mb(lambda: denoiser.prepare(batch, cond), denoiser.device)

    branch = None if cell.deepcache.off else cell.deepcache.branch
    same = [cell.model.identity(), asdict(cell.device), branch, cell.guidance == 1]  # whatever factors and steps are
    return {"peak_mb": shared("peak", same, peak), "trunk_mb": batch * kept / 1e6}
