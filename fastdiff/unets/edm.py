"""EDM's checkpoints (Karras et al. 2022, arXiv 2206.00364): one of `edm_networks` inside a preconditioning wrapper."""

from dataclasses import fields
from inspect import Parameter, signature

import torch
from torch import Tensor, nn

from ..preconditioning import EDM, IDDPM, NETWORKS, WRAPPERS, of_arch, official_name
from .edm_blocks import exact
from .edm_levels import Levels
from .edm_networks import DhariwalUNet, SongUNet
from .protocol import walk


class Precond(nn.Module):
    """A network F with its preconditioning, under the official key `model.`; the rungs are those of F itself.

    `walk` gives F_x, `forward` D_x. iDDPM networks have 2 img_channels outputs; `forward` drops the second half, their
    learned variance.
    """

    def __init__(self, model: Levels, preconditioning, img_channels: int):
        super().__init__()
        self.model, self.preconditioning, self.img_channels = model, preconditioning, img_channels
        self.rungs = model.rungs
        if isinstance(preconditioning, IDDPM):
            self.register_buffer("u", torch.tensor(preconditioning.u, dtype=torch.float32))  # an official key, unread

    def embed(self, c_noise: Tensor, cond: Tensor | None) -> Tensor:
        return self.model.embed(c_noise, cond)

    def down(self, i: int, h, emb: Tensor):
        return self.model.down(i, h, emb)

    def mid(self, h, emb: Tensor):
        return self.model.mid(h, emb)

    def up(self, i: int, h, skip: Tensor, emb: Tensor):
        return self.model.up(i, h, skip, emb)

    def head(self, h, emb: Tensor) -> Tensor:
        return self.model.head(h, emb)

    def forward(self, x: Tensor, sigma, class_labels: Tensor | None = None) -> Tensor:
        """D(x, sigma), every skip as it was trained: x (B C H W), sigma a float or (B) -> (B C H W), float32 or wider.

        class_labels: what `embed` takes for cond.
        """
        weight, coefficients = next(self.parameters()), self.preconditioning
        dtype = exact(weight.dtype)
        x, sigma = x.to(dtype), torch.as_tensor(sigma, dtype=dtype, device=x.device).reshape(-1).expand(len(x))
        pixels = sigma[:, None, None, None]
        inputs = (x / coefficients.scale(pixels)).to(weight.dtype)
        scales = torch.ones(self.rungs, dtype=dtype, device=x.device)
        raw, _ = walk(self, inputs, coefficients.noise(sigma), class_labels, scales)
        raw = raw[:, : self.img_channels].to(dtype)
        return coefficients.skip(pixels) * x + coefficients.out(pixels) * raw


def make(arch: dict) -> Precond:
    """arch: the official constructors' arguments, those of the wrapper and those of the network in one dict, beside

    class_name: SongUNet or DhariwalUNet; in the spelling of pickled files the wrapper, and `model_type` the network.
    preconditioning (or precond): EDMPrecond, VPPrecond, VEPrecond or iDDPMPrecond, or short edm, vp, ve, iddpm.

    What is not named is EDMPrecond, and the network that is the wrapper's official default. A word that is None counts
    as not given; dropout, label_dropout and use_fp16 are without effect. Raises ValueError for a word or name that is
    none of these, and for words that contradict one another.
    """
    words = {word: value for word, value in arch.items() if value is not None}
    preconditioning = of_arch(words)
    network = _network(words, preconditioning)
    for word in ("class_name", "model_type", "precond", "preconditioning", "use_fp16"):
        words.pop(word, None)
    for own in fields(preconditioning):
        words.pop(own.name, None)
    img_channels = _settle_channels(words, 2 if isinstance(preconditioning, IDDPM) else 1)

    accepted = signature(network).parameters
    for word in words:
        if word not in accepted:
            menu = sorted({*accepted, *(own.name for own in fields(preconditioning)), "img_channels"})
            raise ValueError(f"arch word '{word}' of {network.__name__} is not one of: {', '.join(menu)}")
    for word, parameter in accepted.items():
        if parameter.default is Parameter.empty and word not in words:
            raise ValueError(f"arch of the edm family lacks {word}")
    return Precond(network(**words), preconditioning, img_channels)


def _network(words: dict, preconditioning) -> type[Levels]:
    """The network's class, from class_name or model_type; else the default of the official wrapper."""
    menus = {"class_name": (*NETWORKS, *WRAPPERS), "model_type": NETWORKS}
    given = [official_name(word, words[word], menu) for word, menu in menus.items() if word in words]
    named = sorted(set(given) - set(WRAPPERS))
    if len(named) > 1:
        raise ValueError(f"arch names two networks, {named[0]} and {named[1]}: keep one")
    default = "DhariwalUNet" if isinstance(preconditioning, (EDM, IDDPM)) else "SongUNet"
    return {"DhariwalUNet": DhariwalUNet, "SongUNet": SongUNet}[named[0] if named else default]


def _settle_channels(words: dict, outputs: int) -> int:
    """img_channels, with the network's in_channels and out_channels made from it where they are not given; `outputs`:
    how many output channels the wrapper wants for each of the image's."""
    if "img_channels" not in words and "in_channels" not in words:
        raise ValueError("arch of the edm family lacks img_channels")
    img_channels = words.pop("img_channels", words.get("in_channels"))
    for word, value in (("in_channels", img_channels), ("out_channels", outputs * img_channels)):
        if words.setdefault(word, value) != value:
            raise ValueError(f"{word} is {words[word]}; with images of {img_channels} channels it is {value}")
    return img_channels
