"""Skip-Tuning's figures (Ma et al. 2024, arXiv 2402.15170): norm ratios of the concats, and denoising losses.

prop_i = ||d_i||_2 / ||u_i||_2               d_i: skip as it is eaten (with rho_i), u_i: main branch (Fig. 2)
pixel loss    E ||x0_net - x0||^2 / d        x0_net raw, x = x0 + sigma z
feature loss  E ||f(x0_net) - f(x0)||^2 / D  of images of 8 bits, as every extractor f sees them
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ..accelerators import SkipTuning
from .drawing import Drawing, Panel, interval, looks, series
from .operands import watched

RATIO = "prop_i = ||d_i|| / ||u_i||\nmean over images"


def called(plan: SkipTuning) -> str:
    """`rho 0.8 to 1`, from the innermost skip to the outermost."""
    return "rho 1" if plan.off else f"rho {plan.rho_bottom:g} to {plan.rho_top:g}"


def norm_ratios(
    denoiser, batches: list[tuple], sigmas: Iterable[float], plans: Sequence[SkipTuning], progress: Callable = iter
) -> pd.DataFrame:
    """prop_i of every rung, noise level and plan. batches: (x0 (B C H W), noise, labels) of `gamma.estimate.drawn`.

    Columns: rho, sigma, rung (0: full resolution), skip_channels, main_channels; ratio: the mean over images of each
    image's ratio, with its 95 % interval; ratio_of_norms: ||d_i|| / ||u_i|| of all images as one vector. No call is
    shared between rhos: u_i of an outer rung depends on the factors further in.
    """
    import torch

    lines = []
    with torch.inference_mode():
        for plan, sigma in progress([(plan, sigma) for plan in plans for sigma in sigmas]):
            seen: dict[int, list] = {}

            def see(i, u, d, seen=seen):
                squares = [each.double().square().flatten(1).sum(1) for each in (u, d)]
                seen.setdefault(i, []).append((*squares, u.shape[1], d.shape[1]))

            looked_at = watched(replace(denoiser, skip_tuning=plan, runner=None), see)
            for x0, noise, cond in batches:
                looked_at.start(1, cond)(x0 + sigma * noise(0), sigma)
            for i in sorted(seen):
                u2, d2 = (torch.cat(parts).cpu().numpy() for parts in list(zip(*seen[i]))[:2])
                channels = dict(zip(("main_channels", "skip_channels"), seen[i][0][2:]))
                ratio = means(np.sqrt(d2 / u2), "ratio")
                pooled = {"ratio_of_norms": math.sqrt(d2.sum() / u2.sum())}
                lines.append({"rho": called(plan), "sigma": sigma, "rung": i, **channels, **ratio, **pooled})
    return pd.DataFrame(lines)


def means(values: np.ndarray, name: str) -> dict:
    """The mean of independent values, with its standard error and 95 % interval."""
    mean, se = values.mean(), values.std(ddof=1) / math.sqrt(len(values))
    ends = interval(mean, se)
    return {name: mean, f"{name}.se": se, f"{name}.low": ends["low"], f"{name}.high": ends["high"]}


def over_rungs(ratios: pd.DataFrame) -> pd.DataFrame:
    """(1 / K) sum_i prop_i, the paper's one number a network, at each noise level."""
    held = [name for name in ("model", "rho", "sigma") if name in ratios]
    return ratios.groupby(held, sort=False)["ratio"].mean().reset_index()


def denoising_losses(
    denoiser,
    batches: list[tuple],
    sigmas: Iterable[float],
    plans: Sequence[SkipTuning],
    features: Callable | None = None,
    progress: Callable = iter,
) -> pd.DataFrame:
    """Both losses at every noise level and plan. features: x0 (B C H W) -> (B D); None: the pixel loss alone.

    Columns: rho, sigma, space (pixel, feature), loss with its 95 % interval; relative: over the loss at rho 1 on the
    same images and noise, with the interval of that ratio (paired, to first order). rho 1 is always there.
    """
    import torch

    lines, plain = [], {}
    plans = list(dict.fromkeys([SkipTuning(), *plans]))
    with torch.inference_mode():
        known = [features(x0) if features else None for x0, *_ in batches]
        for plan, sigma in progress([(plan, sigma) for plan in plans for sigma in sigmas]):
            tuned, found = replace(denoiser, skip_tuning=plan), {"pixel": [], "feature": []}
            for (x0, noise, cond), wanted in zip(batches, known):
                x0_net = tuned.start(1, cond)(x0 + sigma * noise(0), sigma)
                found["pixel"].append((x0_net - x0).double().square().mean((1, 2, 3)).cpu().numpy())
                if features:
                    found["feature"].append(np.square(features(x0_net) - wanted).mean(1))
            for space, parts in found.items():
                if parts:
                    loss = np.concatenate(parts)
                    base = plain.setdefault((space, sigma), loss)
                    line = {"rho": called(plan), "sigma": sigma, "space": space, **means(loss, "loss")}
                    lines.append(line | relative(loss, base))
    return pd.DataFrame(lines)


def relative(loss: np.ndarray, base: np.ndarray) -> dict:
    """mean(loss) / mean(base) of the same images, with its interval by the delta method."""
    ratio = loss.mean() / base.mean()
    se = (loss - ratio * base).std(ddof=1) / math.sqrt(len(loss)) / base.mean()
    return {"relative": ratio, **{f"relative.{end}": value for end, value in interval(ratio, se).items()}}


def norms_drawing(ratios: pd.DataFrame, name: str, said: str) -> Drawing:
    """Panels: prop_i against the rung at three noise levels; its mean over the rungs against the noise level.

    ratios: of `norm_ratios`, with a column `model` where there are several. said: n and protocol.
    """
    held = [column for column in ("model", "rho") if column in ratios]
    ratios = ratios.assign(line=ratios[held].agg(", ".join, axis=1))
    levels = {line: sorted(part["sigma"].unique()) for line, part in ratios.groupby("line")}
    look, panels = looks(ratios["line"]), []
    for share in (0.15, 0.5, 0.85):
        at = {line: sigmas[round(share * (len(sigmas) - 1))] for line, sigmas in levels.items()}
        shown = {line: ratios[(ratios["line"] == line) & (ratios["sigma"] == at[line])] for line in look}
        lines = [series(part, line, "rung", "ratio", **look[line]) for line, part in shown.items()]
        title = f"sigma {', '.join(f'{sigma:.2g}' for sigma in dict.fromkeys(at.values()))}"
        rungs = range(0, int(ratios["rung"].max()) + 1, 1 + int(ratios["rung"].max()) // 10)
        panels.append(Panel("rung  (0 = full resolution)", RATIO, title, tuple(lines), ticks=rungs, level=1.0))
    mean = over_rungs(ratios.assign(rho=ratios["line"]).drop(columns="model", errors="ignore"))
    lines = [series(mean[mean["rho"] == line], line, "sigma", "ratio", **look[line]) for line in look]
    panels.append(Panel("sigma", "mean over rungs of prop_i", "all noise levels", tuple(lines), log="x", level=1.0))
    sentence = (
        "How long the skip is beside the main branch where a decoder block joins them. rho scales d_i; u_i of outer"
        f" rungs answers to what is scaled further in. Whiskers: 95 % intervals. {said}"
    )
    return Drawing(name, "Norm ratio of skip and main branch", sentence, tuple(panels), columns=2)


def losses_drawing(losses: pd.DataFrame, name: str, extractor: str, said: str) -> Drawing:
    """A column a space: the loss, and below it the loss over that at rho 1, against the noise level."""
    look, rows = looks(losses["rho"]), ([], [])
    labels = {"pixel": "per pixel, x0 in the data's range", "feature": f"per feature of {extractor}"}
    for space, part in losses.groupby("space", sort=False):
        for panels, y, label, log, level in (
            (rows[0], "loss", f"mean squared error\n{labels[space]}", "xy", None),
            (rows[1], "relative", "loss / loss at rho 1", "xy", 1.0),
        ):
            lines = [series(part[part["rho"] == rho], rho, "sigma", y, **look[rho]) for rho in look]
            panels.append(Panel("sigma", label, f"{space} space", tuple(lines), log=log, level=level))
    sentence = (
        "What one call makes of a noised training image, against the noise level. Means over images; whiskers: 95 %"
        f" intervals, below of the paired ratio. {said}"
    )
    return Drawing(name, "Denoising loss in pixel and feature space", sentence, (*rows[0], *rows[1]), len(rows[0]))
