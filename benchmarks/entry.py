"""How every entry point begins and ends: settings from conf/, and one sentence for a user's mistake."""

import functools
import os
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import fastdiff_conf
import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from fastdiff.bench.config import GROUPS
from fastdiff.device import keep_freed_memory
from fastdiff_benchmarks.help import usage


def entry(config_name: str, package: str = "fastdiff_conf") -> Callable:
    """Decorator: a task that takes settings -> a main() that reads <config_name>.yaml of a package, and argv.

    Unknown knobs, names and files, and values out of range, give exit code 2 and one sentence. --help prints the
    docstring of the task's file, the members of the groups, and every setting with its value.
    """

    def decorate(task: Callable[[DictConfig], object]) -> Callable[[], object]:
        @functools.wraps(task)
        def careful(cfg: DictConfig):
            try:
                refuse_unknown(cfg, top_names(config_name, package))
                return task(cfg)
            except (ValueError, OSError, OmegaConfBaseException) as error:
                refuse(error)

        run = hydra.main(config_path=f"pkg://{package}", config_name=config_name, version_base="1.3")(careful)

        def main():
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises what it would print at length
            try:
                if not {"-h", "--help"}.isdisjoint(sys.argv[1:]):
                    given = get_args_parser().parse_args(sys.argv[1:])
                    said = sys.modules[task.__module__].__doc__
                    if package == "fastdiff_conf":
                        print(usage(said, config_name, given.overrides, given.config_dir))
                    else:
                        print(f"{said.strip()}\n\n{file_of(config_name, package).read_text(encoding='utf-8')}")
                    return None
                keep_freed_memory()
                return run()
            except (HydraException, OmegaConfBaseException, ValueError) as error:
                refuse(error)

        return main

    return decorate


def file_of(config_name: str, package: str) -> Path:
    """The root config of a command: a file of conf/, or of a study's own package."""
    return Path(str(files(package))) / f"{config_name}.yaml"


def top_names(config_name: str, package: str = "fastdiff_conf") -> set[str]:
    """The knobs and groups that a command's settings may have at their top."""
    paths = fastdiff_conf.layers(config_name) if package == "fastdiff_conf" else [file_of(config_name, package)]
    confs = [OmegaConf.load(path) for path in (*fastdiff_conf.layers("config"), *paths)]
    return {str(name) for conf in confs for name in conf} | set(GROUPS) | {"tracker"}


def settings_of(cfg: DictConfig) -> dict:
    """The groups that a cell is made of, as plain dicts, with `config_dir` and `plugins` where a run uses them.

    Raises ValueError, saying what to give, where one has `???`.
    """
    try:
        conf = OmegaConf.to_container(OmegaConf.masked_copy(cfg, list(GROUPS)), resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ValueError(sentence(error)) from error
    beside = {"config_dir": own_folder(), "plugins": plugins_of(cfg)}
    return conf | {name: value for name, value in beside.items() if value}


def plugins_of(cfg: DictConfig) -> list[str]:
    """The modules that `plugins` names."""
    return [str(name) for name in OmegaConf.select(cfg, "plugins") or ()]


def own_folder() -> str | None:
    """The folder of `--config-dir`: relative where it lies below the working directory."""
    if not GlobalHydra.instance().is_initialized():
        return None
    searched = GlobalHydra.instance().config_loader().get_search_path().get_path()
    folder = next((each.path for each in searched if each.provider == "command-line"), None)
    if folder is None:
        return None
    path = Path(folder.removeprefix("file://"))
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def settings_from(*words: str) -> dict:
    """The settings of the cell that these words of a command line describe, as plain dicts. For notebooks and scripts:
    pass settings_from("sampler=ddim", "sampler.steps=10") to `fastdiff.bench.config.cell_of` and `bench.run_cell`.

    Raises ValueError with one sentence for unknown knobs, names and values.
    """
    try:
        with hydra.initialize_config_module("fastdiff_conf", version_base="1.3"):
            cfg = hydra.compose("config", overrides=list(words))
        refuse_unknown(cfg, top_names("config"))
        return settings_of(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(sentence(error)) from error


def refuse_unknown(cfg: DictConfig, known: set[str]) -> None:
    """Raise ValueError for a knob that no command has. Hydra itself accepts +nosuch=1."""
    for name in cfg:
        if name not in known:
            menu = ", ".join(sorted(known - {"defaults", "hydra"}))
            raise ValueError(f"the settings have no knob '{name}'; known: {menu}")


def refuse(error: Exception):
    print(f"error: {sentence(error)}", file=sys.stderr)
    sys.exit(2)


def sentence(error: Exception) -> str:
    """What is wrong with the settings, with the menu of valid names."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"{group} '{name}' is not one of: {', '.join(sorted(error.options))}"
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, MissingMandatoryValue) and isinstance(cause.parent_node, DictConfig):
        return wanting(str(cause.full_key).rpartition(".")[0], OmegaConf.to_container(cause.parent_node))
    if isinstance(cause, OmegaConfBaseException) and isinstance(cause.parent_node, DictConfig):
        known = ", ".join(sorted(str(name) for name in cause.parent_node if name != "hydra"))
        where, _, name = str(cause.full_key).rpartition(".")
        said = f"{where or 'the settings'} {'has' if where else 'have'} no knob '{name}'; known: {known}"
        unknown = f"; a node that the root settings do not know needs a +, as in +{where}.{name}.<knob>=..."
        return said + (unknown if where == "accelerator" else "")
    return " ".join(str(error).split())


def wanting(where: str, knobs: dict) -> str:
    """What to give where knobs are ???: data 'imagenet64' needs data.path=FOLDER: <its origin>."""
    absent = [name for name, value in knobs.items() if value == "???"]
    place = "FILE" if knobs.get("kind") == "npz" else "FOLDER"
    given = [f"{where and where + '.'}{name}={place if name == 'path' else name.upper()}" for name in absent]
    whose = f"{where} '{knobs['name']}'" if where and "name" in knobs else where or "this command"
    origin = f": {knobs['origin']}" if "path" in absent and knobs.get("origin") else ""
    return f"{whose} needs {' '.join(given)}{origin}"
