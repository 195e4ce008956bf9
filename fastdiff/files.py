"""Reading and writing files: atomic writes, sha256, npz files, and one clear sentence when something fails."""

import hashlib
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

_UMASK = os.umask(0o022)
os.umask(_UMASK)  # the one way to read it
ASSETS = Path(__file__).parent / "assets"


def sha256(path: Path) -> str:
    """Hex digest of a file. It is computed once per process, and again if the file's size or time of change differs."""
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
    """`assets/...` is inside the package; every other path is relative to the current folder.

    Raises FileNotFoundError if the path does not exist, and ValueError if it is neither a regular file nor a folder:
    reading a device or a pipe may never end.
    """
    text = str(path)
    found = ASSETS / text.removeprefix("assets/") if text.startswith("assets/") else Path(text).expanduser()
    if not found.exists():
        raise FileNotFoundError(f"{found} does not exist (asked for as '{path}'); check the path")
    if not (found.is_file() or found.is_dir()):
        raise ValueError(f"{found} is neither a file nor a folder; check the path")
    return found


def write(path: Path, fill: Callable) -> Path:
    """Call fill(binary file), then move the complete file to `path`; readers never see half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o666 & ~_UMASK)  # mkstemp's files are private; other users may read records
        os.replace(partial, path)
    except OSError as error:
        Path(partial).unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {error.strerror or error}; free space or choose another folder") from error
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path, value: Any, sort_keys: bool = True) -> Path:
    return write(path, lambda file: file.write(json.dumps(value, indent=1, sort_keys=sort_keys).encode()))


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    return write(path, lambda file: np.savez_compressed(file, **arrays))


def read_json(path: Path):
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error


def npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of every array of an npz. The arrays are not read: a small file may unpack to any size."""
    with _readable(path), zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): _header(archive, name) for name in members}


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    with archive.open(name) as file:
        if np.lib.format.read_magic(file) != (1, 0):  # 2.0 and 3.0 are for longer headers, up to 4 GB
            raise ValueError(f"'{name}' has a header of an unsupported version; 1.0 is needed")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject:
            raise ValueError(f"'{name}' has pickled objects")
        if math.prod(shape) * dtype.itemsize != archive.getinfo(name).file_size - file.tell():
            raise ValueError(f"'{name}' has a size that does not fit its shape")
    return shape, dtype


def read_npz(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an npz: all, or those in `names`. Pickled objects are refused."""
    with _readable(path), np.load(path, allow_pickle=False) as arrays:
        # with the suffix: otherwise a member without suffix would be taken first
        return {name: arrays[name if names is None else f"{name}.npy"] for name in (names or arrays.files)}


@contextmanager
def _readable(path: Path):
    try:
        yield
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{path} is not a readable npz ({error}); delete or replace it") from error
