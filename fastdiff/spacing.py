"""Where the solver steps lie: among the N training levels, rules (N, steps) -> indices n, ascending, 1 <= n <= N; on
the continuous range of a network, rules (low, high, steps) -> sigmas, descending from high to low."""

import math

import numpy as np


def even(N: int, steps: int) -> list[int]:
    """Analytic-DPM, App. F.4: 1 .. N in equal strides, both ends hit (one step: N alone).

    The float is accumulated and rounded by Python's `round` (half to even), as in the official code: another way of
    rounding gives other networks calls.
    """
    stride_, at, indices = (N - 1) / max(steps - 1, 1), 1.0, []
    for _ in range(steps):
        indices.append(round(at))
        at += stride_
    return indices if steps > 1 else [N]


def stride(N: int, steps: int) -> list[int]:
    """ermongroup/ddim and DeepCache, `uniform`: every (N // steps)-th level from the first.

    Never reaches N, and runs more calls than asked when steps does not divide N (15 of 1000 gives 16).
    """
    return [at + 1 for at in range(0, N, N // steps)]


def quadratic(N: int, steps: int) -> list[int]:
    """ermongroup/ddim and DeepCache, `quad`: int(linspace(0, sqrt(0.8 N), steps)^2) + 1.

    Dense at little noise, where rounding makes duplicates (100 of 1000 gives 96 levels in 100 steps); ends at 0.8 N.
    """
    return [int(at) + 1 for at in np.linspace(0, math.sqrt(N * 0.8), steps) ** 2]


def karras(low: float, high: float, steps: int, karras_rho: float = 7.0) -> list[float]:
    """sigma^(1 / karras_rho) in equal steps from high to low (Karras et al. 2022, eq. 5); one step: high alone."""
    ends = high ** (1 / karras_rho), low ** (1 / karras_rho)
    return [(ends[0] + i / max(steps - 1, 1) * (ends[1] - ends[0])) ** karras_rho for i in range(steps)]


def logsnr(low: float, high: float, steps: int) -> list[float]:
    """log sigma in equal steps from high to low; one step: high alone."""
    return [high * (low / high) ** (i / max(steps - 1, 1)) for i in range(steps)]


INDEX_RULES = {"even": even, "quadratic": quadratic, "stride": stride}
SIGMA_RULES = {"karras": karras, "logsnr": logsnr}
SPACINGS = tuple(sorted([*INDEX_RULES, *SIGMA_RULES]))


def indices(spacing: str, N: int, steps: int) -> list[int]:
    """Indices n, ascending, of a rule by its name. Raises ValueError for an unknown rule or an impossible number."""
    if spacing not in INDEX_RULES:
        raise ValueError(f"spacing '{spacing}' is not one of: {', '.join(sorted(INDEX_RULES))}")
    if not 1 <= steps <= N:
        raise ValueError(f"steps is {steps}; a network with {N} noise levels takes 1 .. {N}")
    return INDEX_RULES[spacing](N, steps)


def trajectory(spacing: str, steps: int, denoiser) -> list[float]:
    """Noise levels of a trajectory, non-increasing, ending with 0.

    denoiser: its `levels` (ascending sigmas) are what the index rules need, its `span` what the others do.
    """
    if spacing in SIGMA_RULES:
        if steps < 1:
            raise ValueError(f"steps is {steps}; at least 1 is needed")
        return [*SIGMA_RULES[spacing](*denoiser.span, steps), 0.0]
    levels = denoiser.levels
    if levels is None and spacing in INDEX_RULES:
        rules = ", ".join(sorted(SIGMA_RULES))
        raise ValueError(f"spacing '{spacing}' places steps on training levels; this network has none: use {rules}")
    return [float(levels[n - 1]) for n in reversed(indices(spacing, len(levels), steps))] + [0.0]


def optimal(levels: np.ndarray, eps_ms: np.ndarray, steps: int) -> list[int]:
    """The trajectory of Analytic-DDPM with the best variational bound (Bao et al. 2022, eq. 14 and Cor. 4).

    Least sum of log(1 - (1 - s^2 / t^2) eps_ms(t)) over steps from t to s, by dynamic programming over exactly `steps`
    nodes from 1 to N. levels, eps_ms: (N,), ascending sigmas and their score norms. Norms above 1 are the network's
    error: from the first of them the official code leaves twice as many levels to even spacing, and that is kept.
    Raises ValueError where fewer than 2 steps, or too few levels, are left to the programme.
    """
    N, unsure = len(levels), np.flatnonzero(eps_ms > 1)
    bad = 2 * (N - int(unsure[0])) if len(unsure) else 0
    last, inner = N - bad, min(math.ceil((1 - 0.8 * bad / N) * steps), steps - (bad > 0))
    if not 2 <= inner <= last:
        raise ValueError(f"no optimal trajectory of {steps} steps over {N} levels, {bad // 2} with unsure score norms")
    t2, s2 = levels[None, :last] ** 2, levels[:last, None] ** 2
    cost = np.full((last, last), np.inf)
    upper = np.triu_indices(last, 1)
    cost[upper] = np.log(1 - (1 - (s2 / t2)[upper]) * np.broadcast_to(eps_ms[:last], (last, last))[upper])
    best, came = np.full(last, np.inf), []
    best[0] = 0.0
    for _ in range(inner - 1):
        through = best[:, None] + cost
        came.append(through.argmin(0))
        best = through.min(0)
    nodes = [last - 1]
    for previous in reversed(came):
        nodes.append(int(previous[nodes[-1]]))
    rest = steps - inner
    return [n + 1 for n in reversed(nodes)] + [round(N - bad / rest * k) for k in reversed(range(rest))]
