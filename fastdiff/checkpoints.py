"""Checkpoint files in and out. No file is ever executed: safetensors, or torch.load(weights_only=True)."""

from pathlib import Path

from .files import locate, sha256, write, write_json


def read_checkpoint(path: str, expected_sha256: str | None = None) -> tuple[dict, str]:
    """A file's tensors by name, and its sha256.

    Raises FileNotFoundError when it is missing, ValueError when its digest is not the expected one, or when it is
    truncated, corrupted or holds anything but tensors.
    """
    import torch
    from safetensors.torch import load_file

    found = locate(path)
    digest = sha256(found)
    if expected_sha256 and digest != expected_sha256:
        raise ValueError(
            f"{found} has sha256 {digest[:12]}..., but the card says {expected_sha256[:12]}...; fetch it again"
        )
    try:
        if found.suffix == ".safetensors":
            return load_file(found), digest
        state = torch.load(found, map_location="cpu", weights_only=True)
    except Exception as error:  # each library has error types of its own; what is wrong is the file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{found} is not a readable checkpoint ({reason}); it was not loaded") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ValueError(
            f"{found} is not a plain state dict of tensors; export one with torch.save(model.state_dict(), ...)"
        )
    return state, digest


def write_checkpoint(path: Path, network, facts: dict) -> str:
    """Weights as safetensors, a model card of `facts` beside them (same name, .json). Returns the weights' sha256."""
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write(path, lambda file: file.write(save(state)))
    digest = sha256(path)
    parameters = sum(tensor.numel() for tensor in network.parameters())
    write_json(path.with_suffix(".json"), facts | {"sha256": digest, "parameters": parameters})
    return digest
