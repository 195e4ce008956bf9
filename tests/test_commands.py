"""The command that is printed for a cell composes into the same cell."""

import shlex
import sys
from pathlib import Path

import fastdiff_conf
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from fastdiff.bench.cell import key
from fastdiff.bench.config import GROUPS, cell_of
from fastdiff_benchmarks.commands import command
from fastdiff_benchmarks.entry import settings_of
from fastdiff_benchmarks.reproduce import settings_of_cells

GRIDS = fastdiff_conf.members("grid")


@pytest.fixture
def conf():
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        yield


def composed(words: list[str], groups: list[str]) -> dict:
    cfg = compose("config", overrides=words)
    return OmegaConf.to_container(OmegaConf.masked_copy(cfg, groups), resolve=True)


def without_notes(settings: dict) -> dict:
    """`expected` of a model card is for people and in no key."""
    model = {name: value for name, value in settings["model"].items() if name != "expected"}
    return settings | {"model": model}


@pytest.mark.parametrize("grid", GRIDS)
def test_the_first_and_the_last_cell_of_a_grid_come_back(conf, grid):
    own = ["data.path=own"] if composed([f"+grid={grid}"], ["data"])["data"]["path"] == "???" else []
    cells = settings_of_cells(grid, ["device=cpu", "device.precision=float32", *own])
    for settings in (cells[0], cells[-1]):
        words = shlex.split(command(settings))
        assert words[:2] == ["python", "benchmarks/run.py"]
        again = composed(words[2:], list(GROUPS))
        assert without_notes(again) == without_notes(settings)
        if not own and settings["model"]["name"] == "mnist":
            assert cell_of(again).key == cell_of(settings).key
        else:  # nothing is downloaded here
            assert key(_identity(again)) == key(_identity(settings))


def _identity(settings: dict) -> dict:
    """What a cell without its files depends on."""
    return cell_of(settings, resolve=False).generation()


def test_a_command_is_no_longer_than_what_differs_from_conf(conf):
    def typed(*words: str) -> str:
        return command(settings_of(compose("config", overrides=list(words)))).removeprefix("python benchmarks/run.py")

    assert typed() == ""
    assert typed("sampler=ddim", "sampler.steps=25") == " sampler=ddim sampler.steps=25"
    assert typed("accelerator=combined") == " accelerator=combined"
    assert typed("metrics=clean_fid_tensorflow", "model=mnist") == " metrics=clean_fid_tensorflow"
    assert typed("model=edm_cifar10_cond_ve", "data=cifar10") == " model=edm_cifar10_cond_ve data=cifar10"


def test_a_node_that_conf_does_not_know_is_added_and_a_knob_that_is_gone_is_removed(conf):
    words = ["+accelerator.freeu.b=1.2", "+accelerator.freeu.s=[0.9,0.2]", "~sampler.clip"]
    settings = composed(words, list(GROUPS))
    said = command(settings)
    assert "+accelerator.freeu.b=1.2" in said and "~sampler.clip" in said
    assert composed(shlex.split(said)[2:], list(GROUPS)) == settings


def test_another_schedule_leaves_nothing_of_the_usual_one(conf):
    settings = composed([], list(GROUPS))
    settings["model"]["schedule"] = {"name": "cosine", "N": 1000}
    assert composed(shlex.split(command(settings))[2:], list(GROUPS)) == settings


def test_plugins_are_part_of_the_command(conf):
    settings = composed([], list(GROUPS)) | {"plugins": ["my_module"]}
    assert "plugins=" in command(settings) and "my_module" in command(settings)


def own_folder(folder: Path) -> Path:
    """A user's settings: a sampler that builds on one of conf/ and one that stands alone."""
    (folder / "sampler").mkdir(parents=True)
    (folder / "sampler" / "slow.yaml").write_text("defaults: [ddim, _self_]\nsteps: 77\n")
    (folder / "sampler" / "mine.yaml").write_text("name: euler\nsteps: 9\nspacing: logsnr\nstate_dtype: float64\n")
    return folder


@pytest.mark.parametrize("name", ["slow", "mine"])
def test_a_member_of_one_s_own_folder_comes_back_with_the_folder(tmp_path, monkeypatch, capsys, name):
    from fastdiff_benchmarks.entry import entry

    monkeypatch.chdir(tmp_path)
    own_folder(tmp_path / "my")
    found = []
    main = entry("config")(lambda cfg: found.append(settings_of(cfg)))
    common = ["device=cpu", "tracker=none", "ledger=runs"]
    monkeypatch.setattr(sys, "argv", ["x", "--config-dir", "my", f"sampler={name}", *common])
    main()
    assert found[0]["config_dir"] == "my"
    words = shlex.split(command(found[0]))
    assert words[2:4] == ["--config-dir", "my"] and f"sampler={name}" in words
    assert not [word for word in words if word.startswith("sampler.")]
    monkeypatch.setattr(sys, "argv", ["x", *words[2:], *common])
    main()
    assert found[1] == found[0]
    monkeypatch.chdir("/")  # the folder is gone: the command states every knob
    assert "--config-dir" not in command(found[0]) and "sampler.steps=" in command(found[0])


def test_members_read_without_hydra_are_those_that_hydra_composes(conf):
    for group in fastdiff_conf.groups():
        for name in fastdiff_conf.members(group) if group != "grid" else ():
            assert fastdiff_conf.member(group, name) == composed([f"{group}={name}"], [group])[group], name


def test_an_unknown_member_gives_the_menu_without_bases():
    with pytest.raises(ValueError, match="sampler 'ddmp' is not one of: analytic_ddim, .*, unipc$") as raised:
        fastdiff_conf.member("sampler", "ddmp")
    assert "base" not in str(raised.value)
