"""What to type for a cell: its record's settings as the shortest Hydra overrides that give them back."""

import json
import shlex
from functools import cache
from importlib.resources import files

from omegaconf import OmegaConf

from fastdiff.bench.records import Failed, Quality


@cache
def settings() -> tuple[dict, dict, dict]:
    """What conf/ says: config.yaml; group -> its usual member; group -> member -> its settings. Read once a process."""
    conf = files("fastdiff_conf")

    def load(path):
        return OmegaConf.to_container(OmegaConf.load(path))

    root = load(conf / "config.yaml")
    usual = {group: name for choice in root["defaults"] if choice != "_self_" for group, name in choice.items()}
    usual = {group: name for group, name in usual.items() if (conf / group).is_dir()}  # not Hydra's own groups
    members = {group: [path for path in (conf / group).iterdir() if path.suffix == ".yaml"] for group in usual}
    return root, usual, {group: {path.stem: load(path) for path in paths} for group, paths in members.items()}


def commands(records: list[Quality | Failed]) -> dict[str, str]:
    """Key -> what to type for that cell: the members of conf/ its settings came from, and what differs from them."""
    (root, usual, cards), found = settings(), {}
    order = {group: at for at, group in enumerate(usual)}
    for record in records:
        words = ["python benchmarks/run.py"]
        for group, values in sorted(
            record.settings.items(), key=lambda each: (order.get(each[0], len(order)), each[0])
        ):
            if group not in usual:
                words += changed(group, values, root.get(group))
                continue
            named = (member for member, card in cards[group].items() if card["name"] == values["name"])
            member = next(named, usual[group])
            words += [f"{group}={member}"] if member != usual[group] else []
            words += changed(group, values, cards[group][member])
        found[record.key] = " ".join(words)
    return found


def changed(name: str, value, usual) -> list[str]:
    """Hydra overrides that turn `usual` into `value`, quoted for a shell."""
    if isinstance(value, dict) and isinstance(usual, dict):
        inner = {(f"{name}.{k}" if k in usual else f"+{name}.{k}"): (v, usual.get(k)) for k, v in sorted(value.items())}
        return [word for where, pair in inner.items() for word in changed(where, *pair)]
    return [] if value == usual else [shlex.quote(f"{name}={literal(value)}")]


def literal(value) -> str:
    """A value in the grammar of Hydra's command line."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(literal, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
