"""The story of one cell: load, plan, sample, score, time, store.

torch and all that needs it are imported on the way, so that a cell which is already in the ledger costs no import.
"""

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from ..data import load
from .blocks import blocks, sampling
from .cell import Cell, key
from .config import device_name
from .kept_images import UINT8, Kept
from .ledger import Ledger, provenance
from .records import Applied, Cost, Failed, Quality, Scalar, Speed, from_json
from .resources import labels_of, load_denoiser, scorer_of, shared
from .score_norms import norms_note, placed, score_covariances
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
    timed = cell.metrics.bound or ledger.path("speed", speed_key(cell)).exists()
    return timed and scored(cell, ledger) is not None


def scored(cell: Cell, ledger: Ledger) -> Quality | None:
    """A cell's quality record, unless an earlier version made it, with fewer metrics."""
    record = ledger.read("quality", cell.key)
    known = record is not None and (cell.metrics.bound or record.scored >= SCORED)
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
        record = Failed(
            cell.key, reason, settings, type(error).__name__, traceback=traceback.format_exc(), made=provenance()
        )
        with suppress(OSError):  # a full disk may be the reason
            ledger.write("failed", cell.key, record)
        return Outcome(cell.key, "failed", False, record)
    ledger.path("failed", cell.key).unlink(missing_ok=True)
    return Outcome(cell.key, "quality", False, record)


def _measure(cell: Cell, ledger: Ledger, settings: dict, progress: Callable, kept: Kept) -> Quality:
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
    kept_as = {}
    if not cell.metrics.bound:
        if found.made or not ledger.path("speed", speed_key(cell)).exists():
            speed = measure_speed(cell, sample, found.seconds) | memory(cell, denoiser, labels)
            ledger.write("speed", speed["key"], from_json(Speed, speed | machine))
        if (known := scored(cell, ledger)) is not None:  # only the speed of this machine was missing
            return known
        if (old := ledger.read("quality", cell.key)) is not None and not found.made:  # its images are as they were
            ledger.write_influence(cell.key, influence)
            known = replace(old, scored=SCORED, values=values, rescored=machine["made"])
            return ledger.write("quality", cell.key, known)
        kept_as = {"uint8": UINT8, "images": kept.where}
    record = Quality(
        cell.key,
        cell.quality(),
        settings,
        **applied(cell, settings["sampler"].get("name", "ddim")),
        n=cell.budget.n,
        values=values,
        cost=from_json(Cost, costs(cell, denoiser)),
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


def applied(cell: Cell, sampler: str) -> dict:
    """The fields of a quality record that say what is at work: sampler, solver, accelerators, score norms, baseline.

    sampler: its name in conf/sampler. Only knobs that have an effect are listed.
    """
    unread = set() if getattr(cell.sampler, "churn", 0) else {"churn_min", "churn_max", "noise_scale"}
    knobs = _knobs(cell.sampler, unread | {"steps"})
    norms = cell.generation().get("score_norms", {})
    used = {"images": norms.get("images"), "levels": norms.get("levels")}
    used |= {"estimator": norms.get("estimator", "eps_ms")} if cell.analytic else {}
    used |= {"cached": norms.get("cached", "base")} if cell.analytic and not cell.deepcache.off else {}
    used = {name: value for name, value in used.items() if value is not None}
    notes = [value for name, value in used.items() if (name, value) in (("estimator", "mse"), ("cached", "joint"))]
    said = notes + ([cell.sampler.spacing] if cell.optimal else [])
    accelerators = []
    if not cell.deepcache.off:
        plan = replace(cell.deepcache, power=cell.deepcache.identity().get("power"))
        unread = {"uniform": {"center", "power"}, "quadratic": {"center"}, "list": {"center", "power", "interval"}}
        unread = unread.get(plan.schedule, set()) | (set() if plan.schedule == "list" else {"full"})
        accelerators.append(Applied("deepcache", _caching_text(plan), _knobs(plan, unread)))
    if not cell.skip_tuning.off:
        plan = cell.skip_tuning
        unread = (set() if plan.over_level == "window" else {"window"}) | ({"apply"} if cell.deepcache.off else set())
        accelerators.append(Applied("skip_tuning", _tuning_text(plan, unread), _knobs(plan, unread)))
    return {
        "sampler": Applied(sampler, sampler + (f" ({', '.join(said)})" if said else ""), knobs),
        "solver": type(cell.sampler).__name__,
        "accelerators": tuple(accelerators),
        "score_norms": Applied("score_norms", ", ".join(notes), used) if used else None,
        "baseline": cell.plain,
        "baseline_knobs": {} if getattr(cell.sampler, "variance", "small") == "small" else {"variance": "small"},
    }


def _tuning_text(plan, unread: set[str]) -> str:
    """E.g. `rho 0.8 to 0.9 (increasing)`."""
    notes = [plan.index] if plan.index != "linspace" else []
    if plan.over_level != "constant":
        notes.append("window {:g}-{:g}".format(*plan.window) if plan.over_level == "window" else plan.over_level)
    notes += [f"apply {plan.apply}"] if plan.apply != "all" and "apply" not in unread else []
    text = f"rho {plan.rho_bottom:g}" + (f" to {plan.rho_top:g}" if plan.rho_top != 1 else "")
    return text + (f" ({', '.join(notes)})" if notes else "")


def _caching_text(plan) -> str:
    """E.g. `interval 3 at branch 2 (quadratic, power 1.2)`."""
    calls = f"interval {plan.interval}"
    if plan.schedule == "list":
        listed = ",".join(map(str, plan.full))
        calls = f"full calls {listed}" if len(plan.full) <= 6 else f"{len(plan.full)} listed full calls"
    notes = {"centred": [f"centred on call {plan.center}"], "quadratic": ["quadratic"]}.get(plan.schedule, [])
    notes += [f"power {plan.power:g}"] if plan.power not in (None, 1.4 if plan.schedule == "centred" else 1.5) else []
    ends = [f"{end} {count}" for end, count in (("first", plan.protect_first), ("last", plan.protect_last)) if count]
    notes += [f"{' and '.join(ends)} full"] if ends else []
    return f"{calls} at branch {plan.branch}" + (f" ({', '.join(notes)})" if notes else "")


def _knobs(settings, unread: set[str]) -> dict[str, Scalar]:
    """The fields of a frozen dataclass but for those that nothing reads; a tuple as its members, joined by commas."""
    values = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in unread}
    return {
        name: ",".join(f"{each:g}" for each in value) if isinstance(value, tuple) else value
        for name, value in values.items()
    }


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
    return {"key": key(identity), "identity": identity, "protocol": "quick", **measured}


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
