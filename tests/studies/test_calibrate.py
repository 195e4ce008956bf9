"""make calibrate: its pools, its draws, its page and its figure."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fastdiff.bench.cell import key
from fastdiff.bench.config import cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.metrics import Features, moments
from fastdiff_benchmarks.studies.calibration import Case, independent, paired, real, relative_error, rows, share
from fastdiff_benchmarks.studies.pools import Mixed, pool, pool_key

SHAPE = (1, 8, 8)
RESULTS = Path(__file__).parents[2] / "results" / "statistics"


@pytest.fixture(scope="module")
def arm():
    from hydra import compose, initialize_config_module

    from fastdiff_benchmarks.entry import settings_of

    with initialize_config_module("fastdiff_benchmarks.studies", version_base="1.3"):
        overrides = ["device=cpu", "device.precision=float32", "device.batch=125", "sampler.steps=2"]
        return cell_of(settings_of(compose("calibrate", overrides=overrides)))


def test_mixed_noise_is_standard_normal_and_correlated_as_asked():
    indices = np.arange(400)
    mixed = Mixed(0.9, other=1).noise(0, indices, SHAPE, "cpu")
    own = Mixed(0.0, other=0).noise(5, indices, SHAPE, "cpu")  # r = 0: the noise of the other seed alone
    for step in (0, 3):
        a, b = mixed(step).flatten(), own(step).flatten()
        # 25,600 numbers: sd known to 0.0044, r to 0.0012
        assert float(a.std()) == pytest.approx(1, abs=0.02) and float(a.mean()) == pytest.approx(0, abs=0.03)
        assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) == pytest.approx(0.9, abs=0.006)


@pytest.mark.parametrize("r", [-0.1, 1.0])
def test_a_correlation_that_leaves_no_second_arm_is_refused(r):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        Mixed(r, 1)


class Mean:
    """An extractor of one feature, the mean of the image; counts the images it saw."""

    def __init__(self):
        self.seen = 0

    def __call__(self, pixels):
        self.seen += len(pixels)
        return Features(pixels.mean((1, 2, 3))[:, None].astype(np.float16), np.zeros((len(pixels), 0), np.float32))


def test_a_pool_goes_on_where_it_was_left_and_does_not_depend_on_its_blocks(arm, denoiser, tmp_path):
    ledger, extractor, told = Ledger(tmp_path), Mean(), []

    def labels(indices):
        return indices % 3

    first = pool(arm, ledger, denoiser, labels, extractor, 250, None, told.append)
    assert extractor.seen == 250
    more = pool(arm, ledger, denoiser, labels, extractor, 300, None, told.append)
    assert extractor.seen == 300 and told == [250, 250, 50]
    np.testing.assert_array_equal(more[:250], first)
    fresh = pool(arm, Ledger(tmp_path / "other"), denoiser, labels, Mean(), 300, None, told.append)
    np.testing.assert_array_equal(fresh, more)


def test_pools_of_other_noise_have_other_keys_and_the_arm_s_own_is_that_of_a_run(arm):
    keys = {pool_key(arm, mixed) for mixed in (None, Mixed(0.0, 1), Mixed(0.9, 1), Mixed(0.9, 2))}
    assert len(keys) == 4 and pool_key(arm, None) == key(arm.generation())


def test_a_partner_with_almost_the_same_noise_makes_almost_the_same_images(arm, denoiser, tmp_path):
    pools = [pool(arm, Ledger(tmp_path), denoiser, None, Mean(), 100, mixed, id)[:, 0].astype(float)
             for mixed in (None, Mixed(0.999, 1), Mixed(0.0, 1))]  # fmt: skip
    near, far = (np.corrcoef(pools[0], other)[0, 1] for other in pools[1:])
    assert near > 0.9 and abs(far) < 0.4


NUMBERS = np.arange(1000.0)[:, None] + 0.001 * np.random.default_rng(0).random((1000, 2))


def test_independent_arms_share_no_image():
    a, b = independent(NUMBERS, NUMBERS, 500)(np.random.default_rng(0))
    assert len(set(a[:, 0]) | set(b[:, 0])) == 1000


def test_a_paired_null_takes_both_arms_images_in_random_order_and_an_alternative_does_not():
    a, b = paired(NUMBERS, -NUMBERS, 400, exchanged=True)(np.random.default_rng(0))
    np.testing.assert_array_equal(a, -b)
    assert len(np.unique(np.abs(a[:, 0]))) == 400 and 150 < (a[:, 0] > 0).sum() < 250
    a, b = paired(NUMBERS, -NUMBERS, 400, exchanged=False)(np.random.default_rng(0))
    assert (a >= 0).all() and (a == -b).all()


def test_pairs_of_real_images_share_as_many_as_asked():
    a, b = real(NUMBERS, 5000, 0.9)(np.random.default_rng(0))
    assert np.mean(a[:, 0] == b[:, 0]) == pytest.approx(0.9, abs=0.02)


def test_a_pool_too_small_for_the_draws_is_refused():
    with pytest.raises(ValueError, match="a pool of 1000 images is too small for draws of 1002"):
        independent(NUMBERS, NUMBERS, 501)


def test_a_share_has_wilson_s_interval():
    # 20 of 400: (p + z^2 / 2n +- z sqrt(p q / n + z^2 / 4 n^2)) / (1 + z^2 / n)
    p, n, z = 0.05, 400, 1.959964
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    expected = [p, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)]
    assert list(share(20, 400, "rate").values()) == pytest.approx(expected, rel=1e-5)


def test_the_error_of_a_spread_is_that_of_normal_values():
    values = np.random.default_rng(0).normal(size=(2000, 400))
    assert relative_error(values[0]) == pytest.approx(1 / 800**0.5, rel=0.3)
    assert values.std(1).std() == pytest.approx(1 / 800**0.5, rel=0.1)


@pytest.fixture(scope="module")
def gaussians():
    random = np.random.default_rng(0)
    return random.normal(size=(4000, 4)) + 0.5, moments(random.normal(size=(4000, 4)))


def test_a_null_of_gaussians_keeps_its_promise_by_every_method(gaussians):
    features, reference = gaussians
    done = []
    found = rows(Case("independent", False, lambda n: independent(features, features, n)), 400, 200, reference, 0,
                 done.append)  # fmt: skip
    assert [row["method"] for row in found] == ["influence", "first order", "jackknife"] and sum(done) == 200
    for row in found:
        # 200 pairs know 5 % to 1.5 % and the spread to 5 %
        assert row["false_verdict_rate"] < 0.11 and 0.85 < row["se_over_sd"] < 1.2
        assert row["se_over_sd.low"] < row["se_over_sd"] < row["se_over_sd.high"]
        assert abs(row["r"]) < 0.02


def test_a_known_difference_is_told_apart_in_its_direction_sooner_when_paired(gaussians):
    features, reference = gaussians
    worse, known = features + 0.05, 1.0
    power = [rows(Case("shifted", pair, draw, known), 200, 50, reference, 0, id)[0]["power"]
             for pair, draw in ((True, lambda n: paired(worse, features, n, False)),
                                (False, lambda n: independent(worse, features, n)))]  # fmt: skip
    assert power[0] > 0.95 and power[1] < 0.5
    wrong = rows(Case("shifted", True, lambda n: paired(worse, features, n, False), -known), 200, 50, reference, 0, id)
    assert wrong[0]["power"] == 0 and wrong[0]["wrong_direction"] > 0.95


def test_a_draw_depends_on_its_case_and_its_seed_alone(gaussians):
    features, reference = gaussians
    case = Case("real", True, lambda n: real(features, n, 0.5))
    assert rows(case, 90, 5, reference, 0, id) == rows(case, 90, 5, reference, 0, id)
    assert rows(case, 90, 5, reference, 0, id) != rows(case, 90, 5, reference, 1, id)


@pytest.mark.slow
def test_the_whole_command_writes_its_record_and_figure(tmp_path, monkeypatch):
    from fastdiff_benchmarks.studies import calibrate

    tiny = ["device=cpu", "device.precision=float32", "sampler.steps=2", "pool=600", "sizes=[250,300]", "pairs=4"]
    tiny += ["correlations=[0.9]", "~alternatives.one_step_more", f"ledger={tmp_path}/runs", f"out={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["calibrate", *tiny])
    calibrate.main()
    record = json.loads((tmp_path / "calibration.json").read_text())
    assert record["aa_pairs"] == 4 and record["level"] == 0.05
    assert {row["arms"] for row in record["nulls"]} >= {"independent", "paired, r = 0.9", "real digits, r = 0"}
    for row in record["nulls"] + record["power"]:
        assert row["protocol"] == f"fid[mnist-classifier,n={row['n']}]"
    assert (tmp_path / "README.md").exists()


def test_the_page_tells_every_row_of_the_record_with_its_interval():
    from fastdiff_benchmarks.studies.calibration_page import page

    judged = {"false_verdict_rate": 0.05, "false_verdict_rate.low": 0.03, "false_verdict_rate.high": 0.076}
    judged |= {"se_over_sd": 0.98, "se_over_sd.low": 0.9, "se_over_sd.high": 1.07}
    row = {"arms": "independent", "paired": False, "n": 500, "sd": 3.987, "r": 0.0, "protocol": "fid[x,n=500]"}
    told = {"arms": "other", "n": 500, "sd": 1.0, "r": 0.9, "known_difference": -0.6}
    told |= {"power": 1.0, "power.low": 0.99, "power.high": 1.0}
    record = {
        "nulls": [row | judged | {"method": method} for method in ("influence", "first order", "jackknife")],
        "power": [told | {"paired": True}, told | {"paired": False, "power": 0.04, "power.low": 0.02, "sd": 4.0}],
        "pools": {"arm": {"key": "abc", "n": 20000, "fid[x,n=20000]": 12.4971}},
        "machine": {"made": {"git_commit": "1234567890", "git_dirty": True}, "device": "cpu", "precision": "float32"},
        "command": "make calibrate", "aa_pairs": 400, "seeds": {"draws": 0}, "paired_false_verdict_rate": None,
        "near_reference_false_verdict_rate": None, **judged,
    }  # fmt: skip
    text = page(record)
    assert "5.0 % [3.0, 7.6] of independent arms." in text and "of paired arms" not in text
    same = "5.0 % [3.0, 7.6]; 0.98 [0.90, 1.07]"
    assert f"| independent | 500 | 3.99 | 0.000 | 5.0 % [3.0, 7.6] | 0.98 [0.90, 1.07] | {same} | {same} |" in text
    assert "| other | -0.60 | 500 | 100.0 % [99.0, 100.0] | 1 | 0.900 | 4.0 % [2.0, 100.0] | 4 |" in text
    assert "12.497 `fid[x,n=20000]`" in text and "commit 1234567 with changes" in text


def test_the_figure_of_the_committed_record_has_a_line_per_arm_with_its_intervals():
    import pandas as pd

    from fastdiff_benchmarks.studies import figures

    record = json.loads((RESULTS / "calibration.json").read_text())
    nulls, power = pd.DataFrame(record["nulls"]), pd.DataFrame(record["power"])
    figure = figures.calibration(nulls, power)
    named = [trace.name for trace in figure.data if trace.name]
    assert named[: nulls["arms"].nunique()] == list(nulls["arms"].unique())
    assert "one_step_more (-4.29), paired" in named and len(named) == 10
    independent = figure.data[0]
    row = nulls[(nulls["arms"] == "independent") & (nulls["method"] == "influence")].iloc[0]
    assert independent.y[0] == row["se_over_sd"]
    assert independent.y[0] + independent.error_y.array[0] == pytest.approx(row["se_over_sd.high"])
    assert independent.y[0] - independent.error_y.arrayminus[0] == pytest.approx(row["se_over_sd.low"])
    assert len(figures.calibration(nulls, power[:0]).data) == 4 * nulls["arms"].nunique()
