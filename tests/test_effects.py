"""What a knob does is said from cells that differ in it alone, and only from what was measured."""

import numpy as np
import pytest
from test_reports import FID, settings, write_cell

from fastdiff.bench.ledger import Ledger
from fastdiff.report.effects import Effects
from fastdiff.report.figures import heat
from fastdiff.report.page import effects_table
from fastdiff.report.rows import Cells
from fastdiff.report.table import table
from fastdiff.statistics import difference

PIXELS = np.zeros((1, 1, 28, 28), np.uint8)


def effects(tmp_path, cells: dict[tuple, float], unsure: bool = False, **knobs) -> tuple[Effects, Ledger, dict]:
    """(sampler, steps, interval, rho) -> fid, as effects; with the ledger, and the key of each cell."""
    ledger, draw = Ledger(tmp_path), np.random.default_rng(0)
    keys = {c: write_cell(ledger, settings(*c, **knobs), draw, PIXELS, fid, 10.0, unsure) for c, fid in cells.items()}
    cells_ = Cells(ledger)
    return Effects(cells_, table(cells_), FID), ledger, keys


SQUARE = {("ddpm", 10, 1, 1.0): 5.0, ("ddpm", 10, 2, 1.0): 8.0, ("ddpm", 10, 1, 0.8): 6.0, ("ddpm", 10, 2, 0.8): 7.0}
FURTHER = {("ddpm", 25, 1, 1.0): 4.0, ("ddpm", 25, 1, 0.8): 7.0}
HIT = "interval 2 at branch 2"


def test_a_main_effect_is_the_mean_over_the_settings_that_differ_in_the_knob_alone(tmp_path):
    found, *_ = effects(tmp_path, SQUARE | FURTHER)
    assert found.main.keys() == {("steps", 25, 10), ("skip_tuning", "off", "rho 0.8 to 1"), ("deepcache", "off", HIT)}
    rho = found.main["skip_tuning", "off", "rho 0.8 to 1"]
    assert rho.found.value == pytest.approx((1 + 3) / 2) and (rho.low, rho.high) == pytest.approx((1, 3))
    assert rho.settings == 2 and rho.cost == pytest.approx(1.0) and found.main["deepcache", "off", HIT].cost < 1


def test_what_a_method_does_beside_another_is_no_part_of_what_it_does_alone(tmp_path):
    """Beside a cache rho 0.8 gains 1, by itself it loses 1: the mean of the two would be nobody's effect."""
    found, *_ = effects(tmp_path, SQUARE)
    alone = {name: (each.found.value, each.settings) for name, each in found.main.items()}
    assert alone == {
        ("skip_tuning", "off", "rho 0.8 to 1"): (pytest.approx(1.0), 1),
        ("deepcache", "off", HIT): (pytest.approx(3.0), 1),
    }


def test_its_interval_is_that_of_the_mean_of_the_influence_differences(tmp_path):
    found, ledger, keys = effects(tmp_path, SQUARE | FURTHER)
    psi = {cell: ledger.influence(key)["fid"] for cell, key in keys.items()}
    ons = [psi["ddpm", steps, 1, 0.8] for steps in (10, 25)]
    offs = [psi["ddpm", steps, 1, 1.0] for steps in (10, 25)]
    expected = difference(6.5, 4.5, sum(ons) / 2, sum(offs) / 2, paired=True)
    assert found.main["skip_tuning", "off", "rho 0.8 to 1"].found == pytest.approx(expected)


def test_an_interaction_is_what_two_knobs_do_together_beyond_what_each_does(tmp_path):
    found, *_ = effects(tmp_path, SQUARE)
    table_ = found.pairs["deepcache", "skip_tuning"]
    assert table_[HIT, "off"][0].found.value == pytest.approx(3.0) and table_[HIT, "off"][1] is None
    effect, both = table_[HIT, "rho 0.8 to 1"]
    assert (effect.found.value, both.found.value) == pytest.approx((1.0, -2.0))
    assert both.found.se > 0 and both.word in ("better", "indistinguishable")


def test_nothing_is_said_where_a_corner_was_not_measured(tmp_path):
    found, *_ = effects(tmp_path, {cell: fid for cell, fid in SQUARE.items() if cell != ("ddpm", 10, 2, 0.8)})
    assert found.pairs == {}
    assert [effect.settings for effect in found.main.values()] == [1, 1]


def test_cells_that_differ_in_more_than_the_knob_are_no_pair(tmp_path):
    found, *_ = effects(tmp_path, {("ddpm", 10, 1, 1.0): 5.0, ("ddpm", 25, 2, 1.0): 8.0, ("ddim", 10, 1, 0.8): 6.0})
    assert found.main == {} and effects_table(found).rows == []


def test_an_analytic_sampler_is_its_baseline_with_another_variance_and_ddim_is_another(tmp_path):
    cells = {("ddpm", 10, 1, 1.0): 5.0, ("analytic_ddpm", 10, 1, 1.0): 4.0, ("analytic_ddim", 10, 1, 1.0): 9.0}
    found, *_ = effects(tmp_path, cells)
    assert {name: effect.found.value for name, effect in found.main.items()} == {
        ("variance", "small", "analytic"): pytest.approx(-1.0)
    }


def test_variance_and_interval_meet_the_steps(tmp_path):
    cells = {(sampler, steps, interval, 1.0): 10.0 - steps / 10 + interval
             for sampler in ("ddpm", "analytic_ddpm") for steps in (10, 25) for interval in (1, 2)}  # fmt: skip
    found, *_ = effects(tmp_path, cells)
    assert found.pairs.keys() == {("deepcache", "steps"), ("deepcache", "variance"), ("variance", "steps")}
    assert ("steps", 25, 10) in found.main and found.main["steps", 25, 10].settings == 1
    drawn = heat(found, "deepcache", "steps").data[0]
    assert list(drawn.x) == ["steps 25", "steps 10"] and "interaction" in drawn.text[0][1]


def test_the_knobs_of_an_accelerator_are_effects_too_where_several_were_varied(tmp_path):
    ledger, draw = Ledger(tmp_path), np.random.default_rng(0)
    for branch, fids in ((1, (5.0, 7.0)), (2, (6.0, 9.0))):
        for interval, fid in zip((2, 3), fids):
            conf = settings("ddpm", 10, interval, 1.0, deepcache={"branch": branch})
            write_cell(ledger, conf, draw, PIXELS, fid, 10.0)
    cells = Cells(ledger)
    found = Effects(cells, table(cells), FID).main
    assert found["interval", 2, 3].found.value == pytest.approx(2.5) and found["interval", 2, 3].settings == 2
    assert found["branch", 1, 2].found.value == pytest.approx(1.5)


def test_without_influence_there_is_a_change_but_no_verdict(tmp_path):
    found, *_ = effects(tmp_path, SQUARE, unsure=True)
    effect = found.main["deepcache", "off", HIT]
    assert effect.found.value == pytest.approx(3.0) and effect.word is None
    fields = [field.text for _, fields in effects_table(found).rows for field in fields]
    assert "+3.00" in fields and not any("[" in text or "better" in text for text in fields)
