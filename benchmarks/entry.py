"""How every entry point begins and ends: settings from conf/, and one sentence for what the user got wrong."""

import functools
import os
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import hydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from fastdiff.bench.config import GROUPS
from fastdiff.device import keep_freed_memory


def entry(config_name: str) -> Callable:
    """Decorator: a task of its settings -> a main() that reads them from conf/<config_name>.yaml and argv.

    Exit code 2 and one sentence for unknown knobs, names and files, and for values that make no sense. --help prints
    the docstring of the task's file, with its usage lines, and the groups.
    """

    root = root_of(config_name)

    def decorate(task: Callable[[DictConfig], object]) -> Callable[[], object]:
        @functools.wraps(task)
        def careful(cfg: DictConfig):
            try:
                refuse_unknown(cfg, top_names(root))
                return task(cfg)
            except (ValueError, OSError, OmegaConfBaseException) as error:
                refuse(error)

        run = hydra.main(config_path="pkg://fastdiff_conf", config_name=config_name, version_base="1.3")(careful)

        def main():
            if not {"-h", "--help"}.isdisjoint(sys.argv[1:]):
                print(usage(sys.modules[task.__module__].__doc__, root))
                return None
            keep_freed_memory()
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises what it would print at length
            try:
                return run()
            except (HydraException, OmegaConfBaseException, ValueError) as error:
                refuse(error)

        return main

    return decorate


def root_of(config_name: str) -> str:
    return str(files("fastdiff_conf") / f"{config_name}.yaml")


def top_names(root: str) -> set[str]:
    """The knobs and groups that settings of a root config may have at their top."""
    confs = OmegaConf.load(root_of("config")), OmegaConf.load(root)
    return {str(name) for conf in confs for name in conf} | set(GROUPS) | {"tracker"}


def usage(said: str, root: str) -> str:
    """What a script says of itself, the groups it chooses from with their members, and where the settings are."""
    chosen = OmegaConf.load(root).defaults
    own = {name for each in chosen if isinstance(each, DictConfig) for name in each}
    folders = sorted(files("fastdiff_conf").iterdir(), key=lambda path: path.name)
    whole = "config" in chosen or root.endswith("config.yaml")  # then sweeps are offered too
    menu = {path.name: members(path) for path in folders if path.is_dir() and (whole or path.name in own)}
    lines = [f"  {group}: {', '.join(names)}" for group, names in menu.items() if names]
    head = ["groups, of which group=name chooses a member (+grid=name a sweep):", *lines, ""] if lines else []
    rest = f"--cfg job prints every setting with its value; what they mean is written in {Path(root).parent}"
    return "\n".join([said.strip(), "", *head, rest])


def members(group) -> list[str]:
    """Names of the files of a group, those of its sub-folders after them: deepcache, paper/deepcache_table2."""
    here = sorted(path.name.removesuffix(".yaml") for path in group.iterdir() if path.name.endswith(".yaml"))
    folders = sorted((path for path in group.iterdir() if path.is_dir()), key=lambda path: path.name)
    return here + [f"{folder.name}/{name}" for folder in folders for name in members(folder)]


def settings_of(cfg: DictConfig) -> dict:
    """The groups a cell is made of, as plain dicts. Raises ValueError, saying what to give, where one has `???`."""
    try:
        return OmegaConf.to_container(OmegaConf.masked_copy(cfg, list(GROUPS)), resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ValueError(sentence(error)) from error


def settings_from(*words: str) -> dict:
    """The settings of the cell that these words of a command line name, as plain dicts, for notebooks and scripts:
    settings_from("sampler=ddim", "sampler.steps=10") is what `fastdiff.bench.config.cell_of` and `bench.run_cell` take.

    Raises ValueError with one sentence for unknown knobs, names and values.
    """
    try:
        with hydra.initialize_config_module("fastdiff_conf", version_base="1.3"):
            cfg = hydra.compose("config", overrides=list(words))
        refuse_unknown(cfg, top_names(root_of("config")))
        return settings_of(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(sentence(error)) from error


def refuse_unknown(cfg: DictConfig, known: set[str]) -> None:
    """Hydra accepts +nosuch=1; what is a typo must not be taken for a setting."""
    for name in cfg:
        if name not in known:
            menu = ", ".join(sorted(known - {"defaults", "hydra"}))
            raise ValueError(f"the settings have no knob '{name}'; known: {menu}")


def refuse(error: Exception):
    print(f"error: {sentence(error)}", file=sys.stderr)
    sys.exit(2)


def sentence(error: Exception) -> str:
    """What was wrong with the settings, with the menu of what would be right."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"{group} '{name}' is not one of: {', '.join(sorted(error.options))}"
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, MissingMandatoryValue) and isinstance(cause.parent_node, DictConfig):
        return wanting(str(cause.full_key).rpartition(".")[0], OmegaConf.to_container(cause.parent_node))
    if isinstance(cause, OmegaConfBaseException) and isinstance(cause.parent_node, DictConfig):
        known = ", ".join(sorted(str(name) for name in cause.parent_node if name != "hydra"))
        where, _, name = str(cause.full_key).rpartition(".")
        return f"{where or 'the settings'} {'has' if where else 'have'} no knob '{name}'; known: {known}"
    return " ".join(str(error).split())


def wanting(where: str, knobs: dict) -> str:
    """What to give where knobs are ???: data 'imagenet64' needs data.path=FOLDER: <its origin>."""
    absent = [name for name, value in knobs.items() if value == "???"]
    place = "FILE" if knobs.get("kind") == "npz" else "FOLDER"
    given = [f"{where and where + '.'}{name}={place if name == 'path' else name.upper()}" for name in absent]
    whose = f"{where} '{knobs['name']}'" if where and "name" in knobs else where or "this command"
    origin = f": {knobs['origin']}" if "path" in absent and knobs.get("origin") else ""
    return f"{whose} needs {' '.join(given)}{origin}"
