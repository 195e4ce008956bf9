"""Latent diffusion (Rombach et al. 2022): prompts become contexts before the U-Net, latents become images behind it.

The U-Net in between is walked like any other. Decoders are diffusers' autoencoders, text encoders transformers' CLIP;
both libraries are imported inside functions only. Both run in float32, whatever the U-Net's precision: they run once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..unets import load_state
from ..unets.hf import renamed
from ..weights.checkpoints import read_checkpoint
from ..weights.model_card import ModelCard

AUTOENCODERS = ("AutoencoderKL", "VQModel")
FIRST_STAGE = "first_stage_model."


@dataclass(frozen=True)
class Decode:
    """Latents (B C h w), scaled as the U-Net knows them -> images (B 3 H W), nearly within value_range.

    decode(latents / scaling_factor + shift_factor), one image at a time: decoders want many times the U-Net's memory.
    """

    network: Any
    value_range: tuple[float, float] = (-1.0, 1.0)

    @torch.inference_mode()
    def __call__(self, latents: Tensor) -> Tensor:
        config = self.network.config
        z = latents.float() / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
        return torch.cat([self.network.decode(one[None]).sample for one in z])


def load_decoder(card: ModelCard, device: Any = "cpu") -> Decode:
    """The decoder of a card. Raises ModuleNotFoundError without diffusers, ValueError for words and weights that do not
    fit, and as `fetch`."""
    diffusers = _library("diffusers")
    kind = card.decoder.arch.get("_class_name", AUTOENCODERS[0])
    if kind not in AUTOENCODERS:
        raise ValueError(f"decoder class '{kind}' is not one of: {', '.join(AUTOENCODERS)}")
    words = {word: value for word, value in card.decoder.arch.items() if not word.startswith("_")}
    try:
        network = getattr(diffusers, kind)(**words)
    except TypeError as error:
        raise ValueError(f"arch of the decoder: {error}") from error
    state, _ = read_checkpoint(str(card.fetched("decoder.weights")[0]), card.decoder.sha256)
    if any(name.startswith(FIRST_STAGE) for name in state):
        state = _first_stage(state, network)
    load_state(network, renamed(state))
    return Decode(network.eval().requires_grad_(False).to(device))


def _first_stage(state: dict, network) -> dict:
    """The autoencoder within a checkpoint of CompVis/latent-diffusion, under diffusers' names."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    wanted = network.state_dict()
    table = {"quantize.embedding.weight": state.get(f"{FIRST_STAGE}quantize.embedding.weight")}
    found = convert_ldm_vae_checkpoint(state, network.config) | {k: v for k, v in table.items() if v is not None}
    return {name: tensor for name, tensor in found.items() if name in wanted}  # a loss network may be in there too


class Prompts:
    """Numbers of images -> their contexts and that of no prompt, each (B L D): what `Denoiser.start` takes as cond.

    As Stable Diffusion's pipeline: the last hidden states of CLIP, padded and cut to its length.
    """

    def __init__(self, encoder: Any, tokenizer: Any, prompts: list[str], length: int, dtype: torch.dtype):
        self.encoder, self.tokenizer, self.prompts = encoder, tokenizer, prompts
        self.length, self.dtype = length, dtype
        self.nothing = self.encode([""])

    def texts(self, indices: np.ndarray) -> list[str]:
        """The prompts of those images: image i has prompt i, and after the last one comes the first again."""
        return [self.prompts[i % len(self.prompts)] for i in indices]

    def __call__(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        context = self.encode(self.texts(indices))
        return context, self.nothing.expand_as(context)

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> Tensor:
        """Texts -> context (B L D)."""
        cut = dict(padding="max_length", max_length=self.length, truncation=True, return_tensors="pt")
        ids = self.tokenizer(texts, **cut).input_ids
        return self.encoder(ids.to(self.encoder.device))[0].to(self.dtype)


def load_prompts(card: ModelCard, device: Any = "cpu", dtype: torch.dtype = torch.float32) -> Prompts:
    """The prompts of a card and what encodes them; contexts are of `dtype`. Raises as `load_decoder`."""
    transformers = _library("transformers")
    files = {name: card.fetched(f"text.{name}")[0] for name in card.text.files()}
    prompts = [line.strip() for line in files["prompts"].read_text(encoding="utf-8").splitlines() if line.strip()]
    if not prompts:
        raise ValueError(f"{files['prompts']} has no prompt; one a line is needed")
    encoder = transformers.CLIPTextModel(transformers.CLIPTextConfig(**card.text.arch))
    state, _ = read_checkpoint(str(files["weights"]), card.text.sha256)
    load_state(encoder, _text_names(state, encoder.state_dict()))
    tokenizer = transformers.CLIPTokenizer(vocab=str(files["vocab"]), merges=str(files["merges"]))
    encoder = encoder.eval().requires_grad_(False).to(device)
    return Prompts(encoder, tokenizer, prompts, encoder.config.max_position_embeddings, dtype)


def _text_names(state: dict, wanted: dict) -> dict:
    """State under the names of this release of transformers: 5 has dropped the prefix text_model. and the table of
    positions, which older files hold."""
    prefix = "text_model."
    prefix = prefix if any(name.startswith(prefix) for name in wanted) else ""
    named = {prefix + name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in named.items() if name in wanted or not name.endswith("position_ids")}


def _library(name: str):
    try:
        return __import__(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"latents and prompts need {name}: pip install 'fastdiff-bench[hf]'") from error
