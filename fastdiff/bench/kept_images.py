"""The first images of a cell, kept for people and for other evaluators: <ledger>/images/<generation key>/.

png/000000.png ... is image by image; images.npz holds the same as the ADM evaluator wants them: arr_0 uint8 (N H W C),
arr_1 their labels int64 (N) where they have any. about.json says what they are. All are written atomically, and the npz
last, from the png files: a killed cell goes on from those that are there.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..device import BLOCK
from ..files import read_json, write, write_json
from .cell import Cell, key
from .ledger import Ledger, provenance

UINT8 = "rounded half to even"


class Kept:
    """The first `count` images of a cell, as many as it has; 0 keeps none."""

    def __init__(self, cell: Cell, ledger: Ledger, count: int):
        if count < 0:
            raise ValueError(f"save_images is {count}; it counts images and cannot be negative (0 = none)")
        self.cell, self.count = cell, min(count, cell.budget.n) if cell.metrics.generates_images else 0
        self.generation = key(cell.generation())
        self.folder = ledger.root / "images" / self.generation

    @property
    def where(self) -> str | None:
        """The folder, as seen from the ledger's."""
        return f"images/{self.generation}" if self.count else None

    @property
    def complete(self) -> bool:
        about = self.folder / "about.json"
        return not self.count or (about.exists() and read_json(about)["n"] >= self.count)

    def add(self, first: int, pixels: np.ndarray) -> None:
        """Keep those of images first, first + 1, ... (uint8 (N C H W)) that are wanted."""
        from PIL import Image

        wanted = pixels[: max(self.count - first, 0)]
        if len(wanted):
            (self.folder / "about.json").unlink(missing_ok=True)  # the npz may not hold these
        for i, image in enumerate(wanted, start=first):
            shown = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
            write(self._png(i), lambda file, shown=shown: shown.save(file, format="png"))

    def finish(self, sample: Callable, labels: Callable | None) -> None:
        """Generate those that are missing (they are where features are known, but images were not kept), write the npz.

        sample: indices -> batches of pixels. labels: indices -> labels, or what is no labels and not kept.
        """
        if self.complete:
            return
        for part in self._batches():
            missing = [i for i in part if i < self.count and not self._png(i).exists()]
            for batch in sample(part) if missing else ():
                for i in missing:
                    self.add(int(i), batch.pixels[i - part[0]][None])
        drawn = None if labels is None or self.cell.model.text else labels(np.arange(self.count))
        write(self.folder / "images.npz", lambda file: self._fill(file, drawn))
        about = {"n": self.count, "seed": self.cell.budget.seed, "uint8": UINT8, "labels": drawn is not None}
        about |= {"identity": self.cell.generation(), "made": provenance()}
        write_json(self.folder / "about.json", about)

    def _batches(self) -> list[np.ndarray]:
        """The batches of the cell that hold images to be kept, as `blocks` makes them: the last bits of an image
        depend on how many are computed with it, and these are to be the very images whose features are known."""
        n, batch, parts = self.cell.budget.n, self.cell.device.batch, []
        for first in range(0, self.count, BLOCK):
            block = np.arange(first, min(first + BLOCK, n))
            parts += np.split(block, range(batch, len(block), batch))
        return parts

    def _png(self, i: int) -> Path:
        return self.folder / "png" / f"{i:06d}.png"

    def _fill(self, file, labels: np.ndarray | None) -> None:
        """images.npz, an image at a time: 50,000 of them need not be in memory."""
        from PIL import Image

        channels, height, width = self.cell.model.image_shape
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, height, width, channels)}
        with zipfile.ZipFile(file, "w") as archive:
            with archive.open("arr_0.npy", "w", force_zip64=True) as array:
                np.lib.format.write_array_header_1_0(array, header)
                for i in range(self.count):
                    with Image.open(self._png(i)) as image:
                        array.write(np.asarray(image).tobytes())
            if labels is not None:
                with archive.open("arr_1.npy", "w") as array:
                    np.lib.format.write_array(array, labels)
