"""The report says what the ledger says, on one page that needs nothing but itself."""

import html.parser
import re
import shlex
import subprocess
import sys
from importlib.resources import files
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from fastdiff.cell import key
from fastdiff.records import Ledger
from fastdiff.reports import answer, figures, tables
from fastdiff.reports.tables import KNOBS, table
from fastdiff.statistics import Estimate
from fastdiff_benchmarks import report

FID = "fid[mnist-classifier,n=1000]"
PLAIN = {"ddpm": 60.0, "ddim": 40.0, "analytic_ddpm": 38.0, "analytic_ddim": 36.0}  # fid = 8 + this / steps ** 0.9


def card(group: str, name: str) -> dict:
    return OmegaConf.to_container(OmegaConf.load(files("fastdiff_conf") / group / f"{name}.yaml"))


def settings(sampler: str, steps: int, interval: int, rho: float, n: int = 1000) -> dict:
    """What benchmarks.sweep.settings_of gives for a cell."""
    groups = {"model": "mnist", "data": "mnist10k", "metrics": "mnist_classifier", "budget": "bench", "device": "auto"}
    conf = {group: card(group, name) for group, name in groups.items()} | {"guidance": 1.0}
    conf |= {"sampler": card("sampler", sampler) | {"steps": steps}, "accelerator": card("accelerator", "none")}
    conf["accelerator"]["deepcache"]["interval"] = interval
    conf["accelerator"]["skip_tuning"]["rho_bottom"] = rho
    conf["budget"]["n"] = n
    return conf


def write_cell(ledger: Ledger, conf: dict, draw: np.random.Generator, pixels: np.ndarray) -> str:
    """Records in the shape of bench.run_cell, with plausible numbers; returns the key."""
    sampler, n = conf["sampler"], conf["budget"]["n"]
    interval, rho = conf["accelerator"]["deepcache"]["interval"], conf["accelerator"]["skip_tuning"]["rho_bottom"]
    steps, analytic = sampler["steps"], sampler["variance"] == "analytic"
    off = {
        "skip_tuning": {"rho_bottom": rho} if rho != 1 else {},
        "deepcache": {"interval": interval} if interval > 1 else {},
    }
    norms = {"score_norms": {"images": 256}} if analytic else {}
    generation = {"sampler": sampler, "seed": 0, "model": conf["model"], **off, **norms}
    name, speed_name = key({"generation": generation, "n": n}), key({"generation": generation, "device": "test"})
    full_calls = -(-steps // interval)
    value = 8 + PLAIN[sampler["name"]] / steps**0.9 + (interval - 1) * 30 / steps**1.2
    value += (1 - rho) * (30 - 60 * (interval > 1)) / steps**0.7 + draw.normal(0, 0.1)
    psi = value * (2 * np.random.default_rng(0).normal(size=n) + draw.normal(size=n)) / 2
    fid = {"metric": "fid", "value": value, "se": psi.std() / n**0.5}
    fid |= {"low": value - 1.96 * fid["se"], "high": value + 1.96 * fid["se"]}
    values = {f"fid[mnist-classifier,n={n}]": fid}
    values[f"is[mnist-classifier,splits=10,n={n}]"] = {
        "metric": "is",
        "value": 9.5,
        "se": 0.02,
        "low": 9.46,
        "high": 9.54,
    }
    macs = 156_451_392 * full_calls + 70_000_000 * (steps - full_calls)
    cost = {"nfe": steps, "full_calls": full_calls, "macs": macs, "conv_macs": macs * 99 // 100}
    versions = {"fastdiff": "0.1.0", "python": "3.11.7", "numpy": "2.4.6", "torch": "2.14.1"}
    made = {
        "made": "2026-11-24T05:57:27+00:00",
        "versions": versions,
        "git_commit": "0123456789abcdef",
        "git_dirty": True,
    }
    where = {"device": "Test CPU, 2 cores", "precision": "bfloat16", "made": made, "settings": conf}
    per_s = 8.2e10 / macs * draw.normal(1, 0.01)
    speed = {"kind": "speed", "key": speed_name, "protocol": "quick", "images_per_s": per_s, "latency_ms": 5e4 / per_s}
    ledger.write("speed", speed_name, speed | {"batches": 3, "device": where["device"], "made": made})
    ledger.write_influence(name, {"fid": psi, "is": psi})
    ledger.write_samples(key(generation), pixels)
    record = {"kind": "quality", "key": name, "identity": {"generation": generation, "n": n}, "n": n, "values": values}
    ledger.write("quality", name, record | {"cost": cost, "speed_key": speed_name, **where})
    return name


def fill(root, pixels: np.ndarray | None = None) -> Ledger:
    """Two grids of conf/grid, default (24 cells) and steps (12 cells), and one failed cell."""
    ledger, draw = Ledger(root), np.random.default_rng(1)
    pixels = draw.integers(0, 256, (64, 1, 28, 28), dtype=np.uint8) if pixels is None else pixels
    default = product(("ddpm", "analytic_ddpm"), (10, 25), (1, 2, 5), (1.0, 0.8))
    grids = {"default": list(default), "steps": list(product(PLAIN, (5, 8, 15), (1,), (1.0,)))}
    for grid, cells in grids.items():
        keys = [write_cell(ledger, settings(*cell), draw, pixels) for cell in cells]
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
    ledger.write("failed", "f" * 16, {"kind": "failed", "key": "f" * 16, "reason": "<out> of memory", "settings": conf})
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
    costs = {"images_per_s", "speedup", "nfe", "full_calls", "macs", "change", "verdict"}
    assert {"key", "n", *KNOBS, FID, f"{FID}.low", f"{FID}.high", *costs} <= set(found)
    keys = ledger.read("grids", "default")["keys"]
    assert list(found["key"]) == keys
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
    for record in ledger.all("quality"):
        assert f'id="cell-{record["key"]}"' in text
        assert (f'href="#cell-{record["key"]}"' in text) == (record["n"] == 1000)  # one protocol a figure
    assert "&lt;out&gt; of memory" in text and "python benchmarks/run.py sampler.steps=50" in text
    for word in ('<html lang="en">', "<main>", "0123456789abcdef with uncommitted changes", "Test CPU, 2 cores", FID):
        assert word in text
    assert text.count("<h1>") == 1


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
    ledger, every = made[0], ("accelerator", "budget", "data", "device", "guidance", "metrics", "model", "sampler")
    odd = settings("analytic_ddim", 7, 3, 0.65, n=123) | {"guidance": 2.0, "metrics": card("metrics", "clean_fid")}
    odd["model"]["schedule"]["beta_end"], odd["data"]["path"] = 1e-5, "it's a file, with (odd) name.npz"
    odd["accelerator"]["analytic"]["file"], odd["device"]["threads"] = "norms/a b.npy", 2
    records = [{"key": "odd", "settings": odd}, *ledger.all("quality")]
    commands = report.commands(records)
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        for record in records[:9]:
            words = shlex.split(commands[record["key"]])[2:]
            conf = OmegaConf.to_container(compose("config", overrides=words))
            assert {name: conf[name] for name in every} == record["settings"], words


def cells(*rows: tuple) -> pd.DataFrame:
    """(key, sampler, steps, interval, fid, images_per_s, verdict) -> what the headline reads of a table."""
    frame = pd.DataFrame(rows, columns=["key", "sampler", "steps", "interval", FID, "images_per_s", "verdict"])
    cost = frame["steps"] / frame["interval"]  # what is cached costs less
    return frame.assign(rho_bottom=1.0, rho_top=1.0, branch=2, variance="small", n=1000, macs=cost)


def headline(frame: pd.DataFrame) -> str:
    """The headline against the first cell, every difference known to within 1."""

    def compare(one, other):
        change = one[FID] - other[FID]
        return Estimate(change, 0.5, change - 1, change + 1)

    return re.sub("<[^>]*>", "", answer.answer(frame, FID, frame.iloc[0], compare))


BASELINE = ("a", "ddpm", 25, 1, 10.0, 20.0, "plain")
CACHED = ("b", "ddpm", 25, 2, 10.5, 30.0, "indistinguishable")
FASTER_BUT_WORSE = ("c", "ddpm", 25, 5, 14.0, 40.0, "worse")


def test_the_headline_is_the_fastest_cell_that_loses_nothing():
    said = headline(cells(BASELINE, CACHED, FASTER_BUT_WORSE))
    assert said.startswith("1.50 times the speed of the baseline, not told apart from it")
    assert "ddpm, 25 steps, interval 2 at branch 2: fid 10.50 at 30.0 images per second" in said
    assert headline(cells(BASELINE, FASTER_BUT_WORSE)).startswith("Nothing measured here is faster")


def test_a_cell_that_is_worse_than_the_baseline_is_no_headline_whatever_its_own_plain_sampler_does():
    fewer = ("d", "ddpm", 5, 2, 15.0, 90.0, "indistinguishable")
    assert headline(cells(BASELINE, CACHED, fewer)).startswith("1.50 times")


def test_a_cell_that_costs_what_the_baseline_costs_is_no_headline_however_fast_the_machine_was_then():
    drifted = cells(BASELINE, ("t", "ddpm", 25, 1, 9.9, 30.0, "indistinguishable")).assign(rho_bottom=[1.0, 0.8])
    assert headline(drifted).startswith("Nothing measured here is faster than the baseline without being worse.")


@pytest.mark.parametrize(
    ("fid", "words"),
    [(10.4, "But fewer plain steps do as well:"), (11.0, "do as well, within the uncertainty:"),
     (12.0, "Fewer plain steps do not match it."), (None, "No plain sampler as fast has been measured")],
)  # fmt: skip
def test_the_headline_says_what_fewer_plain_steps_give(fid, words):
    rivals = [("e", "ddim", 15, 1, fid, 31.0, "plain")] if fid else []
    assert words in headline(cells(BASELINE, CACHED, *rivals))


def test_the_pareto_front_holds_what_no_cell_beats():
    frame = cells(BASELINE, CACHED, FASTER_BUT_WORSE, ("d", "ddim", 20, 1, 11.0, 25.0, "plain"))
    assert list(figures.front(frame, FID)["key"]) == ["a", "b", "c"]
    assert list(tables.plain(frame)) == [True, False, False, True]


def test_a_range_of_more_than_five_fold_is_drawn_on_a_log_axis():
    for worst, scale in ((40.0, "linear"), (60.0, "log")):
        figure = figures.pareto(cells(BASELINE, ("c", "ddpm", 25, 5, worst, 40.0, "worse")), FID, "a")
        assert figure.axes[0].get_yscale() == scale


def test_without_a_varied_interval_there_is_no_figure_of_knobs():
    assert figures.knobs(cells(BASELINE), FID) is None
    assert len(figures.knobs(cells(BASELINE, CACHED), FID).axes) == 1
