"""CLIP score (Hessel et al. 2021, without their factor 2.5): whether an image shows its prompt. By torchmetrics.

score(image, prompt) = max(100 cos(E_image, E_prompt), 0), between 0 and 100; higher is better. E are the two towers of
a CLIP. The value of a cell is the mean over its images. There is no reference, so psi(image) = score - mean is exact.
Scores of two different CLIPs are two protocols and cannot be compared.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..files import read_json, sha256
from .extractor import Features, check_pixels

HUB = "https://huggingface.co"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
NEEDED = {  # files of transformers' save_pretrained, in all its versions: one of each row
    "config.json": ("config.json",),
    "model.safetensors": WEIGHTS,
    "preprocessor_config.json": ("processor_config.json", "preprocessor_config.json"),
    "tokenizer.json": ("tokenizer.json", "vocab.json"),
}
READ = ["*.json", "merges.txt", "*.safetensors", "pytorch_model*.bin"]
WIDTHS = {768: "B", 1024: "L", 1280: "H", 1408: "g", 1664: "bigG"}  # width of an image tower -> its usual name


def located(weights: str | None) -> Path:
    """The folder of a CLIP's files: `weights` itself, or the local copy of the hub's repository of that name.

    The hub is asked only where its cache lacks files. Raises FileNotFoundError, naming the missing files and their
    place.
    """
    folder = Path(weights or "").expanduser()
    if weights and folder.is_dir():
        reason = _lacks(folder)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", weights or ""):
        folder, reason = _of_hub(weights)
    else:
        reason = "is not there"
    if reason:
        origin = f" (of {HUB}/{weights}, say)" if "/" in str(weights) and not Path(str(weights)).is_absolute() else ""
        raise FileNotFoundError(
            f"metrics.weights '{weights}' {reason}; put {', '.join(NEEDED)} of a CLIPModel and its CLIPProcessor as"
            f" transformers saves them{origin} into a folder and give metrics.weights=FOLDER"
        )
    return folder


def _lacks(folder: Path) -> str:
    absent = [name for name, names in NEEDED.items() if not any((folder / each).is_file() for each in names)]
    return f"has no {', '.join(absent)}" if absent else ""


def _of_hub(name: str) -> tuple[Path, str]:
    """The repository's folder in the hub's cache, and what is wrong with it ("" where nothing is)."""
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise _absent("huggingface_hub") from error
    folder, reason = Path(), ""
    for local in (True, False):
        try:
            folder = Path(snapshot_download(name, allow_patterns=READ, local_files_only=local))
        except (OSError, ValueError) as error:
            said = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
            reason = f"is no folder here and cannot be fetched from {HUB}/{name} ({said})"
        else:
            reason = _lacks(folder)
        if not reason:
            break
    return folder, reason


def pinned(card: Any) -> str:
    """The sha256 of everything that scores depend on: names and contents of the files that are read.

    Raises what `located` raises. Raises ValueError for another digest than the card's, for a model that is no CLIP, and
    where the card's name does not begin with the kind of the weights, as ViT-B/32: values are filed under this name.
    """
    folder = located(card.weights)
    config = read_json(folder / "config.json")
    if config.get("model_type") != "clip":
        raise ValueError(f"{folder} holds a '{config.get('model_type')}'; metrics=clip_score needs a 'clip'")
    vision = config.get("vision_config") or {}
    width, patch = vision.get("hidden_size", 768), vision.get("patch_size", 32)  # transformers' defaults
    kind = f"ViT-{WIDTHS.get(width, width)}/{patch}"
    if not card.name.startswith(kind):
        raise ValueError(
            f"{folder} holds a {kind}, but metrics.name is '{card.name}', and values are filed under the name; give"
            f" metrics.name='{kind}', with a word for its training data where that is not OpenAI's"
        )
    found = hashlib.sha256()
    for file in _read(folder):
        found.update(f"{file.name} {sha256(file)}\n".encode())
    if card.sha256 not in (None, found.hexdigest()):
        raise ValueError(f"{folder} has sha256 {found.hexdigest()}, but {card.sha256} is known; give the right folder")
    return found.hexdigest()


def _read(folder: Path) -> list[Path]:
    """The files that are read. Pickled weights are read only where there are no safetensors."""
    patterns = READ[:-1] if any(folder.glob("*.safetensors")) else READ
    return sorted({file for pattern in patterns for file in folder.glob(pattern)})


class ClipScoreExtractor:
    """One score per image, float32 (N 1), in place of features. No class probabilities.

    Images are scored one by one, so a score does not depend on other images. Raises what `pinned` raises, and
    ModuleNotFoundError without transformers.
    """

    def __init__(self, card: Any, device: Any = "cpu"):
        import torch

        try:
            import transformers
        except ModuleNotFoundError as error:
            raise _absent("transformers") from error
        pinned(card)
        folder, self.device = located(card.weights), torch.device(device)
        try:
            given = dict(local_files_only=True, dtype=torch.float32, output_loading_info=True)
            model, told = transformers.CLIPModel.from_pretrained(folder, **given)
            processor = transformers.CLIPProcessor.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers raises many types for damaged files
            said = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ValueError(f"{folder} cannot be read as a CLIP ({said}); fetch its files again") from error
        if told["missing_keys"]:
            raise ValueError(f"the weights in {folder} lack {sorted(told['missing_keys'])[0]}; fetch them again")
        positions = model.config.text_config.max_position_embeddings
        self.clip = _Towers(model.eval().requires_grad_(False).to(self.device)), _Prepare(processor, positions)

    def __call__(self, pixels: np.ndarray, prompts: list[str]) -> Features:
        """pixels uint8 (N C H W), 0 .. 255. prompts: one for each image."""
        import torch
        from torchmetrics.functional.multimodal import clip_score

        check_pixels(pixels)
        if len(prompts) != len(pixels):
            raise ValueError(f"{len(pixels)} images need as many prompts; {len(prompts)} were given")
        images = torch.from_numpy(np.repeat(pixels, 3 // pixels.shape[1], axis=1)).to(self.device)
        with torch.inference_mode():
            scores = [clip_score(image, prompt, lambda: self.clip).item() for image, prompt in zip(images, prompts)]
        return Features(np.array(scores, np.float32)[:, None], np.zeros((len(scores), 0), np.float32))


class _Towers:
    """A CLIPModel whose features are plain tensors, as torchmetrics needs them (transformers 5 returns objects)."""

    def __init__(self, model):
        self.model, self.config = model, model.config

    def to(self, device) -> "_Towers":
        self.model.to(device)
        return self

    def get_image_features(self, *given):
        return _embedding(self.model.get_image_features(*given))

    def get_text_features(self, *given):
        return _embedding(self.model.get_text_features(*given))


def _embedding(found):
    return getattr(found, "pooler_output", found)


class _Prepare:
    """A CLIPProcessor that cuts long prompts but keeps their end token. CLIP reads a prompt's embedding there;
    torchmetrics alone would cut it off, and all long prompts would score alike."""

    def __init__(self, processor, positions: int):
        self.processor, self.positions = processor, positions

    def __call__(self, **given):
        cut = {"truncation": True, "max_length": self.positions} if "text" in given else {}
        return self.processor(**given, **cut)


def clip_score(scores: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean of scores (N 1), and the influence psi (N) of each image: score - mean.

    Raises ValueError, naming the first bad image, for NaN or infinity.
    """
    each = np.asarray(scores, dtype=np.float64)[:, 0]
    bad = ~np.isfinite(each)
    if bad.any():
        raise ValueError(f"the CLIP score of image {bad.argmax()} is NaN or infinite ({bad.sum()} of {len(each)} are)")
    return float(each.mean()), each - each.mean()


def _absent(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"metrics=clip_score needs {name}: pip install 'fastdiff-bench[hf]'")
