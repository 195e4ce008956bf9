"""Checkpoint files in and out. No file is ever executed.

safetensors; what torch.save wrote (`torch_files`) and EDM's pickles (`edm`), both read as data. Every failure is one
sentence.
"""

import mmap
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...files import sha256, write, write_json
from ..download import fetch
from . import arrays, torch_files
from .arch import merged
from .edm import edm_arch, read_edm
from .records import Record

WEB_PAGE = (b"<!doctype html", b"<html")


def read_checkpoint(path: str, expected_sha256: str | None = None, keep: tuple[str, ...] = ()) -> tuple[dict, str]:
    """A file's tensors by name, and its sha256. path: a file, `assets/...` or an http(s) URL (`downloads.fetch`).

    By its suffix a file is .safetensors, .pkl (EDM's) or, any other, torch.save's. What torch.save wrote has to be a
    state dict; or a dict with "state_dict" (Lightning, latent-diffusion); or ermongroup's list, whose fifth entry, the
    moving average, is taken where there is one, else the first: [model, optimizer, epoch, step(, ema)]. DataParallel's
    prefix `module.` is taken off. keep: prefixes of the names that are wanted, which stay as they are; () is all.

    Raises FileNotFoundError or ConnectionError when the file is missing, ValueError when its digest is not the expected
    one, when it is truncated, corrupted or holds anything but tensors, or when a prefix of keep fits no name.
    """
    found, digest = fetch(path, expected_sha256)
    return _kept(_refusing(found, lambda: _read(found)[1]), keep, found), digest


def read_network(card) -> tuple[dict, dict]:
    """arch, state of a model card: what `unets.build` wants.

    Of EDM's files arch is what card.arch and the file say together (`arch.merged`), of every other file card.arch.
    Raises as `read_checkpoint`, and ValueError where the two contradict one another.
    """
    found, _ = fetch(card.weights, card.sha256, card.name)
    arch, state = _refusing(found, lambda: _read(found))
    return merged(card.arch, arch, card.name, found), _kept(state, card.state_keys, found)


def card_arch(path: str | Path, arch: dict, name: str) -> dict:
    """As `read_network`, arch alone, without torch. path: a file that is there; name: the card's, for the message."""
    path = Path(path)
    if path.suffix != ".pkl":
        return arch
    return merged(arch, _refusing(path, lambda: _read(path, edm_arch)), name, path)


def read_array(path: Path, what: str = "checkpoint") -> np.ndarray:
    """The one tensor or numpy array in what torch.save wrote, as float64. what: for the message.

    Raises ValueError for every other file.
    """

    def values():
        import torch

        with _opened(path) as file:
            found = torch_files.load(file)
        if type(found) is Record and found.name in arrays.ARRAYS:
            found = arrays.array(found)
        elif isinstance(found, torch.Tensor) and found.numel() <= path.stat().st_size:  # not one number, repeated
            found = found.double().numpy()
        else:
            raise ValueError("it holds no tensor and no array")
        return found.astype(np.float64)

    return _refusing(path, values, what)


def write_checkpoint(path: Path, network, facts: dict) -> str:
    """Weights as safetensors, a model card of `facts` beside them (same name, .json). Returns the weights' sha256."""
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write(path, lambda file: file.write(save(state)))
    digest = sha256(path)
    parameters = sum(tensor.numel() for tensor in network.parameters())
    write_json(path.with_suffix(".json"), facts | {"sha256": digest, "parameters": parameters})
    return digest


def _refusing(path: Path, attempt, what: str = "checkpoint") -> Any:
    """attempt(), any failure of which becomes one sentence about the file."""
    try:
        return attempt()
    except Exception as error:  # each library has error types of its own; what is wrong is the file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
        raise ValueError(f"{path} is not a readable {what}: {reason}; it was not loaded") from error


@contextmanager
def _opened(path: Path):
    """The open file, if it is one that is worth reading."""
    if path.is_dir():
        raise ValueError("it is a folder")
    with open(path, "rb") as file:
        head = file.read(100)
        if not head:
            raise ValueError("it is empty")
        if head.lstrip().lower().startswith(WEB_PAGE):
            raise ValueError("it is a web page; download it again")
        yield file


def _read(path: Path, of_pickle=read_edm) -> Any:
    """arch ({} where the file tells none) and state; of EDM's pickles, of_pickle(their bytes)."""
    with _opened(path) as file:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {}, load_file(path)
        if path.suffix == ".pkl":
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return of_pickle(data)
        return {}, _state(torch_files.load(file))


def _state(value: Any) -> dict:
    """The state dict within what torch.save wrote."""
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    elif isinstance(value, (list, tuple)) and len(value) in (4, 5):
        value = value[4] if len(value) == 5 else value[0]
    if not _tensors(value):
        held = ", ".join(map(str, list(value)[:8])) if isinstance(value, dict) else type(value).__name__
        raise ValueError(
            f"it is no state dict of tensors (it holds: {held}); export one with torch.save(model.state_dict(), ...)"
        )
    if all(name.startswith("module.") for name in value):
        return {name.removeprefix("module."): tensor for name, tensor in value.items()}
    return dict(value)


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
