"""Checkpoint files: safetensors, torch.save's files (`torch_files`) and EDM's pickles (`edm_pickles`).

No code in a file is ever executed. Every failure is reported in one sentence.
"""

import mmap
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..files import sha256, write, write_json
from . import torch_files
from .download import fetch
from .edm_pickles import edm_arch, merged_arch, read_edm

WEB_PAGE = (b"<!doctype html", b"<html")


def read_checkpoint(path: str, expected_sha256: str | None = None, keep: tuple[str, ...] = ()) -> tuple[dict, str]:
    """The tensors of a file by name, and its sha256. path: a file, `assets/...` or an http(s) URL (`download.fetch`).

    The suffix tells the kind of file: .safetensors, .pkl (EDM's) or, with any other suffix, torch.save's. A file of
    torch.save must be a state dict; or a dict with "state_dict" (Lightning, latent-diffusion); or ermongroup's list
    [model, optimizer, epoch, step] or [model, optimizer, epoch, step, ema], from which ema is taken if it is there,
    else model. DataParallel's prefix `module.` is removed. keep: prefixes of the names that are wanted; () is all.

    Raises FileNotFoundError or ConnectionError if the file is missing. Raises ValueError if its digest is not the
    expected one, if it is damaged or holds anything but tensors, or if no name has a prefix in keep.
    """
    found, digest = fetch(path, expected_sha256)
    return _kept(_refusing(found, lambda: _read(found)[1]), keep, found), digest


def read_network(card: Any) -> tuple[dict, dict]:
    """arch, state of a model card: the arguments of `unets.build`.

    With EDM's files, arch is card.arch and the file's own (`merged_arch`); with all others it is card.arch. Raises as
    `read_checkpoint`, and ValueError if card and file contradict each other.
    """
    found, _ = fetch(card.weights, card.sha256, card.name)
    arch, state = _refusing(found, lambda: _read(found))
    return merged_arch(card.arch, arch, card.name, found), _kept(state, card.state_keys, found)


def card_arch(path: str | Path, arch: dict, name: str) -> dict:
    """The arch of `read_network`, without importing torch. path: an existing file. name: the card's, for errors."""
    path = Path(path)
    if path.suffix != ".pkl":
        return arch
    return merged_arch(arch, _refusing(path, lambda: _read(path, edm_arch)), name, path)


def read_array(path: Path, what: str = "checkpoint") -> np.ndarray:
    """The one tensor or numpy array in a file of torch.save, as float64. what: the kind of file, for the message.

    Raises ValueError for any other file.
    """

    def values():
        import torch

        with _opened(path):
            found = torch_files.load(path)
        if isinstance(found, torch.Tensor) and found.numel() <= path.stat().st_size:  # not one number, repeated
            found = found.double().numpy()
        if not isinstance(found, np.ndarray):
            raise ValueError("it holds no tensor and no array")
        return found.astype(np.float64)

    return _refusing(path, values, what)


def write_checkpoint(path: Path, network: Any, facts: dict) -> str:
    """Write weights as safetensors and, beside them, a model card of `facts` (.json). Returns the weights' sha256."""
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write(path, lambda file: file.write(save(state)))
    digest = sha256(path)
    parameters = sum(tensor.numel() for tensor in network.parameters())
    write_json(path.with_suffix(".json"), facts | {"sha256": digest, "parameters": parameters})
    return digest


def _refusing(path: Path, attempt: Callable[[], Any], what: str = "checkpoint") -> Any:
    """attempt(), with every failure turned into one sentence about the file."""
    try:
        return attempt()
    except Exception as error:  # each library has its own errors; the cause is always the file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
        raise ValueError(f"{path} is not a readable {what}: {reason}; it was not loaded") from error


@contextmanager
def _opened(path: Path):
    """The open file. Raises ValueError for a folder, an empty file and a web page."""
    if path.is_dir():
        raise ValueError("it is a folder")
    with open(path, "rb") as file:
        head = file.read(100)
        if not head:
            raise ValueError("it is empty")
        if head.lstrip().lower().startswith(WEB_PAGE):
            raise ValueError("it is a web page; download it again")
        yield file


def _read(path: Path, of_pickle: Callable = read_edm) -> Any:
    """arch ({} if the file has none) and state; for EDM's pickles, of_pickle(the open file)."""
    with _opened(path) as file:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {}, load_file(path)
        if path.suffix == ".pkl":
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return of_pickle(data)
        return {}, _state(torch_files.load(path))


def _state(value: Any) -> dict:
    """The state dict within the value of a file of torch.save."""
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    elif isinstance(value, (list, tuple)) and len(value) in (4, 5):
        value = value[4] if len(value) == 5 else value[0]
    if not _tensors(value):
        held = ", ".join(map(str, list(value)[:8])) if isinstance(value, dict) else type(value).__name__
        raise ValueError(
            f"it is no state dict of tensors (it holds: {held}); export one with torch.save(model.state_dict(), ...)"
        )
    value = {name: tensor.detach() for name, tensor in value.items()}
    if all(name.startswith("module.") for name in value):
        return {name.removeprefix("module."): tensor for name, tensor in value.items()}
    return value


def _tensors(value: Any) -> bool:
    import torch

    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items())
    )


def _kept(state: dict, keep: tuple[str, ...], path: Path) -> dict:
    for prefix in keep:
        if not any(name.startswith(prefix) for name in state):
            raise ValueError(f"{path} has no tensor named {prefix}...; it has {', '.join(list(state)[:4])}, ...")
    return {name: tensor for name, tensor in state.items() if name.startswith(tuple(keep))} if keep else state
