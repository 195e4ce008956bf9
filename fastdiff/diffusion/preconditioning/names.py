"""EDM's wrappers by their official names, as an arch spells them."""

from dataclasses import fields

from .forms import EDM, IDDPM, VE, VP

WRAPPERS = {"EDMPrecond": EDM, "VPPrecond": VP, "VEPrecond": VE, "iDDPMPrecond": IDDPM}
NETWORKS = ("SongUNet", "DhariwalUNet")  # what these wrap (`fastdiff.unets.edm`)


def official_name(word: str, name: str, menu) -> str:
    """The one of `menu` that arch word `word` names: prefixes (training.networks.), case and a missing suffix (edm, vp,
    ve, iddpm) do not count."""
    bare = str(name).rpartition(".")[2].lower()
    known = {official.lower(): official for official in menu}
    if bare not in known and f"{bare}precond" not in known:
        raise ValueError(f"{word} '{name}' is not one of: {', '.join(menu)}")
    return known.get(bare) or known[f"{bare}precond"]


def wrapper(name: str, arguments: dict):
    """One of EDM's four by its official class name, with those of `arguments` (official names) that are its own."""
    chosen = WRAPPERS[official_name("preconditioning", name, WRAPPERS)]
    own = {f.name for f in fields(chosen)}
    return chosen(**{word: value for word, value in arguments.items() if word in own and value is not None})


def of_arch(arch: dict):
    """The wrapper that the words of an `edm` arch name: `preconditioning` (or `precond`), or the pickled files'
    `class_name`; EDMPrecond when none is named. kwargs and init_kwargs are arch's own words, one level deeper. Raises
    ValueError when they name two, or one that does not exist."""
    arch = {**(arch.get("kwargs") or {}), **(arch.get("init_kwargs") or {}), **arch}
    menus = {"preconditioning": WRAPPERS, "precond": WRAPPERS, "class_name": (*NETWORKS, *WRAPPERS)}
    given = [official_name(word, arch[word], menu) for word, menu in menus.items() if arch.get(word) is not None]
    named = sorted(set(given) - set(NETWORKS))
    if len(named) > 1:
        raise ValueError(f"arch names two preconditionings, {named[0]} and {named[1]}: keep one")
    return wrapper(named[0] if named else "EDMPrecond", arch)
