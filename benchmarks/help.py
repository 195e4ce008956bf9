"""What `--help` prints: a command's description, the members of its groups, and every setting with its value."""

import json
from pathlib import Path

import fastdiff_conf
import hydra
from omegaconf import OmegaConf

WIDTH = 60  # of a setting with its value; longer values are cut


def usage(said: str, config_name: str, overrides: list[str], folder: str | None = None) -> str:
    """Help of a command. said: its description; overrides: those on the command line, already applied to the values;
    folder: a user's own settings (`--config-dir`)."""
    own = [f"hydra.searchpath=[{json.dumps('file://' + str(Path(folder).absolute()))}]"] if folder else []
    with hydra.initialize_config_module("fastdiff_conf", version_base="1.3"):
        cfg = hydra.compose(config_name, overrides=[*own, *overrides], return_hydra_config=True)
    chosen = {str(name): member for name, member in cfg.hydra.runtime.choices.items() if "/" not in str(name)}
    settings = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [name for name in cfg if name != "hydra"]))
    sweeps = ["grid"] if "config" in [path.stem for path in fastdiff_conf.layers(config_name, folder)] else []
    menu = {group: fastdiff_conf.members(group, folder) for group in sorted({*chosen, *sweeps})}
    lines = [f"  {group}: {', '.join(names)}" for group, names in menu.items() if names]
    head = ["groups: group=name chooses a member" + (", +grid=name a sweep" if sweeps else ""), *lines, ""]
    return "\n".join([said.strip(), "", *(head if lines else []), "settings: knob=value changes one",
                      *described(settings, notes(config_name, chosen, folder), set(chosen))])  # fmt: skip


def notes(config_name: str, chosen: dict[str, str], folder: str | None = None) -> dict[str, str]:
    """Dotted knob -> what the YAML files say of it."""
    found = {}
    for group, name in chosen.items():
        if name is not None:
            for path in fastdiff_conf.layers(f"{group}/{name}", folder):
                found |= {f"{group}.{knob}": said for knob, said in fastdiff_conf.comments(path).items()}
    for path in fastdiff_conf.layers(config_name, folder):
        found |= fastdiff_conf.comments(path)
    return found


def described(settings: dict, said: dict[str, str], groups: set[str], above: str = "") -> list[str]:
    """A line for each setting. A dict is one setting where nothing is said of the knobs in it."""
    lines = []
    for name, value in sorted(settings.items(), key=lambda item: item[0] != "name"):
        knob = f"{above}{name}"
        inside = knob in groups or any(each.startswith(f"{knob}.") for each in said)
        if isinstance(value, dict) and value and inside:
            lines += described(value, said, groups, f"{knob}.")
            continue
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        line = f"  {knob}={shown}"
        line = line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."
        lines.append(f"{line:{WIDTH}}  {said[knob]}" if knob in said else line)
    return lines
