"""The time of a cell of a sweep beyond sampling and scoring, and the time of a cell that is already measured."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fastdiff_benchmarks.studies.versus.targets import Target

SWEEP = ["-m", "sampler=ddim", "sampler.steps=2,3", "accelerator.deepcache.interval=1,2,3",
         "accelerator.skip_tuning.rho_bottom=0.9,1.0", "budget.n=250", "tracker.mode=offline"]  # fmt: skip
CELLS = 12


def measure() -> list[Target]:
    """Run a sweep of small cells in another process (W&B offline), then the same sweep again with all cells known."""
    from fastdiff_benchmarks import run

    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "runs"
        command = [sys.executable, run.__file__, *SWEEP, f"ledger={ledger}"]
        first, begun = _timed(command, folder, "estimate: ")
        records = [json.loads(path.read_text()) for path in (ledger / "quality").glob("*.json")]
        work = sum(record["seconds"][name] for record in records for name in ("generate", "score"))
        loads = max(record["seconds"]["load"] for record in records)  # data, network and reference, in the first cell
        again, seen = _timed(command, folder, "already measured")
    cost, known = (first - begun[0] - work - loads) / CELLS, (again - seen[0]) / CELLS
    how = f"{CELLS} cells of 250 images, W&B offline"
    return [
        Target(f"a cell beyond sampling and scoring, {how}", cost, 0.0, cost, 1.5, at_least=False, unit="s",
               note="without start, estimate, loading and reference; with the comparison of images"),
        Target(f"a finished cell, {how}", known, 0.0, known, 0.3, at_least=False, unit="s"),
        Target("start of a sweep until it knows what is to do", seen[0], 0.0, seen[0], 10.0, at_least=False, unit="s"),
    ]  # fmt: skip


def _timed(command: list[str], folder: str, word: str) -> tuple[float, list[float]]:
    """Seconds of a sweep, and the seconds at which it printed `word`."""
    seen, begun, alive = [], time.perf_counter(), os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=folder, env=alive, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for line in process.stdout:
            if word in line:
                seen.append(time.perf_counter() - begun)
    if process.returncode:
        raise RuntimeError(f"the timed sweep ended with exit code {process.returncode}")
    return time.perf_counter() - begun, seen
