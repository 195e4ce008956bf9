"""Analytic-DPM's figures (Bao et al. 2022, arXiv 2201.06503): score norms, variances and trajectories.

A step goes from sigma t to s < t. In the letters of `fastdiff.samplers.ddim`, with variances of x:

    optimal   lam2 + (1 - keep / t)^2 clip(t^2 (1 - eps_ms), 0, cov_max)       eq. 9, clipped as in Cor. 1
    lower     lam2                                                             eq. 11: the data is known
    upper     lam2 + (1 - keep / t)^2 min(t^2, cov_max)                        eq. 11 and 12: only its range is known
    J         log(optimal / lam2)                                              eq. 14: optimal trajectories add it up
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..analytic import Norm
from ..report.figures import INK, MUTED
from ..samplers import DDIM
from .figure import COLOURS, SPARE, Figure, Panels, interval, looks

CLIPPED = {
    "lower": ("clipped to the lower bound", SPARE[0]),
    "upper": ("clipped to the upper bound", MUTED),
}


def norms_frame(norms: Mapping[float, Norm], sigmas: Sequence[float], cov_max: float) -> pd.DataFrame:
    """Score norms as a table, one row for each sigma.

    Columns: sigma; eps_ms; left = 1 - eps_ms and mse, two estimates of E Cov[eps | x] / d; each with its standard error
    and 95 % interval. clipped: `lower` where eps_ms is above 1, `upper` where t^2 left is above cov_max, else "".
    """
    lines = []
    for sigma in sorted(sigmas):
        norm = norms[sigma]
        line = {"sigma": sigma, "clipped": clipped(sigma, 1 - norm.eps_ms, cov_max)}
        for name, value, se in (
            ("eps_ms", norm.eps_ms, norm.se),
            ("left", 1 - norm.eps_ms, norm.se),
            ("mse", norm.mse, norm.mse_se),
        ):
            if value is not None:
                line |= {name: value, f"{name}.se": se}
                line |= {f"{name}.{end}": at for end, at in interval(value, se).items()}
        lines.append(line)
    return pd.DataFrame(lines)


def clipped(t: float, left: float, cov_max: float) -> str:
    return "lower" if left <= 0 else "upper" if t**2 * left >= cov_max else ""


def variances(norms: pd.DataFrame, sigmas: Sequence[float], eta: float, cov_max: float, vp: bool) -> pd.DataFrame:
    """The variances of every step of a trajectory except the last, which adds no noise.

    norms: from `norms_frame`; in between, left and its standard error are linear in log sigma. sigmas: a sampler's,
    descending to 0. vp: give variances of x / sqrt(1 + s^2), the papers' sigma_n^2, instead of x.
    Columns: t, s, optimal with its 95 % interval (inside the bounds), lower, upper, small, large (only for eta = 1 and
    VP networks), J (nats per dimension; inf at eta = 0), clipped.
    """
    t = np.array(sigmas[:-1])
    known = np.log(norms["sigma"])
    left, se = (np.interp(np.log(t), known, norms[name]) for name in ("left", "left.se"))

    def var(variance: str, cov_x0=None) -> np.ndarray:
        rule = DDIM(len(t), eta=eta, variance=variance)
        rows = rule.coefficients(list(sigmas), None if cov_x0 is None else list(cov_x0), vp)
        scale = 1 + np.array(sigmas[1:]) ** 2 if vp else 1.0
        return np.array([each for _, each in rows]) / scale

    def analytic(left) -> np.ndarray:
        return var("analytic", np.clip(t**2 * left, 0, np.minimum(t**2, cov_max)))

    found = {"t": t, "s": np.array(sigmas[1:]), "optimal": analytic(left)}
    found |= {f"optimal.{end}": analytic(at) for end, at in interval(left, se).items()}
    found |= {"lower": analytic(np.zeros_like(t)), "upper": analytic(np.ones_like(t)), "small": var("small")}
    found |= {"large": var("large")} if vp and eta == 1 else {}
    with np.errstate(divide="ignore", invalid="ignore"):
        found["J"] = np.log(found["optimal"] / found["lower"])
    found["clipped"] = [clipped(*each, cov_max) for each in zip(t, left)]
    return pd.DataFrame(found)[:-1]


def trajectories(norms: pd.DataFrame, placed: dict[str, list[float]], cov_max: float, vp: bool) -> pd.DataFrame:
    """DDPM's trajectories as a table. placed: spacing -> sigmas.

    Columns: spacing, step (0 = noisiest), sigma, J of the step (nan for the last).
    """
    lines = []
    for spacing, sigmas in placed.items():
        found = variances(norms, sigmas, 1.0, cov_max, vp)
        columns = {"spacing": spacing, "step": range(len(sigmas) - 1), "sigma": sigmas[:-1]}
        lines.append(pd.DataFrame(columns | {"J": [*found["J"], np.nan]}))
    return pd.concat(lines, ignore_index=True)


def spans(x: Sequence[float], marked: Sequence[str]) -> list[tuple[str, float, float]]:
    """Runs of equal marks, as (mark, low, high). x: ascending, above 0. Each run ends half-way, in log x, to the next
    point. Runs without a mark are left out."""
    x = np.asarray(x, float)
    edges = np.sqrt(np.concatenate([x[:1], x]) * np.concatenate([x, x[-1:]]))
    found, begun = [], 0
    for i in range(1, len(x) + 1):
        if i == len(x) or marked[i] != marked[begun]:
            if marked[begun]:
                found.append((marked[begun], float(edges[begun]), float(edges[i])))
            begun = i
    return found


def _shade(panels: Panels, i: int, x: pd.Series, marked: pd.Series) -> None:
    for mark, low, high in spans(x.tolist(), marked.tolist()):
        name, colour = CLIPPED[mark]
        panels.shade(i, name, low, high, colour)


def norms_figure(norms: pd.DataFrame, name: str, protocol: str) -> Figure:
    """Two panels: eps_ms, and on log axes what is left by both estimators. protocol: for the caption."""
    panels = Panels(["score norm", "what is left to know"])
    ours, other = ({"colour": COLOURS[sampler], "band": True} for sampler in ("analytic_ddpm", "ddpm"))
    panels.line(0, norms, "eps_ms", "sigma", "eps_ms", **ours)
    panels.axes(0, "sigma", "eps_ms<br>mean over images, per pixel", log="x")
    panels.level(0, 1.0)
    seen = norms[norms["left"] > 0]
    panels.line(1, _above(seen, ["left", "mse"]), "1 - eps_ms", "sigma", "left", **ours)
    if "mse" in norms:
        panels.line(1, _above(norms, ["mse", "left"]), "mse of eps", "sigma", "mse", **other, dash="dash")
    panels.axes(1, "sigma", "E Cov[eps | x] / d", log="xy")
    for i in range(2):
        _shade(panels, i, norms["sigma"], norms["clipped"])
    sentence = (
        "The score norm of the optimal variance, and what it leaves. Both estimates agree where the network is exact."
        f" Bands: 95 %, Monte Carlo error only; all levels share images and noise. {protocol}"
    )
    return panels.figure(name, "Score norms", sentence)


def _above(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """For a log axis: an interval of the first column that reaches 0 ends at half the least value drawn."""
    drawn = frame[[column for column in columns if column in frame]]
    low = f"{columns[0]}.low"
    return frame.assign(**{low: np.maximum(frame[low], drawn[drawn > 0].min(axis=None) / 2)})


def variances_figure(found: dict[str, pd.DataFrame], name: str, protocol: str) -> Figure:
    """One panel for each trajectory. found: title -> `variances`. DDIM's lower bound is 0, which has no place on a log
    axis."""
    panels = Panels(list(found))
    for i, frame in enumerate(found.values()):
        frame = frame[::-1]
        drawn = _above(frame[frame["optimal"] > 0], ["optimal", "lower"])
        panels.line(i, drawn, "optimal", "t", "optimal", colour=COLOURS["analytic_ddpm"], band=True)
        for column, label, look in (
            ("upper", "upper bound", {"colour": INK, "dash": "dash"}),
            ("large", "DDPM's large: beta", {"colour": COLOURS["ddpm_large"], "dash": "dashdot"}),
            ("small", "DDPM's small: lower bound", {"colour": COLOURS["ddpm"], "dash": "dot"}),
        ):
            if column in frame and (frame[column] > 0).all():
                panels.line(i, frame, label, "t", column, **look)
        _shade(panels, i, frame["t"], frame["clipped"])
        panels.axes(i, "sigma at the start of the step", "variance of the step", log="xy")
    sentence = (
        "The optimal variance of each step between its bounds, with DDPM's two. Units of x / sqrt(1 + s^2) for VP"
        f" networks, as in the papers. No image is generated. Bands: 95 %, Monte Carlo error only. {protocol}"
    )
    return panels.figure(name, "The optimal variance between its bounds", sentence)


def trajectories_figure(found: pd.DataFrame, name: str, protocol: str) -> Figure:
    """Noise level and J of each step, one line for each spacing."""
    look = looks(found["spacing"])
    panels = Panels(["where the steps lie", "what each step adds to the bound"])
    for i, (y, label, log) in enumerate((("sigma", "sigma", "y"), ("J", "J  (nats per dimension)", ""))):
        for spacing, part in found.groupby("spacing"):
            panels.line(i, part, spacing, "step", y, **look[spacing])
        panels.axes(i, "step  (0 = noisiest)", label, log=log)
    totals = found.groupby("spacing")["J"].sum()
    added = ", ".join(f"{spacing} {total:.4g}" for spacing, total in totals.items())
    sentence = (
        "DDPM's trajectory with the best bound beside the usual one. Sum of J over the steps, in nats per dimension:"
        f" {added}. {protocol}"
    )
    return panels.figure(name, "The optimal trajectory", sentence)
