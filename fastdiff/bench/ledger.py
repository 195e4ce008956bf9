"""The ledger: blocks, quality, speed and failed records, each written once, atomically, under a content key.

Everything else (tables, plots, the report, W&B) is a view that can be deleted and rebuilt.
"""

import datetime
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..files import read_json, read_npz, write_json, write_npz
from .records import SCHEMA, TYPES, Failed, Paired, Quality, Speed, from_json, to_json

Record = Quality | Speed | Failed | Paired

SAMPLES = 2**24  # bytes: so much of block 0's images is kept, for looking at and for comparing image by image


class Ledger:
    """Records below one folder: blocks/ quality/ paired/ speed/ failed/ samples/ images/ norms/ reference/ grids/.

    Records of the kinds quality, speed, failed and paired are the types of `records.py`; others are JSON.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)

    def path(self, kind: str, name: str, suffix: str = ".json") -> Path:
        return self.root / kind / f"{name}{suffix}"

    def read(self, kind: str, name: str) -> Record | dict | None:
        """A record, or None if there is none. Raises ValueError for a record of an earlier schema."""
        path = self.path(kind, name)
        return _record(kind, path) if path.exists() else None

    def write(self, kind: str, name: str, record: Record | dict) -> Record | dict:
        if kind in TYPES:  # knobs stay in the order that people read them
            write_json(self.path(kind, name), {"kind": kind, "schema": SCHEMA, **to_json(record)}, sort_keys=False)
        else:
            write_json(self.path(kind, name), record)
        return record

    def all(self, kind: str) -> Iterator[Record | dict]:
        """All records of a kind, in the order of their keys."""
        for path in sorted((self.root / kind).glob("*.json")):
            yield _record(kind, path)

    def read_block(
        self, generation_key: str, index: int, extractor_key: str, count: int
    ) -> dict[str, np.ndarray] | None:
        """Arrays of the first `count` images of a block, or None."""
        for path in sorted(self._blocks(generation_key).glob(f"{index:04d}-*-{extractor_key}.npz")):
            if int(path.name.split("-")[1]) >= count:
                return {name: array[:count] for name, array in read_npz(path).items()}
        return None

    def write_block(self, generation_key: str, index: int, extractor_key: str, **arrays: np.ndarray) -> None:
        count = len(arrays["features"])
        write_npz(self._blocks(generation_key) / f"{index:04d}-{count:03d}-{extractor_key}.npz", **arrays)

    def _blocks(self, generation_key: str) -> Path:
        return self.root / "blocks" / generation_key

    def write_samples(self, generation_key: str, pixels: np.ndarray) -> None:
        """Keep the first images (uint8 (N C H W)) of a cell: all 250 of block 0 up to 148 pixels a side in colour."""
        write_npz(self.path("samples", generation_key, ".npz"), pixels=pixels[: max(1, SAMPLES // pixels[0].nbytes)])

    def samples(self, generation_key: str) -> np.ndarray | None:
        path = self.path("samples", generation_key, ".npz")
        return read_npz(path)["pixels"] if path.exists() else None

    def write_influence(self, cell_key: str, values: dict[str, np.ndarray]) -> None:
        """Influence values (n) of each metric, beside the quality record they belong to."""
        write_npz(self.path("quality", cell_key, ".npz"), **values)

    def influence(self, cell_key: str) -> dict[str, np.ndarray]:
        return read_npz(self.path("quality", cell_key, ".npz"))

    def forget(self, cell: Any, speed_key: str | None) -> None:
        """Delete what a cell left, so that it is measured anew; score norms and references stay, and blocks and speed
        too where the cell made none (no speed_key)."""
        from .cell import key

        left = [("quality", cell.key), ("failed", cell.key)]
        if speed_key is not None:
            shutil.rmtree(self._blocks(key(cell.generation())), ignore_errors=True)
            left.append(("speed", speed_key))
        for path in self.root.glob(f"paired/*{cell.key}*"):
            path.unlink()
        for kind, name in left:
            for suffix in (".json", ".npz"):
                self.path(kind, name, suffix).unlink(missing_ok=True)


def _record(kind: str, path: Path) -> Record | dict:
    data = read_json(path)
    if kind not in TYPES:
        return data
    if data.get("schema", 1) < SCHEMA:
        raise ValueError(
            f"{path} was written by an earlier version of fastdiff (schema {data.get('schema', 1)}, {SCHEMA} is needed)"
            "; measure into another folder (ledger=FOLDER), or delete this one"
        )
    try:
        return from_json(TYPES[kind], data)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no complete record of kind '{kind}' ({error}); delete it and run again") from error


def provenance() -> dict:
    """Where and when a record was made. Never part of a key."""
    import torch

    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    versions = {
        "fastdiff": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }
    return {"made": now, "versions": versions, **_git()}


def _git() -> dict:
    """Commit and dirty flag of the source tree fastdiff runs from; null outside one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10, check=True
            )
            return done.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    tracked = git("ls-files", "--error-unmatch", "records.py")
    if tracked is None:
        return {"git_commit": None, "git_dirty": None}
    return {
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
    }
