"""What the figures show: cells, networks, noised images and score norms. Each is made once, when a figure needs it."""

from collections.abc import Callable
from functools import cached_property

from omegaconf import DictConfig, OmegaConf

from fastdiff_benchmarks.entry import settings_of


class Subject:
    """The settings of `make diagnose`, ready to compute with. Raises ValueError for settings that do not fit."""

    def __init__(self, cfg: DictConfig):
        from fastdiff.bench.config import cell_of
        from fastdiff.bench.ledger import Ledger
        from fastdiff.data import load

        self.cfg, self.ledger, self.cell = cfg, Ledger(cfg.ledger), cell_of(settings_of(cfg))
        if self.cell.guidance != 1:
            raise ValueError(f"guidance is {self.cell.guidance:g}; the figures show unguided calls: use guidance=1")
        self.images, _ = load(self.cell.data)

    def cells_of(self, group: str, members: list[str]) -> dict:
        """Member of a conf group -> the cell with that member. Samplers keep the number of steps of the settings."""
        from hydra import compose

        from fastdiff.bench.config import cell_of

        found = {}
        for member in members:
            changed = self.cfg.copy()
            OmegaConf.update(changed, group, compose("config", overrides=[f"{group}={member}"])[group], merge=False)
            if group == "sampler":
                changed.sampler.steps = self.cfg.sampler.steps
            found[member] = cell_of(settings_of(changed))
        return found

    @cached_property
    def denoiser(self):
        from fastdiff.bench.run_cell import load_denoiser

        return load_denoiser(self.cell).eager()

    @cached_property
    def plans(self) -> list:
        from fastdiff.accelerators import SkipTuning

        if not all(isinstance(pair, list) and len(pair) == 2 for pair in OmegaConf.to_container(self.cfg.rho)):
            raise ValueError(f"rho is {self.cfg.rho}; give pairs of rho_bottom and rho_top, as [[1,1],[0.8,1]]")
        return [SkipTuning(float(bottom), float(top)) for bottom, top in self.cfg.rho]

    def noised(self, cell) -> tuple:
        """Batches of training images with their noise, noise levels evenly spaced in log sigma, and the network."""
        from fastdiff.analytic import ScoreNorms, grid
        from fastdiff.analytic.estimate import drawn
        from fastdiff.bench.run_cell import load_denoiser

        denoiser = load_denoiser(cell).eager()
        chosen = ScoreNorms(images=self.cfg.images, seed=cell.score_norms.seed)
        sigmas = [float(sigma) for sigma in grid(denoiser.noise_levels, self.cfg.levels)[1]]
        return drawn(denoiser, self.images, chosen, cell.device.batch), sigmas, denoiser

    def features(self) -> Callable:
        """x0 (B C H W) -> features (B D) of these images."""
        import numpy as np

        from fastdiff.metrics import build_extractor
        from fastdiff.sampling.generate import to_uint8

        if not self.cell.metrics.needs_reference:
            raise ValueError("skip_loss looks at features of images: choose metrics=mnist_classifier or clean_fid")
        extractor = build_extractor(self.cell.metrics, self.cell.device.name)
        span = self.denoiser.value_range
        return lambda x0: extractor(to_uint8(x0, span).cpu().numpy()).features.astype(np.float64)

    @cached_property
    def norms(self):
        """`analytic.norms_frame` at score_norms.levels noise levels; estimated where the ledger lacks them."""
        from fastdiff.analytic import grid
        from fastdiff.bench.score_norms import Estimator, score_norms
        from fastdiff.diagnostics.analytic import norms_frame

        sigmas = [float(sigma) for sigma in grid(self.denoiser.noise_levels, self.cell.score_norms.levels)[1]]
        bar = self.bar("score norms")
        found = score_norms(
            self.cell, self.ledger, self.denoiser.noise_levels, Estimator(self.denoiser, self.images), sigmas, bar
        )
        return norms_frame(found, sigmas, self.denoiser.cov_max)

    @cached_property
    def spacings(self) -> tuple[str, str]:
        """The optimal trajectory, and the usual one of such a network."""
        return "dp", "karras" if self.denoiser.noise_levels.levels is None else "even"

    def trajectory(self, spacing: str) -> list[float]:
        """Noise levels of DDPM with the analytic variance."""
        from dataclasses import replace

        from fastdiff.bench.score_norms import Estimator, placed
        from fastdiff.samplers import preset

        sampler = preset("analytic_ddpm", steps=self.cfg.sampler.steps, spacing=spacing)
        cell = replace(self.cell, sampler=sampler)
        estimator = Estimator(self.denoiser, self.images)
        known = placed(cell, self.ledger, self.denoiser.noise_levels, estimator, self.bar("score norms"))
        return sampler.sigmas(known)

    @property
    def asked(self) -> dict:
        """Knobs that the cells of a figure of measured quality have in common."""
        cell, part = self.cell, self.cell.budget.part
        names = {group: getattr(cell, group).name for group in ("model", "data", "metrics")}
        budget = {"n": cell.budget.n, "seed": cell.budget.seed, "part": None if part == "all" else part}
        return names | budget | {"guidance": cell.guidance}

    def said(self, images: str, models: str | None = None) -> str:
        """n and protocol of what is computed here, for a caption."""
        cell = self.cell
        return (f"n = {images} of {cell.data.name}, noise seed {cell.score_norms.seed};"
                f" {models or cell.model.name} in {cell.device.precision}.")  # fmt: skip

    def norms_said(self) -> str:
        knobs = self.cell.score_norms
        return self.said(f"{knobs.images} training images") + f" {len(self.norms)} noise levels, linear in between."

    def bar(self, name: str) -> Callable:
        """iterable -> the same iterable with a progress bar."""
        from tqdm import tqdm

        return lambda each: tqdm(each, desc=name, unit="call", disable=None)
