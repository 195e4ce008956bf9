"""The settings: Hydra's YAML files, and their members read without Hydra.

`conf/<group>/<name>.yaml` is a member of a group, chosen with group=name. `conf/<group>/base/` holds what several
members share; a base is no member. A member's `defaults` name the files that it builds on, in its own group.
"""

import re
from functools import lru_cache
from pathlib import Path

CONF = Path(__file__).parent
BASE = "base"  # name of the folders of bases


def groups() -> list[str]:
    """Names of the groups: accelerator, budget, ..."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def members(group: str, folder: Path | str | None = None) -> list[str]:
    """Members of a group, those of sub-folders last: deepcache, ..., paper/deepcache_table2. Bases are left out.

    folder: a user's own (`--config-dir`), searched after conf/.
    """
    found = [path.relative_to(root / group) for root in _roots(folder) for path in (root / group).rglob("*.yaml")]
    names = {path.with_suffix("").as_posix() for path in found if BASE not in path.parts[:-1]}
    return sorted(names, key=lambda name: (name.count("/"), name))


def member(group: str, name: str, folder: Path | str | None = None) -> dict:
    """The settings of a member with its bases merged, as plain dicts; `???` stays as it is.

    Raises ValueError with the menu for an unknown name.
    """
    from omegaconf import OmegaConf

    if name not in members(group, folder):
        raise ValueError(f"{group} '{name}' is not one of: {', '.join(members(group, folder))}")
    merged = OmegaConf.merge(*(_loaded(path) for path in layers(f"{group}/{name}", folder)))
    merged.pop("defaults", None)
    return OmegaConf.to_container(merged)


def layers(name: str, folder: Path | str | None = None) -> list[Path]:
    """The files that Hydra merges for `name` (diagnose, sampler/ddpm); the last wins. Group choices are left out."""
    paths = [root / f"{name}.yaml" for root in _roots(folder)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ValueError(f"the settings have no file {name}.yaml in {' or '.join(map(str, _roots(folder)))}")
    defaults = [each for each in _loaded(path).get("defaults") or () if isinstance(each, str)]
    found: list[Path] = []
    for each in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        near = each.lstrip("/") if each.startswith("/") else f"{name.rpartition('/')[0]}/{each}".lstrip("/")
        found += [path] if each == "_self_" else layers(near, folder)
    return found


@lru_cache(maxsize=512)
def comments(path: Path) -> dict[str, str]:
    """Dotted knob -> the comment beside it in a YAML file, with the comment lines that continue it."""
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    knob = None
    for line in path.read_text(encoding="utf-8").splitlines():
        beside = re.match(r"( *)([\w.]+):(?: (.*?))??(?:\s+# (.*))?$", line)
        further = re.match(r"\s{4,}# (.*)$", line)
        if further and knob:
            found[knob] = " ".join(filter(None, (found.get(knob), further.group(1))))
        elif beside:
            indent, name, value, said = len(beside.group(1)), *beside.groups()[1:]
            parents = [each for each in parents if each[0] < indent] + [(indent, name)]
            knob = ".".join(parent for _, parent in parents)
            inner = re.fullmatch(r"\{(\w+): [^{},]+\}", value or "")  # device: {precision: float32}
            knob = f"{knob}.{inner.group(1)}" if inner else knob
            if said:
                found[knob] = said
        else:
            knob = None
    return found


def _roots(folder: Path | str | None) -> list[Path]:
    return [CONF, *([Path(folder)] if folder else [])]


def _loaded(path: Path):
    from omegaconf import OmegaConf

    return OmegaConf.load(path)
