"""What a card and a file of EDM's say of one network."""

from pathlib import Path

from ...diffusion.preconditioning import NETWORKS, WRAPPERS, official_name

# words that name the wrapper or the network; of the last, either
WRAPPER, NETWORK = ("preconditioning", "precond"), ("model_type",)
MENUS = dict.fromkeys(WRAPPER, WRAPPERS) | dict.fromkeys(NETWORK, NETWORKS) | {"class_name": (*NETWORKS, *WRAPPERS)}
DEFAULTS = {"EDMPrecond": "DhariwalUNet", "iDDPMPrecond": "DhariwalUNet"}  # of model_type; else SongUNet


def merged(said: dict, made: dict, name: str, path: Path) -> dict:
    """said: arch of the card `name`, made: of the file at `path`, {} where it tells none.

    What the file says is taken, and a word of the card that says otherwise is refused: None says nothing, and names
    are the same however they are spelt (training.networks.VPPrecond, vp) and wherever they stand (class_name: SongUNet
    with preconditioning: vp is class_name: VPPrecond with model_type: SongUNet). A word that the file does not have
    counts.
    """
    named = _named(made)
    kept = {}
    for word, value in said.items():
        if value is None or word not in MENUS or not named:
            kept[word] = value
            if value is None or word not in made or _listed(value) == made[word]:
                continue
            truth = made[word]
        else:
            chosen = official_name(word, value, MENUS[word])
            truth = named["wrapper" if chosen in WRAPPERS else "network"]
            if chosen == truth:
                continue
            value = chosen if word == "class_name" else value
        raise ValueError(
            f"arch of model '{name}' says {word} {_listed(value)!r}, but {path} was made with {truth!r};"
            " correct the card"
        )
    return {**kept, **made}


def _named(made: dict) -> dict[str, str]:
    """Official names of a file's wrapper and network; {} where its class is none of EDM's wrappers."""
    name = str(made.get("class_name")).rpartition(".")[2]
    if name not in WRAPPERS:
        return {}
    network = made.get("model_type") or DEFAULTS.get(name, "SongUNet")
    return {"wrapper": name, "network": str(network).rpartition(".")[2]}


def _listed(value):
    return [_listed(each) for each in value] if isinstance(value, (list, tuple)) else value
