"""make diagnose: the three papers' figures of your network and your ledger, for the browser (plotly) and for papers.

    python benchmarks/diagnose.py 'figures=[skip_norms,cache_similarity]'
    python benchmarks/diagnose.py 'figures=[skip_loss]' 'rho=[[0.9,0.9],[0.5,1.0]]' images=512
    python benchmarks/diagnose.py model=edm_cifar10_uncond_vp data=cifar10 metrics=clean_fid 'samplers=[heun]'

Each figure is <out>/<name>.svg, .png and .csv, and one of <out>/index.html; `make report` shows them too. skip_norms,
skip_loss, cache_similarity and analytic_norms, _variance, _trajectory are computed; skip_quality, cache_costs and
analytic_quality are of cells in the ledger, and say which command measures what they lack. What each shows:
docs/diagnostics.md.
"""

import shlex
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from omegaconf import DictConfig

from fastdiff_benchmarks.entry import entry
from fastdiff_benchmarks.subjects import Subject

KEPT = ("model", "data", "metrics", "budget", "guidance", "ledger")  # of the settings given, what measures the cells


@entry("diagnose")
def main(cfg: DictConfig) -> None:
    if unknown := [name for name in cfg.figures or () if name not in FIGURES]:
        raise ValueError(f"figure '{unknown[0]}' is not one of: {', '.join(FIGURES)}")
    from fastdiff.diagnostics.page import index
    from fastdiff.files import write, write_json
    from fastdiff.report.papers import KNOWN, stills
    from fastdiff.report.papers import drawn as known

    subject, out, drawn = Subject(cfg), Path(cfg.out), {}
    for name in FIGURES if cfg.figures is None else cfg.figures:
        begun = time.perf_counter()
        try:
            drawn[name] = files_of(name, subject, out)
        except ValueError as error:  # the others can still be drawn
            drawn[name] = " ".join(str(error).split())
            print(f"{name}: not drawn: {drawn[name]}", file=sys.stderr)
        else:
            print(f"{name}: {time.perf_counter() - begun:.0f} s. {drawn[name].sentence}")
    if all(isinstance(each, str) for each in drawn.values()):
        raise ValueError(f"no figure could be drawn: {next(iter(drawn.values()), 'figures is empty')}")
    model = subject.cell.model.name
    words = {name: {"title": each.title, "sentence": each.sentence} for name, each in drawn.items()
             if not isinstance(each, str)}  # fmt: skip
    earlier = {name: said for name, said in known(out, model).items() if name not in drawn}
    write_json(out / KNOWN, {"model": model, "figures": earlier | words})
    try:
        whole = index(f"fastdiff: the papers' figures, on {model}", drawn, stills(out, earlier))
        write(out / "index.html", lambda file: file.write(whole.encode()))
        print(f"diagnose: {out / 'index.html'}")
    except ModuleNotFoundError as error:
        print(f"diagnose: svg, png and csv are in {out}; {error}", file=sys.stderr)


def files_of(name: str, subject: Subject, out: Path):
    """Draw a figure and write its files."""
    from fastdiff.diagnostics.print_style import render
    from fastdiff.diagnostics.printed import printed
    from fastdiff.files import write

    drawing, frame = FIGURES[name](subject, name)
    figure = printed(drawing)
    contents = {suffix: render(figure, suffix) for suffix in ("svg", "png")}
    contents["csv"] = frame.to_csv(index=False, float_format="%.5g").encode()
    for suffix, content in contents.items():
        write(out / f"{name}.{suffix}", lambda file, content=content: file.write(content))
    return drawing


def skip_norms(subject: Subject, name: str):
    import pandas as pd

    from fastdiff.diagnostics.skip_tuning import norm_ratios, norms_drawing

    frames, cells = [], {subject.cell.model.name: subject.cell}
    if subject.cfg.models is not None:
        cells = subject.cells_of("model", subject.cfg.models)
    for model, cell in cells.items():
        batches, sigmas, denoiser = subject.noised(cell)
        found = norm_ratios(denoiser, batches, sigmas, subject.plans, subject.bar(f"{name} {model}"))
        frames.append(found if len(cells) == 1 else found.assign(model=model))
    found = pd.concat(frames, ignore_index=True)
    said = subject.said(f"{subject.cfg.images} training images", " and ".join(cells))
    return norms_drawing(found, name, said), found


def skip_quality(subject: Subject, name: str):
    from fastdiff.diagnostics.quality import over_rho, rho_drawing

    return of_cells(subject, name, "skip_tuning", over_rho, rho_drawing)


def skip_loss(subject: Subject, name: str):
    from fastdiff.diagnostics.skip_tuning import denoising_losses, losses_drawing

    batches, sigmas, denoiser = subject.noised(subject.cell)
    bar = subject.bar(name)
    found = denoising_losses(denoiser, batches, sigmas, subject.plans, subject.features(), bar)
    said = subject.said(f"{subject.cfg.images} training images")
    return losses_drawing(found, name, subject.cell.metrics.extractor, said), found


def cache_similarity(subject: Subject, name: str):
    from fastdiff.bench.run_cell import labels_of, load_denoiser
    from fastdiff.bench.score_norms import placed, score_covariances
    from fastdiff.diagnostics.deepcache import similarities, similarity_drawing, similarity_frame

    found, n, seed = {}, subject.cfg.trajectories, subject.cell.budget.seed
    for sampler, cell in subject.cells_of("sampler", subject.cfg.samplers).items():
        denoiser = placed(cell, subject.ledger, load_denoiser(cell).eager(), subject.images)
        cov_x0 = score_covariances(cell, subject.ledger, denoiser, subject.images)
        labels, bar = labels_of(cell, subject.images), subject.bar(f"{name} {sampler}")
        found[sampler] = similarities(denoiser, cell.sampler, subject.cfg.branches, n, seed, labels, cov_x0, bar)
    return similarity_drawing(found, name, subject.said(f"{n} trajectories")), similarity_frame(found)


def cache_costs(subject: Subject, name: str):
    from fastdiff.diagnostics.deepcache import costs, costs_drawing
    from fastdiff.diagnostics.quality import Missing, caching_drawing, over_caching

    cfg, model = subject.cfg, subject.cell.model

    @cache
    def promised(calls: int):
        return costs(model, calls, cfg.intervals)

    def draw(found, *more):
        return caching_drawing(found, promised, *more)

    try:
        return of_cells(subject, name, "deepcache", over_caching, draw)
    except Missing as error:
        print(f"{name}: without quality: {error}", file=sys.stderr)
        said, found = f"Model {model.name}. Quality is missing: {error}", promised(cfg.sampler.steps)
        return costs_drawing(found, cfg.sampler.steps, name, said), found


def analytic_norms(subject: Subject, name: str):
    from fastdiff.diagnostics.analytic import norms_drawing

    return norms_drawing(subject.norms, name, subject.norms_said()), subject.norms


def analytic_variance(subject: Subject, name: str):
    import pandas as pd

    from fastdiff.diagnostics.analytic import variances, variances_drawing
    from fastdiff.samplers import DDIM

    found, denoiser = {}, subject.denoiser
    spacing = subject.spacings[-1]
    for eta, forward in ((1.0, "DDPM"), (0.0, "DDIM")):
        for steps in subject.cfg.variance_steps:
            sigmas = DDIM(steps, spacing).sigmas(denoiser)
            found[f"{forward}, {steps} steps ({spacing})"] = variances(
                subject.norms, sigmas, eta, denoiser.cov_max, denoiser.vp
            )
    frame = pd.concat([each.assign(trajectory=title) for title, each in found.items()], ignore_index=True)
    return variances_drawing(found, name, subject.norms_said()), frame


def analytic_quality(subject: Subject, name: str):
    from fastdiff.diagnostics.quality import over_steps, steps_drawing

    return of_cells(subject, name, "analytic", over_steps, steps_drawing)


def analytic_trajectory(subject: Subject, name: str):
    from fastdiff.diagnostics.analytic import trajectories, trajectories_drawing

    placed = {spacing: subject.trajectory(spacing) for spacing in subject.spacings}
    found = trajectories(subject.norms, placed, subject.denoiser.cov_max, subject.denoiser.vp)
    return trajectories_drawing(found, name, subject.norms_said()), found


def of_cells(subject: Subject, name: str, grid: str, choose: Callable, draw: Callable):
    """A figure of cells of the ledger, and what to type for those it lacks."""
    from fastdiff.diagnostics.quality import Missing, absent, measured

    command = grid_command(grid)
    frame, column = measured(subject.ledger, subject.asked, command)
    try:
        found = choose(frame)
    except Missing as error:
        raise Missing(f"{error}: {command}") from error
    machines = f"{found['device'].iloc[0]}, {found['precision'].iloc[0]}"
    said = f"{len(found)} cells of n = {found['n'].iloc[0]:,} images: {column}, {subject.cell.model.name}, {machines}."
    return draw(found, column, name, f"{said} {absent(subject.ledger, grid, command)}".strip()), found


def grid_command(grid: str) -> str:
    """What measures a grid with the settings that were given here."""
    kept = [shlex.quote(word) for word in sys.argv[1:] if word.lstrip("+").split("=")[0].split(".")[0] in KEPT]
    return " ".join(["python benchmarks/run.py", f"+grid={grid}", *kept])


FIGURES = {
    each.__name__: each
    for each in (skip_norms, skip_quality, skip_loss, cache_similarity, cache_costs, analytic_norms, analytic_variance,
                 analytic_quality, analytic_trajectory)
}  # fmt: skip


if __name__ == "__main__":
    main()
