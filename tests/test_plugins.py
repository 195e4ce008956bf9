"""A third party's module and one YAML file each: accelerators, a sampler, a network family, a feature extractor.

CONTRIBUTING.md has most of the code. All of it is written outside the repository and run as a user would run it.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import wandb_log
from safetensors.torch import save_file

from fastdiff.bench.ledger import Ledger
from fastdiff.report.rows import Cells
from fastdiff.report.table import table
from fastdiff_benchmarks import run
from fastdiff_benchmarks.commands import commands

ROOT = Path(__file__).parent.parent
FENCED = re.compile(r"`((?:my_\w+\.py|my/[\w/]+\.yaml))`:\n\n```\w*\n(.*?)```", re.S)
TINY = ["budget.n=10", "device=cpu", "device.batch=10", "device.precision=float32", "sampler.steps=4"]

INTERVAL = '''
"""Guidance at middle noise only; elsewhere the conditional half alone."""

from dataclasses import dataclass
from typing import ClassVar

from fastdiff.accelerators import Accelerator, register


@register
@dataclass(frozen=True)
class GuidanceInterval(Accelerator):
    name: ClassVar[str] = "guidance_interval"

    low: float = 0.0
    high: float = 1.0

    def guidance(self, trajectory, call):
        return trajectory.guidance if self.low <= trajectory.levels[call] <= self.high else 1.0
'''

FORECAST = '''
"""Every `interval`-th call runs; the others extrapolate what the last two kept, linearly in the call."""

from dataclasses import dataclass
from typing import ClassVar

from fastdiff.accelerators import RUN, Accelerator, register


@register
@dataclass(frozen=True)
class Forecast(Accelerator):
    name: ClassVar[str] = "forecast"

    interval: int = 1
    branch: int = 0
    order: int = 1

    @property
    def off(self):
        return self.interval == 1

    def sources(self, trajectory):
        found = []
        for call in range(len(trajectory.sigmas)):
            last = call - call % self.interval
            r = (call - last) / self.interval
            two = ((last - self.interval, -r), (last, 1 + r))
            found.append(RUN if call == last else ((last, 1.0),) if last == 0 else two)
        return found
'''

FILES = {
    "my_interval.py": INTERVAL,
    "my_forecast.py": FORECAST,
    "my/accelerator/guidance_interval.yaml": "defaults: [none, _self_]\nname: guidance_interval\n"
    "guidance_interval: {low: 0.3, high: 0.8}\n",
    "my/accelerator/forecast.yaml": "defaults: [none, _self_]\nname: forecast\nforecast: {interval: 2, branch: 2}\n",
}
ACCELERATORS = "plugins=[my_freeu,my_interval,my_forecast]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A user's folder, with the files of CONTRIBUTING.md and those above, and weights for the network."""
    folder = tmp_path_factory.mktemp("third party")
    for name, text in (dict(FENCED.findall((ROOT / "CONTRIBUTING.md").read_text())) | FILES).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    torch.manual_seed(0)
    shapes = {"time": (32, 1), "first": (32, 1, 3, 3), "last": (1, 32, 3, 3)}
    weights = {f"{name}.weight": torch.randn(shape) * 0.1 for name, shape in shapes.items()}
    weights |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    save_file(weights, folder / "my/small.safetensors")
    return folder


def call(folder: Path, *words: str) -> str:
    command = [sys.executable, str(Path(run.__file__)), "--config-dir", "my", *words, *TINY]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def swept(folder) -> Cells:
    """Every accelerator alone and beside Skip-Tuning, and beside DeepCache where it has no cache of its own."""
    words = [ACCELERATORS, "sampler=ddim", "guidance=2.0", "ledger=runs", "tracker=none"]
    tuned = "accelerator.skip_tuning.rho_bottom=0.8,1"
    call(folder, "-m", *words, "accelerator=none,freeu,guidance_interval,forecast", tuned)
    call(folder, "-m", *words, "accelerator=freeu,guidance_interval", tuned, "accelerator.deepcache.interval=2")
    call(folder, "-m", *words, "sampler=unipc", "accelerator=none,freeu")
    return Cells(Ledger(folder / "runs"))


def test_every_file_of_the_guide_is_there(folder):
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in (".py", ".yaml")}
    assert {"my_freeu.py", "my_ab2.py", "my_small.py", "my_means.py", "my/accelerator/freeu.yaml",
            "my/sampler/ab2.yaml", "my/model/small.yaml", "my/metrics/means.yaml"} <= found  # fmt: skip


def test_every_cell_has_a_key_of_its_own_and_only_cells_without_accelerators_are_baselines(swept):
    assert len(swept.records) == 14 and not list(swept.ledger.all("failed"))
    for record in swept.records.values():
        assert record.baseline == (not record.accelerators)
    assert sum(record.baseline for record in swept.records.values()) == 2  # ddim's and unipc's


def test_knobs_are_columns_with_a_prefix_where_names_collide_and_the_words_tell_what_is_at_work(swept):
    frame = table(swept)
    assert {"b", "s", "depth", "low", "high", "interval", "branch", "order"} <= set(frame)
    assert {"forecast.interval", "forecast.branch", "forecast.order"} <= set(frame)
    words = set(frame["cell"])
    assert any(each.endswith("freeu b 1.2, s 0.9") for each in words)
    assert any("guidance_interval low 0.3 high 0.8" in each and "interval 2 at branch 2" in each for each in words)


def test_cost_is_counted_call_by_call(swept):
    def cost(*names: str):
        of = [r for r in swept.records.values() if {a.name for a in r.accelerators} == {*names} and r.solver == "ddim"]
        return of[0].cost

    plain, interval, forecast = cost(), cost("guidance_interval"), cost("forecast")
    assert plain.nfe == 8 and plain.macs == 8 * plain.full_call_macs
    assert plain.nfe / 2 < interval.nfe < plain.nfe and interval.macs == interval.nfe * plain.full_call_macs
    assert forecast.full_calls == 4 and forecast.macs == 4 * (plain.full_call_macs + forecast.shallow_call_macs)


def test_the_printed_command_reproduces_the_key(swept, folder):
    for names in (("freeu", "skip_tuning"), ("guidance_interval",), ("forecast",)):
        record = next(r for r in swept.records.values() if sorted(a.name for a in r.accelerators) == sorted(names))
        words = shlex.split(commands([record])[record.key])
        words = [sys.executable, str(Path(run.__file__)), *words[2:], "ledger=runs", "tracker=none"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        assert "(already measured)" in done.stdout, f"{words}: {done.stdout}{done.stderr}"


def test_the_page_and_wandb_show_what_they_never_heard_of(swept, folder):
    words = ["ledger=runs", "out=page"]
    subprocess.run([sys.executable, str(ROOT / "benchmarks/report.py"), *words], cwd=folder, check=True)
    page = (folder / "page/index.html").read_text()
    assert "freeu b 1.2, s 0.9" in page and "guidance_interval low 0.3 high 0.8" in page
    call(folder, ACCELERATORS, "accelerator=freeu", "tracker=wandb", "ledger=other")
    (seen,) = (each for each in wandb_log.runs(folder).values() if each["job_type"] == "cell")
    assert seen["config"]["b"] == 1.2 and seen["config"]["s"] == 0.9
    assert "freeu" in seen["config"]["command"] and "baseline" not in seen["tags"]


def test_a_sampler_a_network_and_an_extractor_of_a_third_party_work_together(folder):
    call(folder, "plugins=[my_ab2,my_small,my_means]", "sampler=ab2", "model=small", "metrics=means", "ledger=third",
         "accelerator.deepcache.interval=2", "accelerator.deepcache.branch=0", "tracker=none")  # fmt: skip
    (path,) = (folder / "third/quality").glob("*.json")
    record = json.loads(path.read_text())
    assert record["solver"] == "ab2" and record["cost"]["nfe"] == 2 and record["identity"]["generation"]["sampler"]
    assert any(name.startswith("fid[means,") for name in record["values"])


def test_a_plug_in_that_is_not_loaded_is_named_with_the_menu(folder):
    command = [sys.executable, str(Path(run.__file__)), "--config-dir", "my", *TINY, "accelerator=freeu"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert "accelerator 'freeu' is not one of: deepcache, skip_tuning" in done.stderr and "plugins=" in done.stderr
