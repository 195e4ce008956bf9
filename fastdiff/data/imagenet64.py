"""The official downsampled ImageNet, 64 x 64 (Chrabaszcz et al. 2017, arXiv 1707.08819): ten npz of training images.

A batch has `data` uint8 (n 12288), planes of red, of green, of blue, and `labels` 1 .. 1000 in the order of the
authors' map_clsloc.txt. Networks use another order, the sorted names of the synsets. So labels are read only if that
file is beside the batches; without it the set has no labels.

The pixels take 15.7 GB. They are copied once, a few thousand images at a time, into one array file in the cache folder.
That file is then mapped, not read into memory.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..files import sha256, write
from ..weights.download import cache_folder

BATCHES = tuple(f"train_data_batch_{i}.npz" for i in range(1, 11))
NAMES = "map_clsloc.txt"
CHUNK = 4096  # images in memory at a time


def digest(path: Path) -> str:
    """sha256 of the batches, and of map_clsloc.txt if it is there."""
    found = hashlib.sha256()
    for file in _files(path):
        found.update(f"{file.name} {sha256(file)}\n".encode())
    return found.hexdigest()


def read(path: Path, channels: int, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """pixels uint8 (N 3 64 64), mapped from a file; labels int64 (N) 0 .. 999 in the order of networks, or None.

    Raises ValueError for a damaged or wrong batch, FileNotFoundError for a missing one.
    """
    if (channels, size) != (3, 64):
        raise ValueError(f"images of ImageNet-64 are (3, 64, 64), but the card says {(channels, size, size)}")
    batches = _files(path)[: len(BATCHES)]
    array = cache_folder() / f"imagenet64-{digest(path)[:16]}.npy"
    if not array.exists():
        _copy(batches, array)
    pixels = np.load(array, mmap_mode="r")
    if not (path / NAMES).exists():
        return pixels, None
    order = _order(path / NAMES)
    labels = np.concatenate([block for batch in batches for _, block in _rows(batch, "labels")])
    if len(labels) != len(pixels) or labels.min() < 1 or labels.max() > len(order):
        raise ValueError(f"the labels in {path} are not 1 .. {len(order)}, one for each image")
    return pixels, order[labels.astype(np.int64) - 1]


def _files(path: Path) -> list[Path]:
    missing = [name for name in BATCHES if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path} has no {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}; unpack both parts of the"
            " official training set (npz format) there"
        )
    return [path / name for name in (*BATCHES, NAMES) if (path / name).is_file()]


def _order(file: Path) -> np.ndarray:
    """Lines `n02119789 1 kit_fox` -> for label 1, 2, ...: the rank of its synset's name. int64 (classes)."""
    lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
    if [line[1:2] for line in lines] != [[str(label)] for label in range(1, len(lines) + 1)]:
        raise ValueError(
            f"{file} is not the authors' list of synsets: lines `n02119789 1 kit_fox` are needed, in order"
        )
    return np.argsort(np.argsort([line[0] for line in lines])).astype(np.int64)


def _copy(batches: list[Path], array: Path) -> None:
    from tqdm import tqdm

    total = sum(next(_rows(batch, "data"))[0] for batch in batches)

    def fill(file):
        header = {"descr": "|u1", "fortran_order": False, "shape": (total, 3, 64, 64)}
        np.lib.format.write_array_header_1_0(file, header)
        with tqdm(desc=array.name, total=total, unit="image", disable=None) as bar:
            for batch in batches:
                for _, block in _rows(batch, "data"):
                    file.write(block)
                    bar.update(len(block))

    write(array, fill)


def _rows(batch: Path, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """An array of an npz, part by part: yields its number of rows, and some rows: (n 12288), or (n) of labels."""
    try:
        with zipfile.ZipFile(batch) as archive, archive.open(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            fits = shape[1:] == (3 * 64 * 64,) and dtype == np.uint8 if name == "data" else len(shape) == 1
            if version != (1, 0) or fortran or dtype.kind not in "iu" or not fits or shape[0] < 1:
                raise ValueError(f"'{name}' has shape {shape} and type {dtype}")
            width = dtype.itemsize * int(np.prod(shape[1:]))
            for start in range(0, shape[0], CHUNK):
                count = min(CHUNK, shape[0] - start)
                raw = file.read(count * width)
                if len(raw) != count * width:
                    raise ValueError(f"'{name}' ends too early")
                yield shape[0], np.frombuffer(raw, dtype).reshape(count, *shape[1:])
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{batch} is not a batch of the official ImageNet-64 ({error}); download it again") from error
