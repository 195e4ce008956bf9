"""W&B is a view: offline without an account, and never able to stop a measurement."""

import subprocess
import sys

import numpy as np

from fastdiff.tracking import Tracker, contact_sheet, track

ROW = {
    "key": "0123456789abcdef",
    "sampler": "ddpm",
    "steps": 10,
    "fid[mnist-classifier,n=1000]": 9.5,
    "images_per_s": 50.0,
}


def test_a_cell_becomes_an_offline_run_under_its_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    trouble = track(Tracker("wandb"), ROW, ["sampler", "steps"], "default", np.zeros((9, 1, 4, 4), np.uint8))
    assert trouble is None
    (run,) = (tmp_path / "wandb").glob("offline-run-*-0123456789abcdef")
    (log,) = run.glob("*.wandb")
    assert b"fid_mnist_classifier_n_1000" in log.read_bytes()  # W&B sorts and filters by such names only


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
