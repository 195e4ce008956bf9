"""W&B is a view: offline without an account, and never able to stop a measurement."""

import json
import subprocess
import sys

import numpy as np
import pytest
import wandb_log

from fastdiff.records import Ledger
from fastdiff.tracking import Tracker, contact_sheet, track, track_sweep
from fastdiff_benchmarks import run, sync

VERDICTS = ["worse", "worse", "plain", "better"]
ROW = {
    "key": "0123456789abcdef",
    "sampler": "ddpm",
    "steps": 10,
    "fid[mnist-classifier,n=1000]": 9.5,
    "images_per_s": 50.0,
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder that W&B writes into; it remembers the first one of a process."""
    import wandb

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()
    return tmp_path


def test_a_cell_becomes_an_offline_run_under_its_key(here):
    row = ROW | {"verdict": "better", "rival": None, "change": float("nan"), "eta": None}
    knobs = ["sampler", "steps", "eta"]
    trouble = track(Tracker("wandb"), row, knobs, "default", np.zeros((9, 1, 4, 4), np.uint8))
    assert trouble is None
    (run,) = (here / "wandb").glob("offline-run-*-0123456789abcdef")
    found = wandb_log.read(run)
    assert (found["id"], found["group"], found["job_type"]) == (ROW["key"], "default", "cell")
    assert {name: found["config"][name] for name in knobs} == {"sampler": "ddpm", "steps": 10, "eta": None}
    summary = found["summary"]
    assert summary["fid_mnist_classifier_n_1000"] == 9.5  # W&B sorts and filters by such names only
    assert summary["verdict"] == "better" and "change" not in summary and "rival" not in summary
    assert summary["samples"]["_type"] == "image-file" and summary["samples"]["width"] == 32
    assert (run / "files" / summary["samples"]["path"]).exists()


def test_a_sweep_becomes_a_run_with_the_table_of_its_cells_and_their_verdicts(here):
    lines = [ROW | {"key": name, "verdict": word, "rival": None} for name, word in zip("abcd", VERDICTS)]
    assert track_sweep(Tracker("wandb"), "combined", [*lines, ROW | {"change": 1.0}]) is None
    (run,) = (here / "wandb").glob("offline-run-*-sweep-combined")
    found = wandb_log.read(run)
    assert (found["id"], found["group"], found["job_type"]) == ("sweep-combined", "combined", "sweep")
    counts = {name: found["summary"][f"cells_{name}"] for name in ("worse", "better", "plain")}
    assert counts == {"worse": 2, "better": 1, "plain": 1} and found["summary"]["cells"] == 5
    table = json.loads((run / "files" / found["summary"]["cells_table"]["path"]).read_text())
    assert [row[table["columns"].index("verdict")] for row in table["data"]] == [*VERDICTS, None]
    assert [row[table["columns"].index("change")] for row in table["data"]] == [None] * 4 + [1.0]


def test_syncing_a_ledger_writes_a_run_a_cell_with_its_verdict_and_a_run_a_grid(tmp_path):
    from test_reports import settings, write_cell

    ledger, draw, pixels = Ledger(tmp_path / "runs"), np.random.default_rng(0), np.zeros((4, 1, 28, 28), np.uint8)
    cells = [write_cell(ledger, settings("ddpm", 10, interval, 1.0), draw, pixels) for interval in (1, 5)]
    alone = write_cell(ledger, settings("ddim", 5, 1, 1.0), draw, pixels)
    ledger.write("grids", "small", {"grid": "small", "keys": cells})
    words = [f"ledger={tmp_path / 'runs'}", "tracker.mode=offline"]
    done = subprocess.run([sys.executable, sync.__file__, *words], capture_output=True, text=True, cwd=tmp_path)
    assert "4 of 4 runs, 3 of them cells, are in W&B project 'fastdiff'" in done.stdout, done.stderr
    runs = {run["id"]: run for run in map(wandb_log.read, (tmp_path / "wandb").glob("offline-run-*"))}
    assert set(runs) == {*cells, alone, "sweep-small"}
    assert [runs[cell]["summary"]["verdict"] for cell in cells] == ["plain", "worse"]
    assert runs[cells[1]]["group"] == "small" and runs[alone]["group"] == ""
    assert runs[cells[1]]["config"]["interval"] == 5


def test_what_goes_wrong_in_wandb_is_a_line(monkeypatch):
    import wandb

    def raising(**_):
        raise RuntimeError("no room\nfor runs")

    monkeypatch.setattr(wandb, "init", raising)
    said = track(Tracker("wandb"), ROW, ["sampler", "steps"], "default", None)
    assert said == "W&B could not record 0123456789abcdef (no room); the ledger has it, `make sync` replays it"


def test_without_a_tracker_wandb_is_not_imported():
    code = (
        "import sys; from fastdiff.tracking import Tracker, track\n"
        "track(Tracker(), {}, [], None, None); assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_contact_sheet_keeps_every_sample_in_its_place():
    samples = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1) * np.ones((1, 1, 2, 3), np.uint8)
    sheet = contact_sheet(samples, columns=4)
    assert sheet.shape == (6, 12) and sheet[::2, ::3].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]


def test_a_measured_cell_and_its_sweep_are_runs_beside_the_ledger(tmp_path):
    tiny = ["-m", "sampler=ddim", "sampler.steps=1,2", "budget.n=10", "device=cpu", "device.batch=10"]
    words = [*tiny, "device.precision=float32", f"ledger={tmp_path / 'runs'}", "tracker.mode=offline"]
    done = subprocess.run([sys.executable, run.__file__, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    keys = {record["key"] for record in Ledger(tmp_path / "runs").all("quality")}
    found = {each["id"]: each for each in map(wandb_log.read, (tmp_path / "wandb").glob("offline-run-*"))}
    assert set(found) == {*keys, "sweep-sweep"} and found["sweep-sweep"]["summary"]["cells"] == 2
    assert all(isinstance(found[key]["summary"]["fid_mnist_classifier_n_10"], float) for key in keys)
