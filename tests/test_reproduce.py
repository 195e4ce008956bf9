"""Published tables: grids that compose, numbers that have a cell, and what is said when there is nothing to run."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import fastdiff_conf
import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue
from safetensors.torch import save_file

from fastdiff.bench.config import cell_of
from fastdiff.bench.records import Applied, Cost, Quality, Speed, Value
from fastdiff.files import ASSETS
from fastdiff.unets import build
from fastdiff_benchmarks import reproduce
from fastdiff_benchmarks.entry import sentence, settings_of
from fastdiff_benchmarks.published import Arm, Published, absence, compared, protocols, published, tables

ENTRY = [sys.executable, str(Path(reproduce.__file__))]
PAPER = Path(fastdiff_conf.__file__).parent / "grid" / "paper"
NOWHERE = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}  # nobody answers there
METRICS = {"fid", "is", "sfid", "precision", "recall", "nll", "clip_score", "images_per_s", "speedup",
           "layer_macs_per_call"}  # fmt: skip

QUICK = ("analytic_table1_imagenet64_ot", "analytic_table2_cifar10_ls_y2", "deepcache_plms_coco", "deepcache_table1",
         "deepcache_table2", "skip_tuning_imagenet64", "skip_tuning_imagenet64_39")  # fmt: skip
TABLES = [  # composing a cell takes a tenth of a second, and some grids are alike
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in tables()
]


@pytest.fixture(scope="module")
def cells():
    """cells(table, *overrides) -> the settings of its grid, no file looked at."""
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        yield functools.cache(
            lambda table, *given: reproduce.settings_of_cells(f"paper/{table}", ["device=cpu", *given])
        )


@pytest.mark.parametrize("table", TABLES)
def test_a_paper_s_grid_composes_into_the_cells_it_says_without_any_file(cells, table):
    found = [cell_of(settings, resolve=False) for settings in cells(table)]
    said = int(re.search(r"(\d+) cells", (PAPER / f"{table}.yaml").read_text().replace("\n# ", " ")).group(1))
    assert len(found) == len({cell.key for cell in found}) == said
    assert compose("config", [f"+grid=paper/{table}"]).grid == f"paper_{table}"


@pytest.mark.parametrize("table", TABLES)
def test_every_published_number_with_knobs_is_of_one_cell_or_says_why_not(cells, table):
    settings, lines = cells(table), published(table)
    assert lines
    for line in lines:
        of = [line.of(each) for each in settings]
        assert sum(of) == (1 if line.knobs and "?" not in line.knobs.values() else 0), line
        assert sum(of) or line.note, line
        assert line.metric in METRICS and re.match("(DeepCache|Analytic-DPM|Skip-Tuning), ", line.source)


@pytest.mark.parametrize("table", TABLES)
def test_a_paper_s_grid_runs_in_float32_unless_the_paper_ran_in_float16(cells, table):
    float16 = any("precision=float16" in line.protocol for line in published(table))
    assert {each["device"]["precision"] for each in cells(table)} == {"auto" if float16 else "float32"}
    assert {each["device"]["precision"] for each in cells(table, "device.precision=bfloat16")} == {"bfloat16"}


@pytest.mark.parametrize("table", ["skip_tuning_imagenet64", "skip_tuning_imagenet64_39"])
def test_edm_s_protocol_keeps_the_state_in_float64(cells, table):
    assert {cell_of(each, resolve=False).sampler.state_dtype for each in cells(table)} == {"float64"}


@pytest.mark.parametrize("table", tables())
def test_a_number_of_another_network_is_said_to_be_of_its_own_network(table):
    """And all that have cells are of one network."""
    compared = set()
    for line in published(table):
        words = dict(part.strip().split("=", 1) for part in line.protocol.split(";") if part)
        if "another network" in line.note:
            assert words["network"] in line.source and not line.knobs, line
            assert not {"labels", "uint8", "seed", "counted"} & set(words)
        elif line.knobs and "network" in words:
            compared.add(words["network"])
    assert len(compared) == 1


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_speedups_has_an_uncached_cell_of_their_sampler(cells, table):
    def interval(settings):
        return settings["accelerator"]["deepcache"]["interval"]

    wanted = [line for line in published(table) if line.knobs and line.metric == "speedup"]
    settings = cells(table) if wanted else []
    plain = [each["sampler"] for each in settings if interval(each) == 1]
    assert all(each["sampler"] in plain for each in settings if any(line.of(each) for line in wanted))
    assert any(line.of(each) for line in wanted for each in settings if interval(each) > 1) == bool(wanted)


def test_every_table_has_a_grid_and_every_grid_a_table():
    anchors = Path(reproduce.__file__).parent / "anchors"
    assert sorted(path.stem for path in anchors.glob("*.csv")) == tables()


def arm(interval: int, images_per_s: float, fid: Value | None = None, failure=None) -> Arm:
    settings = {"sampler": {"name": "ddim"}, "accelerator": {"deepcache": {"interval": interval}}}
    layer_macs = 10 * (interval == 1) * 10**9 + 5 * 10**9
    cost = Cost(10, 10 // interval, 0, 0, 0, 0, layer_macs)
    record = None
    if fid is not None:
        values = {"fid[x,n=3]": fid}
        record = Quality("a", {}, settings, Applied("ddim", "ddim"), "DDIM", interval == 1, 3, values, cost, "speed")
    return Arm(settings, cost, record, Speed("speed", images_per_s, 1.0), failure)


def line(interval, metric: str, value: float, protocol="n=50,000; device=RTX 2080") -> Published:
    knobs = {} if interval is None else {"accelerator.deepcache.interval": str(interval)}
    return Published(knobs, metric, value, "A, Table 1", protocol, "")


def test_a_number_is_set_beside_ours_with_its_interval_and_the_difference():
    arms = [arm(1, 2.0, Value("fid", 5.0, low=4.0, high=6.0)), arm(2, 3.0, Value("fid", 7.0))]
    lines = [line(1, "fid", 4.16), line("2.0", "fid", 8.0), line(2, "speedup", 1.4)]
    lines += [line(1, "layer_macs_per_call", 1e9), line(3, "fid", 1.0), line(None, "fid", 5.0), line(1, "nll", 3.0)]
    assert [(row["value"], row["ours"], row["difference"]) for row in compared(lines, arms)] == [
        ("4.16", "5.00 [4.00, 6.00]", "+0.84"),
        ("8.00", "7.00", "-1.00"),
        ("1.40", "1.50", "+0.10"),
        ("1.00 G", "1.50 G", "+0.50 G"),
        *((value, "-", "-") for value in ("1.00", "5.00", "3.00")),
    ]


def test_a_failed_cell_says_why_in_its_row():
    (row,) = compared([line(1, "fid", 4.16)], [arm(1, 2.0, failure="image 3 is NaN")])
    assert row["ours"] == "-" and row["note"] == "failed: image 3 is NaN"


def test_protocols_are_said_once_for_each_that_differs():
    lines = [line(1, "fid", 1), line(2, "is", 2), line(1, "speedup", 1, "device=RTX 2080")]
    first, second = protocols(lines, {"n": "20", "device": "a CPU", "extractor": "x"})
    assert first.splitlines() == ["protocol of fid, is", "  published: n=50,000; device=RTX 2080",
                                  "  ours:      n=20; device=a CPU"]  # fmt: skip
    assert second.endswith("ours:      device=a CPU")


def test_our_precision_is_said_beside_every_number_but_counts():
    lines = [line(1, "fid", 1), line(1, "speedup", 1, "precision=not stated; device=a"), line(1, "is", 1, "counted=x")]
    assert [said.rpartition("ours:      ")[2] for said in protocols(lines, {"n": "20", "precision": "bfloat16"})] == [
        "n=20; precision=bfloat16", "precision=bfloat16", "the same rule"]  # fmt: skip


def test_the_protocol_of_a_number_that_has_no_cell_is_set_beside_nothing():
    assert protocols([line(None, "fid", 5.0)], {"n": "20"}) == []


def test_a_metric_that_no_cell_has_is_explained_by_what_it_needs():
    lines = [line(2, "speedup", 1.4), line(2, "sfid", 5.0), line(None, "is", 1.0), line(2, "fid", 4.0)]
    cached, plain = arm(2, 3.0, Value("fid", 7.0)), arm(1, 2.0, failure="image 3 is NaN")
    other = "no cell has sfid: fastdiff does not measure it with extractor x"
    assert absence(lines, [cached], "x") == ["no cell has speedup: no cell of this grid is uncached", other]
    assert absence(lines, [plain, cached], "x") == [other]
    untimed = Arm(plain.settings, plain.cost)
    assert absence(lines, [untimed, cached], "x") == ["no cell has speedup: the uncached cell was not timed", other]
    assert absence(lines, [plain], "x") == []  # the rows say why
    assert absence([line(2, "speedup", 1.4)], [Arm(cached.settings, None, cached.record)], "x") == [
        "no cell has speedup: no cell was timed"]  # fmt: skip
    assert absence([line(2, "layer_macs_per_call", 1)], [Arm(cached.settings, None, cached.record)], "x") == [
        "no cell has layer_macs_per_call: the network's operations cannot be counted here"]  # fmt: skip


def test_a_branch_that_the_network_does_not_have_has_no_cost(cells, tmp_path):
    chosen = "model=mnist", "data=mnist10k", "metrics=mnist_classifier"
    arms = reproduce.arms_of(list(cells("deepcache_table12", *chosen)), str(tmp_path), measured=False)
    assert [arm.cost is None for arm in arms] == [False] * 10 + [True] * 3  # uncached, and 9 skips of 12
    rows = compared(published("deepcache_table12"), arms)
    ours = {row["published"][-2:].strip(): row["ours"] for row in rows if row["metric"] == "layer_macs_per_call"}
    assert ours["9"] != "-" and ours["10"] == ours["11"] == ours["12"] == "-"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    plain = ["tracker=none", "device=cpu", "ledger=runs"]
    environment = os.environ | {
        "FASTDIFF_CACHE": str(folder / "cache"), "TORCH_HOME": str(folder / "torch"), **NOWHERE}  # fmt: skip
    return subprocess.run([*ENTRY, *arguments, *plain], capture_output=True, text=True, cwd=folder, env=environment)


def test_offline_it_prints_the_published_numbers_and_says_what_to_put_where(tmp_path):
    done = run(tmp_path, "table=paper/deepcache_table2")
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith(
        "looking for the weights and data of paper/deepcache_table2\n\npaper/deepcache_table2:"
    )
    assert re.search(r"DeepCache, Table 2, N=5 +fid +5\.73 +- +-", done.stdout)
    assert re.search(r"layer_macs_per_call +3\.01 G +3\.00 G +-0\.01 G", done.stdout)  # needs no weights
    assert "published: n=50,000; reference=training images" in done.stdout
    assert re.search("ours: +n=50,000; .*; precision=float32\n", done.stdout)
    assert len(re.findall("^missing: ", done.stderr, re.M)) == done.stderr.count("\n") == 3  # no word of a library
    data, extractor, network = done.stderr.splitlines()
    assert all("put it at" in said and str(tmp_path / "cache") in said for said in (data, network))
    assert "cifar-10-binary.tar.gz" in data and "heibox" in network
    assert str(tmp_path / "torch") in extractor and extractor.endswith("on another machine and put it there")
    assert extractor.count("https://") == 1 and str(tmp_path / "cache") not in extractor
    assert not (tmp_path / "runs" / "quality").exists()


@pytest.fixture
def tiny(tmp_path) -> list[str]:
    """What puts a random little network of digits in the place of a paper's: a card of one's own, and few images."""
    arch = dict(size=28, channels=8, multipliers=[1, 1], blocks=2, attention=[], classes=0)
    save_file(build("native", arch).state_dict(), tmp_path / "tiny.safetensors")
    card = dict(name="tiny", family="native", arch=arch, shape=[1, 28, 28], weights=str(tmp_path / "tiny.safetensors"))
    (tmp_path / "my" / "model").mkdir(parents=True)
    (tmp_path / "my" / "model" / "tiny.yaml").write_text(json.dumps(card))
    with np.load(ASSETS / "mnist10k.npz") as digits:
        np.savez(tmp_path / "few.npz", images=digits["images"][:100])
    chosen = ["model=tiny", "data=npz", "data.path=few.npz", "data.size=28", "data.channels=1"]
    return [
        "--config-dir",
        "my",
        *chosen,
        "metrics=mnist_classifier",
        "budget.n=20",
        "device.batch=10",
        "sampler.steps=5",
    ]


def test_with_a_substitute_the_whole_path_runs_and_resumes(tmp_path, tiny):
    done = run(tmp_path, *tiny, "table=deepcache_table2")
    assert done.returncode == 0, done.stderr
    assert "paper_deepcache_table2: 5 cells; 0 already measured, 5 to go" in done.stdout
    assert re.search(r"N=2 +fid +4\.35 +\d+\.\d+ +\+\d+\.\d+", done.stdout)
    assert re.search(r"speedup +1\.40 +\d", done.stdout)
    assert re.search(r"Diff-Pruning +fid +5\.29 +- +- +another network", done.stdout)
    assert "ours:      n=20; reference=training images of data=npz; extractor=mnist-classifier" in done.stdout
    assert "sampler.steps=5; the differences compare different things" in done.stdout
    again = run(tmp_path, *tiny, "table=deepcache_table2")
    assert "5 already measured, 0 to go" in again.stdout
    assert again.stdout.partition("published numbers")[2] == done.stdout.partition("published numbers")[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["table=paper/nosuch"], "error: table 'paper/nosuch' is not one of: paper/analytic_table1_cifar10_cs, paper/"),
        ([], "error: give table=paper/...: one of: paper/analytic_table1_cifar10_cs, paper/"),
        (["table=deepcache_table2", "sampler.spacing=sqrt"], "error: spacing 'sqrt' is not one of"),
        (["table=deepcache_table2", "nosuch=1"], "error: the settings have no knob 'nosuch'"),
    ],
)
def test_a_wrong_word_gives_one_sentence(tmp_path, arguments, said):
    done = run(tmp_path, "metrics=mnist_classifier", "model=mnist", "data=mnist10k", *arguments)
    assert done.returncode == 2 and done.stderr.startswith(said) and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("imagenet64", "data 'imagenet64' needs data.path=FOLDER: https://patrykchrabaszcz.github.io/Imagenet32/"),
        ("coco2017_val", "data 'coco2017_val' needs data.path=FOLDER: https://cocodataset.org/#download"),
        ("folder", "data 'folder' needs data.path=FOLDER data.size=SIZE"),
        ("npz", "data 'npz' needs data.path=FILE data.size=SIZE"),
    ],
)
def test_a_knob_that_is_yours_to_give_is_asked_for(cells, chosen, said):
    config = compose("config", [f"data={chosen}"])
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        settings_of(config)
    with pytest.raises(MissingMandatoryValue) as missed:
        _ = config.data.path
    assert sentence(missed.value) == said


def test_any_other_missing_value_is_asked_for_by_its_name():
    with pytest.raises(MissingMandatoryValue) as missed:
        _ = OmegaConf.create({"a": {"b": "???"}, "c": "???"}).a.b
    assert sentence(missed.value) == "a needs a.b=B"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_what_the_script_says_of_itself(tmp_path, flag):
    done = run(tmp_path, flag)
    assert done.returncode == 0 and done.stdout.startswith(reproduce.__doc__.strip()) and not done.stderr
    assert "  sampler: analytic_ddim, " in done.stdout and "paper/deepcache_table2" in done.stdout


def test_what_is_missing_is_named_item_by_item(cells, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path))
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    found = reproduce.missing(cells("deepcache_plms_coco", "metrics=mnist_classifier"))
    assert len(found) == 7 and all("\n" not in sentence for sentence in found)
    assert found[0] == "data 'coco2017_val' needs data.path=FOLDER: https://cocodataset.org/#download"
    assert any("give model.text.prompts=" in sentence for sentence in found)
    (ldm,) = [s for s in reproduce.missing(cells("deepcache_table4", "metrics=mnist_classifier")) if "ommer" in s]
    assert "model.ckpt" in ldm  # one file holds the network and its decoder
    own = reproduce.missing(cells("analytic_table2_cifar10_ls_y2", "metrics=mnist_classifier", "data=mnist10k"))
    assert own == ["weights/analytic_cifar10_ls.pth does not exist (asked for as 'weights/analytic_cifar10_ls.pth');"
                   " check the path; it is to be had from https://github.com/baofff/Analytic-DPM"]  # fmt: skip


def test_an_inception_network_that_is_not_there_is_missing_too(cells, tmp_path, monkeypatch):
    for name, value in NOWHERE.items() | {("FASTDIFF_CACHE", str(tmp_path)), ("TORCH_HOME", str(tmp_path))}:
        monkeypatch.setenv(name, value)
    (said,) = reproduce.missing(cells("deepcache_table2", "data=mnist10k", "model=mnist"))
    assert "pt_inception" in said and str(tmp_path) in said


def test_ours_is_said_in_the_words_of_protocols(cells):
    words = reproduce.ours(cells("deepcache_table2")[0])
    assert words["n"] == "50,000" and words["extractor"] == "legacy_pytorch,inception-v3"
    assert words["reference"] == "training images of data=cifar10" and words["network"] == "cifar10_ddim"
    assert words["precision"] == "float32" and "labels" not in words
    assert reproduce.ours(cells("deepcache_table4")[0])["labels"] == "drawn uniformly"
    bound = reproduce.ours(cells("analytic_table1_imagenet64_ot")[0])
    assert bound["reference"] == "held-out images of data=imagenet64" and bound["score norms of"] == "10,000 images"
