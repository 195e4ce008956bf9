"""CIFAR-10's official binary archive, read where it is: nothing is unpacked, nothing is a pickle.

Members data_batch_1.bin .. data_batch_5.bin and test_batch.bin are records of 3073 bytes: a label 0 .. 9, then 32 x 32
pixels of red, of green, of blue.
"""

import tarfile
import zlib
from pathlib import Path

import numpy as np

BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
RECORD = 1 + 3 * 32 * 32
LARGEST = 10_000 * RECORD  # bytes of a batch
MEMBERS = 50  # the archive has 8


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
    """Records (n 3073) of the batches, by name."""
    found = {}
    with tarfile.open(path, "r:gz") as archive:
        for count, member in enumerate(archive):
            if count == MEMBERS or member.size > LARGEST:
                raise ValueError(f"{path} is not CIFAR-10's archive: its member {member.name[:100]!r} is one too many")
            name = Path(member.name).name
            if name not in BATCHES or not member.isfile():
                continue
            content = archive.extractfile(member).read()
            if not content or len(content) != member.size or len(content) % RECORD:
                raise ValueError(f"{name} in {path} has {len(content)} bytes, which are not whole records of {RECORD}")
            found[name] = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    return found
