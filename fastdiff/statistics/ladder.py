"""The sample ladder: after n images per arm, which arms need no more?

Arms are points of quality and MACs. The goal is their Pareto front at the full run's N images, as far as the full run
can tell arms apart. d = loss_i - loss_j > 0 says that arm i is behind arm j, which needs no more MACs. s^2 is the
variance of one image's share of d, from influence values on shared noise. The full run contains these n images, so its
difference D is d + s sqrt(1 / n - 1 / N) t (Student's t, n - 1 degrees of freedom; no other prior knowledge). It finds
i better where D < -z s / sqrt(N):

    chance_ij = F((-z / sqrt(N) - d / s) / sqrt(1 / n - 1 / N)),  z the two-sided quantile of 5 % / (arms - 1)

The verdict at z / sqrt(N) compares one arm with each of the others and is adjusted for their number. For N = inf the
chance is the one-sided p-value of `i is not behind j`.

The best of many arms looks better than it is, so the chance is multiplied by the arm's number of rivals. It is not
multiplied by the number of rungs: given the images so far, its expectation at a later rung equals its value now. An arm
that falls when its chance first drops below `level` was therefore lost with a chance below `level`, on average over the
possible differences (for one given truth it may be more).

Both losses are biased by about c / n (Chong & Forsyth 2020). Only the difference of their c is in d.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .influence import difference
from .verdicts import LEVEL


class Arm(NamedTuple):
    """One arm of a sweep.

    name: its key. macs: per image. loss: smaller is better (`metrics.cards.sign`). psi: its influence values, (n) or
    (2 n); an arm without an interval has None, and neither falls nor makes another arm fall. stays: never falls.
    """

    name: str
    macs: int
    loss: float
    psi: np.ndarray | None
    stays: bool = False


class Fall(NamedTuple):
    """An arm that needs no more images.

    rival: the arm it fell against. behind, se: the difference of their losses. chance: upper bound of the chance that
    the full run finds it better.
    """

    name: str
    rival: str
    behind: float
    se: float
    chance: float

    def sentence(self) -> str:
        behind = f"behind {self.rival}, which needs no more MACs, by {self.behind:.4g} (se {self.se:.2g})"
        return f"{behind}: the full run finds it better with a chance of at most {self.chance:.2g}"


def fallen(arms: Sequence[Arm], full: float, family: int, level: float = LEVEL) -> list[Fall]:
    """The arms whose chance is below `level`, best first.

    An arm's chance is the least one against the arms that stay, times the number of other arms that need no more MACs.
    full: N, the images of a full run, or inf; more than the arms have now. family: number of arms of the full run. The
    best arm of any cost always stays, and so do equal arms.
    Raises ValueError for arms with unequal numbers of images, and where N is not larger.
    """
    known = [arm for arm in arms if arm.psi is not None]
    ordered = sorted(known, key=lambda arm: (arm.loss, arm.macs, arm.name))
    chances = _chances(ordered, full, family)
    stay, falls = [], []
    for i, arm in enumerate(ordered):  # rivals are ahead in this order, so it is known whether they stay
        against = [(*chances[i, j], ordered[j].name) for j in stay if (i, j) in chances]
        chance, behind, se, rival = min(against, default=(math.inf, 0.0, 0.0, ""))
        chance *= max(sum(other.macs <= arm.macs for other in known) - 1, 1)
        if chance < level and not arm.stays:
            falls.append(Fall(arm.name, rival, behind, se, chance))
        else:
            stay.append(i)
    return falls


def _chances(arms: list[Arm], full: float, family: int) -> dict[tuple[int, int], tuple[float, float, float]]:
    """(chance, d, standard error of d) of every pair (i, j) where i is behind j, and j needs no more MACs."""
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
