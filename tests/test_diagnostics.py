"""The papers' figures: their numbers obey closed forms, every figure is drawn, and missing cells are named."""

import math
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_module
from torch import nn

from fastdiff.accelerators import SkipTuning
from fastdiff.analytic import Norm
from fastdiff.bench.config import cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.run_cell import run_cell
from fastdiff.diagnostics import analytic, deepcache, quality, skip_tuning
from fastdiff.diagnostics.figure import from_json, page_of, to_json
from fastdiff.diagnostics.watched import Watched, watched
from fastdiff.diffusion.noise import noise_of
from fastdiff.diffusion.schedules import Schedule
from fastdiff.diffusion.spacing import even
from fastdiff.report.export import write_figure
from fastdiff.samplers import preset
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.statistics.influence import Z95
from fastdiff.unets import walk
from fastdiff_benchmarks import diagnose
from fastdiff_benchmarks.entry import settings_of
from fastdiff_benchmarks.subjects import Subject

TINY = ["device=cpu", "device.batch=8", "sampler.steps=3", "budget.n=12", "images=6", "levels=4", "trajectories=3"]
TINY += ["branches=[1,2]", "variance_steps=[3]", "score_norms.images=8", "score_norms.levels=6"]


class Known(nn.Module):
    """Skip i has norm 3 (i + 1) at nine channels, the main branch norm 4 at sixteen, whatever is eaten."""

    rungs = 3

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)

    def embed(self, c_noise, cond):
        return None

    def down(self, i, h, emb):
        return h, torch.full((len(h), 9, 1, 1), i + 1.0)

    def mid(self, h, emb):
        return torch.ones(len(h), 16, 1, 1)

    def up(self, i, h, skip, emb):
        return h

    def head(self, h, emb):
        return torch.zeros(len(h), 1, 8, 8)


def noised(n: int = 4, labels=True) -> list[tuple]:
    x0 = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return [(x0, noise_of(0, np.arange(n), (1, 8, 8)), torch.arange(n) % 3 if labels else None)]


# Skip-Tuning


def test_a_network_of_known_norms_has_the_known_ratios(make_card):
    found = skip_tuning.norm_ratios(Denoiser(Known(), make_card(classes=0)), noised(4, False), [1.0], [SkipTuning()])
    assert found["ratio"].tolist() == found["ratio_of_norms"].tolist() == [0.75, 1.5, 2.25]
    assert found["skip_channels"].eq(9).all() and found["main_channels"].eq(16).all() and found["ratio.se"].eq(0).all()
    assert skip_tuning.over_rungs(found)["ratio"].tolist() == [1.5]


def test_looking_changes_no_bit_of_what_the_network_says(denoiser):
    ((x0, noise, cond),) = noised()
    x, seen = x0 + noise(0), []
    with torch.inference_mode():
        beside = watched(denoiser, lambda i, u, d: seen.append(i)).start([1.0], cond)(x, 1.0)
        assert torch.equal(beside, denoiser.start([1.0], cond)(x, 1.0))
    assert seen == list(reversed(range(denoiser.unet.rungs)))


def test_rho_scales_the_skip_alone(random_unet):
    ((x0, noise, cond),) = noised()
    found = {}
    for rho in (1.0, 0.5, 0.25):

        def scaled(i, h, skip, rho=rho):
            return h, skip * (rho if i == 0 else 1.0)

        def see(i, u, d, rho=rho):
            if i == 0:
                found[rho] = u, d

        with torch.inference_mode():
            walk(Watched(random_unet, see), x0 + noise(0), torch.ones(4), cond, scaled)
    for rho in (0.5, 0.25):
        assert torch.equal(found[rho][0], found[1.0][0]) and torch.equal(found[rho][1], rho * found[1.0][1])


def test_the_innermost_ratio_is_linear_in_rho_and_outer_ones_are_not(denoiser):
    rhos = (1.0, 0.5, 0.25)
    found = skip_tuning.norm_ratios(denoiser, noised(), [0.5, 2.0], [SkipTuning(rho, rho) for rho in rhos])
    by_rung = found.pivot_table("ratio", ["sigma", "rung"], "rho").rename(columns=lambda name: float(name.split()[1]))
    innermost = by_rung.xs(denoiser.unet.rungs - 1, level="rung")
    for rho in rhos:
        assert innermost[rho].to_numpy() == pytest.approx(rho * innermost[1.0].to_numpy(), rel=1e-6)
    outermost = by_rung.xs(0, level="rung")
    assert (abs(outermost[0.5] / outermost[1.0] - 0.5) > 1e-4).all()  # what was scaled further in changed u


def test_the_denoising_loss_of_a_gaussian_with_the_exact_denoiser_is_its_closed_form(fake_unet, make_card):
    S2, n = 0.25, 400
    card = make_card(classes=0)

    def eps(x, c_noise, cond):  # x = x / sqrt(1 + sigma^2), and c_noise = n
        sigma = float(card.noise_levels.levels[round(float(c_noise[0])) - 1])
        return x * (1 + sigma**2) ** 0.5 * sigma / (S2 + sigma**2)

    x0 = S2**0.5 * noise_of(1, np.arange(n), (1, 8, 8))(0)
    sigmas = [float(card.noise_levels.levels[i]) for i in (10, 300, 700, 999)]
    batches = [(x0, noise_of(0, np.arange(n), (1, 8, 8)), None)]
    found = skip_tuning.denoising_losses(Denoiser(fake_unet(eps), card), batches, sigmas, [SkipTuning(0.8, 0.8)])
    for _, line in found.iterrows():
        assert abs(line["loss"] - S2 * line["sigma"] ** 2 / (S2 + line["sigma"] ** 2)) < 4 * line["loss.se"]
    assert found["relative"].tolist() == [1.0] * 8  # this network has no skip that rho could reach
    assert set(found["rho"]) == {"rho 1", "rho 0.8 to 0.8"}


def test_the_interval_of_a_relative_loss_is_that_of_its_draws():
    draw = np.random.default_rng(0)
    base = draw.exponential(size=(2000, 200))
    losses = 1.5 * base + draw.normal(size=base.shape) * 0.3
    found = [skip_tuning.relative(*pair) for pair in zip(losses, base)]
    ratios = np.array([each["relative"] for each in found])
    widths = np.array([each["relative.high"] - each["relative.low"] for each in found])
    assert widths.mean() / (2 * Z95) == pytest.approx(ratios.std(), rel=0.1)


def test_features_are_compared_with_those_of_the_clean_image(denoiser):
    found = skip_tuning.denoising_losses(
        denoiser, noised(), [1.0], [SkipTuning(0.5)], lambda x0: x0.flatten(1)[:, :5].double().numpy()
    )
    assert found["space"].tolist() == ["pixel", "feature"] * 2
    ((x0, noise, cond),) = noised()
    with torch.inference_mode():
        gap = (denoiser.start([1.0], cond)(x0 + noise(0), 1.0) - x0).flatten(1).double()
    assert found["loss"][0] == pytest.approx(float(gap.square().mean()), rel=1e-6)
    assert found["loss"][1] == pytest.approx(float(gap[:, :5].square().mean()), rel=1e-5)


# DeepCache


def test_similarity_is_symmetric_with_a_unit_diagonal_and_of_the_very_trunk(denoiser, random_unet):
    sampler = preset("ddim", steps=4)
    found = deepcache.similarities(denoiser, sampler, [1, 3], 5, 0, lambda indices: indices % 3)
    assert set(found) == {1, 3}
    for each in found.values():
        assert each.shape == (5, 4, 4)
        assert np.allclose(each, each.transpose(0, 2, 1), atol=1e-12)
        assert np.allclose(each[:, range(4), range(4)], 1, atol=1e-12) and (np.abs(each) <= 1 + 1e-12).all()
    ((x0, _, cond),), seen = noised(), {}
    with torch.inference_mode():
        walk(Watched(random_unet, lambda i, u, d: seen.update({i + 1: u})), x0, torch.ones(4), cond, None)
        for branch in range(1, random_unet.rungs + 1):
            _, trunk = walk(random_unet, x0, torch.ones(4), cond, None, branch)
            assert torch.equal(trunk, seen[branch])


def test_similarity_does_not_depend_on_how_images_are_batched(denoiser, monkeypatch):
    sampler, labels = preset("ddpm", steps=3), lambda indices: indices % 3
    whole = deepcache.similarities(denoiser, sampler, [2], 5, 0, labels)[2]
    monkeypatch.setattr(deepcache, "BATCH", 2)
    assert np.allclose(whole, deepcache.similarities(denoiser, sampler, [2], 5, 0, labels)[2], atol=1e-5)


def test_a_branch_that_the_network_does_not_have_is_refused(denoiser):
    with pytest.raises(ValueError, match=r"skips are 1 \.\. "):
        deepcache.similarities(denoiser, preset("ddim", steps=2), [99], 2, 0)


def test_promised_speed_ups_fall_with_the_branch_and_stay_below_the_interval(make_card):
    found = deepcache.costs(make_card(), 20, [2, 5])
    for interval, part in found.groupby("interval"):
        assert part["promised"].is_monotonic_decreasing and part["promised"].between(1, interval).all()


# Analytic-DPM


def gaussian_norms(levels: np.ndarray, S2: float = 0.25) -> pd.DataFrame:
    """What the exact network of data N(0, S2) has."""
    norms = {float(t): Norm(t**2 / (S2 + t**2), 1e-3, S2 / (S2 + t**2), 1e-3) for t in levels}
    return analytic.norms_frame(norms, list(norms), math.inf)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("cov_max", [1.0, math.inf])
def test_the_optimal_variance_is_between_its_bounds_everywhere_whatever_the_norms_are(eta, cov_max):
    levels, draw = Schedule().levels(), np.random.default_rng(0)
    norms = {float(t): Norm(draw.uniform(0, 1.2), 0.05) for t in levels[::37]}
    frame = analytic.norms_frame(norms, list(norms), cov_max)
    sigmas = [*levels[::-13].tolist(), 0.0]
    found = analytic.variances(frame, sigmas, eta, cov_max, vp=True)
    for column in ("optimal", "optimal.low", "optimal.high"):
        assert (found["lower"] <= found[column]).all() and (found[column] <= found["upper"] * (1 + 1e-12)).all()
    assert found["small"].to_numpy() == pytest.approx(found["lower"].to_numpy())
    for bound, part in found[found["clipped"] != ""].groupby("clipped"):
        assert part["optimal"].to_numpy() == pytest.approx(part[bound].to_numpy())
    assert set(found["clipped"]) >= {"", "lower"}


@pytest.mark.parametrize(
    "eta, steps, lower, upper",
    [(1.0, 10, 9.99e-5, 1.45e-1), (1.0, 50, 9.84e-5, 6.20e-3), (0.0, 10, 0.0, 1.37e-1), (0.0, 100, 0.0, 1.36e-3)],
)
def test_the_bounds_are_those_of_table_7(eta, steps, lower, upper):
    """Bao et al. 2022, Table 7, CIFAR10 (LS): the step that lands on n = 1."""
    levels = Schedule().levels()
    sigmas = [*(levels[n - 1] for n in reversed(even(1000, steps))), 0.0]
    last = analytic.variances(gaussian_norms(levels), sigmas, eta, 1.0, vp=True).iloc[-1]
    assert last["lower"] == pytest.approx(lower, rel=6e-3) and last["upper"] == pytest.approx(upper, rel=6e-3)


def test_for_gaussian_data_every_trajectory_adds_the_same_to_the_bound():
    levels = Schedule().levels()
    placed = {name: [*levels[::-stride].tolist(), 0.0] for name, stride in (("coarse", 111), ("fine", 9))}
    found = analytic.trajectories(gaussian_norms(levels), placed, math.inf, vp=True)
    added = found.groupby("spacing")["J"].sum()
    assert 1 < added["coarse"] == pytest.approx(added["fine"], rel=1e-9)


def test_ranges_where_the_variance_is_clipped_meet_in_the_middle():
    found = analytic.spans([1.0, 4.0, 16.0, 64.0], ["upper", "upper", "", "lower"])
    assert [(mark, round(low, 9), round(high, 9)) for mark, low, high in found] == [("upper", 1, 8), ("lower", 32, 64)]
    (name, colour), (other, another) = (analytic.CLIPPED[mark] for mark, *_ in found)
    assert name != other and colour != another


# Drawn, from what is computed and what is measured


def conf(*overrides: str):
    return compose("diagnose", overrides=[*TINY, *overrides])


@pytest.fixture(scope="module")
def hydra():
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def ledger(hydra, tmp_path_factory) -> Ledger:
    """A handful of tiny cells: what every figure of measured cells needs."""
    ledger = Ledger(tmp_path_factory.mktemp("diagnose") / "runs")
    rho, interval = "accelerator.skip_tuning.rho_bottom", "accelerator.deepcache.interval"
    arms = [[], ["sampler.steps=2"], [f"{rho}=0.8"], [f"{interval}=2"], [f"{interval}=3"]]
    arms += [["sampler=ddim"], ["sampler=ddim", "sampler.steps=2"]]
    for arm in arms:
        settings = settings_of(conf(*arm))
        outcome = run_cell(cell_of(settings), ledger, settings)
        assert outcome.kind == "quality", outcome.record
    return ledger


@pytest.fixture(scope="module")
def subject(ledger) -> Subject:
    return Subject(conf(f"ledger={ledger.root}"))


@pytest.mark.parametrize("name", diagnose.FIGURES)
def test_every_figure_is_drawn_in_every_panel_and_says_n_and_protocol(name, subject):
    drawn, frame = diagnose.FIGURES[name](subject, name)
    assert drawn.name == name and len(frame) and re.search(r"n = \d+", drawn.sentence)
    page = page_of("figures", {name: drawn})
    assert f'Plotly.newPlot("{name}"' in page and f'id="{name}"' in page
    again = from_json(name, to_json(drawn))
    assert to_json(again) == to_json(drawn) and page_of("figures", {name: again}) == page
    shown = [trace for trace in drawn.plotly.data if trace.x != (None,)]
    panels = {axis for axis in drawn.plotly.to_dict()["layout"] if axis.startswith("xaxis")}
    assert {f"xaxis{(trace.xaxis or 'x')[1:]}" for trace in shown} == panels
    assert all(drawn.plotly.layout[axis].title.text for axis in panels)
    legend = [trace.name for trace in drawn.plotly.data if trace.type == "scatter" and trace.showlegend]
    assert set(legend) == {trace.name for trace in drawn.plotly.data if trace.type == "scatter"}
    assert len(legend) == len(set(legend))


@pytest.mark.parametrize("name", ["cache_similarity", "analytic_norms"])
def test_an_svg_keeps_its_text_and_equal_figures_give_equal_bytes(name, subject, tmp_path):
    drawn, _ = diagnose.FIGURES[name](subject, name)
    for file in ("a.svg", "b.svg"):
        if reason := write_figure(drawn.plotly, tmp_path / file):
            pytest.skip(reason)
    svg = (tmp_path / "a.svg").read_bytes()
    assert svg == (tmp_path / "b.svg").read_bytes()
    titles = [drawn.plotly.layout.xaxis.title.text, *(each.text for each in drawn.plotly.layout.annotations)]
    assert all(title in svg.decode() for title in titles)


def test_without_chrome_one_sentence_says_so_and_page_and_csv_are_written(subject, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nowhere"))
    drawn, _ = diagnose.FIGURES["analytic_norms"](subject, "analytic_norms")
    reason = write_figure(drawn.plotly, tmp_path / "a.svg")
    assert "no Chrome or Chromium is found" in reason and list(tmp_path.iterdir()) == []
    command = [sys.executable, "-m", "fastdiff_benchmarks", "diagnose", *TINY, f"out={tmp_path / 'out'}"]
    command += [f"ledger={tmp_path / 'runs'}", "figures=[analytic_trajectory]"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and f"diagnose: {reason}" in done.stderr and "Traceback" not in done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"analytic_trajectory.csv", "figures.json", "index.html"}


def test_what_is_measured_is_drawn_as_it_is_in_the_ledger(subject, ledger):
    drawn, frame = diagnose.FIGURES["skip_quality"](subject, "skip_quality")
    (line,), (column,) = drawn.plotly.data, [name for name in frame if name == "fid[mnist-classifier,n=12]"]
    assert list(line.x) == [0.8, 1.0] and line.name == "3 NFE, rho_top 1"
    for key, value in zip(frame.sort_values("rho_bottom")["key"], line.y):
        assert ledger.read("quality", key).values[column].value == value
    drawn, costs = diagnose.FIGURES["cache_costs"](subject, "cache_costs")
    assert set(costs["interval"]) == {1, 2, 3} and costs["rho_bottom"].eq(1).all()
    lines = {line.name: dict(zip(line.x, line.y)) for line in drawn.plotly.data if line.xaxis == "x"}
    for _, cell in costs[costs["branch"].notna()].iterrows():  # as many calls as the cells have
        assert lines[f"interval {cell['interval']:g}, promised"][cell["branch"]] == pytest.approx(cell["promised"])
    drawn, _ = diagnose.FIGURES["analytic_quality"](subject, "analytic_quality")
    assert {line.name: list(line.x) for line in drawn.plotly.data} == {"ddpm": [2, 3], "ddim": [2, 3]}


def test_cells_of_another_protocol_are_not_drawn_together(ledger):
    with pytest.raises(quality.Missing, match="n 13.*the command"):
        quality.measured(ledger, {"model": "mnist", "n": 13}, "the command")


def test_one_setting_is_drawn_of_several():
    frame = pd.DataFrame({"key": list("abcd"), "steps": [5, 10, 25, 5], "clip": ["x0", "x0", "x0", "none"], "n": 1})
    assert quality.usual(frame, {"steps"})["steps"].tolist() == [5, 10, 25]


def test_missing_cells_are_named_with_the_command_and_the_others_are_drawn(tmp_path):
    command = [sys.executable, "-m", "fastdiff_benchmarks", "diagnose", *TINY, f"out={tmp_path / 'out'}"]
    command += [f"ledger={tmp_path / 'runs'}", "figures=[skip_quality,analytic_trajectory]"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    wanted = f"python benchmarks/run.py +grid=skip_tuning budget.n=12 ledger={tmp_path / 'runs'}"
    assert wanted in done.stderr and "Traceback" not in done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "analytic_trajectory.csv" in names
    page = (tmp_path / "out" / "index.html").read_text()
    assert wanted in page and 'Plotly.newPlot("analytic_trajectory"' in page
    assert not re.search(r'(?:src|href)="https?:', page.partition("<script>")[0])


def test_an_unknown_figure_gives_the_menu(tmp_path):
    command = [sys.executable, "-m", "fastdiff_benchmarks", "diagnose", "figures=[nosuch]"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "'nosuch' is not one of: skip_norms, " in done.stderr
