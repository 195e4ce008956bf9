"""The committed results are what a run of `make bench` wrote, and say what it found."""

from pathlib import Path

import pandas as pd
import pytest

RESULTS = Path(__file__).parent.parent / "results" / "mnist"
FID = "fid[mnist-classifier,n=1000]"


@pytest.fixture(scope="module")
def default() -> pd.DataFrame:
    return pd.read_csv(RESULTS / "default.csv")


def test_the_main_job_has_24_cells_each_with_every_knob_and_number(default):
    assert len(default) == 24 and default["key"].is_unique
    wanted = ["sampler", "steps", "rho_bottom", "rho_top", "interval", "branch", "n", FID, f"{FID}.low", f"{FID}.high"]
    wanted += ["images_per_s", "speedup", "nfe", "full_calls", "macs"]
    assert set(wanted) <= set(default.columns)
    # knobs of a method that is on, and comparisons of a cell that has another to be compared with
    of_some = ["index", "over_level", "apply", "branch", "schedule", "protect_first", "protect_last"]
    of_some += ["score_norms.images", "score_norms.estimator", "score_norms.cached"]
    of_some += ["equal_cost_baseline", "equal_cost_verdict"]
    of_some += [f"{name}{end}" for name in ("change", "against_equal_cost") for end in ("", ".low", ".high", ".r")]
    of_some += [name for name in default if "[baseline," in name]  # a baseline is beside no other
    numbers = default.drop(columns=of_some)
    assert not numbers.drop(columns=[name for name in numbers if numbers[name].dtype == object]).isna().any().any()
    assert (default[f"{FID}.low"] < default[FID]).all() and (default[FID] < default[f"{FID}.high"]).all()


def test_the_speed_up_of_deepcache_grows_with_the_interval(default):
    for _, arm in default.groupby(["sampler", "steps", "rho_bottom"]):
        ordered = arm.sort_values("interval")
        assert ordered["interval"].tolist() == [1, 2, 5]
        assert ordered["speedup"].is_monotonic_increasing and ordered["speedup"].iloc[0] == 1
        assert ordered["macs"].is_monotonic_decreasing


def test_a_cell_s_key_in_the_results_is_the_key_of_its_settings(default):
    """Results of another version of the network, the data or the numerics would have other keys."""
    from hydra import compose, initialize_config_module

    from fastdiff.bench.config import cell_of
    from fastdiff_benchmarks.entry import settings_of

    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        for _, line in default.iterrows():
            overrides = [f"sampler={line.sampler}", f"sampler.steps={line.steps}", f"budget.n={line.n}", "device=cpu"]
            overrides += [f"device.precision={line.precision}", f"accelerator.deepcache.interval={line.interval}"]
            overrides += [f"accelerator.skip_tuning.rho_bottom={line.rho_bottom}"]
            assert cell_of(settings_of(compose("config", overrides=overrides))).key == line.key


def test_the_figures_are_there():
    assert {"pareto.png", "pareto.svg", "steps.csv", "README.md"} <= {path.name for path in RESULTS.iterdir()}
