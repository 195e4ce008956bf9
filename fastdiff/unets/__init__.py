"""U-Nets as rungs, behind one door."""

from importlib import import_module

from .protocol import UNet, compiled, walk

FAMILIES = ("adm", "ddim", "edm", "hf", "native")

__all__ = ["FAMILIES", "UNet", "build", "compiled", "walk"]


def build(family: str, arch: dict, state: dict | None = None) -> UNet:
    """A network in evaluation mode: `family` by name, `arch` its official constructor's arguments, `state` its
    official state dict.

    The words of arch are in each family's module: `fastdiff.unets.<family>.make`. Without a state the weights are
    random. A state that does not fit is refused with its missing and unexpected keys.
    """
    if family not in FAMILIES:
        raise ValueError(f"model family '{family}' is not one of: {', '.join(FAMILIES)}")
    try:
        module = import_module(f".{family}", __package__)
        unet = module.make(dict(arch))
    except TypeError as error:
        raise ValueError(f"arch of the {family} family: {error}") from error
    if state is not None:
        _load(getattr(unet, "official", unet), module.renamed(state) if hasattr(module, "renamed") else state)
    return unet.eval().requires_grad_(False)


def _load(unet, state: dict) -> None:
    wanted, found = unet.state_dict(), state
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or unexpected:
        raise ValueError(f"the weights do not fit arch: missing {_few(missing)}; unexpected {_few(unexpected)}")
    shapes = [name for name in wanted if wanted[name].shape != found[name].shape]
    if shapes:
        name = shapes[0]
        raise ValueError(
            f"the weights do not fit arch: {name} is {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}"
            f" ({len(shapes)} such tensors)"
        )
    unet.load_state_dict(found)


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "none"
