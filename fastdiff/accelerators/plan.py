"""A trajectory call by call, as the accelerators of a cell plan it: what the denoiser runs, and what cost counts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..diffusion.noise_levels import NoiseLevels
from .base import RUN, Accelerator, Sources, Trajectory

Rows = tuple[tuple[float, ...], ...]  # K rows of numbers


@dataclass(frozen=True)
class Call:
    """One network call. sources: RUN, or the earlier calls whose kept tensors it reads. guidance: its weight; 1 runs
    the conditional half alone. factors: one entry per joining member, None where it leaves the call as it is.
    last_reader: the last call that reads what this one keeps; None if there is none."""

    sigma: float
    sources: Sources
    guidance: float
    factors: tuple[Rows | None, ...]
    last_reader: int | None = None

    @property
    def runs(self) -> bool:
        """Whether the call runs every rung."""
        return self.sources == RUN

    @property
    def halves(self) -> int:
        """Network evaluations per image: 2 with guidance, 1 without."""
        return 1 if self.guidance == 1 else 2


@dataclass(frozen=True)
class Join:
    """What one member does where the decoder joins. rungs: where."""

    function: Callable[[Any, Any, Any], tuple[Any, Any]]
    rungs: tuple[int, ...]


def joins_of(accelerators: Sequence[Accelerator], rungs: int) -> tuple[Join, ...]:
    """The joins of all members, in their order. Raises ValueError for a rung that the network does not have."""
    found = []
    for member in accelerators:
        if not member.joins:
            continue
        if not rungs:
            raise ValueError(
                f"accelerator '{member.name}' acts where skips are joined, and this network is not cut into rungs:"
                " leave it out"
            )
        at = tuple(sorted(set(member.joined(rungs))))
        if at and not 0 <= at[0] <= at[-1] < rungs:
            raise ValueError(
                f"accelerator '{member.name}' joins at rungs {list(at)}; this network has 0 .. {rungs - 1}"
            )
        found.append(Join(type(member).join, at))
    return tuple(found)


def cache_of(accelerators: Sequence[Accelerator]) -> Accelerator | None:
    """The member that keeps tensors between calls. Raises ValueError where there are two."""
    found = [member for member in accelerators if member.caches]
    if len(found) > 1:
        names = " and ".join(member.name for member in found)
        raise ValueError(f"{names} both keep tensors between calls, and a cell has room for one: switch one off")
    return found[0] if found else None


def branch_of(accelerators: Sequence[Accelerator]) -> int | None:
    """Where the kept tensor sits: 0 the output, 1 .. K the trunk; None without a cache."""
    cache = cache_of(accelerators)
    if cache is None:
        return None
    if not isinstance(cache.branch, int) or cache.branch < 0:
        raise ValueError(f"accelerator '{cache.name}' has branch {cache.branch}; 0 (the output) or 1 .. K is needed")
    return cache.branch


def plan(
    accelerators: Sequence[Accelerator],
    sigmas: Sequence[float],
    noise_levels: NoiseLevels,
    asked: int | None = None,
    rungs: int = 0,
    guidance: float = 1.0,
) -> tuple[Call, ...]:
    """The calls of a trajectory. sigmas: the noise level of each call. asked: calls that the user's steps ask for.

    A call with guidance cannot read what a call without guidance kept, which has one half only. It runs instead, and
    later calls that name the same sources read what it kept. Raises ValueError for answers that do not fit.
    """
    count, branch = len(sigmas), branch_of(accelerators)
    trajectory = Trajectory(
        tuple(sigmas), tuple(map(noise_levels.level, sigmas)), count if asked is None else asked, rungs, guidance,
        branch=branch,
    )  # fmt: skip
    check_branch(branch, rungs)
    for member in accelerators:
        member.check(trajectory)
    sources = _sources(cache_of(accelerators), trajectory)
    trajectory = replace(trajectory, ran=tuple(each == RUN for each in sources))
    weights = [_guidance(accelerators, trajectory, call) for call in range(count)]
    sources = _guided_runs(sources, weights)
    trajectory = replace(trajectory, ran=tuple(each == RUN for each in sources))
    joining = [member for member in accelerators if member.joins]
    readers: dict[int, int] = {}
    for call, each in enumerate(sources):
        readers |= {source: call for source, _ in each}
    return tuple(
        Call(sigmas[call], sources[call], weights[call], tuple(_rows(m, trajectory, call) for m in joining),
             readers.get(call))
        for call in range(count)
    )  # fmt: skip


def check_branch(branch: int | None, rungs: int) -> None:
    """Raises ValueError for a branch that a network of K = `rungs` rungs does not have."""
    if branch and not rungs:
        raise ValueError(
            f"branch is {branch}, but this network is not cut into rungs: only branch 0, its output, exists"
        )
    if branch and not 0 < branch <= rungs:
        raise ValueError(f"branch is {branch}; this network's skips are 1 .. {rungs}")


def _sources(cache: Accelerator | None, trajectory: Trajectory) -> list[Sources]:
    count = len(trajectory.sigmas)
    found = None if cache is None else cache.sources(trajectory)
    if found is None:
        return [RUN] * count
    assert cache is not None
    sources: list[Sources] = [tuple((int(call), float(weight)) for call, weight in each) for each in found]
    if len(sources) != count:
        raise ValueError(f"accelerator '{cache.name}' has sources of {len(sources)} calls; the trajectory has {count}")
    for call, each in enumerate(sources):
        for source, weight in each:
            if not 0 <= source < call or sources[source] != RUN:
                raise ValueError(
                    f"accelerator '{cache.name}': call {call} reads call {source}; only an earlier call that runs every"
                    " rung keeps a tensor"
                )
            if not math.isfinite(weight):
                raise ValueError(f"accelerator '{cache.name}': call {call} has a weight of {weight}")
    return sources


def _guidance(accelerators: Sequence[Accelerator], trajectory: Trajectory, call: int) -> float:
    said = {}
    for member in accelerators:
        if (weight := member.guidance(trajectory, call)) is not None:
            said[member.name] = float(weight)
    if len(said) > 1:
        raise ValueError(f"{' and '.join(said)} both set the guidance of call {call}: switch one off")
    return next(iter(said.values()), trajectory.guidance)


def _guided_runs(sources: list[Sources], weights: list[float]) -> list[Sources]:
    """Sources in which no guided call reads an unguided one."""
    found: list[Sources] = []
    instead: dict[tuple[int, ...], int] = {}  # the calls that were named -> the call that ran in their place
    for call, each in enumerate(sources):
        named = tuple(source for source, _ in each)
        if named in instead and named:
            each = ((instead[named], 1.0),)
        if weights[call] != 1 and any(weights[source] == 1 for source, _ in each):
            instead[named] = call
            each = RUN
        found.append(each)
    return found


def _rows(member: Accelerator, trajectory: Trajectory, call: int) -> Rows | None:
    found = member.factors(trajectory, call)
    if found is None:
        return None
    rows = tuple(tuple(map(float, row)) for row in found)
    if len(rows) != trajectory.rungs or any(len(row) != member.knobs for row in rows):
        raise ValueError(
            f"accelerator '{member.name}' gives {len(rows)} rows of factors; {trajectory.rungs} rows of {member.knobs}"
            " numbers are needed"
        )
    return rows


def neutral_rows(member: Accelerator, rungs: int) -> Rows:
    """The rows with which a member's `join` has no effect."""
    row = member.neutral if member.neutral is not None else (1.0,) * member.knobs
    return (tuple(row),) * rungs
