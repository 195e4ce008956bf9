"""The report says what the ledger says, on one page that needs nothing but itself."""

import html.parser
import json
import re
import shlex
import subprocess
import sys
from dataclasses import asdict
from itertools import product
from types import SimpleNamespace

import fastdiff_conf
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from fastdiff.analytic import ScoreNorms
from fastdiff.bench.cell import key
from fastdiff.bench.config import GROUPS, cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.records import Applied, Cost, Failed, Quality, Speed, Value
from fastdiff.bench.run_cell import applied
from fastdiff.files import write_json
from fastdiff.report import comparisons, figures, page, page_text, pareto
from fastdiff.report.comparisons import compare_with_baselines
from fastdiff.report.effects import Effects
from fastdiff.report.rows import Cells, knob_columns
from fastdiff.report.table import csv, table, text, varying
from fastdiff.statistics import Estimate
from fastdiff_benchmarks import report

FID = "fid[mnist-classifier,n=1000]"
PLAIN = {"ddpm": 60.0, "ddim": 40.0, "analytic_ddpm": 38.0, "analytic_ddim": 36.0}  # fid = 8 + this / steps ** 0.9
PLANS = ("skip_tuning", "deepcache")


def card(group: str, name: str) -> dict:
    return fastdiff_conf.member(group, name)


def settings(sampler: str, steps: int, interval: int, rho: float, /, n: int = 1000, **changed: dict) -> dict:
    """What benchmarks.entry.settings_of gives for a cell; changed: knobs by the name of their sampler or plan."""
    groups = {"model": "mnist", "data": "mnist10k", "metrics": "mnist_classifier", "budget": "bench", "device": "auto"}
    conf = {group: card(group, name) for group, name in groups.items()} | {"guidance": 1.0}
    conf |= {"score_norms": asdict(ScoreNorms())}
    conf |= {"sampler": card("sampler", sampler) | {"steps": steps}, "accelerator": card("accelerator", "none")}
    conf["accelerator"]["deepcache"]["interval"] = interval
    conf["accelerator"]["skip_tuning"]["rho_bottom"] = rho
    conf["budget"]["n"] = n
    for name, knobs in changed.items():
        (conf["accelerator"] if name in PLANS else conf)[name] |= knobs
    return conf


def write_cell(
    ledger: Ledger, conf: dict, draw: np.random.Generator, pixels: np.ndarray, value=None, per_s=None, unsure=False
) -> str:
    """Records in the shape of bench.run_cell, with plausible numbers or those given; returns the key.

    unsure: no influence of the images is known, as with too few of them.
    """
    sampler, n, cell = conf["sampler"], conf["budget"]["n"], cell_of(conf, resolve=False)
    interval, rho = conf["accelerator"]["deepcache"]["interval"], conf["accelerator"]["skip_tuning"]["rho_bottom"]
    steps, analytic = sampler["steps"], sampler.get("variance") == "analytic"
    norms = {"score_norms": {"images": 256}} if analytic else {}
    used = {"accelerators": [[member.name, member.identity()] for member in cell.accelerators]}
    generation = {"sampler": sampler, "seed": conf["budget"]["seed"], "model": conf["model"], **used, **norms}
    name, speed_name = key({"generation": generation, "n": n}), key({"generation": generation, "device": "test"})
    full_calls = steps if cell.cache is None else sum(cell.cache.full_calls(steps))
    usual = 8 + PLAIN.get(sampler["name"], 20.0) / steps**0.9 + (interval - 1) * 30 / steps**1.2
    usual += (1 - rho) * (30 - 60 * (interval > 1)) / steps**0.7 + draw.normal(0, 0.1)
    value = value or usual
    psi = value * (2 * np.random.default_rng(0).normal(size=n) + draw.normal(size=n)) / 2
    se = psi.std() / n**0.5
    fid = Value("fid", value, se, value - 1.96 * se, value + 1.96 * se)
    values = {f"fid[mnist-classifier,n={n}]": fid}
    values[f"is[mnist-classifier,splits=10,n={n}]"] = Value("is", 9.5, 0.02, 9.46, 9.54)
    macs = 156_451_392 * full_calls + 70_000_000 * (steps - full_calls)
    cost = Cost(steps, full_calls, macs, macs * 99 // 100, 156_451_392, 70_000_000)
    versions = {"fastdiff": "0.1.0", "python": "3.11.7", "numpy": "2.4.6", "torch": "2.14.1"}
    made = {
        "made": "2026-11-24T05:57:27+00:00",
        "versions": versions,
        "git_commit": "0123456789abcdef",
        "git_dirty": True,
    }
    where = {"device": "Test CPU, 2 cores", "precision": "bfloat16", "made": made}
    per_s = per_s or 8.2e10 / macs * draw.normal(1, 0.01)
    ledger.write("speed", speed_name, Speed(speed_name, per_s, 5e4 / per_s, batches=3, **where))
    ledger.write_influence(name, {"is": psi} if unsure else {"fid": psi, "is": psi})
    ledger.write_samples(key(generation), pixels)
    identity = {"generation": generation, "n": n, "metrics": {"extractor": "mnist-classifier", "sha256": "0" * 64}}
    at_work = applied(cell)
    record = Quality(name, identity, conf, **at_work, n=n, values=values, cost=cost, speed_key=speed_name, **where)
    ledger.write("quality", name, record)
    return name


def fill(root, pixels: np.ndarray | None = None) -> Ledger:
    """Two grids of conf/grid, default (24 cells) and steps (12 cells), and one failed cell."""
    ledger, draw = Ledger(root), np.random.default_rng(1)
    pixels = draw.integers(0, 256, (64, 1, 28, 28), dtype=np.uint8) if pixels is None else pixels
    default = product(("ddpm", "analytic_ddpm"), (10, 25), (1, 2, 5), (1.0, 0.8))
    grids = {"default": list(default), "steps": list(product(PLAIN, (5, 8, 15), (1,), (1.0,)))}
    for grid, arms in grids.items():
        keys = [write_cell(ledger, settings(*arm), draw, pixels) for arm in arms]
        ledger.write("grids", grid, {"grid": grid, "keys": keys})
    return ledger


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A ledger of two grids, one cell of another protocol and a failure; and the report made from it."""
    root = tmp_path_factory.mktemp("report")
    ledger = fill(root / "runs")
    write_cell(
        ledger, settings("ddim", 7, 1, 1.0, n=200), np.random.default_rng(0), np.zeros((10, 1, 28, 28), np.uint8)
    )
    conf = settings("ddpm", 50, 1, 1.0)
    compare_with_baselines(ledger)  # as every sweep does at its end
    ledger.write("failed", "f" * 16, Failed("f" * 16, "<out> of memory", conf))
    return ledger, root / "report", make(root)


def make(root, *overrides: str) -> subprocess.CompletedProcess:
    """benchmarks/report.py in a process of its own; its last line says whether torch came along."""
    code = "import sys; from fastdiff_benchmarks.report import main; main(); print('torch' in sys.modules)"
    words = [f"ledger={root / 'runs'}", f"out={root / 'report'}", *overrides]
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)


class Balance(html.parser.HTMLParser):
    """Collects what is wrong with the nesting of tags, and the addresses a page refers to."""

    VOID = {"meta", "img", "br", "wbr"}

    def __init__(self, text: str):
        super().__init__()
        self.open, self.wrong, self.addresses, self.ids = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        self.open += [] if tag in self.VOID else [tag]

    def handle_startendtag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))


def test_the_report_needs_no_torch_and_ends_with_the_path_of_its_page(made):
    _, out, done = made
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"report: {out / 'index.html'}", "False"]
    assert "default: 24 of 24 cells" in done.stdout and "steps: 12 of 12 cells" in done.stdout
    assert {path.name for path in out.iterdir()} == {
        "index.html", "default.csv", "steps.csv", "single.csv", "pareto.png", "pareto.svg", "samples.png",
    }  # fmt: skip


def test_a_grids_csv_has_every_knob_and_every_number(made):
    ledger, out, _ = made
    found = pd.read_csv(out / "default.csv", dtype={"key": str})
    costs = {"images_per_s", "speedup", "nfe", "full_calls", "macs", "change", "verdict", "skip_rate", "promised"}
    cells = Cells(ledger)
    knobs = {*cells.knobs} - {"part", "compile", "memory_format"}  # no cell of the grid has these
    assert {"interval", "branch", "rho_bottom", "score_norms.images", "steps", "eta", "seed"} <= knobs
    words = {"key", "n", "cell", "baseline", "accelerators"}
    assert {*words, *knobs, FID, f"{FID}.low", f"{FID}.high", *costs, *comparisons.EQUAL_COST} <= set(found)
    assert not set(found) & {"part", "compile", "memory_format"}
    keys = ledger.read("grids", "default")["keys"]
    assert list(found["key"]) == keys
    cached = found[(found["interval"] == 2) & (found["steps"] == 10)]
    assert (cached["skip_rate"] == 0.5).all()
    assert np.allclose(cached["promised"], 2 * 156_451_392 / (156_451_392 + 70_000_000), rtol=1e-5)
    assert (found["promised"][found["interval"].isna()] == 1).all()
    assert "peak_mb" not in found  # these speed records have none
    assert np.allclose(found[FID], table(ledger, keys)[FID], rtol=1e-5)


def test_the_page_is_whole_and_refers_to_nothing_outside(made):
    page = Balance((made[1] / "index.html").read_text())
    assert page.wrong == [] and page.open == []
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_the_page_names_every_cell_and_every_failure(made):
    ledger, out, _ = made
    text = (out / "index.html").read_text()
    (facts,) = re.findall(r'<script type="application/json" id="facts">(.*?)</script>', text, re.S)
    pareto = json.loads(facts)["pareto"]["images_per_s"][FID]["data"]
    drawn = {key for trace in pareto for key in trace.get("customdata", [])}
    for record in ledger.all("quality"):
        assert f'id="cell-{record.key}"' in text
        assert (record.key in drawn) == (record.n == 1000)  # one protocol a figure
    assert "&lt;out&gt; of memory" in text and "python benchmarks/run.py sampler.steps=50" in text
    for word in ('<html lang="en">', "<main>", "0123456789abcdef with uncommitted changes", "Test CPU, 2 cores", FID):
        assert word in text
    assert text.count("<h1>") == 1


def test_the_page_has_a_table_of_further_measures_and_says_what_they_are(made):
    page = (made[1] / "index.html").read_text()
    part = page[page.index(">More measures of") : page.index(">What the numbers are</h2>")]
    assert part.count("<table") == 3 and "psnr<wbr>[baseline,<wbr>n=64]" in part and "<code>recall</code>" in part
    heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', part[part.index("default: more") :])
    assert any(head.startswith("is<wbr>[") for head in heads) and not any(head.startswith("fid") for head in heads)


def test_equal_ledgers_give_equal_pages(made):
    ledger, out, _ = made
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    make(out.parent)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


def test_an_unknown_grid_gives_the_menu(made):
    done = make(made[1].parent, "grids=[defaults]")
    assert done.returncode == 2
    assert "grid 'defaults' is not one of: default, steps" in done.stderr


def test_an_empty_ledger_gives_one_sentence_and_what_to_run(tmp_path):
    done = make(tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "no finished cell" in done.stderr and "make bench" in done.stderr
    assert not (tmp_path / "report").exists()


def test_a_rows_command_brings_back_its_settings(made):
    ledger, every = made[0], GROUPS
    odd = settings("analytic_ddim", 7, 3, 0.65, n=123) | {"guidance": 2.0, "metrics": card("metrics", "clean_fid")}
    odd["model"]["schedule"]["beta_end"], odd["data"]["path"] = 1e-5, "it's a file, with (odd) name.npz"
    odd["score_norms"]["file"], odd["device"]["threads"] = "norms/a b.npy", 2
    tuned = {"over_level": "window", "window": [0.2, 0.6], "index": "from_one", "apply": "deep"}
    listed = {"schedule": "list", "full": [0, 3, 7], "protect_last": 2}
    new = settings("heun", 7, 1, 0.65, sampler={"churn": 40.0, "churn_max": 50.0}, skip_tuning=tuned, deepcache=listed)
    records = [Failed("odd", "", odd), Failed("new", "", new), *ledger.all("quality")]
    commands = report.commands(records)
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        for record in records[:9]:
            words = shlex.split(commands[record.key])[2:]
            conf = OmegaConf.to_container(compose("config", overrides=words))
            assert {name: conf[name] for name in every} == record.settings, words


def frame_of(*rows: tuple) -> pd.DataFrame:
    """(key, sampler, steps, interval, fid, images_per_s, verdict) -> what the headline reads of a table."""
    frame = pd.DataFrame(rows, columns=["key", "sampler", "steps", "interval", FID, "images_per_s", "verdict"])
    cost = frame["steps"] / frame["interval"]  # what is cached costs less
    cached = frame["interval"] > 1
    frame = frame.assign(n=1000, macs=cost, nfe=frame["steps"], equal_cost_verdict=None, baseline=~cached)
    texts = [f", interval {interval} at branch 2" if interval > 1 else "" for interval in frame["interval"]]
    cells = [f"{s}, {n} steps{text}" for s, n, text in zip(frame["sampler"], frame["steps"], texts)]
    frame["cell"], frame["accelerators"] = cells, ["deepcache" if each else "" for each in cached]
    return frame.assign(speedup=np.nan, promised=np.nan, device="Test CPU", precision="float32", batch=1)


def headline(frame: pd.DataFrame) -> str:
    """The headline against the first cell, every difference known to within 1."""

    def compare(one, other):
        change = one[FID] - other[FID]
        return Estimate(change, 0.5, change - 1, change + 1)

    said = page_text.headline(frame, FID, frame.iloc[0], compare, dict.fromkeys(frame["key"], "typed"))
    return " ".join(filter(None, [said.lede, said.doubt, *said.notes]))


BASELINE = ("a", "ddpm", 25, 1, 10.0, 20.0, "baseline")
CACHED = ("b", "ddpm", 25, 2, 10.5, 30.0, "indistinguishable")
FASTER_BUT_WORSE = ("c", "ddpm", 25, 5, 14.0, 40.0, "worse")


def test_the_headline_is_the_fastest_cell_that_loses_nothing():
    said = headline(frame_of(BASELINE, CACHED, FASTER_BUT_WORSE))
    assert said.startswith("1.50 times the speed of the baseline, at indistinguishable quality, but no baseline")
    assert "ddpm, 25 steps, interval 2 at branch 2: fid 10.50 at 30.0 images per second" in said
    assert headline(frame_of(BASELINE, FASTER_BUT_WORSE)).startswith("Nothing measured here is faster")


def test_a_cell_that_is_worse_than_the_baseline_is_no_headline_whatever_its_own_baseline_does():
    fewer = ("d", "ddpm", 5, 2, 15.0, 90.0, "indistinguishable")
    assert headline(frame_of(BASELINE, CACHED, fewer)).startswith("1.50 times")


def test_a_cell_that_costs_what_the_baseline_costs_is_no_headline_however_fast_the_machine_was_then():
    drifted = frame_of(BASELINE, ("t", "ddpm", 25, 1, 9.9, 30.0, "indistinguishable")).assign(baseline=[True, False])
    assert headline(drifted).startswith("Nothing measured here is faster than the baseline without a measured loss.")


def test_a_cell_whose_own_interval_shows_a_loss_is_no_headline_though_its_adjusted_verdict_does_not():
    frame = frame_of(BASELINE, CACHED).assign(**{"change": [None, 0.5], "change.low": [None, 0.1]})
    assert headline(frame.assign(**{"change.high": [None, 0.9]})).startswith("Nothing measured here is faster")
    frame["change.low"] = [None, -0.1]
    assert headline(frame.assign(**{"change.high": [None, 1.1]})).startswith("1.50 times")


@pytest.mark.parametrize(
    ("fid", "words"),
    [(10.4, "but the equal-cost baseline is as good:"), (11.0, "but the equal-cost baseline may be as good:"),
     (12.0, "and the equal-cost baseline is worse:"), (None, "but no baseline as fast has been measured:")],
)  # fmt: skip
def test_the_headline_says_what_the_equal_cost_baseline_gives(fid, words):
    rivals = [("e", "ddim", 15, 1, fid, 31.0, "baseline")] if fid else []
    assert words in headline(frame_of(BASELINE, CACHED, *rivals))


def test_what_is_praised_is_told_from_the_others_by_holm():
    """Differences of 2.2 standard errors: alone they would be better and worse, among several they are not."""
    near = [
        ("b", "ddpm", 25, 2, 8.9, 30.0, "better"),
        *(("c" + str(i), "ddpm", 25, 3, 9.0, 29.0, "better") for i in range(3)),
    ]
    assert "at better quality" in headline(frame_of(BASELINE, near[0]))
    assert "at indistinguishable quality" in headline(frame_of(BASELINE, *near))
    rivals_ = [("e" + str(i), "ddim", 12, 1, 11.6, 31.0, "baseline") for i in range(3)]
    assert "and the equal-cost baseline is worse" in headline(frame_of(BASELINE, CACHED, rivals_[0]))
    assert "but the equal-cost baseline may be as good" in headline(frame_of(BASELINE, CACHED, *rivals_))
    assert "but no baseline as fast has been measured" in headline(frame_of(BASELINE, CACHED)).partition(":")[0]


def test_the_worse_of_two_equally_dear_cells_is_not_on_the_front_for_a_faster_clock():
    lucky = ("l", "ddim", 25, 1, 11.0, 20.2, "worse")
    assert list(pareto.front(frame_of(BASELINE, lucky), FID)["key"]) == ["a"]


def test_the_pareto_front_holds_what_no_cell_beats():
    frame = frame_of(BASELINE, CACHED, FASTER_BUT_WORSE, ("d", "ddim", 20, 1, 11.0, 25.0, "baseline"))
    assert list(pareto.front(frame, FID)["key"]) == ["a", "b", "c"]


def test_a_range_of_more_than_five_fold_is_drawn_on_a_log_axis():
    for worst, scale in ((40.0, "linear"), (60.0, "log")):
        figure = figures.pareto(frame_of(BASELINE, ("c", "ddpm", 25, 5, worst, 40.0, "worse")), FID, "a")
        assert figure.layout.yaxis.type == scale


def row_of(conf: dict, tmp_path) -> pd.Series:
    """The row of the record of a cell, in a ledger of its own, with None for every knob it does not have."""
    ledger = Ledger(tmp_path)
    name = write_cell(ledger, conf, np.random.default_rng(0), np.zeros((1, 1, 28, 28), np.uint8))
    cells = Cells(ledger)
    return cells.rows[cells.rows["key"] == name].iloc[0].replace({np.nan: None})


def test_every_knob_of_every_sampler_is_a_column(tmp_path):
    ledger, draw, pixels = Ledger(tmp_path), np.random.default_rng(0), np.zeros((1, 1, 28, 28), np.uint8)
    samplers = fastdiff_conf.members("sampler")
    samplers.remove("plms")  # of a network with other noise levels
    for name in samplers:
        churn = {"sampler": {"churn": 1.0, "churn_max": 50.0}} if "churn" in card("sampler", name) else {}
        write_cell(ledger, settings(name, 5, 1, 1.0, **churn), draw, pixels)
    named = {knob for name in samplers for knob in card("sampler", name)}
    assert named - {"name"} <= set(Cells(ledger).knobs)


def test_a_knob_that_nothing_reads_is_none(tmp_path):
    off = row_of(settings("ddim", 10, 1, 1.0, skip_tuning={"index": "from_one"}, deepcache={"center": 3}), tmp_path)
    assert "index" not in off and "center" not in off and off["accelerators"] == "" and off["baseline"]

    tuned = row_of(settings("ddim", 10, 1, 0.8, skip_tuning={"window": [0.2, 0.6]}), tmp_path)
    assert [tuned.get(k) for k in ("index", "over_level", "window", "apply")] == ["linspace", "constant", None, None]
    both = {"over_level": "window", "window": [0.2, 0.6], "apply": "full"}
    both = row_of(settings("ddim", 10, 3, 0.8, skip_tuning=both, deepcache={"schedule": "quadratic"}), tmp_path)
    assert (both["window"], both["apply"], both["schedule"]) == ("0.2-0.6", "full", "quadratic")
    assert (both.get("center"), both["power"], both.get("full")) == (None, 1.5, None)  # null is the official power
    assert (both["protect_first"], both["protect_last"]) == (0, 0)
    bent = {"schedule": "centred", "center": 4, "power": 1.2, "protect_first": 2}
    bent = row_of(settings("ddim", 10, 3, 1.0, deepcache=bent), tmp_path)
    assert (bent["center"], bent["power"], bent["protect_first"], bent["interval"]) == (4, 1.2, 2, 3)


def invented(key: str, sampler: Applied, *accelerators: Applied) -> Quality:
    """A record of accelerators that nothing here knows."""
    conf, generation = settings("ddim", 10, 1, 1.0), {"generation": {}}
    values, cost = {FID: Value("fid", 1.0)}, Cost(10, 10, 10, 10, 1, 1)
    made = {"sampler": sampler, "solver": "DDIM", "baseline": not accelerators, "accelerators": accelerators}
    return Quality(key, generation, conf, **made, n=1000, values=values, cost=cost, speed_key="none")


def test_a_knob_has_its_bare_name_unless_it_is_taken():
    freeu, todo = Applied("freeu", "b 1.2", {"b": 1.2, "steps": 3, "eta": 1}), Applied("todo", "b 2", {"b": 2, "k": 1})
    records = [
        invented("a", Applied("ddim", "ddim", {"eta": 0.0})),
        invented("b", Applied("ddim", "ddim"), todo, freeu),
    ]
    found = knob_columns(records)
    assert found == knob_columns(records[::-1])
    assert found == {
        ("freeu", "b"): "b", ("freeu", "steps"): "freeu.steps", ("freeu", "eta"): "freeu.eta", ("todo", "b"): "todo.b",
        ("todo", "k"): "k", ("sampler", "eta"): "eta",
    }  # fmt: skip


def test_an_accelerator_that_nothing_here_knows_has_columns_words_a_legend_and_effects(tmp_path):
    ledger = Ledger(tmp_path)
    for name, b in (("a", None), ("b", 1.2), ("c", 1.4)):
        accelerators = [] if b is None else [Applied("freeu", f"b {b}", {"b": b})]
        ledger.write("quality", name, invented(name, Applied("ddim", "ddim", {"eta": 0.0}), *accelerators))
        ledger.write_influence(name, {})
    cells = Cells(ledger)
    frame = table(cells)
    assert "b" in varying(frame) and list(frame["cell"]) == [
        "ddim, 10 steps",
        *(f"ddim, 10 steps, b {b}" for b in (1.2, 1.4)),
    ]
    assert (
        frame["verdict"][0] == "baseline"
        and frame["verdict"][1:].isna().all()
        and "freeu" in str(figures.pareto(frame, FID, "a", "macs"))
    )
    assert Effects(cells, frame, FID).main.keys() == {("freeu", "off", "b 1.2"), ("freeu", "off", "b 1.4")}


def test_a_listed_schedule_is_no_baseline_though_it_has_no_interval(tmp_path):
    ledger = Ledger(tmp_path)
    listed = {"schedule": "list", "full": [7, 0, 3], "interval": 1}
    confs = [settings("ddpm", 10, 1, 1.0), settings("ddpm", 10, 1, 1.0, deepcache=listed)]
    draw, pixels = np.random.default_rng(0), np.zeros((1, 1, 28, 28), np.uint8)
    keys = [write_cell(ledger, conf, draw, pixels) for conf in confs]
    frame = table(ledger, keys)
    assert list(frame["baseline"]) == [True, False] and list(frame["accelerators"]) == ["", "deepcache"]
    assert "interval" not in frame and frame["full"][1] == "0,3,7" and frame["speedup"][1] > 1
    said = text(frame)
    assert "ddpm, 10 steps, full calls 0,3,7 at branch 2" in said and "schedule" not in said
    assert frame["cell"][1] == "ddpm, 10 steps, full calls 0,3,7 at branch 2"
    assert "deepcache" in [trace.name for trace in figures.pareto(frame, FID, keys[0]).data]


@pytest.mark.parametrize(
    ("interval", "rho", "knobs", "words"),
    [
        (1, 1.0, {}, "ddim, 50 steps"),
        (3, 0.8, {}, "ddim, 50 steps, interval 3 at branch 2, rho 0.8 to 1"),
        (3, 1.0, {"deepcache": {"schedule": "centred", "center": 20}}, "interval 3 at branch 2 (centred on call 20)"),
        (3, 1.0, {"deepcache": {"schedule": "quadratic", "power": 1.2}}, "at branch 2 (quadratic, power 1.2)"),
        (3, 1.0, {"deepcache": {"protect_first": 2, "protect_last": 1}}, "at branch 2 (first 2 and last 1 full)"),
        (1, 1.0, {"deepcache": {"schedule": "list", "full": [*range(9)]}}, "9 listed full calls at branch 2"),
        (1, 0.8, {"skip_tuning": {"index": "from_one", "over_level": "increasing"}},
         "rho 0.8 to 1 (from_one, increasing)"),
        (1, 0.8, {"skip_tuning": {"over_level": "window", "window": [0.2, 0.6]}}, "rho 0.8 to 1 (window 0.2-0.6)"),
        (2, 0.8, {"skip_tuning": {"apply": "deep"}}, "interval 2 at branch 2, rho 0.8 to 1 (apply deep)"),
        (1, 0.8, {"skip_tuning": {"apply": "deep"}}, "ddim, 50 steps, rho 0.8 to 1"),
    ],
)  # fmt: skip
def test_a_cell_in_words_names_what_is_unusual(interval, rho, knobs, words, tmp_path):
    assert row_of(settings("ddim", 50, interval, rho, **knobs), tmp_path)["cell"].endswith(words)


def test_a_record_of_an_earlier_schema_is_one_sentence(tmp_path):
    write_json(tmp_path / "quality" / "a.json", {"kind": "quality", "key": "a"})
    with pytest.raises(ValueError, match=r"a.json was written by an earlier version .* measure into another folder"):
        Cells(Ledger(tmp_path))


def test_a_row_of_heun_has_its_own_knobs_and_none_of_ddims(tmp_path):
    still = row_of(settings("heun", 10, 1, 1.0), tmp_path)
    assert not {"eta", "variance", "clip", "spacing", "sigma2_clip"} & set(still.index)
    assert (still["karras_rho"], still["sigma_min"], still["sigma_max"], still["churn"]) == (7.0, 0.002, 80.0, 0.0)
    assert {still.get(knob) for knob in ("churn_min", "churn_max", "noise_scale")} == {None}  # nothing churns
    churning = row_of(settings("heun", 10, 1, 1.0, sampler={"churn": 40.0, "churn_max": 50.0}), tmp_path)
    assert [churning[knob] for knob in ("churn_min", "churn_max", "noise_scale")] == [0.0, 50.0, 1.0]
    assert still["baseline"] and churning["baseline"]


def judged(tmp_path, *measured: tuple) -> pd.DataFrame:
    """(settings, fid, images_per_s) of cells -> their table."""
    ledger, draw, pixels = Ledger(tmp_path), np.random.default_rng(0), np.zeros((1, 1, 28, 28), np.uint8)
    keys = [write_cell(ledger, conf, draw, pixels, fid, per_s) for conf, fid, per_s in measured]
    return table(ledger, keys)


def baseline_steps(*measured: tuple[int, float, float], sampler: str = "ddpm") -> list[tuple]:
    return [(settings(sampler, steps, 1, 1.0), fid, speed) for steps, fid, speed in measured]


STEPS = baseline_steps((25, 5.0, 20.0), (8, 10.0, 45.0), (5, 20.0, 90.0))


@pytest.mark.parametrize(("fid", "verdict"), [(14.0, "worse"), (6.0, "better"), (10.1, "indistinguishable")])
def test_a_cached_cell_is_judged_against_the_equal_cost_baseline(fid, verdict, tmp_path):
    line = judged(tmp_path, (settings("ddpm", 25, 3, 1.0), fid, 40.0), *STEPS).iloc[0]
    assert (line["equal_cost_baseline"], line["equal_cost_verdict"]) == ("8 steps", verdict)
    assert line["against_equal_cost"] == pytest.approx(fid - 10)  # cell minus baseline: lower is better
    low, high = line["against_equal_cost.low"], line["against_equal_cost.high"]
    assert low < line["against_equal_cost"] < high
    assert {"worse": low > 0, "better": high < 0, "indistinguishable": low < 0 < high}[verdict]


def test_what_fewer_steps_gave_stands_in_the_terminal_and_on_the_page(tmp_path):
    frame = judged(tmp_path, (settings("ddpm", 25, 3, 1.0), 14.0, 40.0), *STEPS)
    said = text(frame)
    assert "against fewer steps" in said and re.search(r"\+4\.00 \[\+3\.\d\d, \+4\.\d\d\] worse than 8 steps", said)
    shown = {field.text: field.kind for _, fields in shown_table(frame).rows for field in fields}
    assert "against_equal_cost" in shown_table(frame).columns and shown["worse than 8 steps"] == "worse"
    assert b"equal_cost" in csv(frame)


def shown_table(frame: pd.DataFrame) -> page.Table:
    """A table as the page shows it."""
    given = {"tables": {"grid": frame}, "notes": {"grid": "made"}, "gains": {}, "every": frame}
    (found,) = page.cell_tables(SimpleNamespace(commands=dict.fromkeys(frame["key"], "made"), **given))
    return found


def test_without_accelerators_no_table_speaks_of_equal_cost_baselines_or_of_knobs_of_accelerators(tmp_path):
    frame = judged(tmp_path, *STEPS)
    assert "fewer steps" not in text(frame) and not any("equal_cost" in name for name in shown_table(frame).columns)
    head = csv(frame).decode().splitlines()[0].split(",")
    assert not {"interval", "rho_bottom", *comparisons.EQUAL_COST} & set(head)


@pytest.mark.parametrize("others", [[], baseline_steps((25, 5.0, 20.0), (20, 10.0, 39.9))])
def test_without_a_baseline_as_fast_there_is_no_equal_cost_baseline(others, tmp_path):
    line = judged(tmp_path, (settings("ddpm", 25, 3, 1.0), 14.0, 40.0), *others).iloc[0]
    assert pd.isna(line["equal_cost_baseline"]) and pd.isna(line["against_equal_cost"])
    assert line["equal_cost_verdict"] == comparisons.equal_cost_words(line) == "no baseline as fast"


def test_a_baseline_of_equal_speed_is_as_fast_and_the_faster_of_two_equal_ones_is_taken(tmp_path):
    cell = (settings("ddpm", 25, 3, 1.0), 14.0, 40.0)
    assert judged(tmp_path / "a", cell, *baseline_steps((20, 10.0, 40.0))).iloc[0]["equal_cost_baseline"] == "20 steps"
    equal = baseline_steps((20, 10.0, 45.0), (18, 10.0, 50.0), (22, 10.0, 41.0))
    assert judged(tmp_path / "b", cell, *equal).iloc[0]["equal_cost_baseline"] == "18 steps"
    assert judged(tmp_path / "c", cell, *baseline_steps((1, 10.0, 45.0))).iloc[0]["equal_cost_baseline"] == "1 step"


def test_a_baseline_with_no_more_macs_is_as_fast_whatever_a_drifting_clock_said(tmp_path):
    cell = (settings("ddpm", 25, 3, 1.0), 14.0, 40.0)  # 9 full calls: the MACs of 16.2 steps of the baseline
    assert judged(tmp_path / "a", cell, *baseline_steps((16, 10.0, 30.0))).iloc[0]["equal_cost_baseline"] == "16 steps"
    assert (
        judged(tmp_path / "b", cell, *baseline_steps((17, 10.0, 30.0))).iloc[0]["equal_cost_verdict"]
        == comparisons.UNMATCHED
    )


def test_fewer_steps_are_fewer(tmp_path):
    cell = (settings("ddpm", 10, 2, 1.0), 14.0, 40.0)
    assert (
        judged(tmp_path, cell, *baseline_steps((10, 5.0, 41.0))).iloc[0]["equal_cost_verdict"] == comparisons.UNMATCHED
    )


@pytest.mark.parametrize(
    "other",
    [settings("ddim", 8, 1, 1.0), settings("ddpm", 8, 1, 1.0, sampler={"spacing": "quadratic"}),
     settings("ddpm", 8, 1, 1.0, n=500), settings("ddpm", 8, 1, 1.0, budget={"seed": 1}),
     settings("ddpm", 8, 1, 1.0) | {"guidance": 2.0}, settings("ddpm", 8, 1, 1.0, device={"batch": 7}),
     settings("heun", 8, 1, 1.0), settings("ddpm", 8, 1, 0.8), settings("ddpm", 8, 2, 1.0),
     settings("analytic_ddpm", 8, 1, 1.0), settings("ddpm_large", 8, 1, 1.0)],
)  # fmt: skip
def test_a_cell_of_another_setting_or_with_an_accelerator_is_no_equal_cost_baseline(other, tmp_path):
    line = judged(tmp_path, (settings("ddpm", 25, 3, 1.0), 14.0, 40.0), (other, 10.0, 45.0)).iloc[0]
    assert line["equal_cost_verdict"] == "no baseline as fast"


def test_an_analytic_cached_cell_has_the_baseline_sampler_by_name(tmp_path):
    frame = judged(tmp_path, (settings("analytic_ddpm", 25, 3, 0.8), 14.0, 40.0), *STEPS)
    assert frame["equal_cost_baseline"][0] == "8 steps of ddpm"


def test_cached_cells_of_heun_are_judged_within_their_churn(tmp_path):
    arms = [(18, 3, 40.0, 14.0, 40.0), (8, 1, 40.0, 10.0, 45.0), (7, 1, 10.0, 2.0, 60.0), (6, 1, 0.0, 2.0, 60.0)]
    line = judged(
        tmp_path,
        *((settings("heun", steps, interval, 1.0, sampler={"churn": churn}), *found)
          for steps, interval, churn, *found in arms),
    ).iloc[0]  # fmt: skip
    assert (line["equal_cost_baseline"], line["against_equal_cost"]) == ("8 steps", pytest.approx(4.0))


def test_only_cached_cells_are_judged_against_fewer_steps(tmp_path):
    tuned = (settings("ddpm", 25, 1, 0.8), 4.0, 20.0)
    frame = judged(tmp_path, tuned, *STEPS)
    assert frame[comparisons.EQUAL_COST].isna().all(axis=None)
    assert list(frame["verdict"].dropna()) == ["better", "baseline", "baseline", "baseline"]


def test_without_influence_an_equal_cost_baseline_is_named_but_nothing_is_called_better_or_worse(tmp_path):
    ledger, draw, pixels = Ledger(tmp_path), np.random.default_rng(0), np.zeros((1, 1, 28, 28), np.uint8)
    cells_ = [(settings("ddpm", 25, 3, 1.0), 14.0, 40.0), *STEPS]
    frame = table(ledger, [write_cell(ledger, *cell[:1], draw, pixels, *cell[1:], unsure=True) for cell in cells_])
    assert frame["equal_cost_baseline"][0] == "8 steps" and frame["equal_cost_verdict"].isna().all()
    assert "+4.00 against 8 steps" in text(frame) and comparisons.tally(frame) == ""


def test_the_answer_counts_how_cached_cells_fare_against_fewer_steps():
    other = ("d", "ddpm", 5, 2, 15.0, 90.0, "worse")
    frame = frame_of(BASELINE, CACHED, FASTER_BUT_WORSE, other)
    said = "Against the equal-cost baseline, of 2 accelerated cells:"
    counts = "1 better, 1 worse, 0 indistinguishable. For 1 more, no baseline as fast has been measured."
    frame["equal_cost_verdict"] = [None, "better", "worse", comparisons.UNMATCHED]
    assert f"{said} {counts}" in headline(frame)
    frame["verdict"] = "worse"  # no headline then, but the sentence stays
    assert "1 better, 1 worse, 0 indistinguishable." in headline(frame)
    frame["equal_cost_verdict"] = [None, *[comparisons.UNMATCHED] * 3]
    assert "For none of the 3 accelerated cells has a baseline as fast been measured." in headline(frame)
    assert "Against the equal-cost baseline" not in headline(frame_of(BASELINE))


def test_a_ledger_of_heun_and_of_listed_calls_has_a_report(tmp_path):
    ledger, draw, pixels = Ledger(tmp_path / "runs"), np.random.default_rng(0), np.zeros((64, 1, 28, 28), np.uint8)
    listed, tuned = {"schedule": "list", "full": [0, 2]}, {"over_level": "window", "window": [0.2, 0.6]}
    knobs = [{}, {"deepcache": listed}, {"skip_tuning": {"rho_bottom": 0.8, **tuned}}]
    keys = [write_cell(ledger, settings("heun", steps, 1, 1.0, **k), draw, pixels) for steps in (5, 9) for k in knobs]
    ledger.write("grids", "edm", {"grid": "edm", "keys": keys})
    done = make(tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report" / "index.html").read_text()
    assert "heun, 9 steps, full calls 0,2 at branch 2" in page and "rho 0.8 to 1 (window 0.2-0.6)" in page
    assert "<code>against_equal_cost</code>" in page
    assert (tmp_path / "report" / "samples.png").exists()  # the baseline has no eta, as the others
