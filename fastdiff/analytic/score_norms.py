"""What is known of a network at one noise level, and the variances that follow from it."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from .settings import ESTIMATORS


class Norm(NamedTuple):
    """Means over images of squares per pixel, with standard errors (nan where an imported file does not tell).

    eps_ms = E ||eps of the network||^2 / d; the paper's Gamma is eps_ms / (1 - alpha_bar) (Bao et al. 2022, eq. 8).
    With e = eps - eps of the network, and c = (x0 of the network, clipped to the data's range, - x0) / sigma:
    mse = E ||e||^2 / d, mse_x0 = E ||c||^2 / d, cross = E <c, e> / d. Unclipped c is e, and the three are one.
    None in stores of earlier versions and in official files.
    """

    eps_ms: float
    se: float
    mse: float | None = None
    mse_se: float | None = None
    mse_x0: float | None = None
    mse_x0_se: float | None = None
    cross: float | None = None
    cross_se: float | None = None

    def knows(self, estimator: str) -> bool:
        return estimator == "eps_ms" or None not in self

    def left(self, estimator: str, clip: str = "none", k: float = 0.0) -> float:
        """What is left to know of eps, per pixel: of the exact score E Cov[eps | x] / d, under either estimator.

        eps_ms: 1 - eps_ms. mse: E ||x_s - mean||^2 / d less the forward variance, over (1 - k)^2 t^2, for the mean that
        a sampler of this `clip` takes on a step with k = keep / t: its x0 is off by t c (unclipped t e), its eps by -e
        (clip `x0_and_eps`: -c), and k is the share of eps that the step keeps.
        """
        if estimator == "eps_ms":
            return 1 - self.eps_ms
        if clip == "none":
            return self.mse
        if clip == "x0_and_eps" or k == 1:  # a step from a level to itself adds (1 - k)^2 = 0 of whatever it is
            return self.mse_x0
        return (self.mse_x0 - 2 * k * self.cross + k**2 * self.mse) / (1 - k) ** 2


class Joint(NamedTuple):
    """A shallow call at sigma t, whose trunk is of the full call at t_full >= t; r correlates the eps of the two."""

    t: float
    t_full: float
    r: float


Store = Mapping[float | tuple, Norm]  # sigma -> norm of a full call; (t, t_full[, r]) -> norm of a shallow one


def kept(t: float, s: float, eta: float) -> float:
    """keep / s of a step of q from t to s <= t: the correlation of eps_t and eps_s, given x0."""
    return math.sqrt(max(1 - eta**2 * (1 - s**2 / t**2), 0.0))


def joints(sigmas: list[float], full_calls: list[bool], eta: float) -> list[Joint | None]:
    """What each call of a trajectory is in the forward process q of Bao et al. 2022, eq. 2; None: a full call.

    One step of q from t to s < t: x_s = x0 + keep eps_t + sqrt(lam2) z with z new, so that eps_s = (keep / s) eps_t +
    sqrt(lam2) / s z. Step after step the factors multiply: eps_t = r eps_full + sqrt(1 - r^2) z, r the product of
    keep / s = sqrt(1 - eta^2 (1 - s^2 / t^2)) from the full call on. DDIM, eta = 0: r = 1, the same eps. DDPM, eta = 1:
    r = t / t_full, whatever lies between, that is x_full = x_t + sqrt(t_full^2 - t^2) z.
    """
    found, before = [], None
    for t, full in zip(sigmas, full_calls):
        if full:
            found.append(None)
            t_full, r = t, 1.0
        else:
            r *= kept(before, t, eta)
            found.append(Joint(t, t_full, r))
        before = t
    return found


def covariances(
    store: Store,
    sigmas: list[float],
    full_calls: list[bool] | None,
    estimator: str,
    cov_max: float,
    clip: str = "none",
    eta: float = 0.0,
) -> list[float]:
    """cov_x0 of each step. eps_ms: clip(t^2 (1 - eps_ms(t)), 0, cov_max), the bounds of Bao et al. 2022, Cor. 1. mse:
    t^2 left, whatever it is, for a sampler of this clip and eta: the bound is the exact score's, not a network's.

    sigmas: the trajectory, ending with 0. full_calls: which calls run every rung; a shallow one takes the norm at
    (its sigma, that of the last full call). None: every call takes that of the uncached network.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator '{estimator}' is not one of: {', '.join(ESTIMATORS)}")
    wanted: list[float | tuple] = list(sigmas[:-1])
    if full_calls is not None:
        calls = joints(sigmas[:-1], full_calls, 0.0)
        wanted = [t if joint is None else (joint.t, joint.t_full) for t, joint in zip(sigmas, calls)]
    missing = [at for at in wanted if at not in store or not store[at].knows(estimator)]
    if missing:
        t = missing[0] if isinstance(missing[0], float) else missing[0][0]
        raise ValueError(f"no score norm for {len(missing)} of {len(sigmas) - 1} noise levels (first: sigma {t:.6g})")
    if estimator == "eps_ms":
        return [min(max(t**2 * store[at].left(estimator), 0.0), cov_max) for t, at in zip(sigmas, wanted)]
    steps = zip(sigmas, sigmas[1:], wanted)
    return [t**2 * store[at].left(estimator, clip, kept(t, s, eta) * s / t) for t, s, at in steps]
