"""Cells with metrics=nll, and cells whose steps or variances come from norms, from settings to records and tables."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from fastdiff.bench.cell import key
from fastdiff.bench.config import cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.run_cell import run_cell
from fastdiff.report.table import csv, table, text
from fastdiff_benchmarks import report
from fastdiff_benchmarks.entry import settings_of

TINY = ["budget.n=12", "device=cpu", "device.precision=float32", "device.batch=8", "sampler.steps=3"]
NORMS = "score_norms"
TINY += [f"{NORMS}.images=8", f"{NORMS}.levels=5"]
NLL = "nll[bits/dim,n=12]"


def measured(ledger: Ledger, *overrides: str, **again):
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        conf = settings_of(compose("config", overrides=[*TINY, *overrides]))
    outcome = run_cell(cell_of(conf), ledger, conf, **again)
    assert outcome.kind == "quality", outcome.record.reason
    return outcome, cell_of(conf)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory) -> Ledger:
    """One grid of four bounds, and nothing else."""
    ledger = Ledger(tmp_path_factory.mktemp("bounds") / "runs")
    arms = [["sampler=ddpm"], ["sampler=ddpm_large"], ["sampler=analytic_ddpm"]]
    arms += [["sampler=analytic_ddpm", f"{NORMS}.estimator=mse"]]
    keys = [measured(ledger, "metrics=nll", *arm)[0].key for arm in arms]
    ledger.write("grids", "nll", {"grid": "nll", "keys": keys})
    return ledger


def test_a_bound_leaves_a_quality_record_and_generates_nothing(ledger):
    folders = {path.name for path in ledger.root.iterdir()}
    assert folders == {"grids", "norms", "quality"}
    records = list(ledger.all("quality"))
    assert len(records) == 4
    for record in records:
        value = record.values[NLL]
        assert 0 < value.low < value.value < value.high
        assert sum(value.parts.values()) == pytest.approx(value.value)
        psi = ledger.influence(record.key)["nll"]
        assert len(psi) == 12 and value.se == pytest.approx(psi.std(ddof=1) / math.sqrt(12))
        assert record.cost.nfe == 3 and set(record.seconds) == {"load", "score_norms", "score"}


def test_a_measured_bound_is_not_measured_again_and_measuring_it_anew_leaves_images_alone(tmp_path):
    ledger = Ledger(tmp_path)
    first, cell = measured(ledger, "metrics=nll", "sampler=ddpm")
    again, _ = measured(ledger, "metrics=nll", "sampler=ddpm")
    assert again.reused and not first.reused and again.record == first.record
    pictures, other = measured(ledger, "sampler=ddpm")
    assert key(other.generation()) == key(cell.generation()) and pictures.key != first.key
    anew, _ = measured(ledger, "metrics=nll", "sampler=ddpm", force=True)
    assert not anew.reused and anew.record.values == first.record.values
    assert measured(ledger, "sampler=ddpm")[0].reused  # its blocks and its speed are still there
    assert table(ledger, [first.key])["images_per_s"].notna().all()  # the same trajectory's, once it was timed


def test_a_cached_chain_has_a_bound_whose_joint_mse_is_its_own(tmp_path):
    cached = ["metrics=nll", "sampler=analytic_ddpm", "accelerator.deepcache.interval=2", f"{NORMS}.estimator=mse"]
    outcomes = {kind: measured(Ledger(tmp_path), *cached, f"{NORMS}.cached={kind}")[0] for kind in ("base", "joint")}
    values = {kind: outcome.record.values[NLL].value for kind, outcome in outcomes.items()}
    assert values["joint"] < values["base"]
    assert all(outcome.record.cost.full_calls == 2 for outcome in outcomes.values())
    uncached, _ = measured(Ledger(tmp_path), "metrics=nll", "sampler=analytic_ddpm", f"{NORMS}.estimator=mse")
    assert uncached.record.values[NLL].value < values["joint"]


def test_the_table_has_bounds_in_a_column_of_their_own_judged_against_the_baseline(ledger):
    frame = table(ledger, ledger.read("grids", "nll")["keys"])
    shown = text(frame)
    assert NLL in shown and "analytic_ddpm (mse)" in shown and "fid" not in shown and "is[" not in shown
    assert frame["verdict"].tolist() == ["baseline", "baseline", "better", "better"]
    differences = [ledger.influence(k)["nll"] - ledger.influence(frame["key"][0])["nll"] for k in frame["key"][2:]]
    for i, psi in enumerate(differences, start=2):
        half = 1.96 * psi.std(ddof=1) / math.sqrt(12)
        assert frame["change.high"][i] - frame["change"][i] == pytest.approx(half, rel=1e-3)
    assert f"{frame[NLL][0]:.3f} [" in shown
    assert (
        frame["score_norms.estimator"].tolist()[2:] == ["eps_ms", "mse"]
        and frame["score_norms.estimator"][:2].isna().all()
    )
    assert NLL in csv(frame).decode()
    assert frame["cell"][3] == "analytic_ddpm (mse), 3 steps"


def test_a_report_of_bounds_alone_has_tables_and_no_page(ledger):
    command = [sys.executable, report.__file__, f"ledger={ledger.root}", f"out={ledger.root.parent}/report"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no page: " in done.stdout and NLL in done.stdout
    assert [path.name for path in (ledger.root.parent / "report").iterdir()] == ["nll.csv"]


def test_a_report_of_images_and_bounds_has_both_in_its_tables(ledger, tmp_path):
    mixed = Ledger(tmp_path / "runs")
    for record in ledger.all("quality"):
        mixed.write("quality", record.key, record)
        mixed.write_influence(record.key, ledger.influence(record.key))
    mixed.write("grids", "nll", ledger.read("grids", "nll"))
    keys = [measured(mixed, f"sampler={name}")[0].key for name in ("ddpm", "analytic_ddpm")]
    mixed.write("grids", "default", {"grid": "default", "keys": keys})
    command = [sys.executable, report.__file__, f"ledger={mixed.root}", f"out={tmp_path}/report"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report" / "index.html").read_text()
    assert "in bits per dimension" in page and f"<code>{NLL}</code>" in page
    assert "The other 4 cells have another protocol or machine and are in the table only" in page


def test_optimal_trajectories_make_images_of_their_own(tmp_path):
    ledger, samples = Ledger(tmp_path), {}
    for sampler, spacing in (("ddpm", "even"), ("ddpm", "dp"), ("analytic_ddpm", "dp"), ("analytic_ddpm", "dp_plain")):
        outcome, cell = measured(ledger, f"sampler={sampler}", f"sampler.spacing={spacing}", f"{NORMS}.estimator=mse")
        samples[sampler, spacing] = ledger.samples(key(cell.generation()))
        assert outcome.record.cost.nfe == 3
        note = outcome.record.norms_note
        assert (note is None) == (spacing == "even") and (spacing == "even" or note["levels"] == 5)
    assert not np.array_equal(samples["ddpm", "even"], samples["ddpm", "dp"])
    assert len(list((tmp_path / "norms").glob("*.json"))) == 2  # terms of the bound, and norms for both estimators


def test_joint_norms_under_a_cache_make_images_of_their_own_and_say_so(tmp_path):
    ledger, samples = Ledger(tmp_path), []
    for cached in ("base", "joint"):
        overrides = ["sampler=analytic_ddpm", "accelerator.deepcache.interval=2", f"{NORMS}.cached={cached}"]
        outcome, cell = measured(ledger, *overrides, "sampler.sigma2_clip=0")
        samples.append(ledger.samples(key(cell.generation())))
        assert ("joint" in outcome.record.norms_note["cache"]) == (cached == "joint")
    assert not np.array_equal(*samples)
    assert table(ledger)["score_norms.cached"].tolist() in (["base", "joint"], ["joint", "base"])


def test_the_norms_command_prints_both_estimators_and_the_shallow_calls(tmp_path):
    command = [sys.executable, str(Path(report.__file__).parent / "score_norms.py"), *TINY, f"ledger={tmp_path}"]
    command += [f"{NORMS}.cached=joint", "accelerator.deepcache.interval=3", "sampler.spacing=dp"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.split() and line.split()[0].isdigit()]
    assert lines[0][3:7] != ["-"] * 4 and [line[2] != "-" for line in lines[:5]] == [False] * 3 + [True] * 2
