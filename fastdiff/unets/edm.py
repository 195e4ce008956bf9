"""EDM's checkpoints (Karras et al. 2022, arXiv 2206.00364): one of `edm_networks` inside a preconditioning wrapper."""

from collections.abc import Mapping
from dataclasses import fields
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from ..diffusion.preconditioning import EDM, IDDPM, NETWORKS, WRAPPERS, of_arch, official_name
from .arch import normalised
from .blocks import exact
from .edm_networks import DhariwalUNet, EDMUNet, SongUNet
from .protocol import walk

WHOSE = "arch of the edm family"


class Precond(nn.Module):
    """A network F with its preconditioning, under the official key `model.`; the rungs are those of F itself.

    `walk` gives F_x, `forward` gives D_x. iDDPM networks have 2 img_channels outputs; `forward` drops the second half,
    their learned variance. Attributes that the official samplers read have their official names: img_resolution,
    img_channels, label_dim, sigma_min and sigma_max (the levels that the network accepts), round_sigma.
    """

    def __init__(self, model: EDMUNet, preconditioning: Any, img_channels: int, label_dim: int):
        super().__init__()
        self.model, self.preconditioning = model, preconditioning
        self.img_resolution, self.img_channels, self.label_dim = model.sizes[0], img_channels, label_dim
        self.sigma_min, self.sigma_max = preconditioning.domain
        self.rungs = model.rungs
        if isinstance(preconditioning, IDDPM):
            self.register_buffer("u", torch.tensor(preconditioning.u, dtype=torch.float32))  # official key, unread

    def embed(self, c_noise: Tensor, cond: Tensor | tuple[Tensor | None, Tensor] | None) -> Tensor:
        """cond: labels, or a pair of labels and augment_labels (B augment_dim), as in the network's own `embed`."""
        labels, augment_labels = cond if isinstance(cond, tuple) else (cond, None)
        return self.model.embed(c_noise, labels, augment_labels)

    def down(self, i: int, h: Any, emb: Tensor):
        return self.model.down(i, h, emb)

    def mid(self, h: Any, emb: Tensor):
        return self.model.mid(h, emb)

    def up(self, i: int, h: Any, skip: Tensor, emb: Tensor):
        return self.model.up(i, h, skip, emb)

    def head(self, h: Any, emb: Tensor) -> Tensor:
        return self.model.head(h, emb)

    def forward(
        self, x: Tensor, sigma: Any, class_labels: Any = None, force_fp32: bool = False, augment_labels: Any = None
    ) -> Tensor:
        """D(x, sigma) with unchanged skips: x (B C H W), sigma a float or (B) -> (B C H W), float32 or wider.

        class_labels and augment_labels: as in the network's `embed`; None for none. force_fp32 has no effect: a network
        runs in the precision of its weights.
        """
        weight, coefficients = next(self.parameters()), self.preconditioning
        dtype = exact(weight.dtype)
        x, sigma = x.to(dtype), torch.as_tensor(sigma, dtype=dtype, device=x.device).reshape(-1).expand(len(x))
        pixels = sigma[:, None, None, None]
        inputs = (x / coefficients.scale(pixels)).to(weight.dtype)
        cond = class_labels if augment_labels is None else (class_labels, augment_labels)
        raw, _ = walk(self, inputs, coefficients.noise(sigma), cond)
        raw = raw[:, : self.img_channels].to(dtype)
        return coefficients.skip(pixels) * x + coefficients.out(pixels) * raw

    def round_sigma(self, sigma: Any, return_index: bool = False) -> Tensor:
        """The noise levels that the network uses for sigma (any shape): sigma itself, except with iDDPM
        preconditioning. return_index, for iDDPM only: their index j instead."""
        sigma, kind = torch.as_tensor(sigma), self.preconditioning
        if not isinstance(kind, IDDPM):
            return sigma
        index = kind.M - 1 - kind.noise(sigma).to(torch.int64)
        return index if return_index else torch.tensor(kind.u, device=sigma.device)[index].to(sigma.dtype)


def make(arch: dict) -> Precond:
    """arch: the arguments of the official constructors, wrapper and network in one dict, and

    class_name: SongUNet or DhariwalUNet. As in pickled files it may also be the wrapper, with `model_type` the network.
    preconditioning (or precond): EDMPrecond, VPPrecond, VEPrecond or iDDPMPrecond, or in short edm, vp, ve, iddpm.

    Arguments may be nested in `kwargs` or `init_kwargs`. Defaults: EDMPrecond, and the wrapper's official default
    network. An argument that is None counts as not given. dropout, label_dropout, use_fp16 and a SongUNet's
    channels_per_head 64 have no effect. Raises ValueError for unknown arguments and names, and for arguments that
    contradict each other.
    """
    words = normalised(_flat(arch), WHOSE)
    preconditioning = of_arch(words)
    network = _network(words, preconditioning)
    if network is SongUNet and words.get("channels_per_head") == 64:  # DhariwalUNet's, which has a default
        words.pop("channels_per_head")
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
            raise ValueError(f"{WHOSE} lacks {word}")
    made = Precond(network(**words), preconditioning, img_channels, words.get("label_dim", 0))
    if not words.get("label_dropout"):
        made.label_rows = made.label_dim  # "no label" is a row of zeros that was never trained
    return made


def _flat(arch: Mapping) -> dict:
    """arch without nesting."""
    nested = [word for word in ("kwargs", "init_kwargs") if word in arch]
    words = {word: value for word, value in arch.items() if word not in nested}
    if nested:
        words.pop("num_heads", None)  # a remark in the configs of our fixtures, no argument of EDM
    for inner in nested:
        for word, value in (arch[inner] or {}).items():
            if words.get(word) is None:
                words[word] = value
            elif value is not None and value != words[word]:
                raise ValueError(f"{WHOSE}: {word} is {words[word]!r}, and {value!r} in {inner}: keep one")
    return words


def _network(words: dict, preconditioning) -> type[EDMUNet]:
    """The network's class, from class_name or model_type; default: the official wrapper's."""
    menus = {"class_name": (*NETWORKS, *WRAPPERS), "model_type": NETWORKS}
    given = [official_name(word, words[word], menu) for word, menu in menus.items() if word in words]
    named = sorted(set(given) - set(WRAPPERS))
    if len(named) > 1:
        raise ValueError(f"arch names two networks, {named[0]} and {named[1]}: keep one")
    default = "DhariwalUNet" if isinstance(preconditioning, (EDM, IDDPM)) else "SongUNet"
    return {"DhariwalUNet": DhariwalUNet, "SongUNet": SongUNet}[named[0] if named else default]


def _settle_channels(words: dict, outputs: int) -> int:
    """Returns img_channels, and adds the network's in_channels and out_channels to words. outputs: number of output
    channels for each channel of the image."""
    if "img_channels" not in words and "in_channels" not in words:
        raise ValueError(f"{WHOSE} lacks img_channels")
    img_channels = words.pop("img_channels", words.get("in_channels"))
    for word, value in (("in_channels", img_channels), ("out_channels", outputs * img_channels)):
        if words.setdefault(word, value) != value:
            raise ValueError(f"{word} is {words[word]}; with images of {img_channels} channels it is {value}")
    return img_channels
