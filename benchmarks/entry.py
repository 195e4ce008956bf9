"""How every entry point begins and ends: settings from conf/, and one sentence for what the user got wrong."""

import functools
import os
import sys
from collections.abc import Callable
from importlib.resources import files

import hydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fastdiff.settings import GROUPS


def entry(config_name: str) -> Callable:
    """Decorator: a task of its settings -> a main() that reads them from conf/<config_name>.yaml and argv.

    Exit code 2 and one sentence for unknown knobs, names and files, and for values that make no sense.
    """

    root = str(files("fastdiff_conf") / f"{config_name}.yaml")

    def decorate(task: Callable[[DictConfig], object]) -> Callable[[], object]:
        @functools.wraps(task)
        def careful(cfg: DictConfig):
            try:
                known = OmegaConf.load(str(files("fastdiff_conf") / "config.yaml")), OmegaConf.load(root)
                refuse_unknown(cfg, {str(name) for conf in known for name in conf} | set(GROUPS) | {"tracker"})
                return task(cfg)
            except (ValueError, OSError, OmegaConfBaseException) as error:
                refuse(error)

        run = hydra.main(config_path="pkg://fastdiff_conf", config_name=config_name, version_base="1.3")(careful)

        def main():
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises what it would print at length
            try:
                return run()
            except (HydraException, OmegaConfBaseException, ValueError) as error:
                refuse(error)

        return main

    return decorate


def settings_of(cfg: DictConfig) -> dict:
    """The groups a cell is made of, as plain dicts."""
    return OmegaConf.to_container(OmegaConf.masked_copy(cfg, list(GROUPS)), resolve=True, throw_on_missing=True)


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
    if isinstance(cause, OmegaConfBaseException) and isinstance(cause.parent_node, DictConfig):
        known = ", ".join(sorted(str(name) for name in cause.parent_node if name != "hydra"))
        where, _, name = str(cause.full_key).rpartition(".")
        return f"{where or 'the settings'} {'has' if where else 'have'} no knob '{name}'; known: {known}"
    return " ".join(str(error).split())
