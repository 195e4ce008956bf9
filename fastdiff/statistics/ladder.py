"""The sample ladder: after n images an arm, which arms need no more of them?

Arms are points of quality and MACs; wanted is their front at the full run's N images, up to what the full run tells
apart. d = loss_i - loss_j > 0 says that arm i is behind arm j, which needs no more MACs; s^2 is the variance of one
image's share of d, by influence values on shared noise. The full run holds these n images too, so that its difference
D is d + s sqrt(1 / n - 1 / N) t (t of Student, n - 1 degrees of freedom; nothing else is known of the truth), and it
tells i apart as better where D < -z s / sqrt(N):

    chance_ij = F((-z / sqrt(N) - d / s) / sqrt(1 / n - 1 / N)),  z the two-sided quantile of 5 % / (arms - 1)

With z / sqrt(N) the verdict is that of one arm against each of the others, adjusted for their number. For N = inf the
chance is the one-sided p-value of `i is not behind j`: then arms fall for being worse, and for nothing else. The best
of many seems better than it is, so that the chance counts as many times as an arm has rivals. It does not count the
rungs: of what may still happen given the images so far, the expectation at any later rung is what it is at this one, so
that an arm which falls where its chance first is below `level` was lost with a chance below `level`, on average over
what the differences may be (for one given truth it may be more).

Both are biased by about c / n (Chong & Forsyth 2020); only what c differs by between two arms is in d.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .influence import difference
from .verdicts import LEVEL


class Arm(NamedTuple):
    """name: its key. macs per image. loss: the smaller the better (`metrics.direction.sign`), with its influence values
    (n) or (2 n), None where there is no interval: such an arm neither falls nor makes another fall. stays: whether it
    is wanted to the end, whatever it is behind."""

    name: str
    macs: int
    loss: float
    psi: np.ndarray | None
    stays: bool = False


class Fall(NamedTuple):
    """An arm that needs no more images, the arm it fell against, by how much it is behind, and at most how likely the
    full run tells it apart as better."""

    name: str
    rival: str
    behind: float
    se: float
    chance: float

    def sentence(self) -> str:
        behind = f"behind {self.rival}, which needs no more MACs, by {self.behind:.4g} (se {self.se:.2g})"
        return f"{behind}: chance {self.chance:.2g} at most that the full run tells it apart as better"


def fallen(arms: Sequence[Arm], full: float, family: int, level: float = LEVEL) -> list[Fall]:
    """The arms whose chance against an arm that stays is below `level`, best first; of several rivals the least chance,
    times the number of other arms that need no more MACs.

    full: N, the images of a full run, more than these arms have, or inf. family: the arms of the full run. The best arm
    of any cost always stays, and so do equal arms.
    Raises ValueError for arms of unequal numbers of images, and for a full run that is not larger.
    """
    known = [arm for arm in arms if arm.psi is not None]
    ordered = sorted(known, key=lambda arm: (arm.loss, arm.macs, arm.name))
    chances = _chances(ordered, full, family)
    stay, falls = [], []
    for i, arm in enumerate(ordered):  # a rival is ahead: whether it stays is already known
        against = [(*chances[i, j], ordered[j].name) for j in stay if (i, j) in chances]
        chance, behind, se, rival = min(against, default=(math.inf, 0.0, 0.0, ""))
        chance *= max(sum(other.macs <= arm.macs for other in known) - 1, 1)
        if chance < level and not arm.stays:
            falls.append(Fall(arm.name, rival, behind, se, chance))
        else:
            stay.append(i)
    return falls


def _chances(arms: list[Arm], full: float, family: int) -> dict[tuple[int, int], tuple[float, float, float]]:
    """chance, d and its standard error of every pair (i, j) in which i is behind j, which needs no more MACs."""
    from scipy.stats import norm, t

    sizes = {arm.psi.shape[-1] for arm in arms}
    if len(sizes) > 1 or max(sizes, default=0) >= full:
        raise ValueError(f"arms of {sorted(sizes)} images and a full run of {full}; equal numbers below it are needed")
    pairs = {}
    for i, arm in enumerate(arms):
        for j, rival in enumerate(arms[:i]):
            if rival.loss < arm.loss and rival.macs <= arm.macs:
                pairs[i, j] = difference(arm.loss, rival.loss, arm.psi, rival.psi, paired=True)
    if not pairs:
        return {}
    n = sizes.pop()
    d, se = np.array([[found.value, found.se] for found in pairs.values()]).T
    z = float(norm.isf(LEVEL / 2 / max(family - 1, 1)))
    with np.errstate(divide="ignore"):  # arms that differ by a constant: d / 0 = inf, chance 0
        chance = t.cdf((-z * math.sqrt(n / full) - d / se) / math.sqrt(1 - n / full), n - 1)
    return {pair: (float(c), float(a), float(b)) for pair, c, a, b in zip(pairs, chance, d, se)}
