"""make score-norms: estimate, print and store the score norms of Analytic-DPM, and export them as an official file.

    python benchmarks/score_norms.py sampler.steps=25 accelerator.skip_tuning.rho_bottom=0.8
    python benchmarks/score_norms.py levels=all export=mnist_ms_eps.pth

Every command reads an official file with score_norms.file=FILE.
"""

from pathlib import Path

from omegaconf import DictConfig

from fastdiff_benchmarks.entry import entry, settings_of

HEADS = " ".join(f"{name:>10} {'+-':>8}" for name in ("eps_ms", "mse", "mse_x0"))


def line(norm, sigma: float, left: float) -> str:
    """A row: both estimators with their standard errors, and the covariance of x0 before it is clipped."""
    pairs = [(norm.eps_ms, norm.se), (norm.mse, norm.mse_se), (norm.mse_x0, norm.mse_x0_se)]
    words = [f"{'-':>10} {'-':>8}" if value is None else f"{value:>10.6f} {se:>8.2g}" for value, se in pairs]
    return f"{' '.join(words)} {sigma**2 * left:>10.4g}"


@entry("score_norms")
def main(cfg: DictConfig) -> None:
    from tqdm import tqdm

    from fastdiff.analytic import export_official
    from fastdiff.bench.config import cell_of
    from fastdiff.bench.ledger import Ledger
    from fastdiff.bench.resources import load_denoiser
    from fastdiff.bench.score_norms import Estimator, joint_norms, joints_of, placed, score_norms
    from fastdiff.data import load

    if cfg.levels not in ("all", "steps"):
        raise ValueError(f"levels '{cfg.levels}' is not one of: all, steps")
    cell = cell_of(settings_of(cfg))
    if not cell.analytic:
        raise ValueError("score norms are for samplers with variance=analytic: choose sampler=analytic_ddpm")
    images, _ = load(cell.data)

    def bar(of):
        return tqdm(of, desc="score norms", unit="level")

    ledger = Ledger(cfg.ledger)
    denoiser = load_denoiser(cell).eager()
    estimator = Estimator(denoiser, images)
    known = placed(cell, ledger, denoiser.noise_levels, estimator, bar)
    if known.levels is None and (cfg.levels == "all" or cfg.export):
        raise ValueError(f"model '{cell.model.name}' has no training levels; levels=all and export are not for it")
    levels = [] if known.levels is None else [float(sigma) for sigma in known.levels]
    sigmas = levels if cfg.levels == "all" else sorted(set(cell.sampler.sigmas(known)[:-1]))
    norms, kind = score_norms(cell, ledger, known, estimator, sigmas, bar), cell.score_norms.estimator

    def left(norm):
        return norm.left(kind, "none" if cell.sampler.clip == "none" else "x0_and_eps")

    print(f"{'n':>5} {'sigma':>10} {'t_full':>10} {HEADS} {'cov_x0':>10}")
    index = {sigma: n for n, sigma in enumerate(levels, start=1)}
    for sigma in sigmas if len(sigmas) <= 50 else sigmas[:: len(sigmas) // 25]:
        print(f"{index.get(sigma, '-'):>5} {sigma:>10.5g} {'-':>10} {line(norms[sigma], sigma, left(norms[sigma]))}")
    shallow = [call for call in joints_of(cell, known, cell.sampler.sigmas(known)) if call is not None]
    for (t, t_full, _), norm in joint_norms(cell, ledger, estimator, shallow, bar).items():
        print(f"{index.get(t, '-'):>5} {t:>10.5g} {t_full:>10.5g} {line(norm, t, left(norm))}")
    raw = [sigma**2 * left(norms[sigma]) for sigma in sigmas]
    low, high = sum(cov <= 0 for cov in raw), sum(cov >= denoiser.cov_max for cov in raw)
    near = sum(abs(1 - norms[sigma].eps_ms) < 2 * norms[sigma].se for sigma in sigmas)
    of = "clipped to" if kind == "eps_ms" else "no clip under mse; at or beyond the bounds"
    print(f"{len(sigmas)} levels; cov_x0 is {of} 0 at {low} and {denoiser.cov_max:g} at {high} of them")
    print(f"{near} of them have eps_ms within two standard errors of 1; more score_norms.images would narrow it")
    if cfg.export:
        export_official(norms, known.levels, Path(cfg.export))
        print(f"official ms_eps file written to {cfg.export}")


if __name__ == "__main__":
    main()
