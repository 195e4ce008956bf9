"""The pickles of NVlabs/edm (Karras et al. 2022), and how their arguments are compared with a model card.

A file is {"ema": network, ...}. Every module in it is a call of torch_utils.persistence's _reconstruct_persistent_obj
with the source code of its class and its state, constructor arguments included. Unpickling would execute the source.
Here it is skipped, and the rest becomes the network's arguments and an official state dict.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..diffusion.preconditioning import NETWORKS, WRAPPERS, official_name
from . import torch_files
from .pickles import NUMPY, SCALARS, Record, Unpickler, mapping, numpy_scalar, records

CONTAINERS = tuple(f"torch.nn.modules.container.{name}" for name in ("ModuleDict", "ModuleList", "Sequential"))
STORAGE, TENSOR = "torch.storage._load_from_bytes", "torch._utils._rebuild_tensor_v2"
PARAMETER = "torch._utils._rebuild_parameter"
DTYPES = ("float16", "float32", "float64", "int32", "int64", "uint8", "bool")
DEEPEST = 32  # modules within modules; official networks have 5
MEMBERS = 50_000  # of all modules together; official networks have a few thousand
LONGEST, WHOLE = 200, 1000  # characters of a member's name, without and with the names of the modules around it
WRAPPER, NETWORK = ("preconditioning", "precond"), ("model_type",)  # arguments of a card that name one or the other
MENUS = dict.fromkeys(WRAPPER, WRAPPERS) | dict.fromkeys(NETWORK, NETWORKS) | {"class_name": (*NETWORKS, *WRAPPERS)}
DEFAULTS = {"EDMPrecond": "DhariwalUNet", "iDDPMPrecond": "DhariwalUNet"}  # of model_type; else SongUNet


@dataclass
class _Left:
    """How much a file may still have: bytes of storages, members of modules."""

    storages: int
    members: int

    def take(self, members: int = 0, storages: int = 0) -> None:
        self.members, self.storages = self.members - members, self.storages - storages
        if self.members < 0:
            raise ValueError("it has more parameters and modules than any network")
        if self.storages < 0:
            raise ValueError("it uses one storage for too many tensors")


def read_edm(file: Any) -> tuple[dict, dict]:
    """file: BytesIO or mmap -> arch, state. arch has `class_name` and the constructor's arguments under their official
    names. state is the official state dict of the moving average, tensors on the CPU.

    Raises ValueError with half a sentence about the file ("it ...") if it is damaged or no file of EDM.
    """
    network, state = _ema(file), {}
    _collect(network, "", state, _Left(file.tell(), MEMBERS), set())
    return _arch(network), state


def edm_arch(file: Any) -> dict:
    """arch as in `read_edm`, without importing torch."""
    return _arch(_ema(file))


def merged_arch(said: dict, made: dict, name: str, path: Path) -> dict:
    """said: arch of the card `name`. made: arch of the file at `path`, {} if the file has none. -> said and made.

    Raises ValueError if the card contradicts the file. None contradicts nothing. Names may be spelt in several ways
    (training.networks.VPPrecond, vp) and stand in several places: class_name SongUNet with preconditioning vp is
    class_name VPPrecond with model_type SongUNet. An argument that only the card has is kept.
    """
    wrapper = str(made.get("class_name")).rpartition(".")[2]
    network = str(made.get("model_type") or DEFAULTS.get(wrapper, "SongUNet")).rpartition(".")[2]
    kept = {}
    for word, value in said.items():
        if value is not None and word in MENUS and wrapper in WRAPPERS:
            chosen = official_name(word, value, MENUS[word])
            truth = wrapper if chosen in WRAPPERS else network
            same, value = chosen == truth, chosen if word == "class_name" else value
        else:
            kept[word], truth = value, made.get(word)
            same = value is None or word not in made or _listed(value) == truth
        if not same:
            raise ValueError(
                f"arch of model '{name}' says {word} {_listed(value)!r}, but {path} was made with {truth!r};"
                " correct the card"
            )
    return {**kept, **made}


def _listed(value):
    return [_listed(each) for each in value] if isinstance(value, (list, tuple)) else value


def _persistent(meta) -> Record:
    """Class name and state of a module, without its source code."""
    if type(meta) is not dict or meta.get("type") != "class" or meta.get("version") != 6:
        raise ValueError("it has a persistent object of an unknown kind; known: type 'class', version 6")
    name, state = meta.get("class_name"), meta.get("state")
    if type(name) is not str or type(state) is not dict:
        raise ValueError("it has a persistent object without class_name or state")
    module = Record("module", (name,))
    module.state = state
    return module


TABLE = records(
    STORAGE, TENSOR, PARAMETER, *CONTAINERS, "torch.Size", "torch.device", "builtins.set",
    *(f"torch.{name}" for name in DTYPES),
) | NUMPY | {
    "collections.OrderedDict": mapping, "dnnlib.util.EasyDict": mapping,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
}  # fmt: skip


def _ema(file) -> Record:
    value = Unpickler(file, TABLE).load()
    if file.read(1):
        raise ValueError("it goes on after its end")
    if type(value) is not dict or type(value.get("ema")) is not Record or value["ema"].name != "module":
        held = ", ".join(map(str, value)) if type(value) is dict else type(value).__name__
        raise ValueError(f"it has no network 'ema'; it holds: {held[:200] or 'nothing'}")
    return value["ema"]


def _arch(network: Record) -> dict:
    state = network.state or {}
    args, words = state.get("_init_args", ()), state.get("_init_kwargs")
    if args not in ((), []) or type(words) is not dict or not all(type(word) is str for word in words):
        raise ValueError("it does not have its network's arguments by name")
    left = [1000]  # values in all; a list may contain one list many times
    return {"class_name": network.args[0]} | {word: _argument(value, left) for word, value in words.items()}


def _argument(value, left: list[int]):
    left[0] -= 1
    if left[0] < 0:
        raise ValueError("it has more constructor arguments than any network")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return [_argument(each, left) for each in value]
    if type(value) is dict and all(type(word) is str for word in value):
        return {word: _argument(each, left) for word, each in value.items()}
    if type(value) is Record and value.name in SCALARS:
        return numpy_scalar(*value.args)
    raise ValueError("it has constructor arguments that are no numbers, words or lists")


def _collect(module: Any, prefix: str, state: dict, left: _Left, seen: set[int]) -> None:
    """Add a module's parameters and persistent buffers to state, and those of its submodules, in torch's order."""
    if type(module) is not Record or module.name not in ("module", *CONTAINERS) or type(module.state) is not dict:
        raise ValueError(f"it has something else where the module {prefix[:200]!r} should be")
    if id(module) in seen or prefix.count(".") > DEEPEST:
        raise ValueError(f"it has the module {prefix[:200]!r} twice, or too deep")
    seen.add(id(module))
    skipped = module.state.get("_non_persistent_buffers_set", ())
    if type(skipped) is Record and skipped.name == "builtins.set" and skipped.args:
        skipped = skipped.args[0]
    members = [module.state.get(kind) for kind in ("_parameters", "_buffers", "_modules")]
    if type(skipped) not in (set, list, tuple) or any(type(part) is not dict for part in members):
        raise ValueError(f"it has a broken module {prefix[:200]!r}")
    left.take(members=len(skipped) + sum(map(len, members)))  # many modules may share one dictionary
    skipped = {name for name in skipped if type(name) is str}
    for kind, part in enumerate(members):
        for name, member in part.items():
            if type(name) is not str or len(name) > LONGEST or len(prefix) + len(name) > WHOLE:
                raise ValueError(f"it has a broken module {prefix[:200]!r}")
            if member is None or (kind == 1 and name in skipped):
                continue
            if kind == 2:
                _collect(member, f"{prefix}{name}.", state, left, seen)
            else:
                state[prefix + name] = _tensor(member, left)


def _tensor(value, left: _Left):
    """A record of a tensor or parameter -> a tensor with a storage of its own."""
    import torch

    if type(value) is Record and value.name == PARAMETER and value.args:
        value = value.args[0]
    if type(value) is not Record or value.name != TENSOR or len(value.args) < 4:
        raise ValueError("it has something else where a tensor should be")
    storage, offset, size, stride = value.args[:4]
    size, stride = map(torch_files.plain_size, (size, stride))
    if type(storage) is not Record or storage.name != STORAGE or [type(raw) for raw in storage.args] != [bytes]:
        raise ValueError("it has a tensor without a storage")
    left.take(storages=len(storage.args[0]))
    storage = torch_files.load(storage.args[0])
    if not isinstance(storage, torch.storage.TypedStorage):
        raise ValueError("it has a tensor without a storage")
    flat = torch.empty(0, dtype=storage.dtype).set_(storage)
    torch_files.check_view(flat.numel(), offset, size, stride)
    if math.prod(size) > flat.numel():
        raise ValueError("it has a tensor larger than its storage")
    return flat.as_strided(size, stride, 0 if 0 in size else offset).clone()
