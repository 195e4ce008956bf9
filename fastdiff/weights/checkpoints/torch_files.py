"""What torch.save wrote, both of its formats, read as data: a pickle (`inert`) whose tensors are views of the file's
numbers.

Not through torch.load, whose reader keys crash or hang even with weights_only=True, and whose zips are not Python's: it
finds members whatever the case of their names, and another central directory than zipfile's (all seen). So nothing is
looked at by one and read by the other.
"""

import io
import mmap
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from . import arrays
from .inert import read
from .records import Record, Symbol, mapping, records
from .tensors import STORAGES, Numbers, view

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch.save before 1.6
TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
PARAMETER = "torch._utils._rebuild_parameter"
CALLBACK = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"  # a dictionary key in latent-diffusion's files
)
MAKERS = records(*STORAGES, *TENSORS, PARAMETER, "torch.Size", "torch.device", CALLBACK) | {
    "collections.OrderedDict": mapping,
    **arrays.MAKERS,
}


class Storage(NamedTuple):
    """key: its name in the file. kind: its class."""

    key: str
    kind: str
    nbytes: int
    numbers: Numbers | None = None

    def flat(self):
        return self.numbers.flat(self.key, self.kind, self.nbytes)


def load(file) -> Any:
    """The value in an open file (or BytesIO): containers of tensors on the CPU, and of records of what else there is.

    Raises ValueError with half a sentence ("it ...") for what weights never need, and what zipfile raises.
    """
    with _contents(file) as data:
        return _of_zip(file, len(data)) if data[:2] == b"PK" else _of_stream(data)


@contextmanager
def _contents(file):
    """The bytes of an open file, without reading them; of bytes, themselves."""
    if isinstance(file, io.BytesIO):
        yield file.getvalue()
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _of_zip(file, size: int) -> Any:
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if len({name.lower() for name in members}) != len(archive.infolist()):
            raise ValueError("it has two members of one name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise ValueError("it has compressed members, which torch.save never writes")
        if sum(member.file_size for member in members.values()) > size:
            raise ValueError("its members claim more bytes than it has")
        if min((member.header_offset for member in members.values()), default=0) != 0:
            raise ValueError("it has something else before its members")
        pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"it has {len(pickles)} members named data.pkl; torch.save writes one")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members:
            _native(archive.read(f"{root}byteorder") == sys.byteorder.encode())

        def fill(key: str, into: memoryview):
            with archive.open(f"{root}data/{key}") as member:
                while into:  # a call may give less than was asked for
                    count = member.readinto(into)
                    if not count:
                        raise ValueError("it ends too early")
                    into = into[count:]

        numbers = Numbers(fill)

        def persistent(identity) -> Storage:
            storage = _storage(identity)
            member = members.get(f"{root}data/{storage.key}")
            if member is None or member.file_size < storage.nbytes:
                raise ValueError("it has tensors that claim more bytes than it has")
            return storage._replace(numbers=numbers)

        return read(archive.read(pickles[0]), _building(), persistent)[0]


def _of_stream(data) -> Any:
    """Five pickles: magic number, protocol, machine, the value, the storages' keys; then each storage, its count of
    numbers before it. The value is read twice: where the storages lie is known only at its end."""
    claimed: dict[str, Storage] = {}

    def claim(identity) -> Storage:
        storage = _storage(identity)
        if storage.nbytes > len(data):
            raise ValueError("it has tensors that claim more bytes than it has")
        return claimed.setdefault(storage.key, storage)

    if data[:1] != pickle.PROTO:
        raise ValueError("it is not what torch.save writes")
    found, starts, at = [], [], 0
    for _ in range(5):
        starts.append(at)
        value, at = read(data, MAKERS, claim, at)
        found.append(value)
        if found[:2] != [MAGIC, PROTOCOL][: len(found)]:
            raise ValueError("it is not what torch.save writes")
    machine, keys = found[2], found[4]
    _native(type(machine) is dict and machine.get("little_endian") is (sys.byteorder == "little"))
    places = {}
    if type(keys) is not list or not all(type(key) is str and key in claimed for key in keys):
        raise ValueError("it has storages that no tensor needs")
    for key in keys:
        nbytes = claimed[key].nbytes
        if at + 8 + nbytes > len(data):
            raise ValueError("it ends too early")
        if struct.unpack("<q", data[at : at + 8])[0] * STORAGES[claimed[key].kind][0] != nbytes:
            raise ValueError("it has a storage of two sizes")
        places[key], at = at + 8, at + 8 + nbytes

    def fill(key: str, into: memoryview):
        if key not in places:
            raise ValueError("it has a tensor without numbers")
        with memoryview(data) as whole:
            into[:] = whole[places[key] : places[key] + len(into)]

    numbers = Numbers(fill)
    return read(data, _building(), lambda identity: _storage(identity)._replace(numbers=numbers), starts[3])[0]


def _native(sound: bool) -> None:
    if not sound:
        raise ValueError("it was written on a machine of another order of bytes")


def _building() -> Mapping[str, Callable]:
    """The table that makes tensors of storages; of a parameter, its tensor."""
    return MAKERS | dict.fromkeys(TENSORS, _tensor) | {PARAMETER: _parameter}


def _tensor(storage, offset, size, stride, *_):
    if type(storage) is not Storage:
        raise ValueError("it has a tensor without numbers")
    return view(storage.flat(), offset, *(dims.args[0] if _size(dims) else dims for dims in (size, stride)))


def _size(value) -> bool:
    return type(value) is Record and value.name == "torch.Size" and len(value.args) == 1


def _parameter(tensor, *_):
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise ValueError("it has something else where a tensor should be")
    return tensor


def _storage(identity) -> Storage:
    """('storage', class, key, device, numel) and, in old files, a view of another storage, which torch.save gave up."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ValueError("it has a storage that is none")
    _, kind, key, _, numel, *part = identity
    if (
        type(kind) is not Symbol
        or type(key) is not str
        or type(numel) is not int
        or numel < 0
        or part not in ([], [None])
    ):
        raise ValueError("it has a storage that is none")
    if kind.name not in STORAGES:
        raise ValueError(f"it has a storage of {kind.name}")
    return Storage(key, kind.name, numel * STORAGES[kind.name][0])
