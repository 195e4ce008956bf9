"""DeepCache's figures (Ma, Fang & Wang 2024, arXiv 2312.00858): how alike a trajectory's trunks are, what calls cost.

similarity of calls i and j    mean over images of <u_i, u_j> / (||u_i|| ||u_j||), u (C H W): the state that enters
                               up(branch - 1), which a full call keeps and shallow calls take for their own
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from ..accelerators import DeepCache
from ..profiling import call_cost, trajectory_cost
from .drawing import Drawing, Heat, Panel, Series, looks, series
from .operands import watched

BATCH = 16  # images at once: all trunks of their trajectories are kept


def similarities(
    denoiser,
    sampler,
    branches: Iterable[int],
    n: int,
    seed: int,
    labels: Callable | None = None,
    cov_x0: list[float] | None = None,
    progress: Callable = iter,
) -> dict[int, np.ndarray]:
    """Branch -> cosine similarity (n T T) of the trunks of all T calls, image by image, of the uncached network.

    Image i starts from the noise of (seed, i), as in every cell. labels: indices -> labels, as `generate` takes them.
    Raises ValueError for a branch that the network does not have.
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


def cosines(states) -> np.ndarray:
    """Cosine (T T) between all pairs of T vectors (T F), in float64."""
    import torch

    unit = torch.nn.functional.normalize(states.double(), dim=1)
    return (unit @ unit.T).cpu().numpy()


def similarity_frame(found: dict[str, dict[int, np.ndarray]]) -> pd.DataFrame:
    """sampler -> branch -> (n T T), as lines: sampler, branch, call_i <= call_j, cosine and its standard error."""
    lines = []
    for sampler, branches in found.items():
        for branch, each in branches.items():
            mean, se = each.mean(0), each.std(0, ddof=1) / len(each) ** 0.5
            i, j = np.triu_indices(len(mean))
            columns = {"sampler": sampler, "branch": branch, "call_i": i, "call_j": j}
            lines.append(pd.DataFrame(columns | {"cosine": mean[i, j], "cosine.se": se[i, j]}))
    return pd.concat(lines, ignore_index=True)


def similarity_drawing(found: dict[str, dict[int, np.ndarray]], name: str, said: str) -> Drawing:
    """A row a sampler, a column a branch."""
    bar = "cosine of trunks"
    panels = [
        Panel("call  (0 = noisiest)", "call", f"{sampler}, branch {branch}", heat=Heat(bar, each.mean(0)))
        for sampler, branches in found.items()
        for branch, each in branches.items()
    ]
    sentence = (
        "How alike the trunk of one network call is to that of any other of the same trajectory: what a cache takes for"
        f" granted. Cosine of the whole state (no mean taken off), mean over images; the network is uncached. {said}"
    )
    columns = len(next(iter(found.values())))
    return Drawing(name, "Similarity of the trunk between all pairs of calls", sentence, tuple(panels), columns)


def costs(card, calls: int, intervals: Iterable[int]) -> pd.DataFrame:
    """MACs an image of a trajectory of `calls` network calls, for every branch of a network and interval (uniform).

    promised: MACs of the uncached trajectory over those. card: a resolved model card.
    """
    arguments, labelled = (card.family, card.arch, tuple(card.shape)), card.classes > 0
    full, lines = call_cost(*arguments, labels=labelled), []
    for branch in range(1, rungs_of(card) + 1):
        shallow = call_cost(*arguments, branch, labelled)
        for interval in intervals:
            macs = trajectory_cost(full, shallow, DeepCache(interval, branch).full_calls(calls)).macs
            lines.append({"branch": branch, "interval": interval, "macs": macs, "promised": full.macs * calls / macs})
    return pd.DataFrame(lines)


def rungs_of(card) -> int:
    """How many skips a card's network has; no weights are read."""
    import torch

    from ..unets import build

    with torch.device("meta"):
        return build(card.family, card.arch).rungs


def promised(found: pd.DataFrame, look: dict) -> list[Series]:
    """Lines of `costs`, one an interval. look: interval -> what tells it from the others."""
    return [
        series(part, f"interval {i}, promised", "branch", "promised", **look[i] | {"marker": ""})
        for i, part in found.groupby("interval")
    ]


def costs_drawing(found: pd.DataFrame, calls: int, name: str, said: str) -> Drawing:
    """The speed-up that MACs promise against the branch: what can be drawn without a measurement."""
    ticks, lines = range(1, int(found["branch"].max()) + 1), tuple(promised(found, looks(found["interval"])))
    panel = Panel("branch", "speed-up over uncached", f"{calls} calls", lines, ticks=ticks, level=1.0)
    sentence = f"The speed-up that MACs promise, for each branch and interval. {said}"
    return Drawing(name, "Speed-up against the branch", sentence, (panel,), columns=1)
