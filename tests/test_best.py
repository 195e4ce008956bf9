"""Which cell is best within a budget, how sure that is, and which clocks are not believed."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_reports import BASELINE, CACHED, FID, frame_of, headline, settings, shown_table, write_cell

from fastdiff.bench.ledger import Ledger
from fastdiff.report import page, pareto
from fastdiff.report.page_text import cards, clock_warning
from fastdiff.report.pareto import at_least, by_nfe
from fastdiff.report.table import table
from fastdiff.statistics import Estimate


def known(one, other) -> Estimate:
    """Every difference is known to within 1."""
    change = one[FID] - other[FID]
    return Estimate(change, 0.5, change - 1, change + 1)


def budgets(*rows: tuple) -> dict:
    frame = frame_of(BASELINE, *rows)
    return at_least(frame, FID, frame.iloc[0], known)


# 25 steps of the baseline at 20 images/s are the baseline; MACs go as steps / interval
TWICE = ("t", "ddpm", 12, 1, 12.0, 41.0, "baseline")
BETTER = ("u", "ddpm", 25, 2, 11.0, 44.0, "indistinguishable")
CLOSE = ("v", "ddpm", 25, 3, 11.5, 60.0, "indistinguishable")
FAR = ("w", "ddpm", 25, 5, 30.0, 95.0, "worse")


def test_the_best_of_all_cells_fast_enough_is_chosen_baseline_or_not():
    assert budgets(TWICE, FAR)[2]["images_per_s"].cell["key"] == "t"
    picks = budgets(TWICE, BETTER, CLOSE, FAR)
    assert [picks[bound]["images_per_s"].cell["key"] for bound in (2, 3, 4)] == ["u", "v", "w"]
    assert picks[2]["images_per_s"].baseline["key"] == "t" and picks[4]["images_per_s"].baseline is None


def test_what_no_cell_reaches_is_left_out():
    assert budgets(TWICE).keys() == {2}
    assert budgets().keys() == set()


def test_no_speed_is_believed_beyond_what_the_macs_promise():
    picks = budgets(("u", "ddpm", 20, 1, 9.0, 720.0, "baseline"), TWICE)  # stood still: 36 times, promised 1.25
    assert picks[2]["images_per_s"].cell["key"] == "t" and 3 not in picks


def test_a_cell_that_is_slower_than_its_macs_promise_is_best_by_macs_alone():
    picks = budgets(("u", "ddpm", 25, 5, 11.0, 30.0, "baseline"), TWICE)
    assert picks[2]["images_per_s"].cell["key"] == "t" and picks[2]["macs"].cell["key"] == "u"


def test_how_sure_it_is_counts_the_others_that_are_not_told_apart():
    pick = budgets(TWICE, BETTER, CLOSE, FAR)[2]["images_per_s"]
    assert list(pick.alike["key"]) == ["v", "t"]  # 0.5 and 1 of a standard error of 0.5 away; FAR is worse
    assert pick.words == {"v": "indistinguishable", "t": "indistinguishable", "w": "better", "a": "indistinguishable"}


def test_where_no_interval_is_known_nothing_is_told_apart():
    def unknown(one, other):
        return Estimate(one[FID] - other[FID], math.nan, math.nan, math.nan)

    frame = frame_of(BASELINE, TWICE, FAR)
    pick = at_least(frame, FID, frame.iloc[0], unknown)[2]["images_per_s"]
    assert list(pick.alike["key"]) == ["w"]
    card = cards({2: {"images_per_s": pick}}, FID, frame.iloc[0])[2]["images_per_s"]
    assert any("no interval is known" in said for _, said, _ in card.facts)


def test_equal_calls_are_compared_only_where_there_is_more_than_one_cell():
    frame = frame_of(BASELINE, CACHED, TWICE).assign(nfe=[25, 25, 12])
    picks = by_nfe(frame, FID, known)
    assert picks.keys() == {25} and picks[25].cell["key"] == "a"
    story = SimpleNamespace(column=FID, commands=dict.fromkeys(frame["key"], "typed"))
    ((_, fields),) = page.calls_table(picks, story).rows
    assert {"it is a baseline", "1 of 1 others"} <= {field.text for field in fields}


def test_a_card_says_which_how_sure_how_fast_and_what_to_type():
    frame = frame_of(BASELINE, TWICE, BETTER, FAR)
    found = cards(at_least(frame, FID, frame.iloc[0], known), FID, frame.iloc[0])
    assert all(found[bound] for bound in (2, 3, 4)) and len(found) == 3
    card = found[2]["images_per_s"]
    text = " ".join([card.cell["cell"], *(said for _, said, _ in card.facts)])
    for said in ("ddpm, 25 steps, interval 2 at branch 2", "indistinguishable from the baseline", "2.20x measured",
                 "2.00x promised", "indistinguishable from ddpm, 12 steps"):  # fmt: skip
        assert said in text, said
    assert card.others == 2 and [line["key"] for line in card.alike] == ["t"]


@pytest.mark.parametrize(("measured", "promised", "is_far"), [(1.4, 1, 0), (1.6, 1, 1), (1, 1.4, 0), (1, 1.6, 1)])
def test_a_clock_is_doubted_both_ways_beyond_half_as_much_again(measured, promised, is_far):
    assert pareto.far(measured, promised) == is_far
    assert pareto.sure(measured, promised) == min(measured, promised)


def test_an_unknown_speed_is_neither_doubted_nor_smaller():
    assert not pareto.far(math.nan, 2.0) and pareto.sure(math.nan, 2.0) == 2.0
    assert list(pareto.sure(pd.Series([math.nan, 3.0]), pd.Series([2.0, 1.0]))) == [2.0, 1.0]


def test_a_speed_that_no_mac_promised_is_marked_and_the_reader_is_told(tmp_path):
    ledger, draw, pixels = Ledger(tmp_path), np.random.default_rng(0), np.zeros((1, 1, 28, 28), np.uint8)
    measured = [(1, 20.0), (2, 720.0), (5, 50.0)]
    keys = [write_cell(ledger, settings("ddpm", 25, i, 1.0), draw, pixels, 5.0, per_s) for i, per_s in measured]
    frame = table(ledger, keys)
    fields = [field for _, fields in shown_table(frame).rows for field in fields]
    assert [field.text for field in fields if field.doubted] == ["36.00x ?"]
    orders = [float(field.order) for field in fields if field.order]
    assert orders == pytest.approx(np.minimum(frame["speedup"], frame["promised"]), rel=1e-5)
    assert "Do not trust the clock for 1 cell:" in clock_warning(frame)
    assert list(pareto.front(frame, "fid[mnist-classifier,n=1000]")["key"]) == [keys[2]]  # equal, and believed faster
    assert clock_warning(frame.iloc[[0, 2]]) == ""


def test_the_headline_claims_no_more_than_the_macs_promise_and_is_not_led_by_a_clock_that_stood_still():
    stalled = ("s", "ddpm", 20, 2, 10.2, 720.0, "indistinguishable")  # 36 times by the clock, 2.5 by its MACs
    honest = ("h", "ddpm", 25, 3, 10.3, 58.0, "indistinguishable")  # 2.9 times by both
    assert headline(frame_of(BASELINE, stalled, honest)).startswith("2.90 times the speed")
    said = headline(frame_of(BASELINE, stalled))
    assert said.startswith("2.50 times the speed") and "Do not trust the clock here: it measured 36.00 times" in said
    assert "trust" not in headline(frame_of(BASELINE, CACHED))


@pytest.mark.parametrize(
    ("fid", "words"),
    [(10.4, ", but the equal-cost baseline is as good:"), (11.0, ", but the equal-cost baseline may be as good:"),
     (12.0, ", and the equal-cost baseline is worse:"), (None, ", but no baseline as fast has been measured:")],
)  # fmt: skip
def test_no_headline_praises_what_the_equal_cost_baseline_gives_too(fid, words):
    rivals = [("e", "ddim", 15, 1, fid, 31.0, "baseline")] if fid else []
    (bold,) = re.findall(r"^.*?:", headline(frame_of(BASELINE, CACHED, *rivals)))[:1]
    assert bold.endswith(words)
