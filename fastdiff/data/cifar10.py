"""CIFAR-10's official binary archive (cifar-10-binary.tar.gz), read by tarfile. Nothing is unpacked to disk.

Its members data_batch_1.bin .. data_batch_5.bin and test_batch.bin are records of 3073 bytes: a label 0 .. 9, then 32 x
32 pixels of red, of green, of blue.
"""

import gzip
import tarfile
import zlib
from pathlib import Path

import numpy as np

BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
RECORD = 1 + 3 * 32 * 32
MEMBERS = 50  # the archive has 8
LARGEST, WHOLE = 10_000 * RECORD, 200_000_000  # bytes of a batch, and of the unpacked archive; official: 184 MB
AT_ONCE = 1 << 20  # bytes
BROKEN = (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, OverflowError, RecursionError)


def digest(path: Path) -> str:
    raise ValueError(
        f"{path} is a folder; data of kind cifar10_archive is the official archive, cifar-10-binary.tar.gz"
    )


def read(path: Path, channels: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """pixels uint8 (N 3 32 32), labels int64 (N): the training batches, then the test batch (official 50,000 + 10,000).

    Raises ValueError for an archive that is damaged or another one.
    """
    if (channels, size) != (3, 32):
        raise ValueError(f"images of CIFAR-10 are (3, 32, 32), but the card says {(channels, size, size)}")
    try:
        found = _members(path)
    except BROKEN as error:
        raise ValueError(f"{path} is not CIFAR-10's archive, or damaged ({error}); download it again") from error
    missing = [name for name in BATCHES if name not in found]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}; the binary version, cifar-10-binary.tar.gz, is needed")
    records = np.concatenate([found[name] for name in BATCHES])
    if (labels := records[:, 0]).max() > 9:
        raise ValueError(f"{path} has a label {labels.max()}; CIFAR-10 has 0 .. 9")
    return np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _members(path: Path) -> dict[str, np.ndarray]:
    """Records (n 3073) of the batches, by name. Raises tarfile.ReadError for an archive with other contents."""
    found = {}
    with _Limited(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
        for count, member in enumerate(archive):
            if count == MEMBERS or member.size > LARGEST:
                raise tarfile.ReadError(f"{member.name[:100]!r} is one member too many, or too large")
            name = member.name.rpartition("/")[2]
            if name not in BATCHES or not member.isreg():
                continue
            with archive.extractfile(member) as file:
                content = b"".join(iter(lambda: file.read(AT_ONCE), b""))
            if not content or len(content) % RECORD:
                raise tarfile.ReadError(f"{name} has {len(content)} bytes, which are not whole records of {RECORD}")
            found[name] = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    return found


class _Limited(gzip.GzipFile):
    """A gzip file that gives at most `AT_ONCE` bytes at once, and none behind the first `WHOLE`.

    tarfile reads a header that extends the next one whole, and a small file may unpack to gigabytes of it.
    """

    def read(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        if not 0 <= size <= AT_ONCE or self.tell() > WHOLE:
            raise tarfile.ReadError("it unpacks to far more than the official archive")
        return super().read(size)
