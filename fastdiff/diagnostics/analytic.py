"""Analytic-DPM's figures (Bao et al. 2022, arXiv 2201.06503): score norms, variances between bounds, trajectories.

A step from sigma t to s < t, in the house's letters (`fastdiff.samplers.ddim`), var in units of x squared:

    optimal   lam2 + (1 - keep / t)^2 clip(t^2 (1 - eps_ms), 0, cov_max)       eq. 9, clipped as in Cor. 1
    lower     lam2                                                             eq. 11: the data is known
    upper     lam2 + (1 - keep / t)^2 min(t^2, cov_max)                        eq. 11 and 12: nothing is, but the range
    J         log(optimal / lam2)                                              eq. 14, what optimal trajectories add up
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..analytic import Norm
from ..samplers import DDIM
from .drawing import Drawing, Panel, Span, interval, looks, series
from .print_style import COLOURS, INK, MUTED, SPARE

CLIPPED = {
    "lower": ("clipped to the lower bound", SPARE[0]),
    "upper": ("clipped to the upper bound", MUTED),
}


def norms_frame(norms: Mapping[float, Norm], sigmas: Sequence[float], cov_max: float) -> pd.DataFrame:
    """sigma; eps_ms, and left = 1 - eps_ms and mse, two estimates of what is left to know of eps, with 95 % intervals;
    clipped: where t^2 left is taken for a bound (`lower`: eps_ms above 1, `upper`: above cov_max), else ""."""
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
    """Every variance of every step of a trajectory but the last, which adds no noise.

    norms: of `norms_frame`; between its noise levels left and its standard error are linear in log sigma. sigmas: of a
    sampler, descending to 0. vp: variances are of x / sqrt(1 + s^2), the papers' sigma_n^2; else of x.
    Columns: t, s, optimal with its 95 % interval (inside the bounds), lower, upper, small, large (eta = 1 and VP
    networks only), J (nats a dimension; inf at eta = 0), clipped.
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
    """spacing -> sigmas of DDPM, as lines: spacing, step (0 = noisiest), sigma, J of the step (nan for the last)."""
    lines = []
    for spacing, sigmas in placed.items():
        found = variances(norms, sigmas, 1.0, cov_max, vp)
        columns = {"spacing": spacing, "step": range(len(sigmas) - 1), "sigma": sigmas[:-1]}
        lines.append(pd.DataFrame(columns | {"J": [*found["J"], np.nan]}))
    return pd.concat(lines, ignore_index=True)


def spans(x: Sequence[float], marked: Sequence[str]) -> tuple[Span, ...]:
    """Ranges of x (ascending, above 0) that are marked, each to half-way, in log x, to its neighbours."""
    x = np.asarray(x, float)
    edges = np.sqrt(np.concatenate([x[:1], x]) * np.concatenate([x, x[-1:]]))
    found, begun = [], 0
    for i in range(1, len(x) + 1):
        if i == len(x) or marked[i] != marked[begun]:
            if marked[begun]:
                name, colour = CLIPPED[marked[begun]]
                found.append(Span(name, edges[begun], edges[i], colour))
            begun = i
    return tuple(found)


def norms_drawing(norms: pd.DataFrame, name: str, said: str) -> Drawing:
    """eps_ms with its band, and on a log axis what is left, by both estimators."""
    shaded = spans(norms["sigma"], norms["clipped"])
    ours, other = ({"colour": COLOURS[sampler], "band": True} for sampler in ("analytic_ddpm", "ddpm"))
    norm, y = series(norms, "eps_ms", "sigma", "eps_ms", **ours), "eps_ms\nmean over images, per pixel"
    panels = [Panel("sigma", y, "score norm", (norm,), spans=shaded, log="x", level=1.0)]
    seen = norms[norms["left"] > 0]
    lines = [series(_above(seen, ["left", "mse"]), "1 - eps_ms", "sigma", "left", **ours)]
    if "mse" in norms:
        lines.append(series(_above(norms, ["mse", "left"]), "mse of eps", "sigma", "mse", **other, dash="--"))
    panels.append(Panel("sigma", "E Cov[eps | x] / d", "what is left to know", tuple(lines), spans=shaded, log="xy"))
    sentence = (
        "The norm that the optimal variance comes from, and what it leaves: both estimates are one where the network is"
        f" exact. Bands: 95 % of the Monte Carlo error alone; every level has the same images and noise. {said}"
    )
    return Drawing(name, "Score norms", sentence, tuple(panels), columns=2)


def _above(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """On a log axis an interval of the first column that reaches 0 or below goes on to the least that is drawn."""
    drawn = frame[[column for column in columns if column in frame]]
    low = f"{columns[0]}.low"
    return frame.assign(**{low: np.maximum(frame[low], drawn[drawn > 0].min(axis=None) / 2)})


def variances_drawing(found: dict[str, pd.DataFrame], name: str, said: str) -> Drawing:
    """Panel title -> `variances`. A lower bound of 0 (DDIM) has no place on a log axis."""
    panels = []
    for title, frame in found.items():
        frame = frame[::-1]
        optimal = {"colour": COLOURS["analytic_ddpm"], "band": True}
        lines = [
            series(_above(frame[frame["optimal"] > 0], ["optimal", "lower"]), "optimal", "t", "optimal", **optimal)
        ]
        for column, label, look in (
            ("upper", "upper bound", {"colour": INK, "dash": "--"}),
            ("large", "DDPM's large: beta", {"colour": COLOURS["ddpm_large"], "dash": "-."}),
            ("small", "DDPM's small: lower bound", {"colour": COLOURS["ddpm"], "dash": ":"}),
        ):
            if column in frame and (frame[column] > 0).all():
                lines.append(series(frame, label, "t", column, **look))
        shaded = spans(frame["t"].tolist(), frame["clipped"].tolist())
        x, y = "sigma that the step leaves", "variance of the step"
        panels.append(Panel(x, y, title, tuple(lines), spans=shaded, log="xy"))
    sentence = (
        "The optimal variance of each step, between its bounds and beside DDPM's two. In the papers' units (of"
        f" x / sqrt(1 + s^2), VP networks); nothing is generated. Bands: 95 %, Monte Carlo alone. {said}"
    )
    return Drawing(name, "The optimal variance between its bounds", sentence, tuple(panels), columns=2)


def trajectories_drawing(found: pd.DataFrame, name: str, said: str) -> Drawing:
    """Noise levels and J of each step, a line a spacing."""
    look = looks(found["spacing"])
    panels = []
    for y, label, title, log in (
        ("sigma", "sigma", "where the steps lie", "y"),
        ("J", "J  (nats per dimension)", "what each adds to the bound", ""),
    ):
        lines = [series(part, spacing, "step", y, **look[spacing]) for spacing, part in found.groupby("spacing")]
        panels.append(Panel("step  (0 = noisiest)", label, title, tuple(lines), log=log))
    totals = found.groupby("spacing")["J"].sum()
    added = ", ".join(f"{spacing} {total:.4g}" for spacing, total in totals.items())
    sentence = (
        "The trajectory with the best bound beside the usual one, for DDPM. Sum of J, in nats per dimension:"
        f" {added}. {said}"
    )
    return Drawing(name, "The optimal trajectory", sentence, tuple(panels), columns=2)
