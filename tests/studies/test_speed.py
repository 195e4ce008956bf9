"""make speed: both sides run the same network, goals are judged in their direction, and a tiny run writes all files."""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pandas as pd
import pytest
import torch

from fastdiff_benchmarks.studies import speed
from fastdiff_benchmarks.studies.versus.apart import taken_apart
from fastdiff_benchmarks.studies.versus.network import Timed
from fastdiff_benchmarks.studies.versus.quality import WAYS
from fastdiff_benchmarks.studies.versus.targets import Target

pytest.importorskip("diffusers")
RESULTS = Path(__file__).parents[2] / "results" / "speed"


@pytest.mark.parametrize(
    "ratio, goal, at_least, judged, met",
    [
        (2.0, 2.0, True, True, "yes"), (1.99, 2.0, True, True, "no"), (1.004, 1.005, False, True, "yes"),
        (1.006, 1.005, False, True, "no"), (3.0, 1.0, True, False, "reported, not judged"),
    ],
)  # fmt: skip
def test_a_goal_is_met_in_its_own_direction_and_only_judged_where_it_can_be(ratio, goal, at_least, judged, met):
    row = Target("x", 1.0, 2.0, ratio, goal, at_least, judged=judged).row()
    assert row["met"] == met and row["goal"] == f"{'>=' if at_least else '<='} {goal:g}"


def test_both_forms_are_one_network_bit_for_bit():
    timed, x = Timed(32, "cpu"), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    c_noise = torch.full((2,), 500.0)
    with torch.inference_mode():
        ours, _ = timed.denoiser(timed.ours()).runner.full(x, c_noise, None)
        assert torch.equal(ours, timed.official()(x, c_noise).sample)


def test_both_loops_make_the_same_images_of_the_same_noise():
    """diffusers' DDIM of 4 steps beside our stride of it: equal up to rounding to 8 bits."""
    from diffusers import DDIMScheduler

    from fastdiff.samplers import preset
    from fastdiff.sampling.generate import to_uint8

    timed, z = Timed(32, "cpu"), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    scheduler, unet = DDIMScheduler(1000, beta_schedule="linear"), timed.official()
    scheduler.set_timesteps(4)
    denoiser = timed.denoiser(timed.ours())
    with torch.inference_mode():
        x = z
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x).prev_sample
        ours = preset("ddim", steps=4, spacing="stride")(denoiser, lambda step: z)
    apart = to_uint8(ours, (-1, 1)).int() - to_uint8(x.clamp(-1, 1), (-1, 1)).int()
    assert apart.abs().max() <= 1, apart.abs().max()


def test_widths_that_its_norms_cannot_group_are_refused():
    with pytest.raises(ValueError, match="width is 48; a multiple of 32 is needed"):
        Timed(48, "cpu").official()


def test_the_ways_to_compute_start_with_the_one_they_are_judged_by():
    assert WAYS[0] == {"precision": "float32"} and len({json.dumps(way) for way in WAYS}) == len(WAYS)


def run(tmp_path, *words: str) -> subprocess.CompletedProcess:
    tiny = ["batch=2", "steps=2", "seconds=0", "repeats=1", "device=cpu", "device.precision=float32"]
    command = [
        sys.executable,
        speed.__file__,
        *tiny,
        f"out={tmp_path / 'speed'}",
        f"ledger={tmp_path / 'runs'}",
        *words,
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


def test_a_tiny_run_writes_tables_conditions_and_the_figure(tmp_path):
    own = ["sampler.steps=2", "budget.n=20", "device.batch=2", "intervals=[2]"]
    done = run(tmp_path, "parts=[operators,caching,own]", *own)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "speed"
    targets = pd.read_csv(out / "targets.csv")
    assert len(targets) == 9 and set(targets["met"]) <= {"yes", "no"}
    caching = pd.read_csv(out / "caching.csv")
    assert (caching["promised"] > 1).all() and (caching["trunk_kb_per_image"] > 0).all()
    rungs = pd.read_csv(out / "rungs.csv")
    assert rungs["share_of_time"].sum() == pytest.approx(1, abs=1e-3)
    assert rungs["share_of_macs"].sum() == pytest.approx(1, abs=1e-3)
    *operators, floor = pd.read_csv(out / "operators.csv").itertuples()
    assert sum(each.share_of_time for each in operators) == pytest.approx(1, abs=1e-3)
    assert any("convolution" in each.operator for each in operators) and 0 < floor.share_of_time < 1
    arms = pd.read_csv(out / "arms.csv")
    assert {"part", "arm", "median_ms", "p90_ms", "speedup", "first_call_s", "settled"} <= set(arms)
    conditions = json.loads((out / "conditions.json").read_text())
    assert {"threads", "cores", "load_average", "busy"} <= set(conditions["caching"])
    assert conditions["caching"]["settings"]["batch"] == 2
    assert "promised" in done.stdout


def test_an_unknown_part_gives_the_menu(tmp_path):
    done = run(tmp_path, "parts=[nosuch]")
    assert done.returncode == 2 and "part 'nosuch' is not one of: pipelines, operators, caching, package" in done.stderr


def test_a_trajectory_is_taken_apart_into_its_calls_and_what_is_around_them():
    def work(clocked=None):
        call = clocked(time.sleep) if clocked else time.sleep
        for _ in range(3):
            time.sleep(0.01)
            call(0.02)

    waited = []
    found = taken_apart({"one": work, "other": work}, lambda: waited.append(1), rounds=4)
    for apart in found.values():
        assert len(apart.whole) == len(apart.inside) == 4
        assert median(apart.inside) == pytest.approx(0.06, abs=0.015) and median(apart.around) == pytest.approx(
            0.03, abs=0.015
        )
        line = apart.row("one")
        assert line["overhead.low"] <= line["overhead"] <= line["overhead.high"]
    assert len(waited) == 2 * 5 * (1 + 2 * 3)  # before each trajectory, and around each call


def test_the_figure_has_a_mark_per_branch_and_interval_and_two_bars_per_piece():
    from fastdiff_benchmarks.studies import figures

    caching, rungs = (pd.read_csv(RESULTS / f"{name}.csv") for name in ("caching", "rungs"))
    *branches, line, time, macs = figures.caching(caching, rungs).data
    assert [trace.name for trace in branches] == ["branch 1", "branch 2", "branch 3"] and line.name == "as promised"
    assert sorted(branches[0].text) == ["2", "3", "5"]
    assert list(time.x) == pytest.approx(100 * rungs["share_of_time"]) and list(macs.y) == list(rungs["piece"])
