"""Where the solver steps lie: among the N training levels, rules (N, steps) -> indices n, ascending, 1 <= n <= N; on
the continuous range of a network, rules (low, high, steps) -> sigmas, descending from high to low."""

import math

import numpy as np

from .noise_levels import NoiseLevels


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


def leading(N: int, steps: int) -> list[int]:
    """CompVis/latent-diffusion, and diffusers' `leading` with steps_offset 1: `stride`, each a level higher."""
    if N // steps < 2:
        raise ValueError(f"spacing 'leading' lies above `stride`: with {N} noise levels at most {N // 2} steps")
    return [at + 1 for at in stride(N, steps)]


def quadratic(N: int, steps: int) -> list[int]:
    """ermongroup/ddim and DeepCache, `quad`: int(linspace(0, sqrt(0.8 N), steps)^2) + 1.

    Dense at little noise, where rounding makes duplicates (100 of 1000 gives 96 levels in 100 steps); ends at 0.8 N.
    """
    return [int(at) + 1 for at in np.linspace(0, math.sqrt(N * 0.8), steps) ** 2]


def power2(N: int, steps: int) -> list[int]:
    """Analytic-DPM's `power2`: (N - 1) (1 - sqrt(1 - k / (steps - 1))) + 1 for k = 0 .. steps - 1; one step: N alone.

    Dense at little noise, both ends hit. Rounded half to even; where that gives no larger index than the one before, it
    is the next one up, so that none comes twice.
    """
    if steps == 1:
        return [N]
    chosen = [1]
    for k in range(1, steps):
        y = (steps - 1 - k) / (steps - 1)
        chosen.append(max(round((N - 1) * (1 - y**0.5) + 1), chosen[-1] + 1))
    return chosen


def karras(low: float, high: float, steps: int, karras_rho: float = 7.0) -> list[float]:
    """sigma^(1 / karras_rho) in equal steps from high to low (Karras et al. 2022, eq. 5); one step: high alone."""
    ends = high ** (1 / karras_rho), low ** (1 / karras_rho)
    return [(ends[0] + i / max(steps - 1, 1) * (ends[1] - ends[0])) ** karras_rho for i in range(steps)]


def logsnr(low: float, high: float, steps: int) -> list[float]:
    """log sigma in equal steps from high to low; one step: high alone."""
    return [high * (low / high) ** (i / max(steps - 1, 1)) for i in range(steps)]


INDEX_RULES = {"even": even, "leading": leading, "power2": power2, "quadratic": quadratic, "stride": stride}
SIGMA_RULES = {"karras": karras, "logsnr": logsnr}
SPACINGS = tuple(sorted([*INDEX_RULES, *SIGMA_RULES]))
OPTIMAL = ("dp", "dp_plain")  # placed by what is known of the network: `fastdiff.samplers.optimal`


def indices(spacing: str, N: int, steps: int) -> list[int]:
    """Indices n, ascending, of a rule by its name. Raises ValueError for an unknown rule or an impossible number."""
    if spacing not in INDEX_RULES:
        raise ValueError(f"spacing '{spacing}' is not one of: {', '.join(sorted(INDEX_RULES))}")
    if not 1 <= steps <= N:
        raise ValueError(f"steps is {steps}; a network with {N} noise levels takes 1 .. {N}")
    return INDEX_RULES[spacing](N, steps)


def trajectory(spacing: str, steps: int, noise_levels: NoiseLevels) -> list[float]:
    """Noise levels of a trajectory, non-increasing, ending with 0.

    noise_levels: the index rules need its `levels`, the others its `span`.
    """
    if spacing in SIGMA_RULES:
        if steps < 1:
            raise ValueError(f"steps is {steps}; at least 1 is needed")
        return [*SIGMA_RULES[spacing](*noise_levels.span, steps), 0.0]
    levels = noise_levels.levels
    if levels is None and spacing in INDEX_RULES:
        rules = ", ".join(sorted(SIGMA_RULES))
        raise ValueError(f"spacing '{spacing}' places steps on training levels; this network has none: use {rules}")
    return [float(levels[n - 1]) for n in reversed(indices(spacing, len(levels), steps))] + [0.0]


def cheapest(cost: np.ndarray, steps: int) -> list[int]:
    """Nodes 0 .. M - 1 of the cheapest path of exactly `steps` steps from the first node to the last, ascending.

    cost (M M): of the step between node s (row) and node t (column), inf where there is none. Dynamic programming
    (Watson et al. 2021; Bao et al. 2022, Algorithm 1); of equally cheap ones the first.
    """
    if steps == len(cost) - 1:
        return list(range(len(cost)))  # there is one path only
    best, came = np.full(len(cost), np.inf), []
    best[0] = 0.0
    for _ in range(steps):
        through = best[:, None] + cost
        came.append(through.argmin(0))
        best = through.min(0)
    nodes = [len(cost) - 1]
    for previous in reversed(came):
        nodes.append(int(previous[nodes[-1]]))
    return nodes[::-1]


def log_ratios(levels: np.ndarray, eps_ms: np.ndarray, eta: float = 1.0) -> np.ndarray:
    """J of Bao et al. 2022, eq. 14, less what no trajectory can change: log(sigma*^2 / lam2) - log(t^2 / s^2).

    (M M), the step from t (column) to s (row); inf where s >= t. With a = s^2 / t^2 and k = keep / s it is
    log(a + (1 - k sqrt(a))^2 / (eta^2 (1 - a)) (1 - eps_ms(t))), for eta = 1 log(1 - (1 - a) eps_ms(t)) (Cor. 4). The
    log(t^2 / s^2) of a trajectory add up to the same between the same two levels.
    """
    upper = np.triu_indices(len(levels), 1)
    a = (levels[:, None] ** 2 / levels[None, :] ** 2)[upper]
    norm = np.broadcast_to(eps_ms, (len(levels), len(levels)))[upper]
    cost = np.full((len(levels), len(levels)), np.inf)
    if eta == 1:
        cost[upper] = np.log(1 - (1 - a) * norm)
    else:
        k = np.sqrt(1 - eta**2 * (1 - a))
        cost[upper] = np.log(a + (1 - k * np.sqrt(a)) ** 2 / (eta**2 * (1 - a)) * (1 - norm))
    return cost


def algorithm_1(levels: np.ndarray, eps_ms: np.ndarray, steps: int, eta: float = 1.0) -> list[int]:
    """The optimal trajectory as Bao et al. 2022 print it: n of exactly `steps` nodes from 1 to N with the least sum of
    J. Norms above 1, the network's error, count as 1: that variance is clipped to the forward one, where J = 0."""
    if not 2 <= steps <= len(levels):
        raise ValueError(f"no optimal trajectory of {steps} steps over {len(levels)} levels")
    return [n + 1 for n in cheapest(log_ratios(levels, np.minimum(eps_ms, 1), eta), steps - 1)]


def optimal(levels: np.ndarray, eps_ms: np.ndarray, steps: int, eta: float = 1.0) -> list[int]:
    """Algorithm 1 as the official code runs it (`dp_seg`): n, ascending, of `steps` nodes from 1 to N.

    levels, eps_ms: (N,), ascending sigmas and their score norms. Norms above 1 are the network's error: from the first
    of them the official code leaves twice as many levels to even spacing, and that is kept. Without any it is the
    algorithm as printed. Raises ValueError where fewer than 2 steps, or too few levels, are left to the programme.
    """
    N, unsure = len(levels), np.flatnonzero(eps_ms > 1)
    bad = 2 * (N - int(unsure[0])) if len(unsure) else 0
    last, inner = N - bad, min(math.ceil((1 - 0.8 * bad / N) * steps), steps - (bad > 0))
    if not 2 <= inner <= last:
        raise ValueError(f"no optimal trajectory of {steps} steps over {N} levels, {bad // 2} with unsure score norms:"
                         " more images, estimator=mse or spacing=dp_plain give one")  # fmt: skip
    nodes = cheapest(log_ratios(levels[:last], eps_ms[:last], eta), inner - 1)
    rest = steps - inner
    return [n + 1 for n in nodes] + [round(N - bad / rest * k) for k in reversed(range(rest))]
