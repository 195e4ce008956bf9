"""W&B is a view: offline without an account, of a ledger alone, and never able to stop a measurement."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wandb_log
from omegaconf import OmegaConf

from fastdiff.bench.config import cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.report.samples import contact_sheet
from fastdiff.tracking import (
    CURVES,
    CellView,
    Session,
    Source,
    Tracker,
    opening,
    track,
    track_source,
    track_sweep,
)
from fastdiff_benchmarks import run

VERDICTS = ["worse", "worse", "baseline", "better"]
ROW = {
    "key": "0123456789abcdef",
    "sampler": "ddpm",
    "steps": 10,
    "fid[mnist-classifier,n=1000]": 9.5,
    "images_per_s": 50.0,
}
TINY = ["budget.n=10", "device=cpu", "device.batch=10", "device.precision=float32", "accelerator.analytic.images=8"]
DRAW = np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="module")
def staging(tmp_path_factory):
    """Where W&B puts the files of artifacts: elsewhere than in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp("wandb")))
        yield


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder that W&B writes into; it remembers the first one of a process."""
    import wandb

    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_SILENT", *opening.PATIENCE):
        monkeypatch.setenv(name, opening.PATIENCE.get(name, "true"))
    wandb.teardown()
    return tmp_path


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A folder in which two arms were measured with W&B offline: the ledger is in runs/, what W&B wrote in wandb/."""
    folder = tmp_path_factory.mktemp("measured")
    words = ["-m", "sampler=ddim,analytic_ddim", "sampler.steps=2", *TINY, f"ledger={folder / 'runs'}"]
    command = [sys.executable, run.__file__, *words, "tracker.mode=offline"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0 and "W&B" not in done.stderr, done.stderr
    return folder


def view(row: dict, **given) -> CellView:
    return CellView(row, ["sampler", "steps", "eta"], {"settings": {"sampler": {"name": "ddpm"}}}, "f" * 16, **given)


def test_a_cell_becomes_an_offline_run_under_its_key(here):
    row = ROW | {"verdict": "better", "equal_cost_baseline": None, "change": float("nan"), "eta": None}
    assert (
        track(Session(Tracker("wandb")), view(row, group="default", tags=("baseline", "ddpm"), uses=("reference-1",)))
        is None
    )
    found = wandb_log.runs(here)[ROW["key"]]
    assert (found["group"], found["job_type"], set(found["tags"])) == ("default", "cell", {"baseline", "ddpm"})
    knobs = {"sampler": "ddpm", "steps": 10, "uses": ["reference-1"]}
    assert {name: found["config"][name] for name in knobs} == knobs and "eta" not in found["config"]
    assert found["config"]["settings"] == {"sampler": {"name": "ddpm"}}
    summary = found["summary"]
    assert summary["fid_mnist_classifier_n_1000"] == 9.5  # W&B sorts and filters by such names only
    assert summary["verdict"] == "better" and "change" not in summary and "equal_cost_baseline" not in summary


def test_samples_are_a_sheet_a_table_beside_the_baseline_and_an_artifact(here):
    images = {name: DRAW.integers(0, 256, (20, 1, 4, 4), dtype=np.uint8) for name in ("samples", "baseline")}
    assert track(Session(Tracker("wandb")), view(ROW, **images)) is None
    (folder,) = (here / "wandb").glob("offline-run-*")
    found = wandb_log.read(folder)
    (point,) = found["history"]
    assert point["samples._type"] == "image-file" and point["samples.width"] == 32
    assert (folder / "files" / point["samples.path"]).exists()
    table = json.loads((folder / "files" / found["summary"]["samples_table"]["path"]).read_text())
    assert table["columns"] == ["image", "this cell", "baseline, same noise"]
    assert [row[0] for row in table["data"]] == list(range(16))
    kept = found["artifacts"]
    assert kept["samples-" + "f" * 16] == {"type": "samples", "paths": ["samples.png"]}
    pictures = [path for path in kept[f"run-{ROW['key']}-samples_table"]["paths"] if path.endswith(".png")]
    assert len(pictures) == 32  # all different, each once


def test_a_curve_is_a_series_over_its_steps_with_summaries(here):
    points = [{"step": i, "sigma": 10.0 / (i + 1), "eps_ms": 0.1 * i} for i in range(3)]
    assert track(Session(Tracker("wandb")), view(ROW, curve=points)) is None
    found = wandb_log.runs(here)[ROW["key"]]
    assert [point["curve/sigma"] for point in found["history"]] == [10.0, 5.0, 10.0 / 3]
    assert [point["curve/step"] for point in found["history"]] == [0, 1, 2]
    assert found["metrics"]["curve/sigma"] == {"over": "curve/step", "summary": [CURVES["sigma"]]}
    assert "curve/var" not in found["metrics"]


def test_a_resumed_run_gets_no_point_of_its_curve_twice():
    class Resumed:
        starting_step, logged = 2, []

        def define_metric(self, name, **_):
            pass

        def log(self, values, step):
            self.logged.append((step, values))

    from fastdiff.tracking.cells import log_curve

    log_curve(Resumed(), [{"step": i, "sigma": 1.0} for i in range(4)], CURVES, "step")
    assert [step for step, _ in Resumed.logged] == [2, 3]


class Online:
    """A run that W&B has seen before, as far as a cell writes it."""

    offline, starting_step = False, 25

    def __init__(self):
        self.summary, self.used, self.logged = {}, [], []

    def use_artifact(self, name):
        self.used.append(name)

    def log(self, values, step):
        self.logged.append(values)

    def log_artifact(self, artifact):
        self.logged.append(artifact)

    def define_metric(self, name, **_):
        pass


def test_a_run_that_lost_its_sheet_gets_it_when_it_is_written_again_and_says_what_it_used():
    from fastdiff.tracking.cells import _parts

    images, run_ = np.zeros((4, 1, 4, 4), np.uint8), Online()
    for _, write in _parts(view(ROW, samples=images, uses=("reference-1", "score-norms-2")), run_):
        write()
    assert run_.used == ["reference-1:latest", "score-norms-2:latest"]
    assert run_.summary["samples"].image.width == 32 and run_.summary["samples_table"].columns[0] == "image"


def test_a_source_becomes_a_run_that_logs_it_as_an_artifact(here):
    (here / "norms.json").write_text("{}")
    curve = [{"sigma": 0.1, "eps_ms": 0.2}, {"sigma": 1.0, "eps_ms": 0.9}]
    source = Source("score-norms-1", "score_norms", (here / "norms.json",), {"model": "mnist"}, curve)
    assert track_source(Session(Tracker("wandb")), source) is None
    found = wandb_log.runs(here)["score-norms-1"]
    assert found["job_type"] == "score_norms" and found["config"]["model"] == "mnist"
    assert found["artifacts"]["score-norms-1"] == {"type": "score_norms", "paths": ["norms.json"]}
    assert [point["curve/eps_ms"] for point in found["history"]] == [0.2, 0.9]


def test_a_sweep_becomes_a_run_with_the_table_of_its_cells_and_their_verdicts(here):
    lines = [ROW | {"key": name, "verdict": word, "equal_cost_baseline": None} for name, word in zip("abcd", VERDICTS)]
    assert track_sweep(Session(Tracker("wandb")), "combined", [*lines, ROW | {"change": 1.0}]) is None
    (folder,) = (here / "wandb").glob("offline-run-*-sweep-combined")
    found = wandb_log.read(folder)
    assert (found["id"], found["group"], found["job_type"]) == ("sweep-combined", "combined", "sweep")
    counts = {name: found["summary"][f"cells_{name}"] for name in ("worse", "better", "baseline")}
    assert counts == {"worse": 2, "better": 1, "baseline": 1} and found["summary"]["cells"] == 5
    table = json.loads((folder / "files" / found["summary"]["cells_table"]["path"]).read_text())
    assert [row[table["columns"].index("verdict")] for row in table["data"]] == [*VERDICTS, None]
    assert [row[table["columns"].index("change")] for row in table["data"]] == [None] * 4 + [1.0]


def test_a_multirun_of_two_arms_is_two_runs_with_all_there_is_of_them(measured):
    found, records = wandb_log.runs(measured), list(Ledger(measured / "runs").all("quality"))
    cells = {name: each for name, each in found.items() if each["job_type"] == "cell"}
    assert set(cells) == {record.key for record in records} and len(cells) == 2
    assert found["sweep-sweep"]["summary"]["cells"] == 2
    sources = {name: each["job_type"] for name, each in found.items() if name not in cells and name != "sweep-sweep"}
    assert sorted(sources.values()) == ["reference", "score_norms"]
    assert all(name in found[name]["artifacts"] for name in sources)
    for each in cells.values():
        analytic = each["config"]["sampler"] == "analytic_ddim"
        assert isinstance(each["summary"]["fid_mnist_classifier_n_10"], float) and "verdict" not in each["summary"]
        assert each["config"]["settings"]["sampler"]["name"] == each["config"]["sampler"]
        assert set(each["tags"]) == (
            {each["config"]["sampler"]} if analytic else {each["config"]["sampler"], "baseline"}
        )
        assert each["config"]["command"].startswith("python benchmarks/run.py sampler=")
        assert set(each["config"]["uses"]) == ({*sources} if analytic else {n for n in sources if "reference" in n})
        first, last = each["history"]
        assert first["curve/sigma"] > last["curve/sigma"] > 0 and "samples.path" in first
        assert first["curve/full_call"] == 1 and (first["curve/var"] > 0) == analytic
        assert ("curve/cov_x0" in first) == ("curve/eps_ms" in first) == analytic


def synced(folder: Path, *words: str, before: str = "") -> subprocess.CompletedProcess:
    """make sync in a process and folder of its own, to offline files. before: code that is run first."""
    code = f"{before}\nfrom fastdiff_benchmarks.sync import main; main()"
    words = [f"ledger={folder / 'runs'}", "tracker.mode=offline", *words]
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=folder)


@pytest.fixture
def copied(measured, tmp_path) -> Path:
    """A folder with a copy of that ledger and nothing else."""
    shutil.copytree(measured / "runs", tmp_path / "runs")
    return tmp_path


def curve(run: dict) -> list[dict]:
    return [{name: value for name, value in point.items() if "curve" in name} for point in run["history"]]


def test_syncing_a_copied_ledger_writes_the_same_runs_with_verdicts(measured, copied):
    record = next(Ledger(copied / "runs").all("quality"))
    keys = [record.key for record in Ledger(copied / "runs").all("quality")]
    Ledger(copied / "runs").write("grids", "two", {"grid": "two", "keys": keys})
    done = synced(copied)
    assert "5 of 5 runs, 2 of them cells, are in W&B project 'fastdiff'" in done.stdout, done.stderr
    there, here = wandb_log.runs(measured), wandb_log.runs(copied)
    assert set(here) == {*there, "sweep-two"} - {"sweep-sweep"}
    assert record.settings == here[record.key]["config"]["settings"]
    for name in keys:
        assert here[name]["config"] == there[name]["config"] and here[name]["group"] == "two"
        for now, then in zip(curve(here[name]), curve(there[name]), strict=True):
            assert then.items() <= now.items() and "curve/eps_ms" in now  # then the first cell's norms were not there
    (baseline,) = (name for name in keys if "baseline" in here[name]["tags"])
    assert here[baseline]["summary"]["verdict"] == "baseline"
    (table,) = (
        artifact for name, artifact in here[({*keys} - {baseline}).pop()]["artifacts"].items() if "table" in name
    )
    assert sum(path.endswith(".png") for path in table["paths"]) == 20  # 10 images, each beside the baseline's


BREAKS = """
import wandb
init, calls = wandb.init, []
def breaking(**given):
    calls.append(given["id"])
    if len(calls) > 2:
        raise wandb.errors.CommError("the line is dead")
    return init(**given)
wandb.init = breaking
"""


def test_a_sync_that_fails_half_way_says_what_is_left_and_goes_on_there(copied):
    broken = synced(copied, before=BREAKS)
    assert broken.returncode == 1 and "2 of 4 runs" in broken.stdout
    assert "(the line is dead)" in broken.stderr and "2 runs are left (" in broken.stderr
    first = wandb_log.runs(copied)
    again = synced(copied)
    assert again.returncode == 0 and "4 of 4 runs" in again.stdout, again.stderr
    assert len(wandb_log.runs(copied)) == 4 > len(first) == 2  # none was written twice
    idle = synced(copied, before="import wandb; wandb.init = None")
    assert idle.returncode == 0 and "4 of 4 runs, 2 of them cells" in idle.stdout, idle.stderr


def test_a_cell_whose_record_changed_is_uploaded_again(copied):
    assert synced(copied).returncode == 0
    record = next(Ledger(copied / "runs").all("quality"))
    record = replace(record, cost=replace(record.cost, macs=record.cost.macs + 1))
    Ledger(copied / "runs").write("quality", record.key, record)
    done = synced(copied, before=BREAKS.replace("> 2", "> 1"))
    assert done.returncode == 0 and "4 of 4 runs" in done.stdout, done.stderr
    assert len(list((copied / "wandb").glob(f"offline-run-*-{record.key}"))) == 2


@pytest.fixture
def trial(measured, here) -> Path:
    """Such a folder with a ledger that has the reference's statistics, which take longest."""
    shutil.copytree(measured / "runs" / "reference", here / "runs" / "reference")
    return here


def measure(folder: Path, mode: str = "offline") -> run.Result:
    """What `make bench` does with one tiny cell, in this process."""
    from test_reports import settings

    changed = {"device": {"name": "cpu", "precision": "float32", "batch": 10}}
    conf = settings("ddim", 1, 1, 1.0, n=10, **changed)
    cfg = {"ledger": str(folder / "runs"), "tracker": {"name": "wandb", "mode": mode}, "save_images": 0, "grid": None}
    return run.measured(cell_of(conf), conf, OmegaConf.create(cfg), False, 0)


def lacks(said: str, reason: str) -> bool:
    """Whether that is one line with the reason, and how what is missing comes to W&B later."""
    return len(said.splitlines()) == 1 and reason in said and "the ledger has it, `make sync` replays it" in said


def complete(folder: Path, result: run.Result) -> bool:
    ledger = Ledger(folder / "runs")
    return (
        result.failure is None and {r.key for r in ledger.all("quality")} == {result.key} and any(ledger.all("speed"))
    )


def test_a_benchmark_goes_on_where_wandb_is_not_installed(trial, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert complete(trial, measure(trial)) and lacks(
        capsys.readouterr().err, "wandb is not installed: pip install wandb"
    )


def test_a_benchmark_goes_on_without_an_account(trial, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(trial))
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    assert complete(trial, measure(trial, "online")) and lacks(
        capsys.readouterr().err, "not logged in: run `wandb login`"
    )


def test_a_benchmark_goes_on_without_a_network(trial, monkeypatch, capsys):
    given = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_INIT_TIMEOUT": "2"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert complete(trial, measure(trial, "online")) and lacks(capsys.readouterr().err, "W&B could not record ")


def test_a_benchmark_goes_on_where_wandb_cannot_write(trial, monkeypatch, capsys):
    (trial / "file").write_text("no folder")
    monkeypatch.setenv("WANDB_DIR", str(trial / "file"))
    assert complete(trial, measure(trial)) and str(trial / "file") in capsys.readouterr().err


def test_a_benchmark_goes_on_where_wandb_raises_in_the_middle_of_a_run(trial, monkeypatch, capsys):
    import wandb

    def raising(*_, **__):
        raise RuntimeError("no room\nfor tables")

    monkeypatch.setattr(wandb.Table, "__init__", raising)
    result = measure(trial)
    said = capsys.readouterr().err
    assert complete(trial, result) and lacks(said, f"W&B lacks of {result.key}: the table of samples (no room)")
    found = wandb_log.runs(trial)[result.key]  # and what can be written is
    assert "fid_mnist_classifier_n_10" in found["summary"] and any(
        name.startswith("samples-") for name in found["artifacts"]
    )


def test_where_wandb_cannot_be_reached_it_is_tried_once(here, monkeypatch):
    import wandb

    tries = []

    def unreachable(**given):
        tries.append(given["id"])
        raise wandb.errors.CommError("timed out")

    monkeypatch.setattr(wandb, "init", unreachable)
    session = Session(Tracker("wandb"))
    first, second = (track(session, view(ROW | {"key": key})) for key in ("a", "b"))
    assert tries == ["a"] and not first.again and second.again
    assert second == replace_said(first, "a", "b")


def replace_said(trouble, one: str, other: str):
    return trouble._replace(said=trouble.said.replace(f"record {one} ", f"record {other} "), again=True)


def test_without_a_tracker_wandb_is_not_imported():
    code = (
        "import sys; from fastdiff.tracking import Session, Tracker, track_sweep\n"
        "track_sweep(Session(Tracker()), 'none', []); assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_contact_sheet_keeps_every_sample_in_its_place():
    samples = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1) * np.ones((1, 1, 2, 3), np.uint8)
    sheet = contact_sheet(samples, columns=4)
    assert sheet.shape == (6, 12) and sheet[::2, ::3].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]
