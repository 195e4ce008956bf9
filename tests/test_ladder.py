"""Sweeps that climb a ladder of samples: what is measured, kept, dropped and said."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from fastdiff.bench.config import cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.records import Applied, Cost, Quality, Value
from fastdiff.metrics import ImageMetrics
from fastdiff_benchmarks import ladder, run
from fastdiff_benchmarks.entry import settings_of

TINY = ["device=cpu", "device.precision=float32", "device.batch=6", "tracker=none", "sampler.steps=2"]
BOUNDS = [
    "+grid=smoke",
    "metrics=nll",
    "sampler=ddpm_large,analytic_ddpm",
    "score_norms.images=8",
    "accelerator.deepcache.interval=1",
    "accelerator.skip_tuning.rho_bottom=1.0",
]


def sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(Path(run.__file__)), *TINY, "budget.n=24", f"ledger={folder}", *overrides]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)


def quality(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (folder / "quality").glob("*.json")}


@pytest.fixture(scope="module")
def bounds(tmp_path_factory):
    """Bounds of two variances, of one cost and far apart: 12 images, then 24."""
    folder = tmp_path_factory.mktemp("ladder") / "runs"
    done = sweep(folder, *BOUNDS, "budget.ladder=[12]")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_arm_that_is_behind_at_the_first_rung_gets_no_more_images(bounds):
    folder, said = bounds
    records = quality(folder)
    arms = [{r["n"]: r for r in records.values() if r["settings"]["sampler"]["variance"] == variance}
            for variance in ("analytic", "large")]  # fmt: skip
    kept, dropped = sorted(arms, key=len, reverse=True)
    assert set(kept) == {12, 24} and set(dropped) == {12}
    grid = json.loads((folder / "grids" / "smoke.json").read_text())
    assert grid["keys"] == [kept[24]["key"]]
    (fell,) = grid["dropped"]
    assert (fell["rung"], fell["key"]) == (12, dropped[12]["key"])
    assert fell["reason"].startswith(f"behind {kept[12]['key']}, which needs no more MACs, by ")
    assert "smoke: a ladder of 12 and 24 images an arm" in said
    assert "rung 12: 2 arms; 1 promoted, 1 dropped\n" in said
    # bounds keep no blocks: 2 * 12 + 24 images
    assert "smoke: 1 of 2 arms at the end; 48 images of the 48 of a full run, 1.0 times fewer" in said


def test_a_cell_of_a_rung_is_the_ordinary_cell_of_so_many_images(bounds):
    folder, _ = bounds
    for record in quality(folder).values():
        settings = record["settings"]
        assert settings["budget"]["n"] == record["n"] and settings["budget"]["ladder"] is None
        assert cell_of(settings).key == record["key"]


def test_a_finished_ladder_measures_nothing_again_and_ends_the_same(bounds):
    folder, said = bounds
    before = {path: path.stat().st_mtime_ns for path in (folder / "quality").iterdir()}
    grid = (folder / "grids" / "smoke.json").read_text()
    done = sweep(folder, *BOUNDS, "budget.ladder=[12]")
    assert done.returncode == 0 and "2 cells; 2 already measured, 0 to go" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (folder / "quality").iterdir()} == before
    assert (folder / "grids" / "smoke.json").read_text() == grid


@pytest.fixture(scope="module")
def points():
    with initialize_config_module("fastdiff_conf", version_base="1.3"):

        def make(ledger: Path, *overrides: str) -> list:
            given = [*TINY, f"ledger={ledger}", "sampler=ddim", "budget.n=24", "budget.ladder=[12]", *overrides]
            return [compose("config", overrides=[*given, f"accelerator.deepcache.branch={b}",
                                                 "accelerator.deepcache.interval=2"]) for b in (1, 99)]  # fmt: skip

        yield make


def test_blocks_are_kept_from_rung_to_rung_and_a_failed_arm_stops_no_other(points, tmp_path, monkeypatch):
    for module in ("fastdiff.bench.blocks", "fastdiff.bench.kept_images", "fastdiff_benchmarks.ladder"):
        monkeypatch.setattr(f"{module}.BLOCK", 12)
    configs, book = points(tmp_path), Ledger(tmp_path)
    cells = [cell_of(settings_of(cfg)) for cfg in configs]
    for cell, cfg in zip(cells, configs):
        run.measured(ladder.at_rung(cell, 12), ladder.settings_at(cfg, 12), cfg, False, 1)
    (first,) = tmp_path.glob("blocks/*/0000-*.npz")
    made = first.stat().st_mtime_ns
    climbed = ladder.climb(cells, configs, book, force=False)
    blocks = sorted(path.name[:8] for path in first.parent.iterdir())
    assert blocks == ["0000-012", "0001-012"] and first.stat().st_mtime_ns == made
    assert climbed.keys == [ladder.at_rung(cells[0], 24).key]
    failed = ladder.at_rung(cells[1], 12).key
    assert "branch is 99" in climbed.failures[failed]
    assert [(fell["rung"], fell["key"]) for fell in climbed.dropped] == [(12, failed)]
    assert climbed.dropped[0]["reason"].startswith("failed: branch is 99")
    assert climbed.images == 2 * 12 + 12  # the second rung makes its second block only

    record = book.read("quality", climbed.keys[0])
    book.forget(ladder.at_rung(cells[0], 24), None)
    whole = run.measured(ladder.at_rung(cells[0], 24), ladder.settings_at(configs[0], 24), configs[0], True, 1)
    assert book.read("quality", whole.key).values == record.values  # as if there had been no ladder


def test_forcing_measures_every_rung_anew(points, tmp_path, monkeypatch):
    for module in ("fastdiff.bench.blocks", "fastdiff.bench.kept_images", "fastdiff_benchmarks.ladder"):
        monkeypatch.setattr(f"{module}.BLOCK", 12)
    configs, book = points(tmp_path)[:1], Ledger(tmp_path)
    cells = [cell_of(settings_of(configs[0]))]
    times = []
    for force in (False, True):
        run.measured(ladder.at_rung(cells[0], 12), ladder.settings_at(configs[0], 12), configs[0], force, 1)
        (key,) = ladder.climb(cells, configs, book, force).keys
        times.append([path.stat().st_mtime_ns for path in (*book.root.glob("blocks/*/*"), book.path("quality", key))])
    assert len(times[0]) == len(times[1]) == 3 and all(a < b for a, b in zip(*map(sorted, times)))


def test_an_arm_takes_the_sign_of_its_metric_and_nothing_where_it_has_no_interval(tmp_path):
    book = Ledger(tmp_path)
    value, cost = Value("clip_score", 2.0), Cost(1, 1, 7, 7, 7, 7)
    record = Quality("a", {}, {}, Applied("ddim", "ddim"), "DDIM", True, 3, {"clip_score[x,n=3]": value}, cost, "speed")
    book.write_influence("a", {"clip_score": np.array([1.0, -1.0, 0.0])})
    arm = ladder.arm(record, book)
    assert (arm.name, arm.macs, arm.loss, arm.psi.tolist()) == ("a", 7, -2.0, [-1.0, 1.0, 0.0])
    book.write_influence("a", {})
    assert ladder.arm(record, book).psi is None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["budget.ladder=[12,12]"],
            "budget.ladder is [12, 12]; it must increase, from at least 2 to below budget.n = 24",
        ),
        (["budget.ladder=[12,24]"], "budget.ladder is [12, 24]; it must increase"),
        (["budget.ladder=[1,12]"], "budget.ladder is [1, 12]; it must increase, from at least 2"),
        (["budget.ladder=[]"], "budget.ladder is []; numbers of images are needed"),
        (["budget.ladder=[a]"], "budget.ladder is ['a']; numbers of images are needed"),
        (["budget.ladder=12"], "budget.ladder is 12; tuple is needed"),
    ],
)
def test_rungs_that_make_no_ladder_are_refused(points, tmp_path, overrides, said):
    with pytest.raises(ValueError) as refused:
        cell_of(settings_of(points(tmp_path, *overrides)[0]))
    assert str(refused.value).startswith(said)


def test_arms_of_another_seed_or_number_of_images_are_refused(points, tmp_path):
    def cell(*overrides):
        return cell_of(settings_of(points(tmp_path, "budget.n=500", *overrides)[0]))

    cells = [cell("budget.ladder=[250]", f"budget.seed={seed}") for seed in (0, 1)]
    with pytest.raises(ValueError, match="compared with one another, and this sweep varies budget; give it one"):
        ladder.check(cells)
    ladder.check(cells[:1])
    with pytest.raises(ValueError, match="budget.ladder has 200, and images are kept in blocks of 250: give multiples"):
        ladder.check([cell("budget.ladder=[200]")])
    wide = dataclasses.replace(cells[0], metrics=ImageMetrics("inception-v3", "clean_fid", mode="clean"))
    with pytest.raises(ValueError, match="after 250 images no arm of this ladder can fall .* at least 7988 are needed"):
        ladder.check([wide])


def test_a_ladder_is_in_no_key(points, tmp_path):
    climbing, plain = (cell_of(settings_of(points(tmp_path, f"budget.ladder={of}")[0])) for of in ("[12]", "null"))
    assert climbing.key == plain.key == ladder.at_rung(climbing, 24).key


def test_one_cell_has_nothing_to_climb_against(tmp_path):
    done = sweep(tmp_path / "runs", "budget.ladder=[12]")
    assert done.returncode == 2 and not (tmp_path / "runs" / "quality").exists()
    assert done.stderr.startswith("error: budget.ladder compares the cells of a sweep, and this is one cell")


def test_what_fell_is_checked_by_full_runs_where_the_ledger_has_them(tmp_path):
    book, draw = Ledger(tmp_path), np.random.default_rng(0)
    shared = draw.normal(size=400)

    def full(name: str, value: float, macs: int, spread: float = 0.1) -> None:
        psi = shared + spread * draw.normal(size=400)
        values, cost = {"fid[x,n=400]": Value("fid", value)}, Cost(1, 1, macs, macs, macs, macs)
        sampler = Applied("ddim", "ddim")
        book.write("quality", name, Quality(name, {}, {}, sampler, "DDIM", True, 400, values, cost, "speed"))
        book.write_influence(name, {"fid": psi - psi.mean()})

    full("best", 5.0, 20)
    full("cheap", 9.0, 10)
    full("equal", 4.999, 20)
    full("worse", 8.0, 20)
    full("better", 3.0, 20)
    found = ladder.Climbed(keys=["best", "cheap"])
    found.dropped = [{"key": name, "full": name} for name in ("equal", "worse", "better", "unknown")]
    ladder.verify(found, book)
    equal, worse, better, unknown = found.dropped
    assert equal["check"]["against"] == "best" and not equal["check"]["lost"] and equal["check"]["p"] > 0.05
    assert worse["check"]["against"] == "best" and not worse["check"]["lost"] and worse["check"]["difference"] == 3
    assert better["check"]["lost"] and better["check"]["p"] < 1e-6
    assert "check" not in unknown
