"""What a cell's trajectory was made of, step by step, from its record and the score norms in the ledger alone: no
network runs, and none has to be there."""

from ..bench.cell import Cell
from ..bench.config import recorded
from ..bench.cost import calls_of
from ..bench.ledger import Ledger
from ..bench.records import Quality
from ..bench.score_norms import joint_norms, joints_of, placed, score_covariances, score_norms
from ..diffusion.noise_levels import NoiseLevels
from ..samplers import DDIM


def curve(record: Quality, ledger: Ledger) -> list[dict[str, float]]:
    """A point a step, from the noisiest: step, sigma, and as far as they are known full_call (1 or 0), eps_ms of the
    network at that level, and of a DDIM step cov_x0 and the variance var it adds, in units of x squared.

    Raises LookupError where score norms that the cell was measured with are not in the ledger, and what
    `settings.recorded` raises.
    """
    cell = recorded(record)
    known = placed(cell, ledger, cell.model.noise_levels, None)
    sigmas = cell.sampler.sigmas(known)
    points = [{"step": i, "sigma": t} for i, t in enumerate(sigmas[:-1])]
    calls = [call.runs for call in calls_of(cell, known)]
    if len(calls) == len(points):  # else steps take several calls
        _add(points, "full_call", [int(full) for full in calls])
    cov_x0 = score_covariances(cell, ledger, known, None)
    _add(points, "cov_x0", cov_x0 or [])
    if isinstance(cell.sampler, DDIM):
        _add(points, "var", [var for _, var in cell.sampler.coefficients(sigmas, cov_x0, known.vp)])
    _add(points, "eps_ms", _norms(cell, ledger, known, sigmas))
    return points


def _norms(cell: Cell, ledger: Ledger, known: NoiseLevels, sigmas: list[float]) -> list[float | None]:
    """eps_ms at each step: of the uncached network, of a joint cell's shallow calls their own; None: not stored."""
    if cell.score_norms.file is not None and not cell.analytic:
        return []  # never read
    store = score_norms(cell, ledger, known, None, [])
    calls = joints_of(cell, known, sigmas) if cell.joint else [None] * (len(sigmas) - 1)
    shallow = joint_norms(cell, ledger, None, [call for call in calls if call is not None])
    found = [store.get(t) if call is None else shallow[call] for t, call in zip(sigmas, calls)]
    return [None if norm is None else norm.eps_ms for norm in found]


def _add(points: list[dict], name: str, values: list) -> None:
    for point, value in zip(points, values):
        if value is not None:
            point[name] = value
