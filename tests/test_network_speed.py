"""fastdiff speed: the network of the settings by interval and by batch size."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from fastdiff_benchmarks import speed
from fastdiff_benchmarks.speed import store


def run(tmp_path, *words: str) -> subprocess.CompletedProcess:
    tiny = ["seconds=0", "repeats=1", "device=cpu", "device.precision=float32", "device.batch=2", "sampler.steps=2"]
    folders = [f"out={tmp_path / 'speed'}", f"ledger={tmp_path / 'runs'}"]
    command = [sys.executable, speed.__file__, *tiny, *folders, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


def test_a_tiny_run_writes_a_row_per_interval_and_the_conditions(tmp_path):
    done = run(tmp_path, "intervals=[2]")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "speed"
    rows = pd.read_csv(out / "own.csv")
    assert rows["arm"].tolist() == ["interval 1", "interval 2"] and rows["promised"].iloc[1] > 1
    arms = pd.read_csv(out / "arms.csv")
    assert {"part", "arm", "median_ms", "p90_ms", "speedup", "first_call_s", "settled"} <= set(arms)
    conditions = json.loads((out / "conditions.json").read_text())["own"]
    assert {"threads", "cores", "load_average", "busy"} <= set(conditions)
    assert conditions["settings"]["device"]["batch"] == 2
    assert "promised" in done.stdout and {path.name for path in out.iterdir()} >= {"own.csv", "arms.csv"}


def test_a_part_that_is_timed_again_replaces_its_own_rows_alone(tmp_path):
    row = {"target": "x", "ratio": 2.0}
    for part, more in (("cells", {}), ("loop", {"arms": [{"arm": "a"}]}), ("cells", {"arms": [{"arm": "b"}]})):
        store(
            tmp_path,
            part,
            {"targets": [row | {"note": f"{len(more)}"}], **more},
            {"threads": len(more)},
            ["loop", "cells"],
        )
    targets, arms = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("targets", "arms"))
    assert targets[["part", "note"]].values.tolist() == [["loop", 1], ["cells", 1]]  # in the order of the menu
    assert arms[["part", "arm"]].values.tolist() == [["loop", "a"], ["cells", "b"]]
    assert json.loads((tmp_path / "conditions.json").read_text()) == {"cells": {"threads": 1}, "loop": {"threads": 1}}


def test_rows_of_a_part_that_the_menu_does_not_know_stay(tmp_path):
    for part in ("loop", "own", "own"):
        store(tmp_path, part, {"arms": [{"arm": part}]}, {}, ["own", "batch"])
    assert pd.read_csv(tmp_path / "arms.csv")["part"].tolist() == ["loop", "own"]


def test_the_best_batch_is_searched_by_doubling_and_memory_that_ends_is_no_failure(monkeypatch, capsys):
    from types import SimpleNamespace

    from fastdiff import profiling
    from fastdiff.bench import config as settings
    from fastdiff_benchmarks import network_speed

    speeds = {1: 10.0, 2: 19.0, 4: 30.0, 8: 30.1}

    def timed(cell, batch, options):
        if batch > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return speeds[batch], None

    monkeypatch.setattr(network_speed, "_images_per_s", timed)
    monkeypatch.setattr(profiling, "peak_mb", lambda call, device: 1.0)
    monkeypatch.setattr(settings, "cell_of", lambda conf: SimpleNamespace(device=SimpleNamespace(name="cpu")))
    most = 8
    found = network_speed.by_batch({}, {})
    assert [line["batch"] for line in found] == [1, 2, 4, 8] and found[3]["best"] == "<- device.batch"
    most = 2
    found = network_speed.by_batch({}, {})
    assert [line["batch"] for line in found] == [1, 2] and found[1]["best"]
    assert "batch 4: out of memory; 2 is the largest that fits" in capsys.readouterr().out
    most = 0
    with pytest.raises(ValueError, match="not even a batch of one image fits"):
        network_speed.by_batch({}, {})


def test_an_unknown_part_gives_the_menu(tmp_path):
    done = run(tmp_path, "parts=[nosuch]")
    assert done.returncode == 2 and done.stderr == "error: part 'nosuch' is not one of: own, batch\n"
