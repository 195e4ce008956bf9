"""DeepCache's figures (Ma, Fang & Wang 2024, arXiv 2312.00858): similarity of the trunk, and cost of the calls.

similarity of calls i and j    mean over images of <u_i, u_j> / (||u_i|| ||u_j||). u (C H W) is the trunk: the state
                               that enters up(branch - 1). A full call keeps it, and shallow calls use it again.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from ..accelerators import DeepCache
from ..profiling import call_cost
from .figure import Figure, Panels, looks
from .watched import watched

BATCH = 16  # images at once: the trunks of all their calls are in memory


def similarities(
    denoiser: Any,
    sampler: Any,
    branches: Iterable[int],
    n: int,
    seed: int,
    labels: Callable | None = None,
    cov_x0: list[float] | None = None,
    progress: Callable = iter,
) -> dict[int, np.ndarray]:
    """Cosine similarity of the trunks of all T calls, for each image. The network runs uncached.

    Image i starts from the noise of (seed, i), as in every cell. labels: indices -> labels, as in `generate`.
    Returns branch -> array (n T T). Raises ValueError for a branch that the network does not have.
    """
    import torch

    from ..diffusion.noise import noise_of
    from ..sampling.generate import condition

    branches = sorted(set(branches))
    if not 1 <= branches[0] <= branches[-1] <= denoiser.unet.rungs:
        raise ValueError(f"branches are {branches}; this network's skips are 1 .. {denoiser.unet.rungs}")
    found: dict[int, list] = {branch: [] for branch in branches}
    with torch.inference_mode():
        for part in progress(np.split(np.arange(n), range(BATCH, n, BATCH))):
            trunks: dict[int, list] = {branch: [] for branch in branches}

            def see(i, u, d, trunks=trunks):
                if i + 1 in trunks:
                    trunks[i + 1].append(u.flatten(1))

            noise = noise_of(seed, part, denoiser.shape, denoiser.device)
            sampler(watched(denoiser, see), noise, condition(labels, part, denoiser.device), cov_x0)
            for branch, states in trunks.items():
                found[branch] += [cosines(each) for each in torch.stack(states, 1)]
    return {branch: np.stack(each) for branch, each in found.items()}


def cosines(states: Any) -> np.ndarray:
    """Cosine (T T) between all pairs of T vectors (T F), in float64."""
    import torch

    unit = torch.nn.functional.normalize(states.double(), dim=1)
    return (unit @ unit.T).cpu().numpy()


def similarity_frame(found: dict[str, dict[int, np.ndarray]]) -> pd.DataFrame:
    """Mean similarities as a table. found: sampler -> branch -> array (n T T).

    Columns: sampler, branch, call_i <= call_j, cosine and its standard error.
    """
    lines = []
    for sampler, branches in found.items():
        for branch, each in branches.items():
            mean, se = each.mean(0), each.std(0, ddof=1) / len(each) ** 0.5
            i, j = np.triu_indices(len(mean))
            columns = {"sampler": sampler, "branch": branch, "call_i": i, "call_j": j}
            lines.append(pd.DataFrame(columns | {"cosine": mean[i, j], "cosine.se": se[i, j]}))
    return pd.concat(lines, ignore_index=True)


def similarity_figure(found: dict[str, dict[int, np.ndarray]], name: str, protocol: str) -> Figure:
    """One map for each sampler (row) and branch (column). protocol: for the caption."""
    maps = {
        f"{sampler}, branch {branch}": each for sampler, branches in found.items() for branch, each in branches.items()
    }
    panels = Panels(list(maps), columns=len(next(iter(found.values()))))
    for i, each in enumerate(maps.values()):
        panels.axes(i, "call  (0 = noisiest)", "call")
        panels.heat(i, each.mean(0), "cosine of trunks")
    sentence = (
        "Similarity of the trunk between all pairs of calls of a trajectory, which a cache takes to be 1. Cosine of the"
        f" whole state (the mean is not removed), mean over images. The network is uncached. {protocol}"
    )
    return panels.figure(name, "Similarity of the trunk between all pairs of calls", sentence)


def costs(card: Any, calls: int, intervals: Iterable[int]) -> pd.DataFrame:
    """MACs per image of a trajectory of `calls` network calls, for every branch and every interval (uniform schedule).

    card: a resolved model card. Columns: branch, interval, macs; promised: the uncached trajectory's MACs over these.
    """
    arguments, labelled = (card.family, card.arch, tuple(card.shape)), card.classes > 0
    full, lines = call_cost(*arguments, labels=labelled), []
    for branch in range(1, rungs_of(card) + 1):
        shallow = call_cost(*arguments, branch, labelled)
        for interval in intervals:
            ran = DeepCache(interval, branch).full_calls(calls)
            macs = sum((full if runs else shallow).macs for runs in ran)
            lines.append({"branch": branch, "interval": interval, "macs": macs, "promised": full.macs * calls / macs})
    return pd.DataFrame(lines)


def rungs_of(card: Any) -> int:
    """How many skips the network of a card has. No weights are read."""
    import torch

    from ..unets import build

    with torch.device("meta"):
        return build(card.family, card.arch).rungs


def draw_promised(panels: Panels, i: int, found: pd.DataFrame, look: dict) -> None:
    """Lines of `costs`, one for each interval. look: interval -> its colour and symbol."""
    for interval, part in found.groupby("interval"):
        colour = look[interval]["colour"]
        panels.line(i, part, f"interval {interval}, promised", "branch", "promised", colour=colour)


def costs_figure(found: pd.DataFrame, calls: int, name: str, protocol: str) -> Figure:
    """The speed-up that MACs promise against the branch. It needs no measurement."""
    panels = Panels([f"{calls} calls"], columns=1)
    draw_promised(panels, 0, found, looks(found["interval"]))
    panels.axes(0, "branch", "speed-up over uncached", ticks=range(1, int(found["branch"].max()) + 1))
    panels.level(0, 1.0)
    sentence = f"The speed-up that MACs promise, for each branch and interval. {protocol}"
    return panels.figure(name, "Speed-up against the branch", sentence)
