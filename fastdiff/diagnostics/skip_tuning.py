"""Skip-Tuning's figures (Ma et al. 2024, arXiv 2402.15170): norm ratios where skips join, and denoising losses.

prop_i = ||d_i||_2 / ||u_i||_2               d_i: skip times rho_i, u_i: main branch (Fig. 2)
pixel loss    E ||x0_net - x0||^2 / d        x0_net is not clipped, x = x0 + sigma z
feature loss  E ||f(x0_net) - f(x0)||^2 / D  the extractor f sees images of 8 bits
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..accelerators import SkipTuning
from .figure import Figure, Panels, interval, looks
from .watched import watched

RATIO = "prop_i = ||d_i|| / ||u_i||<br>mean over images"


def called(plan: SkipTuning) -> str:
    """A plan in words: `rho 0.8 to 1`, from the innermost skip to the outermost."""
    return "rho 1" if plan.off else f"rho {plan.rho_bottom:g} to {plan.rho_top:g}"


def norm_ratios(
    denoiser: Any, batches: list[tuple], sigmas: Iterable[float], plans: Sequence[SkipTuning], progress: Callable = iter
) -> pd.DataFrame:
    """prop_i of every rung, noise level and plan.

    batches: (x0 (B C H W), noise, labels) from `analytic.estimate.drawn`.
    Columns: rho, sigma, rung (0: full resolution), skip_channels, main_channels; ratio: the mean over images of each
    image's ratio, with its 95 % interval; ratio_of_norms: ||d_i|| / ||u_i|| with all images as one vector. Each plan
    needs calls of its own, because u_i of an outer rung depends on the factors further in.
    """
    import torch

    lines = []
    with torch.inference_mode():
        for plan, sigma in progress([(plan, sigma) for plan in plans for sigma in sigmas]):
            seen: dict[int, list] = {}

            def see(i, u, d, seen=seen):
                squares = [each.double().square().flatten(1).sum(1) for each in (u, d)]
                seen.setdefault(i, []).append((*squares, u.shape[1], d.shape[1]))

            looked_at = watched(denoiser.with_accelerators([plan]), see)
            for x0, noise, cond in batches:
                looked_at.start([sigma], cond)(x0 + sigma * noise(0), sigma)
            for i in sorted(seen):
                u2, d2 = (torch.cat(parts).cpu().numpy() for parts in list(zip(*seen[i]))[:2])
                channels = dict(zip(("main_channels", "skip_channels"), seen[i][0][2:]))
                ratio = means(np.sqrt(d2 / u2), "ratio")
                pooled = {"ratio_of_norms": math.sqrt(d2.sum() / u2.sum())}
                lines.append({"rho": called(plan), "sigma": sigma, "rung": i, **channels, **ratio, **pooled})
    return pd.DataFrame(lines)


def means(values: np.ndarray, name: str) -> dict:
    """Mean of independent values, with its standard error and 95 % interval."""
    mean, se = values.mean(), values.std(ddof=1) / math.sqrt(len(values))
    ends = interval(mean, se)
    return {name: mean, f"{name}.se": se, f"{name}.low": ends["low"], f"{name}.high": ends["high"]}


def over_rungs(ratios: pd.DataFrame) -> pd.DataFrame:
    """(1 / K) sum_i prop_i at each noise level: the paper's one number for a network."""
    held = [name for name in ("model", "rho", "sigma") if name in ratios]
    return ratios.groupby(held, sort=False)["ratio"].mean().reset_index()


def denoising_losses(
    denoiser: Any,
    batches: list[tuple],
    sigmas: Iterable[float],
    plans: Sequence[SkipTuning],
    features: Callable | None = None,
    progress: Callable = iter,
) -> pd.DataFrame:
    """Both losses at every noise level and plan. features: x0 (B C H W) -> (B D); None: only the pixel loss.

    Columns: rho, sigma, space (pixel, feature), loss with its 95 % interval; relative: loss over the loss at rho 1 on
    the same images and noise, with its interval (paired, to first order). rho 1 is always computed.
    """
    import torch

    lines, plain = [], {}
    plans = list(dict.fromkeys([SkipTuning(), *plans]))
    with torch.inference_mode():
        known = [features(x0) if features else None for x0, *_ in batches]
        for plan, sigma in progress([(plan, sigma) for plan in plans for sigma in sigmas]):
            tuned, found = denoiser.with_accelerators([plan]), {"pixel": [], "feature": []}
            for (x0, noise, cond), wanted in zip(batches, known):
                x0_net = tuned.start([sigma], cond)(x0 + sigma * noise(0), sigma)
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
    """mean(loss) / mean(base) on the same images, with its interval by the delta method."""
    ratio = loss.mean() / base.mean()
    se = (loss - ratio * base).std(ddof=1) / math.sqrt(len(loss)) / base.mean()
    return {"relative": ratio, **{f"relative.{end}": value for end, value in interval(ratio, se).items()}}


def norms_figure(ratios: pd.DataFrame, name: str, protocol: str) -> Figure:
    """Three panels of prop_i against the rung, at three noise levels, and one of its mean over the rungs.

    ratios: from `norm_ratios`, with a column `model` where there are several. protocol: for the caption.
    """
    held = [column for column in ("model", "rho") if column in ratios]
    ratios = ratios.assign(line=ratios[held].agg(", ".join, axis=1))
    levels = {line: sorted(part["sigma"].unique()) for line, part in ratios.groupby("line")}
    look = looks(ratios["line"])
    at = [
        {line: sigmas[round(share * (len(sigmas) - 1))] for line, sigmas in levels.items()}
        for share in (0.15, 0.5, 0.85)
    ]
    titles = [f"sigma {', '.join(f'{sigma:.2g}' for sigma in dict.fromkeys(each.values()))}" for each in at]
    panels = Panels([*titles, "all noise levels"])
    rungs = range(0, int(ratios["rung"].max()) + 1, 1 + int(ratios["rung"].max()) // 10)
    for i, sigmas in enumerate(at):
        for line in look:
            part = ratios[(ratios["line"] == line) & (ratios["sigma"] == sigmas[line])]
            panels.line(i, part, line, "rung", "ratio", **look[line])
        panels.axes(i, "rung  (0 = full resolution)", RATIO, ticks=rungs)
    mean = over_rungs(ratios.assign(rho=ratios["line"]).drop(columns="model", errors="ignore"))
    for line in look:
        panels.line(3, mean[mean["rho"] == line], line, "sigma", "ratio", **look[line])
    panels.axes(3, "sigma", "mean over rungs of prop_i", log="x")
    for i in range(4):
        panels.level(i, 1.0)
    sentence = (
        "Norm of the skip over the norm of the main branch where a decoder block joins them. rho scales d_i; u_i of an"
        f" outer rung also depends on the factors further in. Whiskers: 95 % intervals. {protocol}"
    )
    return panels.figure(name, "Norm ratio of skip and main branch", sentence)


def losses_figure(losses: pd.DataFrame, name: str, extractor: str, protocol: str) -> Figure:
    """Upper row: the loss against the noise level, a column for each space. Lower row: the loss over that at rho 1."""
    look, spaces = looks(losses["rho"]), list(losses["space"].unique())
    panels = Panels([f"{space} space" for _ in range(2) for space in spaces], columns=len(spaces))
    units = {"pixel": "per pixel, x0 in the data's range", "feature": f"per feature of {extractor}"}
    for i, space in enumerate(spaces):
        below, part = len(spaces) + i, losses[losses["space"] == space]
        for rho in look:
            panels.line(i, part[part["rho"] == rho], rho, "sigma", "loss", **look[rho])
            panels.line(below, part[part["rho"] == rho], rho, "sigma", "relative", **look[rho])
        panels.axes(i, "sigma", f"mean squared error<br>{units[space]}", log="xy")
        panels.axes(below, "sigma", "loss / loss at rho 1", log="xy")
        panels.level(below, 1.0)
    sentence = (
        "Error of one network call on a noised training image, against the noise level. Means over images. Whiskers:"
        f" 95 % intervals, in the lower row of the paired ratio. {protocol}"
    )
    return panels.figure(name, "Denoising loss in pixel and feature space", sentence)
