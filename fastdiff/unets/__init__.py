"""U-Nets cut into rungs. `build` makes one of any family."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import Tensor

from ..registry import Registry
from .protocol import UNet, walk
from .runner import Runner, laid_out
from .whole import Whole

# Name -> the module of a family of the suite, or the function `make` of a third party's.
FAMILIES: Registry[str | Callable[[dict], object]] = Registry("model family")
for _name in ("adm", "ddim", "edm", "hf", "native"):
    FAMILIES.add(_name, f"{__name__}.{_name}")

__all__ = ["FAMILIES", "Runner", "UNet", "build", "laid_out", "load_state", "register", "walk"]


def register(name: str) -> Callable:
    """Decorator for a function make(arch: dict) -> network: make a family known under a name.

    The network is a torch.nn.Module cut into rungs (`UNet`), or any module with forward(x, c_noise, cond) -> output,
    which counts as a network without rungs.
    """

    def add(make: Callable[[dict], object]) -> Callable[[dict], object]:
        FAMILIES.add(name, make)
        return make

    return add


def build(family: str, arch: dict, state: dict | None = None) -> UNet:
    """A network in evaluation mode. family: its name. arch: the official constructor's arguments, as documented by
    `fastdiff.unets.<family>.make`. state: the official state dict; None gives random weights.

    Raises ValueError for an unknown family or argument, and for a state that does not fit, with the missing and
    unexpected keys.
    """
    found = FAMILIES.get(family)
    if not isinstance(arch, Mapping):
        raise ValueError(f"arch of the {family} family is a {type(arch).__name__}; it must be a mapping of arguments")
    try:
        module: ModuleType | None = import_module(found) if isinstance(found, str) else None
        unet = module.make(dict(arch)) if module else found(dict(arch))
    except TypeError as error:
        raise ValueError(f"arch of the {family} family: {error}") from error
    if state is not None:
        _check(state)
        renamed = getattr(module, "renamed", dict)  # official names -> ours, where a family needs it
        load_state(getattr(unet, "official", unet), renamed(state))
    if not hasattr(unet, "rungs"):
        unet = Whole(unet)
    return unet.eval().requires_grad_(False)


def load_state(unet: Any, state: dict) -> None:
    """Load a state dict into a module. Raises ValueError, in one sentence, if it does not fit."""
    _check(state)
    wanted, found = unet.state_dict(), state
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or unexpected:
        raise ValueError(
            f"the weights do not fit arch: missing {_few(missing)}; unexpected {_few(unexpected)}"
            f"{_other_prefix(wanted, found)}"
        )
    shapes = [name for name in wanted if wanted[name].shape != found[name].shape]
    if shapes:
        name = shapes[0]
        raise ValueError(
            f"the weights do not fit arch: {name} is {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}"
            f" ({len(shapes)} such tensors)"
        )
    unet.load_state_dict(found)


def _check(state) -> None:
    """Raises ValueError unless state is a mapping of names to tensors."""
    if not isinstance(state, Mapping):
        raise ValueError(f"the state is a {type(state).__name__}; it must be a mapping of names to tensors")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(
                f"the state must be a mapping of names to tensors; its {name!r} is a {type(tensor).__name__}"
            )


def _other_prefix(wanted: Mapping, found: Mapping) -> str:
    """The end of the message if only a prefix of the names is wrong; else ""."""
    for prefix in sorted({f"{name.partition('.')[0]}." for name in wanted}):
        if any(prefix + name in wanted for name in found):
            return f"; this network's keys start with '{prefix}', as the official ones do"
    first = min(wanted)
    for name in found:
        if name.endswith(f".{first}"):
            return f"; the weights' keys start with '{name.removesuffix(first)}', which this network's do not"
    return ""


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "none"
