"""What a cell costs: network calls and multiply-accumulates per image, counted from the plan that the denoiser runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..accelerators import Call, branch_of, plan
from ..diffusion.noise_levels import NoiseLevels
from .cell import Cell
from .records import Cost
from .resources import Resources


def calls_of(cell: Cell, noise_levels: NoiseLevels | None = None, rungs: int | None = None) -> tuple[Call, ...]:
    """The calls of a cell's trajectory. noise_levels: the denoiser's; None: the card's.

    Where an optimal spacing is not placed yet, levels even in log sigma stand for its own: the number of calls is the
    same. rungs: K of the network; None where no network is at hand. Raises ValueError for steps, a schedule or knobs
    that the trajectory does not have.
    """
    levels, sampler = noise_levels or cell.model.noise_levels, cell.sampler
    if sampler.optimal and levels.curves is None:
        sampler.check_steps(levels)
        sigmas = [float(sigma) for sigma in np.geomspace(*levels.span, sampler.steps)[::-1]]
    else:
        sigmas = sampler.call_sigmas(levels)
    if rungs is None:  # a plan needs at least as many as its branch; which factors they get is not asked here
        members = [each for each in cell.accelerators if each.caches or each.guides or not each.joins]
        rungs = max((member.branch or 0 for member in members), default=0)
    else:
        members = list(cell.accelerators)
    return plan(members, sigmas, levels, sampler.asked, rungs, cell.guidance)


def cost_of(
    cell: Cell, resources: Resources, noise_levels: NoiseLevels | None = None, rungs: int | None = None
) -> Cost:
    """nfe, full calls and MACs per image over the whole trajectory.

    A call with guidance counts twice. A call that reads the kept output (branch 0) does not run the network and costs
    nothing. noise_levels, rungs: `calls_of`.
    """
    from ..profiling import call_cost

    calls = calls_of(cell, noise_levels, rungs)
    card, branch = cell.model, branch_of(cell.accelerators)

    def one(of: int | None) -> Any:
        arguments = (card.family, card.arch, tuple(card.shape), of, card.classes > 0)
        return resources.get("cost", list(arguments), lambda: call_cost(*arguments))

    full = one(None)
    shallow = full * 0 if branch == 0 else one(branch)
    total, nfe, full_calls = full * 0, 0, 0
    for call in calls:
        total += (full if call.runs else shallow) * call.halves
        nfe += call.halves if call.runs or branch else 0
        full_calls += call.halves if call.runs else 0
    return Cost(
        nfe=nfe,
        full_calls=full_calls,
        macs=total.macs,
        conv_macs=total.conv_macs,
        layer_macs=total.layer_macs,
        full_call_macs=full.macs,
        shallow_call_macs=shallow.macs,
    )


def most_kept(calls: Sequence[Call]) -> int:
    """The largest number of tensors per image that a trajectory keeps at once; one of a guided call counts twice."""
    ends = {at: call.last_reader for at, call in enumerate(calls) if call.last_reader is not None}
    held = [
        sum(calls[source].halves for source, end in ends.items() if source <= at <= end) for at in range(len(calls))
    ]
    return max(held, default=0)
