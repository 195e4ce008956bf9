"""Files of torch.save, in its zip format and in the format before torch 1.6: checked first, then read by torch.load.

`torch.load(weights_only=True)` runs no code of a file, but a hostile file can still crash or hang it. So the file's
pickle is first read without tensors (`fastdiff.weights.pickles`), and every tensor is compared with its storage.
"""

import io
import math
import mmap
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .pickles import ARRAYS, LARGEST, NUMPY, Global, Record, Unpickler, is_shape, mapping, numpy_array, records

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch.save before 1.6
BYTES = {  # of one number, by class of storage
    "torch.BoolStorage": 1, "torch.ByteStorage": 1, "torch.CharStorage": 1, "torch.ShortStorage": 2,
    "torch.HalfStorage": 2, "torch.BFloat16Storage": 2, "torch.IntStorage": 4, "torch.FloatStorage": 4,
    "torch.LongStorage": 8, "torch.DoubleStorage": 8, "torch.ComplexFloatStorage": 8, "torch.ComplexDoubleStorage": 16,
}  # fmt: skip
CALLBACK = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"  # a dictionary key in latent-diffusion's files
)


class Storage(NamedTuple):
    """The numbers of one or more tensors. key: its name in the file."""

    key: str
    kind: str
    numel: int

    @property
    def nbytes(self) -> int:
        return self.numel * BYTES[self.kind]


class _Tensor(NamedTuple):
    """A tensor that fits its storage."""

    storage: Storage


class _Unused:
    """Objects of numpy and Lightning in torch.load's result; no caller reads them."""

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        pass


def load(source: Path | bytes) -> Any:
    """The value in a file or in its bytes: containers of tensors on the CPU, or one numpy array.

    Raises ValueError with half a sentence about the file ("it ...") for anything that weights never need, and the
    errors of zipfile.
    """
    if isinstance(source, bytes):
        found = _check_stream(io.BytesIO(source), len(source))
    else:
        with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _check_zip(file, data) if data[:2] == b"PK" else _check_stream(data, len(data))
    if type(found) is Record and found.name in ARRAYS:
        return numpy_array(found)
    import torch

    with torch.serialization.safe_globals([(_Unused, name) for name in (*NUMPY, CALLBACK) if name != "_codecs.encode"]):
        where = io.BytesIO(source) if isinstance(source, bytes) else source
        return torch.load(where, map_location="cpu", weights_only=True)


def check_view(numel: int, offset: Any, size: Any, stride: Any) -> None:
    """Raises ValueError unless a tensor of this offset, size and stride lies within a storage of `numel` numbers."""
    if not is_shape((offset,)) or not is_shape(size) or not is_shape(stride) or len(size) != len(stride):
        raise ValueError("it has a tensor of an invalid shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride)) if 0 not in size else -1
    if last >= numel or math.prod(size) >= LARGEST:
        raise ValueError("it has a tensor larger than its storage")


def _check_zip(file, data: mmap.mmap) -> Any:
    """torch and zipfile do not always find the same members in one archive. What they may disagree on is refused."""
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if len({name.lower() for name in members}) != len(archive.infolist()):  # torch ignores case
            raise ValueError("it has two members of one name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise ValueError("it has compressed members, which torch.save never writes")
        if sum(member.file_size for member in members.values()) > len(data):
            raise ValueError("its members claim more bytes than it has")
        first = min((member.header_offset for member in members.values()), default=0)
        if first != 0 or _directory(data) != archive.start_dir:
            raise ValueError("it has something else before its members")
        pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"it has {len(pickles)} members named data.pkl; torch.save writes one")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members:
            _check_byte_order(archive.read(f"{root}byteorder") == sys.byteorder.encode())

        def fits(storage: Storage) -> bool:
            member = members.get(f"{root}data/{storage.key}")
            return member is not None and member.file_size >= storage.nbytes

        return _described(io.BytesIO(archive.read(pickles[0])), {}, fits)


def _directory(data) -> int:
    """Where the end of an archive, the last 22 bytes or with zip64 the last 98, says that its directory begins."""
    if data[-22:-18] != b"PK\5\6":
        return -1
    if data[-42:-38] == b"PK\6\7":
        return struct.unpack("<Q", data[-50:-42])[0]
    return struct.unpack("<L", data[-6:-2])[0]


def _check_stream(data, size: int) -> Any:
    """Five pickles: magic number, protocol, machine, the value, keys of the storages. Then each storage, its number of
    elements first."""
    claimed: dict[str, Storage] = {}
    if data.read(1) != pickle.PROTO:
        raise ValueError("it is not what torch.save writes")
    data.seek(0)
    found = []
    for _ in range(5):
        found.append(_described(data, claimed, lambda storage: storage.nbytes <= size))
        if found[:2] != [MAGIC, PROTOCOL][: len(found)]:
            raise ValueError("it is not what torch.save writes")
    _, _, machine, value, keys = found
    _check_byte_order(type(machine) is dict and machine.get("little_endian") is (sys.byteorder == "little"))
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(claimed):
        raise ValueError("its storages are not those of its tensors")
    for key in keys:
        count, nbytes = data.read(8), claimed[key].nbytes
        if data.tell() + nbytes > size or len(count) < 8:
            raise ValueError("it ends too early")
        if struct.unpack("<q", count)[0] != claimed[key].numel:
            raise ValueError("it has a storage of two sizes")
        data.seek(nbytes, io.SEEK_CUR)
    return value


def _described(file, claimed: dict[str, Storage], fits: Callable[[Storage], bool]) -> Any:
    """The value of a pickle with `Storage` and `_Tensor` in place of storages and tensors. claimed: gets the storages.
    fits: whether the file has a storage's bytes."""

    def persistent(identity) -> Storage:
        storage = _storage(identity)
        if not fits(storage):
            raise ValueError("it has tensors that claim more bytes than it has")
        if claimed.setdefault(storage.key, storage) != storage:
            raise ValueError("it has a storage of two sizes")
        return storage

    return Unpickler(file, TABLE, persistent).load()


def _storage(identity) -> Storage:
    """('storage', class, key, device, numel), in the old format followed by a view, which must be None."""
    fields = identity if type(identity) is tuple and len(identity) in (5, 6) else (None,) * 5
    what, kind, key, _, numel, *view = fields
    valid = (
        what == "storage" and type(kind) is Global and type(key) is str and type(numel) is int and view in ([], [None])
    )
    if not valid or numel < 0:
        raise ValueError("it has a persistent id that is not a tensor's storage")
    if kind.name not in BYTES:
        raise ValueError(f"it has a storage of {kind.name}")
    return Storage(key, kind.name, numel)


def _tensor(storage, offset, size, stride, grad=False, hooks=None) -> _Tensor:
    if type(storage) is not Storage or hooks not in (None, {}):
        raise ValueError("it has a tensor without a storage")
    check_view(storage.numel, offset, *(plain_size(dims) for dims in (size, stride)))
    return _Tensor(storage)


def plain_size(dims: Any) -> Any:
    """The tuple in a record of torch.Size; any other value unchanged."""
    return dims.args[0] if type(dims) is Record and dims.name == "torch.Size" and len(dims.args) == 1 else dims


def _parameter(tensor, grad=False, hooks=None) -> _Tensor:
    if type(tensor) is not _Tensor or hooks not in (None, {}):
        raise ValueError("it has something else where a tensor should be")
    return tensor


def _check_byte_order(same: bool) -> None:
    if not same:
        raise ValueError("it was written on a machine with another byte order")


TABLE = records(*BYTES, "torch.Size", "torch.device", CALLBACK) | NUMPY | {
    "collections.OrderedDict": mapping,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}  # fmt: skip
