"""What a cell is measured with: network, labels, extractor, reference; made once a process, shared between cells."""

import math
from collections.abc import Callable
from functools import partial

from ..metrics import Extractor, build_extractor
from .cell import Cell, key
from .ledger import Ledger
from .reference import Reference, reference_of

_shared: dict[str, object] = {}  # what cells of one process share, keyed by content


def shared(kind: str, identity, make: Callable):
    """make(), once a process for equal identities."""
    name = f"{kind}:{key({'of': identity})}"
    if name not in _shared:
        _shared[name] = make()
    return _shared[name]


def scorer_of(cell: Cell, ledger: Ledger, images) -> tuple[Extractor, Reference | None]:
    """The extractor and the reference that generated images are scored by; both shared between cells."""
    scorer = [cell.metrics.extractor_identity(), cell.device.name]
    extractor = shared("extractor", scorer, lambda: build_extractor(cell.metrics, cell.device.name))
    reference = shared(
        "reference",
        [*scorer, cell.data.identity(), cell.metrics.identity(), cell.budget.part, str(ledger.root)],
        lambda: reference_of(cell, ledger, images, extractor),
    )
    return extractor, reference


def load_denoiser(cell: Cell):
    """The cell's network with its plans; the network itself is shared between cells."""
    import torch

    from ..sampling.denoiser import Denoiser, load_unet
    from ..unets import Runner

    usual = shared("threads", None, torch.get_num_threads)
    torch.set_num_threads(cell.device.threads or usual)
    device, branch = cell.device, None if cell.deepcache.off else cell.deepcache.branch
    where = device.name, device.precision, device.memory_format
    unet = shared("unet", [cell.model.identity(), *where], lambda: load_unet(cell.model, *where))
    tf32 = device.precision == "tf32" if device.name.startswith("cuda") else None
    made = [cell.model.identity(), *where, tf32, device.compile, branch, device.batch, cell.guidance == 1]
    runner = shared("runner", made, lambda: Runner(unet, branch, device.compile, tf32))
    plans = cell.skip_tuning, cell.deepcache, cell.guidance
    if cell.model.decoder is None:
        return Denoiser(unet, cell.model, *plans, cell.data.value_range, runner=runner)
    from ..sampling.latents import load_decoder

    made = [cell.model.identity()["decoder"], cell.device.name]
    decode = shared("decoder", made, lambda: load_decoder(cell.model, cell.device.name))
    return Denoiser(unet, cell.model, *plans, (-math.inf, math.inf), decode=decode, runner=runner)


def labels_of(cell: Cell, images) -> Callable | None:
    """indices -> labels of those images, for a network that knows labels: drawn uniformly where the data card says so,
    else label i of the data, whose classes have to be the network's. Of a network that is told texts: indices ->
    contexts of prompt i."""
    if cell.model.text is not None:
        from ..sampling.denoiser import DTYPES
        from ..sampling.latents import load_prompts

        where = cell.device.name, DTYPES[cell.device.precision]
        made = [cell.model.identity()["text"], cell.device.name, cell.device.precision]
        return shared("prompts", made, lambda: load_prompts(cell.model, *where))
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
