"""Score norms of a cell's network, kept in the ledger: estimated once, never reused for another network."""

from collections.abc import Callable, Iterable
from dataclasses import replace

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
from ..diffusion.spacing import Curves
from .cell import Cell, canonical, key
from .ledger import Ledger


def score_covariances(cell: Cell, ledger: Ledger, denoiser, images) -> list[float] | None:
    """cov_x0 of each step, from norms of this very network (Skip-Tuning at work); None if not needed.

    Under DeepCache every call takes the norm of the uncached network, or with analytic.cached=joint a shallow call its
    own. images None, here and below: no network is at hand; LookupError where something is not in the ledger.
    """
    if not cell.analytic:
        return None
    sigmas = cell.sampler.sigmas(denoiser)
    calls = calls_of(cell, denoiser, sigmas)
    norms = score_norms(cell, ledger, denoiser, images, [t for t, call in zip(sigmas, calls) if call is None])
    shallow = joint_norms(cell, ledger, denoiser, images, [call for call in calls if call is not None])
    norms = {**norms, **{(call.t, call.t_full): norm for call, norm in shallow.items()}}
    full_calls = [call is None for call in calls]
    clip = cell.sampler.clip if cell.metrics.generates_images else "x0_and_eps"  # a bound's mean is of clipped x0
    knobs = cell.score_norms.estimator, denoiser.cov_max, clip, cell.sampler.eta
    return covariances(norms, sigmas, full_calls, *knobs)


def calls_of(cell: Cell, denoiser, sigmas: list[float]) -> list[Joint | None]:
    """Which norm each call of a trajectory takes: None, that of the uncached network, or its own as a shallow call."""
    full_calls = [True] * (len(sigmas) - 1)
    if cell.joint:
        full_calls = denoiser.deepcache.full_calls(len(full_calls), cell.sampler.asked)
    return joints(sigmas[:-1], full_calls, cell.sampler.eta)


def score_norms(
    cell: Cell, ledger: Ledger, denoiser, images, sigmas: Iterable[float], progress: Callable = iter
) -> Store:
    """Norms at `sigmas` and whatever else is stored beside them; those that are missing are estimated and stored."""
    if cell.score_norms.file is not None:
        if denoiser.levels is None:
            raise ValueError(f"an ms_eps file belongs to training levels, but model '{cell.model.name}' has none")
        return import_official(cell.score_norms.file, denoiser.levels)
    return _kept(
        ledger,
        norms_identity(cell),
        [float(sigma) for sigma in sigmas],
        images,
        lambda missing: estimate(denoiser, images, missing, cell.score_norms, cell.device.batch, progress),
        lacking=cell.score_norms.estimator == "mse",
    )


def joint_norms(cell: Cell, ledger: Ledger, denoiser, images, calls: list[Joint], progress: Callable = iter) -> dict:
    """Norms of those shallow calls, likewise."""
    if not calls:
        return {}
    found = _kept(
        ledger,
        joint_identity(cell),
        calls,
        images,
        lambda missing: estimate_joint(denoiser, images, missing, cell.score_norms, cell.device.batch, progress),
        lacking=cell.score_norms.estimator == "mse",
    )
    return {call: found[call] for call in calls}


def placed(cell: Cell, ledger: Ledger, denoiser, images, progress: Callable = iter):
    """The denoiser with what its trajectory is placed by; itself where the spacing needs nothing of the kind.

    Curves are of the uncached network: known at analytic.levels noise levels, linear in log sigma in between; at all N
    of them from an ms_eps file, or with analytic.levels at least N.
    """
    if not cell.optimal:
        return denoiser
    knobs, N = cell.score_norms, 0 if denoiser.levels is None else len(denoiser.levels)
    levels, known = grid(denoiser, knobs.levels if knobs.file is None else max(N, 2))
    at = [float(sigma) for sigma in known]

    def curve(values: list[float]) -> tuple[float, ...]:
        return interpolated(levels, known, np.array(values))

    if cell.analytic:
        norms = score_norms(cell, ledger, denoiser, images, at, progress)
        curves = {"eps_ms": curve([1 - norms[t].left(knobs.estimator, "x0_and_eps") for t in at])}
    elif knobs.file is not None:
        raise ValueError("an ms_eps file knows nothing of a bound with variance small or large: use variance=analytic")
    else:
        terms = _kept(
            ledger,
            norms_identity(cell) | {"of": "bound"},
            at,
            images,
            lambda missing: estimate_terms(denoiser, images, missing, knobs, cell.device.batch, progress),
            kind=Terms,
        )
        curves = {name: curve([getattr(terms[t], name) for t in at]) for name in ("recon", "decoder")}
    return replace(denoiser, curves=Curves(tuple(levels.tolist()), **curves))


def _kept(
    ledger: Ledger, identity: dict, wanted: list, images, find: Callable, lacking=False, kind: type = Norm
) -> dict:
    """What is stored under an identity, with what is missing found and stored.

    lacking: whether what a store of earlier versions does not know (mse, mse_x0) is missing too.
    """
    path = ledger.path("norms", key(identity))
    store = read_store(path, kind)
    missing = [at for at in wanted if at not in store or lacking and None in store[at]]
    if not missing:
        return store
    if images is None:
        raise LookupError(f"score norms of {len(missing)} noise levels are not in {path.parent}")
    found = find(missing)
    write_store(path, identity, found, kind)  # another process may have written in between: what was found is kept
    return {**store, **found}


def norms_identity(cell: Cell) -> dict:
    """Everything stored score norms depend on; not the cache, the sampler, or the number of steps."""
    return {"network": cell.network(), "data": cell.data.identity(), "norms": canonical(cell.score_norms)}


def joint_identity(cell: Cell) -> dict:
    """The same for shallow calls: the branch, which factors they have, and the forward process of their joint law. The
    two noise levels and their correlation are in the store."""
    cached = {"branch": cell.deepcache.branch, "eta": cell.sampler.eta, "skip_tuning": canonical(cell.skip_tuning)}
    return norms_identity(cell) | {"joint": cached}


def norms_note(cell: Cell) -> dict | None:
    """What a record says of the norms behind its variance and its steps."""
    if not cell.analytic and not cell.optimal:
        return None
    knobs = cell.score_norms
    note = {"estimator": knobs.estimator} if cell.analytic else {"estimator": "terms of the bound"}
    note |= {**canonical(knobs), "skip_tuning": canonical(cell.skip_tuning)}
    note |= {"levels": knobs.levels} if cell.optimal and knobs.file is None else {}
    if knobs.file is not None:
        return note | {"warning": "norms of a file: of which network, only the file's origin tells"}
    note["cache"] = "none" if cell.deepcache.off else "norms of the uncached network"
    note |= {"cache": "joint norms of the cached network on its shallow calls"} if cell.joint else {}
    return note | ({"warning": "norms of a guided network: outside the theory"} if cell.guidance != 1 else {})
