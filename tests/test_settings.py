"""Everything in conf/ composes and builds; keys hash what a measurement depends on and nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import fastdiff_conf
import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from fastdiff.bench.cell import Budget, key
from fastdiff.bench.config import cell_of
from fastdiff.device import resolved_device
from fastdiff.knobs import build
from fastdiff.tracking import Tracker
from fastdiff.weights.model_card import ModelCard
from fastdiff_benchmarks.entry import settings_of
from fastdiff_benchmarks.sweep import points

CONF = Path(fastdiff_conf.__file__).parent
MEMBERS = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.glob("*/*.yaml"))


@pytest.fixture(autouse=True)
def conf():
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        yield


def settings(*overrides: str) -> dict:
    return settings_of(compose("config", overrides=["device=cpu", "device.precision=float32", *overrides]))


def cell(*overrides: str):
    return cell_of(settings(*overrides))


def own_data(member: str, tmp_path: Path) -> list[str]:
    """Overrides that a card without data of its own needs."""
    if member == "data/npz":
        np.savez(tmp_path / "mine.npz", images=np.zeros((30, 28, 28), np.uint8))
        return [f"data.path={tmp_path / 'mine.npz'}", "data.size=28", "data.channels=1"]
    if member in ("data/folder", "data/imagenet256", "data/coco2017_val"):
        from PIL import Image

        for i in range(3):
            Image.fromarray(np.full((40, 50, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
        return [f"data.path={tmp_path}", "data.size=28", "data.channels=1"]
    if member == "data/cifar10":
        (tmp_path / "archive.tar.gz").write_bytes(b"an archive's digest is taken, not its images")
        return [f"data.path={tmp_path}/archive.tar.gz", "data.sha256=null", "model.shape=[3,32,32]"]
    if member == "data/imagenet64":
        for i in range(1, 11):
            (tmp_path / f"train_data_batch_{i}.npz").write_bytes(b"likewise")
        return [f"data.path={tmp_path}", "model.shape=[3,64,64]"]
    if member == "metrics/clip_score":  # a network that is told prompts, and a CLIP by its files' names
        for name in ("model.safetensors", "preprocessor_config.json", "tokenizer.json"):
            (tmp_path / name).write_bytes(b"digests are taken of these")
        (tmp_path / "config.json").write_text('{"model_type": "clip"}')
        own = ["model=stable_diffusion_15", *own_data("model/stable_diffusion_15", tmp_path)]
        return [*own, f"metrics.weights={tmp_path}"]
    if member.startswith("model/") and member != "model/mnist":  # nothing is downloaded here
        (tmp_path / "weights").write_bytes(b"nor are they loaded")
        np.savez(tmp_path / "mine.npz", images=np.zeros((30, 8, 8), np.uint8))
        model = build(ModelCard, fastdiff_conf.member(*member.split("/")), "model")
        channels, size, _ = model.image_shape
        own = ["data=npz", f"data.path={tmp_path}/mine.npz", f"data.size={size}", f"data.channels={channels}"]
        own += ["sampler=heun"] if model.parameterisation == "edm" else []
        return ["model.sha256=null", *own, *(f"model.{knob}={tmp_path}/weights" for knob in model.files())]
    return []


@pytest.mark.parametrize("member", [m for m in MEMBERS if not m.startswith(("grid/", "tracker/", "device/cuda"))])
def test_every_member_of_a_group_composes_and_builds(member, tmp_path):
    group, name = member.split("/")
    assert cell(f"{group}={name}", *own_data(member, tmp_path)).key


@pytest.mark.parametrize("member", [m for m in MEMBERS if m.startswith("tracker/")])
def test_every_tracker_builds(member):
    name = member.split("/")[1]
    assert (
        build(Tracker, OmegaConf.to_container(compose("config", overrides=[f"tracker={name}"]).tracker), "tracker").name
        == name
    )


@pytest.mark.parametrize("member", [m for m in MEMBERS if m.startswith("grid/")])
def test_every_grid_composes_into_as_many_distinct_cells_as_it_says(member):
    name = member.split("/")[1]
    config = compose("config", overrides=[f"+grid={name}"], return_hydra_config=True)
    OmegaConf.set_readonly(config.hydra, False)  # outside a run Hydra does not fill in its own job section
    config.hydra.overrides.task = [f"+grid={name}", "device=cpu"]
    config.hydra.job.config_name = "config"
    cells = [cell_of(settings_of(point)) for point in points(config)]
    said = int(re.search(r"(\d+) cells", (CONF / f"{member}.yaml").read_text()).group(1))
    assert len({c.key for c in cells}) == said
    assert config.grid == name


@pytest.mark.parametrize("name", ["config", "score_norms", "speed", "sync", "train", "report"])
def test_every_root_composes(name):
    assert compose(name)


def test_a_key_does_not_depend_on_how_a_number_is_written_or_on_the_tracker_or_on_paths(tmp_path):
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes((Path(__import__("fastdiff").__file__).parent / "assets" / "mnist_unet.safetensors").read_bytes())
    same = [
        ["accelerator.skip_tuning.rho_bottom=1"], ["accelerator.skip_tuning.rho_bottom=1.0"], ["tracker=none"],
        ["ledger=other"], ["accelerator=none"], ["accelerator.deepcache.branch=1"], ["score_norms.images=7"],
        [f"model.weights={copy}", "model.name=mine"], ["device.batch=10"], ["guidance=1"],
        [f"score_norms.{knob}" for knob in ("estimator=mse", "cached=joint", "levels=9")],
    ]  # fmt: skip
    assert {cell(*overrides).key for overrides in same} == {cell().key}


def test_a_key_depends_on_everything_that_alters_images_or_scores():
    changes = [
        [], ["sampler=ddim"], ["sampler=analytic_ddpm"], ["sampler.steps=11"], ["sampler.spacing=stride"],
        ["budget.seed=1"],
        ["accelerator.skip_tuning.rho_bottom=0.9"], ["accelerator.skip_tuning.rho_top=0.9"], ["guidance=2"],
        ["accelerator.deepcache.interval=2"], ["accelerator.deepcache.interval=2", "accelerator.deepcache.branch=1"],
        ["budget.n=500"], ["metrics.is_splits=5"], ["device.precision=bfloat16"], ["data.held_out=500"],
        ["sampler=analytic_ddpm", "score_norms.images=7"],
        ["sampler=analytic_ddpm", "score_norms.seed=1"],
        ["sampler=analytic_ddpm", "score_norms.estimator=mse"],
        ["sampler=analytic_ddpm", "accelerator.deepcache.interval=2"],
        ["sampler=analytic_ddpm", "accelerator.deepcache.interval=2", "score_norms.cached=joint"],
        ["sampler.spacing=dp"], ["sampler.spacing=dp", "score_norms.images=7"],
        ["sampler.spacing=dp", "score_norms.levels=9"], ["metrics=nll"],
        ["sampler=analytic_ddpm", "sampler.spacing=dp"], ["sampler=analytic_ddpm", "sampler.spacing=dp_plain"],
    ]  # fmt: skip
    assert len({cell(*overrides).key for overrides in changes}) == len(changes)


def test_knobs_of_norms_that_a_cell_has_no_use_for_change_no_key():
    analytic, norms = "sampler=analytic_ddpm", "score_norms"
    assert cell(analytic).key == cell(analytic, f"{norms}.cached=joint", f"{norms}.levels=9").key
    dp = "sampler.spacing=dp"  # of variance small: placed by the terms of the bound, which have no estimator
    assert cell(dp).key == cell(dp, f"{norms}.estimator=mse").key


def test_more_images_of_the_same_cell_share_their_blocks():
    assert key(cell("budget.n=500").generation()) == key(cell("budget.n=1000").generation())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+sampler.nosuch=1"], "sampler has no knob 'nosuch'; it has: clip, eta"),
        (["+accelerator.freeu={b: 1}"], "accelerator 'freeu' is not one of: deepcache, skip_tuning"),
        (["sampler.variance=huge"], "variance 'huge' is not one of: analytic, large, small"),
        (["sampler.spacing=sqrt"], "spacing 'sqrt' is not one of: dp, dp_plain, even, karras, leading, logsnr,"),
        (["sampler.steps=0"], "steps is 0; a network with 1000 noise levels takes 1 .. 1000"),
        (["sampler.steps=ten"], "sampler.steps is 'ten'; int is needed"),
        (["accelerator.skip_tuning.rho_top=-1"], r"rho_top is -1.0; a factor in \[0, 2\] is needed"),
        (["accelerator.deepcache.branch=-1"], "branch is -1; 0 keeps the output, 1 .. K the state at that skip"),
        (["model.weights=gone.safetensors"], "gone.safetensors does not exist"),
        (["data.size=32"], "makes images .1, 28, 28., but data 'mnist10k' has .1, 32, 32."),
        (["device.precision=float8"], "precision 'float8' is not one of: auto, bfloat16, float32"),
        (["budget.n=1"], "budget.n is 1; at least 2 images are needed"),
        (["metrics.kind=vgg"], "metrics kind 'vgg' is not one of: classifier, clean_fid, clip, nll"),
        (["model.parameterisation=score"], "parameterisation 'score' is not one of: edm, eps, v, x0"),
        (["model.schedule.name=sigmoid"], "schedule 'sigmoid' is not one of: cosine, linear"),
        (["score_norms.estimator=npr"], "estimator 'npr' is not one of: eps_ms, mse"),
        (["score_norms.cached=on"], "cached.* is not one of: base, joint|cached is True; str is needed"),
        (["score_norms.levels=1"], "score_norms.levels is 1; a curve needs at least 2"),
        (["score_norms.file=x", "score_norms.estimator=mse"], "an ms_eps file holds eps_ms"),
        (["sampler=ddim", "sampler.spacing=dp"], "at eta=0 every bound is infinite .no forward variance."),
        (["sampler.spacing=dp_plain"], "'dp_plain' is of the analytic variance; for variance 'small' use spacing=dp"),
        (["sampler.spacing=dp", "sampler.steps=1001"], "steps is 1001; spacing 'dp' takes 1 .. 1000"),
        (["sampler=analytic_ddpm", "sampler.spacing=dp", "sampler.steps=1"], "spacing 'dp' takes 2 .. 1000"),
        (["metrics=nll", "sampler=ddim"], "metrics=nll is infinite at eta=0"),
        (["metrics=nll", "sampler=heun"], "metrics=nll bounds a chain of Gaussian steps: use sampler=ddpm"),
        (["metrics=nll", "guidance=2"], "guidance is 2; metrics=nll is of the network's own distribution"),
        (["metrics=nll", "budget.n=1001"], "data 'mnist10k' has 1000 held-out images"),
    ],
)
def test_a_wrong_setting_gives_one_sentence_with_the_menu(overrides, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said) as raised:
        cell(*overrides)
    assert "\n" not in str(raised.value)


def test_a_gpu_that_is_not_there_is_refused_and_auto_takes_what_is_there():
    import torch

    if torch.cuda.is_available():
        assert resolved_device({"name": "auto"}).name == "cuda"
    else:
        assert resolved_device({"name": "auto"}).name == "cpu"
        with pytest.raises(ValueError, match="torch finds no GPU; use device=cpu"):
            resolved_device({"name": "cuda"})
    with pytest.raises(ValueError, match="device 'tpu' is not one of"):
        resolved_device({"name": "tpu"})


def test_numbers_are_coerced_and_booleans_are_no_numbers():
    assert build(Budget, {"n": 100.0, "seed": 3}, "budget") == Budget(100, 3)
    with pytest.raises(ValueError, match="budget.n is True; int is needed"):
        build(Budget, {"n": True}, "budget")


def test_a_cell_is_built_and_keyed_without_torch():
    code = (
        "import sys; from hydra import compose, initialize_config_module\n"
        "from fastdiff_benchmarks.entry import settings_of; from fastdiff.bench.config import cell_of\n"
        "with initialize_config_module('fastdiff_conf', version_base='1.3'):\n"
        "    cell_of(settings_of(compose('config', overrides=['device=cpu']))).key\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_card_of_one_s_own_folder_is_found(tmp_path):
    import shutil

    (tmp_path / "model").mkdir()
    shutil.copy(CONF / "model" / "mnist.yaml", tmp_path / "model" / "mine.yaml")
    code = (
        "import sys; from fastdiff_benchmarks.entry import entry\n"
        "sys.argv = ['x', '--config-dir', sys.argv[1], 'model=mine', 'ledger=' + sys.argv[1]]\n"
        "entry('config')(lambda cfg: print('found', cfg.model.family))()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "found native\n", done.stderr
