"""The story of one cell: load, plan, sample, score, time, store.

torch and all that needs it are imported on the way, so that a cell which is already in the ledger costs no import.
"""

import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from .cell import Cell, canonical, key
from .data import load
from .files import read_npz, write_npz
from .gamma import Store, covariances, estimate, import_official, read_store, write_store
from .metrics import build_extractor, frechet, inception_score, moments, shuffled
from .metrics.fid import Moments
from .records import BLOCK, Ledger, provenance
from .settings import device_name
from .statistics import estimate as interval
from .statistics import frechet_influence, inception_score_influence

_shared: dict[str, object] = {}  # what cells of one process share, keyed by content


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: kind `quality` or `failed`; reused when nothing had to be measured."""

    key: str
    kind: str
    reused: bool
    record: dict


def shared(kind: str, identity, make: Callable):
    """make(), once a process for equal identities."""
    name = f"{kind}:{key({'of': identity})}"
    if name not in _shared:
        _shared[name] = make()
    return _shared[name]


def speed_key(cell: Cell) -> str:
    return key(cell.speed(device_name(cell.device), cell.device.threads))


def finished(cell: Cell, ledger: Ledger) -> bool:
    return ledger.path("quality", cell.key).exists() and ledger.path("speed", speed_key(cell)).exists()


def run_cell(
    cell: Cell, ledger: Ledger, settings: dict, force: bool = False, progress: Callable[[int], object] = id
) -> Outcome:
    """Measure a cell, or find it in the ledger. A cell that fails leaves a record of kind `failed`; nothing is raised.

    settings: the conf it came from, kept beside the record. progress(images done) is called after every batch.
    """
    if force:
        ledger.forget(cell, speed_key(cell))
    if finished(cell, ledger):
        return Outcome(cell.key, "quality", True, ledger.read("quality", cell.key))
    try:
        record = _measure(cell, ledger, settings, progress)
    except Exception as error:  # a sweep goes on whatever one of its cells does
        reason = " ".join(str(error).split()) or type(error).__name__
        record = {
            "kind": "failed",
            "key": cell.key,
            "reason": reason,
            "error": type(error).__name__,
            "settings": settings,
        }
        with suppress(OSError):  # a full disk is the reason then
            ledger.write("failed", cell.key, record)
        return Outcome(cell.key, "failed", False, record)
    ledger.path("failed", cell.key).unlink(missing_ok=True)
    return Outcome(cell.key, "quality", False, record)


def _measure(cell: Cell, ledger: Ledger, settings: dict, progress: Callable) -> dict:
    spent: dict[str, float] = {}

    @contextmanager
    def phase(name: str):
        begun = time.perf_counter()
        yield
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - begun

    with phase("load"):
        digits, _ = shared("data", cell.data.identity(), lambda: load(cell.data))
        denoiser = load_denoiser(cell)
        extractor = shared(
            "extractor",
            [cell.metrics.identity(), cell.device.name],
            lambda: build_extractor(cell.metrics, cell.device.name),
        )
        reference = reference_moments(cell, ledger, digits, extractor)
    with phase("score_norms"):
        cov_x0 = score_covariances(cell, ledger, denoiser, digits)
    with phase("generate"):
        features, probabilities, seconds = blocks(cell, ledger, denoiser, digits, extractor, cov_x0, progress)
    with phase("score"):
        values, influence = score(cell, features, probabilities, reference)
    made = provenance()
    cost = costs(cell, denoiser)
    record = {"kind": "quality", "key": cell.key, "identity": cell.quality(), "settings": settings, "n": cell.budget.n}
    record |= {"values": values, "cost": cost, "seconds": spent, "speed_key": speed_key(cell), "made": made}
    record |= {"device": device_name(cell.device), "precision": cell.device.precision, "rounding": "half to even"}
    record |= {"score_norms": norms_note(cell)}
    ledger.write("speed", speed_key(cell), measure_speed(cell, denoiser, digits, cov_x0, seconds) | {"made": made})
    ledger.write_influence(cell.key, influence)
    return ledger.write("quality", cell.key, record)


def load_denoiser(cell: Cell):
    """The cell's network with its plans; the network itself is shared between cells."""
    from .checkpoints import read_checkpoint
    from .denoise import DTYPES, Denoiser
    from .unets import build

    def make():
        import torch

        if cell.device.threads:
            torch.set_num_threads(cell.device.threads)
        state, _ = read_checkpoint(cell.model.weights, cell.model.sha256)
        return build(cell.model.family, cell.model.arch, state).to(cell.device.name, DTYPES[cell.device.precision])

    unet = shared("unet", [cell.model.identity(), cell.device.name, cell.device.precision, cell.device.threads], make)
    return Denoiser(unet, cell.model, cell.skip_tuning, cell.deepcache, cell.guidance, cell.data.value_range)


def reference_moments(cell: Cell, ledger: Ledger, images, extractor) -> Moments:
    """Moments of the training images' features, stored under data and extractor."""
    identity = {"data": cell.data.identity(), "extractor": cell.metrics.identity()}
    path = ledger.path("reference", key(identity), ".npz")

    def make():
        if path.exists():
            return Moments(**read_npz(path))
        found = moments(extractor(images.pixels).features)
        write_npz(path, **found._asdict())
        return found

    return shared("reference", [identity, str(ledger.root)], make)


def score_covariances(cell: Cell, ledger: Ledger, denoiser, images) -> list[float] | None:
    """cov_x0 of each step, from norms of this very network (Skip-Tuning at work, cache off); None if not needed."""
    if not cell.analytic:
        return None
    sigmas = cell.sampler.sigmas(denoiser)
    return covariances(
        score_norms(cell, ledger, denoiser, images, sigmas[:-1]), sigmas, None, "eps_ms", denoiser.cov_max
    )


def score_norms(cell: Cell, ledger: Ledger, denoiser, images, sigmas: list[float], progress: Callable = iter) -> Store:
    """Norms at `sigmas` and whatever else is stored beside them; those that are missing are estimated and stored."""
    if cell.score_norms.file is not None:
        return import_official(cell.score_norms.file, denoiser.levels)
    identity = norms_identity(cell)
    path = ledger.path("norms", key(identity))
    store = read_store(path)
    missing = [sigma for sigma in sigmas if sigma not in store]
    if missing:
        write_store(path, identity, estimate(denoiser, images, missing, cell.score_norms, cell.device.batch, progress))
    return read_store(path)


def norms_identity(cell: Cell) -> dict:
    """Everything stored score norms depend on; not the cache, the sampler, or the number of steps."""
    return {"network": cell.network(), "data": cell.data.identity(), "norms": canonical(cell.score_norms)}


def norms_note(cell: Cell) -> dict | None:
    """What the record says of the norms behind its variance."""
    if not cell.analytic:
        return None
    note = {"estimator": "eps_ms", **canonical(cell.score_norms), "skip_tuning": canonical(cell.skip_tuning)}
    note["cache"] = "norms of the uncached network" if not cell.deepcache.off else "none"
    return note | ({"warning": "norms of a guided network: outside the theory"} if cell.guidance != 1 else {})


def blocks(cell, ledger, denoiser, images, extractor, cov_x0, progress) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Features (n D), probabilities (n classes) and the seconds of freshly generated full batches, block by block."""
    from .generate import generate

    generation, extractor_key = key(cell.generation()), key(cell.metrics.identity())
    labels = images.label_of if cell.model.classes and images.labels is not None else None
    found, seconds, n = [], [], cell.budget.n
    for index in range(-(-n // BLOCK)):
        first, count = index * BLOCK, min(BLOCK, n - index * BLOCK)
        block = ledger.read_block(generation, index, extractor_key, count)
        if block is None:
            batches = []
            for batch in generate(
                denoiser,
                cell.sampler,
                cell.budget.seed,
                np.arange(first, first + count),
                labels,
                cov_x0,
                cell.device.batch,
            ):
                batches.append(batch)
                progress(first + sum(len(b.pixels) for b in batches))
            pixels = np.concatenate([batch.pixels for batch in batches])
            seconds += [batch.seconds for batch in batches if len(batch.pixels) == cell.device.batch]
            block = extractor(pixels)._asdict()
            ledger.write_block(generation, index, extractor_key, **block)
            if index == 0:
                ledger.write_samples(generation, pixels)
        progress(first + count)
        found.append(block)
    return *(np.concatenate([block[name] for block in found]) for name in ("features", "probabilities")), seconds


def score(cell: Cell, features, probabilities, reference: Moments) -> tuple[dict, dict[str, np.ndarray]]:
    """Values by protocol, each with its 95 % interval, and the influence values behind them."""
    n, influence, values = len(features), {}, {}

    def add(metric: str, value: float, psi: np.ndarray | None):
        known = {} if psi is None else interval(value, psi)._asdict()
        values[cell.metrics.protocol(metric, n)] = {"metric": metric, "value": value, **known}
        if psi is not None:
            influence[metric] = psi

    add("fid", frechet(moments(features), reference), frechet_influence(features, reference))
    if probabilities.shape[1]:
        order, splits = shuffled(n), cell.metrics.is_splits
        psi = inception_score_influence(probabilities, order, splits)
        add("is", inception_score(probabilities, order, splits), psi)
    return values, influence


def costs(cell: Cell, denoiser) -> dict:
    """nfe, full calls and MACs per image over the whole trajectory; guidance runs every call on two inputs."""
    from .profiling import call_cost, trajectory_cost

    calls = cell.sampler.calls(denoiser)
    full_calls = cell.deepcache.full_calls(calls, cell.sampler.steps)

    def cost(branch):
        arguments = (cell.model.family, cell.model.arch, tuple(cell.model.shape), branch, cell.model.classes > 0)
        return shared("cost", list(arguments), lambda: call_cost(*arguments))

    full, shallow = cost(None), cost(None if cell.deepcache.off else cell.deepcache.branch)
    copies = 1 if cell.guidance == 1 else 2
    total = trajectory_cost(full, shallow, full_calls) * copies
    per_call = {"full_call_macs": full.macs, "shallow_call_macs": shallow.macs}
    return {"nfe": calls * copies, "full_calls": sum(full_calls) * copies, **total._asdict(), **per_call}


def measure_speed(cell: Cell, denoiser, images, cov_x0, seconds: list[float]) -> dict:
    """A speed record (protocol `quick`): generation batches after the first; three timed batches if there are none."""
    from .generate import generate
    from .profiling import throughput

    if len(seconds) < 2:
        labels = images.label_of if cell.model.classes and images.labels is not None else None
        indices = np.arange(4 * cell.device.batch)
        seconds = [
            b.seconds
            for b in generate(denoiser, cell.sampler, cell.budget.seed, indices, labels, cov_x0, cell.device.batch)
        ]
    name = device_name(cell.device)
    identity = cell.speed(name, cell.device.threads)
    measured = throughput(seconds[1:], cell.device.batch)._asdict()
    return {
        "kind": "speed",
        "key": key(identity),
        "identity": identity,
        "protocol": "quick",
        "device": name,
        **measured,
    }
