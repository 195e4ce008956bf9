"""Score norms of a cell's network, kept in the ledger: estimated once, never reused for another network."""

from collections.abc import Callable

from .cell import Cell, canonical, key
from .gamma import Store, covariances, estimate, import_official, read_store, write_store
from .records import Ledger


def score_covariances(cell: Cell, ledger: Ledger, denoiser, images) -> list[float] | None:
    """cov_x0 of each step, from norms of this very network (Skip-Tuning at work, cache off); None if not needed."""
    if not cell.analytic:
        return None
    sigmas = cell.sampler.sigmas(denoiser)
    norms = score_norms(cell, ledger, denoiser, images, sigmas[:-1])
    return covariances(norms, sigmas, None, "eps_ms", denoiser.cov_max)


def score_norms(cell: Cell, ledger: Ledger, denoiser, images, sigmas: list[float], progress: Callable = iter) -> Store:
    """Norms at `sigmas` and whatever else is stored beside them; those that are missing are estimated and stored."""
    if cell.score_norms.file is not None:
        if denoiser.levels is None:
            raise ValueError(f"an ms_eps file belongs to training levels, but model '{cell.model.name}' has none")
        return import_official(cell.score_norms.file, denoiser.levels)
    identity = norms_identity(cell)
    path = ledger.path("norms", key(identity))
    store = read_store(path)
    missing = [sigma for sigma in sigmas if sigma not in store]
    if not missing:
        return store
    found = estimate(denoiser, images, missing, cell.score_norms, cell.device.batch, progress)
    write_store(path, identity, found)  # another process may have written in between: what was found is kept by hand
    return {**store, **found}


def norms_identity(cell: Cell) -> dict:
    """Everything stored score norms depend on; not the cache, the sampler, or the number of steps."""
    return {"network": cell.network(), "data": cell.data.identity(), "norms": canonical(cell.score_norms)}


def norms_note(cell: Cell) -> dict | None:
    """What a record says of the norms behind its variance."""
    if not cell.analytic:
        return None
    note = {"estimator": "eps_ms", **canonical(cell.score_norms), "skip_tuning": canonical(cell.skip_tuning)}
    if cell.score_norms.file is not None:
        return note | {"warning": "norms of a file: of which network, only the file's origin tells"}
    note["cache"] = "none" if cell.deepcache.off else "norms of the uncached network"
    return note | ({"warning": "norms of a guided network: outside the theory"} if cell.guidance != 1 else {})
