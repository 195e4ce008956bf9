"""What cells are measured with: network, labels, extractor, reference. One owner shares them between its cells."""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..metrics import Extractor, build_extractor
from .cell import Cell, key
from .ledger import Ledger
from .reference import Reference, reference_of

T = TypeVar("T")

# How many of a kind are kept; the least recently used goes first. A network goes with everything made of it.
LIMITS = {
    "unet": 1, "runner": 16, "decoder": 1, "prompts": 1, "images": 2, "extractor": 2, "reference": 4, "cost": 256,
    "trunk": 256, "peak": 256, "tracked": 1024, "session": 2,
}  # fmt: skip


class Resources:
    """A bounded cache with an owner: the entry point that measures several cells. It dies with its owner."""

    def __init__(self) -> None:
        self._kept: dict[str, OrderedDict[str, Any]] = {kind: OrderedDict() for kind in LIMITS}
        self.threads: int | None = None  # torch's own number of threads, before a cell chose another

    def get(self, kind: str, identity: Any, make: Callable[[], T]) -> T:
        """What was made for an equal identity, or make()."""
        kept, name = self._kept[kind], key({"of": identity})
        if name in kept:
            kept.move_to_end(name)
            return kept[name]
        while len(kept) >= LIMITS[kind]:
            kept.popitem(last=False)
            if kind == "unet":  # what holds the network, and would keep its memory
                self._kept["runner"].clear()
        kept[name] = make()
        return kept[name]


def scorer_of(cell: Cell, ledger: Ledger, images: Any, resources: Resources) -> tuple[Extractor, Reference | None]:
    """The extractor and the reference that generated images are scored by; both shared between cells."""
    scorer = [cell.metrics.extractor_identity(), cell.device.name]
    extractor = resources.get("extractor", scorer, lambda: build_extractor(cell.metrics, cell.device.name))
    reference = resources.get(
        "reference",
        [*scorer, cell.data.identity(), cell.metrics.identity(), cell.budget.part, str(ledger.root)],
        lambda: reference_of(cell, ledger, images, extractor),
    )
    return extractor, reference


def load_denoiser(cell: Cell, resources: Resources | None = None) -> Any:
    """The cell's `Denoiser`. Cells of one owner share the network and its compiled functions."""
    import torch

    from ..accelerators import branch_of, joins_of
    from ..sampling.denoiser import Denoiser, load_unet
    from ..unets import Runner

    resources = resources or Resources()
    resources.threads = resources.threads or torch.get_num_threads()
    torch.set_num_threads(cell.device.threads or resources.threads)
    device = cell.device
    where = device.name, device.precision, device.memory_format
    unet = resources.get("unet", [cell.model.identity(), *where], lambda: load_unet(cell.model, *where))
    tf32 = device.precision == "tf32" if device.name.startswith("cuda") else None
    joins, branch = joins_of(cell.accelerators, unet.rungs), branch_of(cell.accelerators)
    joined = [[member.name, list(member.joined(unet.rungs))] for member in cell.accelerators if member.joins]
    made = [cell.model.identity(), *where, tf32, device.compile, joined, branch, device.batch]
    runner = resources.get("runner", made, lambda: Runner(unet, joins, branch, device.compile, tf32))
    shown = (cell.model, cell.accelerators, cell.guidance)
    if cell.model.decoder is None:
        return Denoiser(unet, *shown, cell.data.value_range, runner=runner)
    from ..sampling.latents import load_decoder

    made = [cell.model.identity()["decoder"], cell.device.name]
    decode = resources.get("decoder", made, lambda: load_decoder(cell.model, cell.device.name))
    return Denoiser(unet, *shown, (-math.inf, math.inf), decode=decode, runner=runner)


def labels_of(cell: Cell, images: Any, resources: Resources) -> Callable | None:
    """indices -> labels of those images, for a network that knows labels: drawn uniformly where the data card says so,
    else label i of the data, whose classes have to be the network's. Of a network that is told texts: indices ->
    contexts of prompt i."""
    if cell.model.text is not None:
        from ..sampling.denoiser import DTYPES
        from ..sampling.latents import load_prompts

        where = cell.device.name, DTYPES[cell.device.precision]
        made = [cell.model.identity()["text"], cell.device.name, cell.device.precision]
        return resources.get("prompts", made, lambda: load_prompts(cell.model, *where))
    if not cell.model.classes:
        return None
    if images.labels is not None and images.labels.max() >= cell.model.classes:
        raise ValueError(
            f"data '{cell.data.name}' has labels up to {images.labels.max()}, but model '{cell.model.name}' knows"
            f" {cell.model.classes} classes; choose data of the model's classes"
        )
    if cell.data.labels == "uniform":
        from ..diffusion.noise import uniform_labels

        return partial(uniform_labels, cell.budget.seed, cell.model.classes)
    return None if images.labels is None else images.label_of
