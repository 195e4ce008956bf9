"""Score norms of a cell's network, kept in the ledger: estimated once, never reused for another network."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..analytic import (
    Joint,
    Norm,
    Store,
    covariances,
    estimate,
    estimate_joint,
    grid,
    import_official,
    interpolated,
    joints,
    read_store,
    write_store,
)
from ..analytic.likelihood_bound import Terms, estimate_terms
from ..diffusion.noise_levels import Curves, NoiseLevels
from .cell import Cell, canonical, key
from .cost import calls_of
from .ledger import Ledger


class Estimator(NamedTuple):
    """What missing norms are estimated with: a cell's eager `Denoiser` and the training images."""

    denoiser: Any
    images: Any


def score_covariances(
    cell: Cell, ledger: Ledger, noise_levels: NoiseLevels, estimator: Estimator | None
) -> list[float] | None:
    """cov_x0 of each step, from score norms of this very network with its accelerators; None where it is not needed.

    Under a cache every call takes the norm of the uncached network, or with score_norms.cached=joint a shallow call its
    own. estimator None, here and below: no network is at hand, and LookupError says what the ledger lacks.
    """
    if not cell.analytic:
        return None
    sigmas = cell.sampler.sigmas(noise_levels)
    calls = joints_of(cell, noise_levels, sigmas)
    full = [t for t, call in zip(sigmas, calls) if call is None]
    norms = score_norms(cell, ledger, noise_levels, estimator, full)
    shallow = joint_norms(cell, ledger, estimator, [call for call in calls if call is not None])
    norms = {**norms, **{(call.t, call.t_full): norm for call, norm in shallow.items()}}
    full_calls = [call is None for call in calls]
    clip = cell.sampler.clip if cell.metrics.generates_images else "x0_and_eps"  # a bound's mean is of clipped x0
    low, high = cell.data.value_range
    cov_max = ((high - low) / 2) ** 2
    return covariances(norms, sigmas, full_calls, cell.score_norms.estimator, cov_max, clip, cell.sampler.eta)


def joints_of(cell: Cell, noise_levels: NoiseLevels, sigmas: list[float]) -> list[Joint | None]:
    """Which norm each call of a trajectory takes: None, that of the uncached network, or its own as a shallow call.

    Raises ValueError for a cache that mixes kept tensors: joint norms belong to a call that reads one.
    """
    full_calls = [True] * (len(sigmas) - 1)
    if cell.joint:
        calls = calls_of(cell, noise_levels)
        if any(len(call.sources) > 1 or (call.sources and call.sources[0][1] != 1) for call in calls):
            raise ValueError(
                f"score_norms.cached=joint knows caches that hold one tensor, and '{cell.cache.name}' mixes several:"
                " use score_norms.cached=base"
            )
        full_calls = [call.runs for call in calls]
    return joints(sigmas[:-1], full_calls, cell.sampler.eta)


def score_norms(
    cell: Cell,
    ledger: Ledger,
    noise_levels: NoiseLevels,
    estimator: Estimator | None,
    sigmas: Iterable[float],
    progress: Callable = iter,
) -> Store:
    """Norms at `sigmas` and all that is stored beside them. Those that are missing are estimated and stored."""
    if cell.score_norms.file is not None:
        if noise_levels.levels is None:
            raise ValueError(f"an ms_eps file belongs to training levels, but model '{cell.model.name}' has none")
        return import_official(cell.score_norms.file, noise_levels.levels)

    def find(missing: list, at: Estimator) -> dict:
        return estimate(at.denoiser, at.images, missing, cell.score_norms, cell.device.batch, progress)

    wanted = [float(sigma) for sigma in sigmas]
    return _kept(ledger, norms_identity(cell), wanted, estimator, find, lacking=cell.score_norms.estimator == "mse")


def joint_norms(
    cell: Cell, ledger: Ledger, estimator: Estimator | None, calls: list[Joint], progress: Callable = iter
) -> dict:
    """The norms of those shallow calls, likewise."""
    if not calls:
        return {}

    def find(missing: list, at: Estimator) -> dict:
        return estimate_joint(at.denoiser, at.images, missing, cell.score_norms, cell.device.batch, progress)

    lacking = cell.score_norms.estimator == "mse"
    found = _kept(ledger, joint_identity(cell), calls, estimator, find, lacking)
    return {call: found[call] for call in calls}


def placed(
    cell: Cell,
    ledger: Ledger,
    noise_levels: NoiseLevels,
    estimator: Estimator | None,
    progress: Callable = iter,
) -> NoiseLevels:
    """The noise levels with what an optimal trajectory is placed by; themselves for every other spacing.

    Curves are of the uncached network: known at score_norms.levels noise levels, linear in log sigma in between; at all
    N of them from an ms_eps file, or with score_norms.levels at least N.
    """
    if not cell.optimal:
        return noise_levels
    knobs, N = cell.score_norms, 0 if noise_levels.levels is None else len(noise_levels.levels)
    levels, known = grid(noise_levels, knobs.levels if knobs.file is None else max(N, 2))
    at = [float(sigma) for sigma in known]

    def curve(values: list[float]) -> tuple[float, ...]:
        return interpolated(levels, known, np.array(values))

    def find_terms(missing: list, at: Estimator) -> dict:
        return estimate_terms(at.denoiser, at.images, missing, knobs, cell.device.batch, progress)

    if cell.analytic:
        norms = score_norms(cell, ledger, noise_levels, estimator, at, progress)
        curves = {"eps_ms": curve([1 - norms[t].left(knobs.estimator, "x0_and_eps") for t in at])}
    elif knobs.file is not None:
        raise ValueError("an ms_eps file knows nothing of a bound with variance small or large: use variance=analytic")
    else:
        identity = norms_identity(cell) | {"of": "bound"}
        terms = _kept(ledger, identity, at, estimator, find_terms, kind=Terms)
        curves = {name: curve([getattr(terms[t], name) for t in at]) for name in ("recon", "decoder")}
    return replace(noise_levels, curves=Curves(tuple(levels.tolist()), **curves))


def _kept(
    ledger: Ledger,
    identity: dict,
    wanted: list,
    estimator: Estimator | None,
    find: Callable[[list, Estimator], dict],
    lacking: bool = False,
    kind: type = Norm,
) -> dict:
    """What is stored under an identity, with what is missing found and stored.

    lacking: whether an entry with unknown statistics (an imported file's) counts as missing.
    """
    path = ledger.path("norms", key(identity))
    store = read_store(path, kind)
    missing = [at for at in wanted if at not in store or lacking and None in store[at]]
    if not missing:
        return store
    if estimator is None:
        raise LookupError(f"score norms of {len(missing)} noise levels are not in {path.parent}")
    found = find(missing, estimator)
    write_store(path, identity, found, kind)  # another process may have written in between: what was found is kept
    return {**store, **found}


def norms_identity(cell: Cell) -> dict:
    """Everything stored score norms depend on; not the cache, the sampler, or the number of steps."""
    return {"network": cell.network(), "data": cell.data.identity(), "norms": canonical(cell.score_norms)}


def joint_identity(cell: Cell) -> dict:
    """The same for shallow calls: the branch, which factors they have, and the forward process of their joint law. The
    two noise levels and their correlation are in the store."""
    members = [[member.name, member.identity()] for member in cell.accelerators if not member.caches]
    joint = {"branch": cell.cache.branch, "eta": cell.sampler.eta, "accelerators": members}
    return norms_identity(cell) | {"joint": joint}


def norms_note(cell: Cell) -> dict | None:
    """What a record says of the norms behind its variance and its steps."""
    if not cell.analytic and not cell.optimal:
        return None
    knobs = cell.score_norms
    note = {"estimator": knobs.estimator} if cell.analytic else {"estimator": "terms of the bound"}
    note |= {**canonical(knobs), "accelerators": [member.describe() for member in cell.accelerators]}
    note |= {"levels": knobs.levels} if cell.optimal and knobs.file is None else {}
    if knobs.file is not None:
        return note | {"warning": "norms of a file: of which network, only the file's origin tells"}
    note["cache"] = "none" if cell.cache is None else "norms of the uncached network"
    note |= {"cache": "joint norms of the cached network on its shallow calls"} if cell.joint else {}
    return note | ({"warning": "norms of a guided network: outside the theory"} if cell.guidance != 1 else {})
