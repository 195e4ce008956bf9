"""A ledger beside an earlier one: worse is said, nothing passes silently, and the exit code tells a script."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_reports import settings, write_cell

from fastdiff.bench.ledger import Ledger
from fastdiff.files import read_json, write_json
from fastdiff.report.ledger_comparison import (
    FAILED,
    PASSED,
    UNJUDGED,
    compare_ledgers,
    markdown,
    sentences,
    shown,
    speed,
)
from fastdiff_benchmarks import compare

PIXELS = np.zeros((4, 1, 28, 28), np.uint8)
CELLS = [("ddpm", steps, interval, 1.0) for steps in (10, 25) for interval in (1, 2, 5)]


def ledger_of(root, **moved: float) -> Ledger:
    """A grid of 6 cells, the same at every call but for values moved by key."""
    ledger, draw = Ledger(root), np.random.default_rng(1)
    keys = [write_cell(ledger, settings(*cell), draw, PIXELS) for cell in CELLS]
    ledger.write("grids", "small", {"grid": "small", "keys": keys})
    for name, by in moved.items():
        move(ledger, name, by)
    return ledger


def move(ledger: Ledger, name: str, by: float, seed: int = 5) -> None:
    """Shift a cell's value as if its images were others: all of it, and a little noise in the influence."""
    path = ledger.path("quality", name)
    record = read_json(path)
    (fid,) = (value for value in record["values"].values() if value["metric"] == "fid")
    fid["value"] += by
    write_json(path, record)
    psi = ledger.influence(name)
    ledger.write_influence(name, {m: v + np.random.default_rng(seed).normal(0, 0.5, len(v)) for m, v in psi.items()})


@pytest.fixture
def base(tmp_path):
    return ledger_of(tmp_path / "base")


def keys(ledger: Ledger) -> list[str]:
    return ledger.read("grids", "small")["keys"]


def test_a_ledger_beside_itself_differs_by_exactly_nothing_and_passes(base, tmp_path):
    shutil.copytree(base.root, tmp_path / "new")
    found = compare_ledgers(base, Ledger(tmp_path / "new"))
    assert list(found.cells["key"]) == sorted(keys(base)) and not found.missing and found.fresh == 0
    assert (found.cells[["difference", "difference.low", "difference.high"]] == 0).all(axis=None)
    assert (found.cells["verdict"] == "indistinguishable").all() and found.code == PASSED
    assert (found.cells["speed"] == 1).all() and sentences(found)[-1] == "Quality gate: passed."


def test_a_worse_cell_fails_and_is_named_first_a_better_one_does_not_fail(base, tmp_path):
    worse, better = keys(base)[3], keys(base)[4]
    found = compare_ledgers(base, ledger_of(tmp_path / "new", **{worse: 2.0, better: -2.0}))
    words = dict(zip(found.cells["key"], found.cells["verdict"]))
    assert words[worse] == "worse" and words[better] == "better" and found.code == FAILED
    assert sorted(words.values()) == ["better", *["indistinguishable"] * 4, "worse"]
    line = found.cells.set_index("key").loc[worse]
    assert line["difference"] == pytest.approx(2.0) and line["difference.low"] > 0
    assert shown(found).iloc[0]["cell"] == line["cell"]
    said = " ".join(sentences(found))
    assert f"Worse: {line['cell']} {worse}." in said and said.endswith("Quality gate: FAILED.")
    better_alone = compare_ledgers(base, ledger_of(tmp_path / "other", **{better: -2.0}))
    assert better_alone.code == PASSED


def test_verdicts_are_holms_over_the_cells_that_are_compared(base, tmp_path):
    name = keys(base)[0]
    by = 2.2 * 0.5 / 1000**0.5  # p = 0.03: alone it is worse, as one of six it is not
    new = ledger_of(tmp_path / "new", **dict.fromkeys(keys(base), by))
    every = compare_ledgers(base, new)
    assert (every.cells["verdict"] == "indistinguishable").all()
    base.write("grids", "one", {"grid": "one", "keys": [name]})
    assert compare_ledgers(base, new, "one").cells["verdict"].tolist() == ["worse"]


def test_what_every_cell_loses_a_little_of_fails_though_no_single_one_is_worse(base, tmp_path):
    new = ledger_of(tmp_path / "new")
    for i, name in enumerate(keys(base)):
        move(new, name, 2.0 * 0.5 / 1000**0.5, seed=i)
    found = compare_ledgers(base, new)
    assert (found.cells["verdict"] == "indistinguishable").all() and found.code == FAILED
    value, mean, word = found.together
    assert (
        value.startswith("fid[") and word == "worse" and mean.value == pytest.approx(found.cells["difference"].mean())
    )
    assert mean.se == pytest.approx(0.5 / 6**0.5 / 1000**0.5, rel=0.1)
    assert any(each.startswith("All together: worse, +0.0316 [") for each in sentences(found))
    base.write("grids", "one", {"grid": "one", "keys": keys(base)[:1]})
    assert compare_ledgers(base, new, "one").together is None


def test_a_cell_that_is_missing_in_the_new_ledger_fails_and_is_named(base, tmp_path):
    new, gone = ledger_of(tmp_path / "new"), keys(base)[2]
    new.path("quality", gone).unlink()
    found = compare_ledgers(base, new)
    assert list(found.missing) == [gone] and len(found.cells) == 5 and found.code == FAILED
    assert any("Missing in the new ledger" in each and gone in each for each in sentences(found))
    back = compare_ledgers(new, base)  # more cells than asked for are no fault
    assert back.code == PASSED and back.fresh == 1


def test_without_intervals_only_equal_numbers_pass(tmp_path):
    draw = np.random.default_rng(1)
    base, new = Ledger(tmp_path / "base"), Ledger(tmp_path / "new")
    for ledger, changed in ((base, 8.0), (new, 8.1)):
        for steps, value in ((10, changed), (25, 8.0)):
            write_cell(ledger, settings("ddpm", steps, 1, 1.0), draw, PIXELS, value, unsure=True)
    found = compare_ledgers(base, new)
    assert sorted(found.cells["verdict"]) == ["indistinguishable", UNJUDGED] and found.code == FAILED
    assert any(each.startswith("Not judged") for each in sentences(found))


def test_what_cannot_be_compared_is_one_sentence(base, tmp_path):
    with pytest.raises(ValueError, match=r"no finished cell in .*nowhere; give the folder of a ledger"):
        compare_ledgers(base, Ledger(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"grid 'nosuch' of .* is not one of: small"):
        compare_ledgers(base, base, "nosuch")
    other = Ledger(tmp_path / "other")
    write_cell(other, settings("ddpm", 10, 1, 1.0, n=200), np.random.default_rng(0), PIXELS)
    with pytest.raises(ValueError, match="no cell in common: n is 1000 there and 200 here"):
        compare_ledgers(base, other)


def test_speed_is_judged_on_the_same_machine_alone_and_never_fails(base, tmp_path):
    new = ledger_of(tmp_path / "new")
    for record in new.all("speed"):
        new.write("speed", record.key, replace(record, images_per_s=record.images_per_s / 2))
    found = compare_ledgers(base, new)
    assert found.code == PASSED and speed(found.cells).startswith("Speed: slower, 0.50 [0.50, 0.50]")
    elsewhere = found.cells.assign(same_machine=False)
    assert speed(elsewhere) == "Speed is not judged: no cell was timed on the same machine in both."
    assert (shown(type(found)(elsewhere, {}, 0))["speed"] == "0.50x (other machine)").all()
    assert "too few for an interval" in speed(found.cells.iloc[:3])


def run(*words) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, compare.__file__, *map(str, words)], capture_output=True, text=True)


def test_the_command_writes_a_table_and_its_exit_code_is_the_verdict(base, tmp_path):
    worse = keys(base)[3]
    ledger_of(tmp_path / "new", **{worse: 2.0})
    places = [f"base={base.root}", f"out={tmp_path / 'out'}"]
    done = run(*places, f"new={tmp_path / 'new'}", "cells=small")
    assert done.returncode == FAILED, done.stderr
    assert "Quality gate: FAILED." in done.stdout and "1 worse" in done.stdout
    table = pd.read_csv(tmp_path / "out" / "compare.csv")
    assert list(table["key"]) == keys(base) and table.set_index("key")["verdict"][worse] == "worse"
    text = (tmp_path / "out" / "compare.md").read_text()
    assert text.count("\n| ") == 8 and "Quality gate: FAILED." in text  # a head, a rule and 6 cells
    assert run(*places, f"new={base.root}").returncode == PASSED
    nothing = run(*places, f"new={tmp_path / 'nowhere'}")
    assert nothing.returncode == 2 and nothing.stderr.startswith("error: there is no finished cell in")
    assert run(*places).returncode == 2


def test_markdown_has_a_line_a_cell(base):
    text = markdown(compare_ledgers(base, base), "new against base")
    assert text.startswith("## new against base\n\n- 6 of 6 cells compared: 0 worse, 6 indistinguishable, 0 better")
