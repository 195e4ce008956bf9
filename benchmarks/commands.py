"""The command line that measures a cell again, from the settings in its record."""

import json
import re
import shlex
from functools import lru_cache
from pathlib import Path

import fastdiff_conf
from omegaconf import OmegaConf

from fastdiff.bench.records import Failed, Quality

ABSENT = object()  # a knob that the chosen member does not have
TYPED = re.compile(r"[A-Za-z_][\w-]*")  # keys that Hydra's command line can name


def commands(records: list[Quality | Failed]) -> dict[str, str]:
    """Records of cells -> {key: command line}."""
    return {record.key: command(record.settings) for record in records}


def command(settings: dict) -> str:
    """The shortest Hydra overrides that compose into these settings.

    Each group is named by the member that differs least from its settings, found by composed values; what differs
    follows, knob by knob. `config_dir` and `plugins` are what a run used beside conf/.
    """
    root, usual = roots()
    folder = settings.get("config_dir")
    folder = folder if folder and Path(folder).is_dir() else None
    order = {group: at for at, group in enumerate(usual)}
    words, own = [], False
    for group in sorted(settings.keys() - {"config_dir"}, key=lambda name: (order.get(name, len(order)), name)):
        values = settings[group]
        if group not in usual:
            words += changed(group, values, root.get(group, ABSENT))
            continue
        name, differences = nearest(group, values, usual[group], folder)
        words += [f"{group}={name}"] if name != usual[group] else []
        words += differences
        own |= name not in fastdiff_conf.members(group)
    where = ["--config-dir", shlex.quote(folder)] if own and folder else []
    return " ".join(["python benchmarks/run.py", *where, *words])


@lru_cache(maxsize=1)
def roots() -> tuple[dict, dict[str, str]]:
    """What config.yaml says beside its groups, and the member that it chooses of each group."""
    conf = OmegaConf.to_container(OmegaConf.load(fastdiff_conf.CONF / "config.yaml"))
    choices = [each for each in conf["defaults"] if isinstance(each, dict)]
    known = set(fastdiff_conf.groups())
    return conf, {group: name for choice in choices for group, name in choice.items() if group in known}


@lru_cache(maxsize=64)
def cards(group: str, folder: str | None) -> dict[str, dict]:
    """Member -> its settings, of conf/ and of a user's own folder."""
    return {name: fastdiff_conf.member(group, name, folder) for name in fastdiff_conf.members(group, folder)}


def nearest(group: str, values: dict, usual: str, folder: str | None) -> tuple[str, list[str]]:
    """The member that is closest to these values, and the overrides that are left: of the members with the same `name`
    (of all, if there is none) the one with the fewest overrides."""
    found = {name: changed(group, values, card) for name, card in cards(group, folder).items()}

    def distance(name: str) -> tuple:
        other = cards(group, folder)[name].get("name") != values.get("name")
        return other, len(found[name]), name != usual, name

    name = min(found, key=distance)
    return name, found[name]


def changed(name: str, value, usual) -> list[str]:
    """Overrides that turn `usual` into `value`, quoted for a shell: + adds a knob that it lacks, ~ removes one."""
    if isinstance(value, dict) and (isinstance(usual, dict) or (usual is ABSENT and value)):
        usual = {} if usual is ABSENT else usual
        if not all(TYPED.fullmatch(key) for key in value):
            return []  # `expected` of a model card: notes, which are in no key
        gone = [f"~{name}.{key}" for key in sorted(usual.keys() - value.keys()) if TYPED.fullmatch(key)]
        kept = [changed(f"{name}.{key}", value[key], usual.get(key, ABSENT)) for key in sorted(value)]
        return [*gone, *(word for words in kept for word in words)]
    if value == usual:
        return []
    return [shlex.quote(f"{'+' if usual is ABSENT else ''}{name}={literal(value)}")]


def literal(value) -> str:
    """A value in the grammar of Hydra's command line."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(literal, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
