"""make diagnose: the three papers' figures of your network and your ledger, as a web page and as SVG for print.

    python benchmarks/diagnose.py 'figures=[skip_norms,cache_similarity]'
    python benchmarks/diagnose.py 'figures=[skip_loss]' 'rho=[[0.9,0.9],[0.5,1.0]]' images=512
    python benchmarks/diagnose.py model=edm_cifar10_uncond_vp data=cifar10 metrics=clean_fid 'samplers=[heun]'

It writes <out>/<name>.csv and <name>.svg for each figure, and <out>/index.html with all of them. SVG files need Chrome
or Chromium on this machine. skip_norms, skip_loss, cache_similarity, analytic_norms, analytic_variance and
analytic_trajectory are computed here. skip_quality, cache_costs and analytic_quality show cells of the ledger, and name
the command that measures the missing ones. docs/diagnostics.md explains each figure.
"""

import shlex
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from omegaconf import DictConfig

from fastdiff_benchmarks.entry import entry
from fastdiff_benchmarks.subjects import Subject

KEPT = ("model", "data", "metrics", "budget", "guidance", "ledger")  # settings that the measuring command repeats


@entry("diagnose")
def main(cfg: DictConfig) -> None:
    if unknown := [name for name in cfg.figures or () if name not in FIGURES]:
        raise ValueError(f"figure '{unknown[0]}' is not one of: {', '.join(FIGURES)}")
    from fastdiff.diagnostics.figure import from_json, page_of, to_json
    from fastdiff.files import read_json, write, write_json
    from fastdiff.report.export import write_figures
    from fastdiff.report.papers import KNOWN

    subject, out, drawn = Subject(cfg), Path(cfg.out), {}
    for name in FIGURES if cfg.figures is None else cfg.figures:
        begun = time.perf_counter()
        try:
            drawn[name], frame = FIGURES[name](subject, name)
        except ValueError as error:  # the other figures can still be drawn
            drawn[name] = " ".join(str(error).split())
            print(f"{name}: not drawn: {drawn[name]}", file=sys.stderr)
            continue
        table = frame.to_csv(index=False, float_format="%.5g").encode()
        write(out / f"{name}.csv", lambda file, table=table: file.write(table))
        print(f"{name}: {time.perf_counter() - begun:.0f} s. {drawn[name].sentence}")
    figures = {name: each for name, each in drawn.items() if not isinstance(each, str)}
    if not figures:
        raise ValueError(f"no figure could be drawn: {next(iter(drawn.values()), 'figures is empty')}")
    skipped = write_figures({out / f"{name}.svg": each.plotly for name, each in figures.items()})
    if skipped:
        print(f"diagnose: {skipped}", file=sys.stderr)

    model = subject.cell.model.name
    known = read_json(out / KNOWN) if (out / KNOWN).exists() else {}
    earlier = known["figures"] if known.get("model") == model else {}
    figures = {name: from_json(name, each) for name, each in earlier.items() if name not in drawn} | figures
    write_json(out / KNOWN, {"model": model, "figures": {name: to_json(each) for name, each in figures.items()}})
    suffixes = ("csv",) if skipped else ("svg", "csv")
    page = page_of(f"fastdiff: the papers' figures, on {model}", drawn | figures, suffixes)
    write(out / "index.html", lambda file: file.write(page.encode()))
    print(f"diagnose: {out / 'index.html'}")


def skip_norms(subject: Subject, name: str):
    import pandas as pd

    from fastdiff.diagnostics.skip_tuning import norm_ratios, norms_figure

    frames, cells = [], {subject.cell.model.name: subject.cell}
    if subject.cfg.models is not None:
        cells = subject.cells_of("model", subject.cfg.models)
    for model, cell in cells.items():
        batches, sigmas, denoiser = subject.noised(cell)
        found = norm_ratios(denoiser, batches, sigmas, subject.plans, subject.bar(f"{name} {model}"))
        frames.append(found if len(cells) == 1 else found.assign(model=model))
    found = pd.concat(frames, ignore_index=True)
    said = subject.said(f"{subject.cfg.images} training images", " and ".join(cells))
    return norms_figure(found, name, said), found


def skip_quality(subject: Subject, name: str):
    from fastdiff.diagnostics.quality import over_rho, rho_figure

    return of_cells(subject, name, "skip_tuning", over_rho, rho_figure)


def skip_loss(subject: Subject, name: str):
    from fastdiff.diagnostics.skip_tuning import denoising_losses, losses_figure

    batches, sigmas, denoiser = subject.noised(subject.cell)
    bar = subject.bar(name)
    found = denoising_losses(denoiser, batches, sigmas, subject.plans, subject.features(), bar)
    said = subject.said(f"{subject.cfg.images} training images")
    return losses_figure(found, name, subject.cell.metrics.extractor, said), found


def cache_similarity(subject: Subject, name: str):
    from dataclasses import replace

    from fastdiff.bench.resources import Resources, labels_of, load_denoiser
    from fastdiff.bench.score_norms import Estimator, placed, score_covariances
    from fastdiff.diagnostics.deepcache import similarities, similarity_figure, similarity_frame

    found, n, seed, owner = {}, subject.cfg.trajectories, subject.cell.budget.seed, Resources()
    for sampler, cell in subject.cells_of("sampler", subject.cfg.samplers).items():
        denoiser = load_denoiser(cell, owner).eager()
        estimator = Estimator(denoiser, subject.images)
        known = placed(cell, subject.ledger, denoiser.noise_levels, estimator)
        cov_x0 = score_covariances(cell, subject.ledger, known, estimator)
        denoiser = replace(denoiser, noise_levels=known)
        labels, bar = labels_of(cell, subject.images, owner), subject.bar(f"{name} {sampler}")
        found[sampler] = similarities(denoiser, cell.sampler, subject.cfg.branches, n, seed, labels, cov_x0, bar)
    return similarity_figure(found, name, subject.said(f"{n} trajectories")), similarity_frame(found)


def cache_costs(subject: Subject, name: str):
    from fastdiff.diagnostics.deepcache import costs, costs_figure
    from fastdiff.diagnostics.quality import Missing, caching_figure, over_caching

    cfg, model = subject.cfg, subject.cell.model

    @cache
    def promised(calls: int):
        return costs(model, calls, cfg.intervals)

    try:
        return of_cells(subject, name, "deepcache", over_caching, partial(caching_figure, costs=promised))
    except Missing as error:
        print(f"{name}: without quality: {error}", file=sys.stderr)
        said, found = f"Model {model.name}. Quality is missing: {error}", promised(cfg.sampler.steps)
        return costs_figure(found, cfg.sampler.steps, name, said), found


def analytic_norms(subject: Subject, name: str):
    from fastdiff.diagnostics.analytic import norms_figure

    return norms_figure(subject.norms, name, subject.norms_said()), subject.norms


def analytic_variance(subject: Subject, name: str):
    import pandas as pd

    from fastdiff.diagnostics.analytic import variances, variances_figure
    from fastdiff.samplers import DDIM

    found, denoiser = {}, subject.denoiser
    spacing = subject.spacings[-1]
    for eta, forward in ((1.0, "DDPM"), (0.0, "DDIM")):
        for steps in subject.cfg.variance_steps:
            sigmas = DDIM(steps, spacing).sigmas(denoiser.noise_levels)
            found[f"{forward}, {steps} steps ({spacing})"] = variances(
                subject.norms, sigmas, eta, denoiser.cov_max, denoiser.noise_levels.vp
            )
    frame = pd.concat([each.assign(trajectory=title) for title, each in found.items()], ignore_index=True)
    return variances_figure(found, name, subject.norms_said()), frame


def analytic_quality(subject: Subject, name: str):
    from fastdiff.diagnostics.quality import over_steps, steps_figure

    return of_cells(subject, name, "analytic", over_steps, steps_figure)


def analytic_trajectory(subject: Subject, name: str):
    from fastdiff.diagnostics.analytic import trajectories, trajectories_figure

    placed = {spacing: subject.trajectory(spacing) for spacing in subject.spacings}
    found = trajectories(subject.norms, placed, subject.denoiser.cov_max, subject.denoiser.noise_levels.vp)
    return trajectories_figure(found, name, subject.norms_said()), found


def of_cells(subject: Subject, name: str, grid: str, choose: Callable, draw: Callable):
    """A figure of cells in the ledger. Its caption names the command that measures the missing ones."""
    from fastdiff.diagnostics.quality import Missing, absent, measured

    command = grid_command(grid)
    frame, column = measured(subject.ledger, subject.asked, command)
    try:
        found = choose(frame)
    except Missing as error:
        raise Missing(f"{error}: {command}") from error
    machines = f"{found['device'].iloc[0]}, {found['precision'].iloc[0]}"
    said = f"{len(found)} cells of n = {found['n'].iloc[0]:,} images: {column}, {subject.cell.model.name}, {machines}."
    protocol = f"{said} {absent(subject.ledger, grid, command)}".strip()
    return draw(found, column=column, name=name, protocol=protocol), found


def grid_command(grid: str) -> str:
    """The command that measures a grid with the settings given here."""
    kept = [shlex.quote(word) for word in sys.argv[1:] if word.lstrip("+").split("=")[0].split(".")[0] in KEPT]
    return " ".join(["python benchmarks/run.py", f"+grid={grid}", *kept])


FIGURES = {
    each.__name__: each
    for each in (skip_norms, skip_quality, skip_loss, cache_similarity, cache_costs, analytic_norms, analytic_variance,
                 analytic_quality, analytic_trajectory)
}  # fmt: skip


if __name__ == "__main__":
    main()
