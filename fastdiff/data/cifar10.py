"""CIFAR-10's official binary archive, read where it is: nothing is unpacked, nothing is a pickle.

Members data_batch_1.bin .. data_batch_5.bin and test_batch.bin are records of 3073 bytes: a label 0 .. 9, then 32 x 32
pixels of red, of green, of blue.
"""

import gzip
import itertools
import tarfile
import zlib
from pathlib import Path

import numpy as np

BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
RECORD = 1 + 3 * 32 * 32
LARGEST, WHOLE = 10_000 * RECORD, 200_000_000  # bytes of a batch, and of all that is unpacked; official: 184 MB
MEMBERS = 50  # the archive has 8
EMPTY = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)


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
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a readable tar.gz ({error}); fetch it again") from error
    missing = [name for name in BATCHES if name not in found]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}; the binary version, cifar-10-binary.tar.gz, is needed")
    records = np.concatenate([found[name] for name in BATCHES])
    if (labels := records[:, 0]).max() > 9:
        raise ValueError(f"{path} has a label {labels.max()}; CIFAR-10 has 0 .. 9")
    return np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _members(path: Path) -> dict[str, np.ndarray]:
    """Records (n 3073) of the batches, by name.

    Blocks of 512 bytes: a header, then its content. tarfile alone would read a header that extends the next one before
    anybody could look at its size, 600 MB of zeros as well, and 3,000 of them in a row one within another. Here such
    headers are members like others, and skipped: the names of batches need none.
    """
    found, whole = {}, 0
    with gzip.open(path) as file:
        for count in itertools.count():
            try:
                member = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
            except tarfile.EOFHeaderError:  # a block of zeros is the end
                return found
            size = 0 if member.type in EMPTY else member.size
            whole += size
            if count == MEMBERS or not 0 <= size <= LARGEST or whole > WHOLE:
                raise ValueError(f"{path} is not CIFAR-10's archive: its member {member.name[:100]!r} is one too many")
            content = file.read(size)
            file.read(-size % tarfile.BLOCKSIZE)
            name = member.name.rpartition("/")[2]
            if name not in BATCHES or member.type not in tarfile.REGULAR_TYPES[:2]:
                continue
            if not content or len(content) != size or size % RECORD:
                raise ValueError(f"{name} in {path} has {len(content)} bytes, which are not whole records of {RECORD}")
            found[name] = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
