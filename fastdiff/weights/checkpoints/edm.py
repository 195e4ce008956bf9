"""The pickles of NVlabs/edm (Karras et al. 2022), read as data.

Such a file is {"ema": network, ...}, and every module in it is a call of torch_utils.persistence's
_reconstruct_persistent_obj on its class's source code and its state, constructor's arguments included. Unpickling would
execute the source. Here it is skipped, and the rest becomes arguments and an official state dict.
"""

import io
import math
from dataclasses import dataclass
from typing import Any

from . import arrays, torch_files
from .inert import read
from .records import Record, mapping, records
from .tensors import view

CONTAINERS = tuple(f"torch.nn.modules.container.{name}" for name in ("ModuleDict", "ModuleList", "Sequential"))
STORAGE, TENSOR, PARAMETER = (
    "torch.storage._load_from_bytes",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
)
DTYPES = ("float16", "float32", "float64", "int32", "int64", "uint8", "bool")
DEEPEST = 32  # modules within modules; official networks have 5
MEMBERS = 50_000  # of all modules together; official networks have a few thousand
LONGEST, WHOLE = 200, 1000  # characters of a member's name, and with those of the modules around it


@dataclass
class Budget:
    """What a file may still have: bytes of storages, members of modules."""

    numbers: int
    members: int

    def visit(self, count: int) -> None:
        self.members -= count
        if self.members < 0:
            raise ValueError("it has more parameters and modules than any network")


def _persistent(meta) -> Record:
    """Class name and state of a module; its source code is left where it was."""
    if type(meta) is not dict or meta.get("type") != "class" or meta.get("version") != 6:
        raise ValueError("it has a persistent object of an unknown kind; known: type 'class', version 6")
    name, state = meta.get("class_name"), meta.get("state")
    if type(name) is not str or type(state) is not dict:
        raise ValueError("it has a persistent object without class_name or state")
    module = Record("module", (name,))
    module.state = state
    return module


MAKERS = records(
    STORAGE, TENSOR, PARAMETER, *CONTAINERS, "torch.Size", "torch.device", "builtins.set",
    *(f"torch.{name}" for name in DTYPES),
) | arrays.MAKERS | {
    "collections.OrderedDict": mapping, "dnnlib.util.EasyDict": mapping,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
}  # fmt: skip


def read_edm(data) -> tuple[dict, dict]:
    """The bytes of a file (or mmap) -> arch, state: `class_name` and the constructor's arguments in official words, and
    the official state dict of its moving average, tensors on the CPU.

    Raises ValueError with half a sentence ("it ...") for what such files never hold, and for damage.
    """
    network = _ema(data)
    state: dict = {}
    _collect(network, "", state, Budget(len(data), MEMBERS), set())
    return _arch(network), state


def edm_arch(data) -> dict:
    """As `read_edm`, the arguments alone. No torch."""
    return _arch(_ema(data))


def _ema(data) -> Record:
    value, end = read(data, MAKERS)
    if end != len(data):
        raise ValueError("it goes on after its end")
    if type(value) is not dict or type(value.get("ema")) is not Record or value["ema"].name != "module":
        held = ", ".join(map(str, value)) if type(value) is dict else type(value).__name__
        raise ValueError(f"it has no network 'ema'; it holds: {held[:200] or 'nothing'}")
    return value["ema"]


def _arch(network: Record) -> dict:
    args, words = network.state.get("_init_args", ()), network.state.get("_init_kwargs")
    if args not in ((), []) or type(words) is not dict or not all(type(word) is str for word in words):
        raise ValueError("it does not tell its network's arguments by name")
    budget = [1000]  # values; one list within another within another could otherwise go on for ever
    return {"class_name": network.args[0]} | {word: _argument(value, budget) for word, value in words.items()}


def _argument(value, budget: list[int]):
    budget[0] -= 1
    if budget[0] < 0:
        raise ValueError("it has more constructor arguments than any network")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return [_argument(each, budget) for each in value]
    if type(value) is dict and all(type(word) is str for word in value):
        return {word: _argument(each, budget) for word, each in value.items()}
    if type(value) is Record and value.name in arrays.SCALARS:
        return arrays.scalar(*value.args)
    raise ValueError("it has constructor arguments that are no numbers, words or lists")


def _collect(module: Any, prefix: str, state: dict, left: Budget, seen: set[int]) -> None:
    """Put a module's parameters, its persistent buffers and those of the modules within into state, as torch does."""
    if type(module) is not Record or module.name not in ("module", *CONTAINERS) or type(module.state) is not dict:
        raise ValueError(f"it has something else where the module {prefix[:200]!r} should be")
    if id(module) in seen or prefix.count(".") > DEEPEST:
        raise ValueError(f"it has the module {prefix[:200]!r} twice, or too deep")
    seen.add(id(module))
    passing = module.state.get("_non_persistent_buffers_set", ())
    passing = (
        passing.args[0] if type(passing) is Record and passing.name == "builtins.set" and passing.args else passing
    )
    if type(passing) not in (set, list, tuple):
        raise ValueError(f"it has a broken module {prefix[:200]!r}")
    left.visit(len(passing))
    passing = {name for name in passing if type(name) is str}
    for kind in ("_parameters", "_buffers", "_modules"):
        members = module.state.get(kind)
        if type(members) is not dict:
            raise ValueError(f"it has a broken module {prefix[:200]!r}")
        left.visit(len(members))  # one dictionary may be that of many modules
        for name, member in members.items():
            if type(name) is not str or len(name) > LONGEST or len(prefix) + len(name) > WHOLE:
                raise ValueError(f"it has a broken module {prefix[:200]!r}")
            if member is None or (kind == "_buffers" and name in passing):
                continue
            if kind == "_modules":
                _collect(member, f"{prefix}{name}.", state, left, seen)
            else:
                state[prefix + name] = _tensor(member, left)


def _tensor(value, left: Budget):
    """A record of a tensor or parameter -> a tensor of its own."""
    if type(value) is Record and value.name == PARAMETER and value.args:
        value = value.args[0]
    if type(value) is not Record or value.name != TENSOR or len(value.args) < 4:
        raise ValueError("it has something else where a tensor should be")
    storage, offset, size, stride = value.args[:4]
    size, stride = (each.args[0] if type(each) is Record and each.args else each for each in (size, stride))
    if type(storage) is not Record or storage.name != STORAGE or [type(raw) for raw in storage.args] != [bytes]:
        raise ValueError("it has a tensor without numbers")
    left.numbers -= len(storage.args[0])
    if left.numbers < 0:
        raise ValueError("it uses the same numbers for many tensors")
    numbers = torch_files.load(io.BytesIO(storage.args[0]))
    if type(numbers) is not torch_files.Storage:
        raise ValueError("it has a tensor without numbers")
    flat = numbers.flat()
    found = view(flat, offset, size, stride)
    if math.prod(size) > flat.numel():
        raise ValueError("it has a tensor larger than its numbers")
    return found.clone()
