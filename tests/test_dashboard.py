"""The W&B workspace shows what runs have, and is there without an account."""

import json
import re
import subprocess
import sys

import pytest
from test_gate import ledger_of

from fastdiff.report.rows import Cells
from fastdiff.report.table import lines
from fastdiff.tracking import CURVES, Tracker, dashboard, summary_name
from fastdiff.tracking.cells import numbers

pytest.importorskip("wandb_workspaces", reason="not installed: pip install 'fastdiff-bench[dashboards]'")
FID = "fid_mnist_classifier_n_1000"


def test_every_panel_shows_what_a_cells_run_has(tmp_path):
    ledger = ledger_of(tmp_path / "runs")
    cells = Cells(ledger)
    (line,) = lines(cells, [ledger.read("grids", "small")["keys"][1]])
    text = dashboard.as_json(dashboard.workspace(Tracker("wandb"), FID, cells))
    keys = {f"summary:{name}" for name in numbers(line, cells.knobs)} | {f"config:{name}.value" for name in cells.knobs}
    asked = set(re.findall(r'"((?:summary|config):[\w.]+)"', text))
    assert {f"summary:{FID}", "summary:images_per_s", "config:interval.value"} <= asked <= keys
    series = set(re.findall(r'"(curve/\w+)"', text))
    assert series == {"curve/step", *(f"curve/{name}" for name in CURVES)}


def test_there_is_a_section_for_each_question_and_each_accelerator(tmp_path):
    cells = Cells(ledger_of(tmp_path / "runs"))
    model = json.loads(dashboard.as_json(dashboard.workspace(Tracker("wandb", project="p"), FID, cells)))
    sections = model["spec"]["section"]["panelBankConfig"]["sections"]
    kinds = {section["name"]: [panel["viewType"] for panel in section["panels"]] for section in sections}
    assert kinds["Quality against speed"] == ["Scatter Plot", "Scatter Plot"]
    assert kinds["Knobs"] == ["Parallel Coordinates Plot"] and kinds["Cells beside one another"] == ["Run Comparer"]
    assert kinds["Samples on shared noise"] == ["Media Browser", "Weave"]
    assert kinds["deepcache"] == ["Scatter Plot"] and "skip_tuning" not in kinds and model["project"] == "p"


def make(root, before: str = "") -> subprocess.CompletedProcess:
    """make dashboard where nobody is logged in."""
    code = f"import sys; {before}\nfrom fastdiff_benchmarks.dashboard import main; main()"
    words = [f"ledger={root / 'runs'}", f"out={root / 'report'}"]
    where = {"HOME": str(root), "PATH": "", "PYTHONPATH": ":".join(filter(None, sys.path))}
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=where, cwd=root)


def test_without_an_account_the_workspace_is_a_file_and_the_report_needs_a_login(tmp_path):
    ledger_of(tmp_path / "runs")
    done = make(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"(the workspace; {dashboard.LOGIN})")
    assert FID in (tmp_path / "report" / "workspace.json").read_text()
    assert summary_name("fid[mnist-classifier,n=1000]") == FID


def test_what_is_missing_is_one_sentence(tmp_path):
    empty = make(tmp_path)
    assert empty.returncode == 2 and empty.stderr.startswith("error: there is no finished cell in")
    ledger_of(tmp_path / "runs")
    done = make(tmp_path, "sys.modules['wandb_workspaces'] = None")
    assert done.returncode == 2 and "pip install 'fastdiff-bench[dashboards]'" in done.stderr
