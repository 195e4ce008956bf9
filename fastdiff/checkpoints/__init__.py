"""Checkpoint files in and out. No file is ever executed.

safetensors; what torch.save wrote, through torch.load(weights_only=True) (`torch_files`); EDM's pickles, read as data
(`edm`). Every failure is one sentence.
"""

import mmap
from pathlib import Path
from typing import Any

from ..downloads import fetch
from ..files import sha256, write, write_json

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

    EDM's files tell their network's arguments, which are taken; a word of card.arch that says otherwise is refused
    (None says nothing), one that the file does not have counts. Of every other file the arguments are card.arch.
    Raises as `read_checkpoint`.
    """
    found, _ = fetch(card.weights, card.sha256, card.name)
    arch, state = _refusing(found, lambda: _read(found))
    for word, said in card.arch.items():
        if word in arch and said is not None and _listed(said) != arch[word]:
            raise ValueError(
                f"arch of model '{card.name}' says {word} {_listed(said)!r}, but {found} was made with {arch[word]!r};"
                " correct the card"
            )
    return {**card.arch, **arch}, _kept(state, card.state_keys, found)


def write_checkpoint(path: Path, network, facts: dict) -> str:
    """Weights as safetensors, a model card of `facts` beside them (same name, .json). Returns the weights' sha256."""
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write(path, lambda file: file.write(save(state)))
    digest = sha256(path)
    parameters = sum(tensor.numel() for tensor in network.parameters())
    write_json(path.with_suffix(".json"), facts | {"sha256": digest, "parameters": parameters})
    return digest


def _refusing(path: Path, attempt) -> Any:
    """attempt(), any failure of which becomes one sentence about the file."""
    try:
        return attempt()
    except Exception as error:  # each library has error types of its own; what is wrong is the file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
        raise ValueError(f"{path} is not a readable checkpoint: {reason}; it was not loaded") from error


def _read(path: Path) -> tuple[dict, dict]:
    """arch ({} where the file tells none) and state."""
    if path.is_dir():
        raise ValueError("it is a folder")
    with open(path, "rb") as file:
        head = file.read(100)
        if not head:
            raise ValueError("it is empty")
        if head.lstrip().lower().startswith(WEB_PAGE):
            raise ValueError("it is a web page; download it again")
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {}, load_file(path)
        if path.suffix == ".pkl":
            from .edm import read_edm

            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return read_edm(data)
        from .torch_files import load

        return {}, _state(load(file))


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


def _listed(value):
    return [_listed(each) for each in value] if isinstance(value, (list, tuple)) else value
