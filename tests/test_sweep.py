"""Sweeps from the outside: what is asked for is measured once, survives a kill, and says what failed."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastdiff_benchmarks import run

RUN = [sys.executable, str(Path(run.__file__))]
VIEWS = {"grids", "hydra"}  # what a sweep writes of itself, each time anew
TINY = [
    "budget.n=20",
    "device=cpu",
    "device.batch=10",
    "device.precision=float32",
    "score_norms.images=8",
    "tracker=none",
]


def sweep(folder: Path, *overrides: str, command=RUN) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*command, *TINY, f"ledger={folder}", *overrides], capture_output=True, text=True, cwd=folder.parent
    )


def qualities(folder: Path) -> dict[str, dict]:
    """What must be equal between two runs of a sweep: values and costs by key; not durations, speed and dates."""
    records = [json.loads(path.read_text()) for path in (folder / "quality").glob("*.json")]
    return {record["key"]: {name: record[name] for name in ("identity", "values", "cost", "n")} for record in records}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The ledger of an undisturbed smoke sweep of 8 cells."""
    folder = tmp_path_factory.mktemp("finished") / "runs"
    done = sweep(folder, "+grid=smoke")
    assert done.returncode == 0, done.stderr
    assert "smoke: 8 cells; 0 already measured, 8 to go" in done.stdout and "estimate: " in done.stdout
    assert done.stdout.count("fid[mnist-classifier,n=20] ") >= 8
    return folder


def test_every_cell_leaves_a_quality_and_a_speed_record_with_all_that_a_reader_needs(finished):
    assert len(qualities(finished)) == 8
    for path in (finished / "quality").glob("*.json"):
        record = json.loads(path.read_text())
        assert set(record["cost"]) >= {"nfe", "full_calls", "macs", "conv_macs"}
        assert set(record["made"]) == {"made", "versions", "git_commit", "git_dirty"}
        assert set(record["seconds"]) == {"load", "score_norms", "generate", "score"}
        assert record["device"] and record["precision"] == "float32"
        speed = json.loads((finished / "speed" / f"{record['speed_key']}.json").read_text())
        assert speed["protocol"] == "quick" and speed["images_per_s"] > 0
        cached = record["settings"]["accelerator"]["deepcache"]["interval"] > 1
        assert (speed["trunk_mb"] > 0) == cached and (speed["peak_mb"] is None or speed["peak_mb"] > 0)
        if "norms_note" in record:
            assert record["norms_note"]["cache"] == ("norms of the uncached network" if cached else "none")
    # analytic cells of a tuned network have norms of their own: one store per rho
    assert len(list((finished / "norms").glob("*.json"))) == 2


def test_a_finished_sweep_recomputes_nothing_says_so_and_does_not_import_torch(finished):
    before = {
        path: path.stat().st_mtime_ns
        for path in finished.rglob("*")
        if path.is_file() and path.parent.name not in VIEWS
    }
    watched = [
        sys.executable, "-c",
        "import atexit, runpy, sys; sys.argv = sys.argv[1:];"
        "atexit.register(lambda: print('torch was imported:', 'torch' in sys.modules));"
        "runpy.run_path(sys.argv[0], run_name='__main__')",
        RUN[1],
    ]  # fmt: skip
    done = sweep(finished, "+grid=smoke", command=watched)
    assert done.returncode == 0, done.stderr
    assert "smoke: 8 cells; 8 already measured, 0 to go" in done.stdout
    assert "torch was imported: False" in done.stdout
    assert {
        path: path.stat().st_mtime_ns
        for path in finished.rglob("*")
        if path.is_file() and path.parent.name not in VIEWS
    } == before


@pytest.mark.slow
def test_a_killed_sweep_resumes_and_ends_with_the_records_of_an_undisturbed_one(finished, tmp_path):
    folder = tmp_path / "runs"
    process = subprocess.Popen(
        [*RUN, *TINY, f"ledger={folder}", "+grid=smoke"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(list((folder / "quality").glob("*.json"))) < 3 and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 <= len(qualities(folder)) < 8
    done = sweep(folder, "+grid=smoke")
    assert done.returncode == 0, done.stderr
    assert "0 already measured" not in done.stdout
    assert qualities(folder) == qualities(finished)


def test_a_failing_cell_leaves_the_others_running_and_the_exit_code_says_so(finished, tmp_path):
    done = sweep(
        tmp_path / "runs",
        "sampler.steps=2",
        "accelerator.deepcache.interval=2",
        "accelerator.deepcache.branch=1,99",
        "-m",
    )
    assert done.returncode == 1
    assert "1 of 2 cells failed" in done.stderr and "branch is 99; this network's skips are 1 .. 9" in done.stderr
    assert len(qualities(tmp_path / "runs")) == 1
    (failed,) = (tmp_path / "runs" / "failed").glob("*.json")
    assert json.loads(failed.read_text())["kind"] == "failed"


def test_wrong_settings_stop_a_sweep_before_its_first_cell(tmp_path):
    done = sweep(tmp_path / "runs", "+grid=smoke", "sampler.spacing=even,sqrt")
    menu = "dp, dp_plain, even, karras, leading, logsnr, power2, quadratic, stride"
    assert done.returncode == 2 and done.stderr.strip() == f"error: spacing 'sqrt' is not one of: {menu}"
    assert not (tmp_path / "runs" / "quality").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+grid=smok"], "error: grid 'smok' is not one of: analytic, analytic_estimators,"),
        (["sampler=plmz"], "error: sampler 'plmz' is not one of: analytic_ddim, analytic_ddpm, ddim,"),
        (["sampler.stepz=3"], "error: sampler has no knob 'stepz'; known: clip, eta,"),
        (["nosuch=3"], "error: the settings have no knob 'nosuch'; known: accelerator, budget,"),
        (["+nosuch=3"], "error: the settings have no knob 'nosuch'; known: accelerator, budget,"),
        (["+grid=smoke,steps", "-m"], "error: one grid at a time: smoke,steps are several"),
        (["device.batch=500"], "error: device.batch is 500; 1 .. 250 images per call are possible"),
        (["budget.n=5"], "error: budget.n is 5; metrics.is_splits=10 needs at least as many images"),
        (["guidance=abc"], "error: guidance is 'abc'; float is needed"),
        (["sampler=null"], "error: "),
        (["data=folder", "data.path=x"], "error: "),
    ],
)
def test_a_wrong_word_on_the_command_line_gives_one_sentence_with_the_menu(tmp_path, overrides, said):
    done = sweep(tmp_path / "runs", *overrides)
    assert done.returncode == 2 and done.stderr.startswith(said) and done.stderr.count("\n") == 1


def test_weights_that_give_nan_fail_the_cell_and_name_the_first_bad_image(tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    from fastdiff.files import ASSETS

    state = load_file(ASSETS / "mnist_unet.safetensors")
    state["out.2.bias"] = torch.full_like(state["out.2.bias"], float("nan"))
    save_file(state, tmp_path / "nan.safetensors")
    done = sweep(
        tmp_path / "runs", f"model.weights={tmp_path / 'nan.safetensors'}", "model.sha256=null", "sampler.steps=2"
    )
    assert done.returncode == 1 and "FAILED: image 0 is NaN or infinite (10 of its batch of 10 are)" in done.stdout


def test_another_batch_size_adds_a_speed_record_and_leaves_the_quality_record(finished):
    tuned = ["sampler.steps=5", "accelerator.skip_tuning.rho_bottom=0.8"]
    before = {path: path.read_bytes() for path in (finished / "quality").iterdir()}
    speeds = len(list((finished / "speed").iterdir()))
    assert sweep(finished, *tuned, "device.batch=5").returncode == 0
    assert {path: path.read_bytes() for path in (finished / "quality").iterdir()} == before
    assert len(list((finished / "speed").iterdir())) == speeds + 1


def test_the_sweep_s_view_can_be_sent_to_other_processes():
    """Parallel launchers pickle Hydra's callbacks, in the middle of a sweep."""
    from tqdm import tqdm

    from fastdiff_benchmarks.sweep import SweepProgress

    view = SweepProgress()
    view.bar = tqdm(total=1, disable=True)
    assert pickle.loads(pickle.dumps(view)).bar is None


def test_forcing_measures_anew_and_gives_the_same_values(finished):
    before = qualities(finished)
    done = sweep(finished, "+grid=smoke", "force=true", "sampler=ddpm", "accelerator.skip_tuning.rho_bottom=1.0")
    assert done.returncode == 0 and "smoke: 2 cells; 0 already measured, 2 to go" in done.stdout
    assert qualities(finished) == before
