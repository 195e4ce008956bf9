"""Files that are written once: atomic, hashed, and with one clear sentence when the disk says no."""

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

_UMASK = os.umask(0o022)
os.umask(_UMASK)  # the one way to read it
ASSETS = Path(__file__).parent / "assets"


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes; read once a process, unless size or time of change say that it is another file."""
    facts = os.stat(path)
    return _sha256(str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)


@lru_cache(maxsize=1024)
def _sha256(path: str, *facts: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file) -> str:  # hashlib.file_digest came with Python 3.11
    digest = hashlib.sha256()
    for chunk in iter(lambda: file.read(1 << 20), b""):
        digest.update(chunk)
    return digest.hexdigest()


def locate(path: str | Path) -> Path:
    """`assets/...` is inside the package, everything else relative to the current folder; the file must be there."""
    text = str(path)
    found = ASSETS / text.removeprefix("assets/") if text.startswith("assets/") else Path(text).expanduser()
    if not found.exists():
        raise FileNotFoundError(f"{found} does not exist (asked for as '{path}'); check the path")
    return found


def write(path: Path, fill: Callable) -> Path:
    """Call fill(binary file), then move the whole file into place; readers never see half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o666 & ~_UMASK)  # mkstemp's files are private; records are for colleagues too
        os.replace(partial, path)
    except OSError as error:
        Path(partial).unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {error.strerror or error}; free space or choose another folder") from error
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path, value) -> Path:
    return write(path, lambda file: file.write(json.dumps(value, indent=1, sort_keys=True).encode()))


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    return write(path, lambda file: np.savez_compressed(file, **arrays))


def read_json(path: Path):
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz. Pickled objects are refused."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{path} is not a readable npz ({error}); delete or replace it") from error
