"""What torch.save wrote, both of its formats, through torch.load(weights_only=True), after a look inside.

The look (`inert.read`) names what must not be there in one sentence, and turns away what would crash, hang or swell
torch's own reader: keys that cannot be hashed in time, members that unpack to a thousand times their size, tensors that
claim more bytes than the file has.
"""

import io
import mmap
import pickle
import zipfile
from contextlib import contextmanager
from typing import Any

from .inert import read
from .records import Record, Symbol, mapping, records

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch.save before 1.6
ITEM = {"Bool": 1, "Byte": 1, "Char": 1, "Short": 2, "Half": 2, "BFloat16": 2, "Int": 4, "Float": 4, "Long": 8}
ITEM |= {"Double": 8, "ComplexFloat": 8, "ComplexDouble": 16}  # bytes of one number, by storage class
CALLBACK = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"  # a dictionary key in latent-diffusion's files
)
MAKERS = records(
    *(f"torch.{kind}Storage" for kind in ITEM),
    *(f"torch._utils.{name}" for name in ("_rebuild_parameter", "_rebuild_tensor", "_rebuild_tensor_v2")),
    "torch.Size",
    "torch.device",
    CALLBACK,
) | {"collections.OrderedDict": mapping}


@contextmanager
def contents(file):
    """The bytes of an open file, without reading them; of bytes, themselves."""
    if isinstance(file, io.BytesIO):
        yield file.getvalue()
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def load(file) -> Any:
    """The value in an open file (or BytesIO): containers of tensors on the CPU.

    Raises ValueError with half a sentence ("it ...") for what weights never need, and what torch raises.
    """
    import torch

    with contents(file) as data:
        if data[:2] == b"PK":
            _look_into_zip(file, len(data))
        else:
            _look_into_stream(data)
    file.seek(0)
    # Allowed as a name; the class that stands for it does nothing.
    callback = type("ModelCheckpoint", (), {"__module__": CALLBACK.rpartition(".")[0]})
    with torch.serialization.safe_globals([callback]):
        return torch.load(file, map_location="cpu", weights_only=True)


def _look_into_zip(file, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise ValueError("it has compressed members, which torch.save never writes")
        if sum(member.file_size for member in members.values()) > size:
            raise ValueError("its members claim more bytes than it has")
        pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"it has {len(pickles)} members named data.pkl; torch.save writes one")
        root = pickles[0].removesuffix("data.pkl")

        def persistent(identity) -> Record:
            key, nbytes = _storage(identity)
            member = members.get(f"{root}data/{key}")
            if member is None or member.file_size < nbytes:
                raise ValueError("it has tensors that claim more bytes than it has")
            return Record("storage")

        read(archive.read(pickles[0]), MAKERS, persistent)


def _look_into_stream(data) -> None:
    def persistent(identity) -> Record:
        if _storage(identity)[1] > len(data):
            raise ValueError("it has tensors that claim more bytes than it has")
        return Record("storage")

    if data[:1] != pickle.PROTO:
        raise ValueError("it is not what torch.save writes")
    found, at = [], 0
    for _ in range(5):  # magic number, protocol, machine, the value, the storages' keys
        value, at = read(data, MAKERS, persistent, at)
        found.append(value)
        if found[:2] != [MAGIC, PROTOCOL][: len(found)]:
            raise ValueError("it is not what torch.save writes")


def _storage(identity) -> tuple[str, int]:
    """('storage', class, key, device, numel, ...) -> key, bytes."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ValueError("it has a storage that is none")
    _, kind, key, _, numel, *_ = identity
    if type(kind) is not Symbol or type(key) is not str or type(numel) is not int or numel < 0:
        raise ValueError("it has a storage that is none")
    item = ITEM.get(kind.name.removeprefix("torch.").removesuffix("Storage"))
    if item is None:
        raise ValueError(f"it has a storage of {kind.name}")
    return key, numel * item
