"""Model cards: the settings of conf/model/*.yaml."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..diffusion.preconditioning import Discrete, of_arch
from ..diffusion.schedules import Schedule
from .checkpoints import card_arch
from .download import fetch


@dataclass(frozen=True)
class Decoder:
    """The autoencoder that turns latents into images, a model of diffusers (`fastdiff.sampling.latents`).

    arch: its config.json, with _class_name AutoencoderKL or VQModel. weights: path or URL of its state dict, under
    diffusers' names or under those of CompVis/latent-diffusion (first_stage_model.*). sha256: of that file, checked.
    """

    arch: dict
    weights: str
    sha256: str | None = None

    @property
    def factor(self) -> int:
        """Width of an image / width of its latent."""
        return 2 ** (len(self.arch.get("block_out_channels", (64,))) - 1)

    @property
    def channels(self) -> int:
        return self.arch.get("out_channels", 3)

    def files(self) -> dict[str, tuple[str | None, str | None]]:
        return {"weights": (self.weights, self.sha256)}

    def identity(self) -> dict:
        return {"arch": self.arch, "sha256": self.sha256}


@dataclass(frozen=True)
class Text:
    """The text encoder and tokenizer that turn prompts into contexts, CLIP of transformers (`sampling.latents`).

    arch: the arguments of CLIPTextConfig. weights, vocab, merges: paths or URLs. prompts: a text file with one prompt a
    line; image i has prompt i, modulo their number. sha256, ...: of those files, checked.
    """

    arch: dict
    weights: str
    vocab: str
    merges: str
    prompts: str | None = None
    sha256: str | None = None
    vocab_sha256: str | None = None
    merges_sha256: str | None = None
    prompts_sha256: str | None = None

    def files(self) -> dict[str, tuple[str | None, str | None]]:
        tokens = {"vocab": (self.vocab, self.vocab_sha256), "merges": (self.merges, self.merges_sha256)}
        return {"weights": (self.weights, self.sha256), **tokens, "prompts": (self.prompts, self.prompts_sha256)}

    def identity(self) -> dict:
        return {"arch": self.arch, "sha256": [digest for _, digest in self.files().values()]}


@dataclass(frozen=True)
class ModelCard:
    """A trained network: how to build it, what it predicts, at which noise levels, and where its weights are.

    family, arch: arguments of `fastdiff.unets.build`; arch: the official constructor's. shape: (C, H, W) of the
    network's input, an image or a latent of `decoder`. text: the encoder of a text-conditional network.
    parameterisation: eps, x0 or v for the VP form, with c_noise = time_scale * (n + time_shift) as the network's input
    at level n = 1 .. N of `schedule`; or edm, with the preconditioning named in arch and without schedule and times.
    classes: number of labels, 0 = unconditional. weights: path or URL (`fastdiff.weights.download`). sha256: of that
    file, checked. state_keys: prefixes of the names of the network's tensors in the file; () = all. expected: published
    results, for readers: {"fid[50k, 100 DDIM steps]": "4.16 (source)"}.
    """

    name: str
    family: str
    arch: dict
    shape: tuple[int, int, int]
    weights: str
    sha256: str | None = None
    parameterisation: str = "eps"
    schedule: Schedule = Schedule()
    time_shift: float = 0.0
    time_scale: float = 1.0
    classes: int = 0
    state_keys: tuple[str, ...] = ()
    decoder: Decoder | None = None
    text: Text | None = None
    source: str = field(default="", compare=False)
    licence: str = field(default="", compare=False)
    expected: dict = field(default_factory=dict, compare=False)

    def __post_init__(self):
        if self.parameterisation not in ("edm", "eps", "v", "x0"):
            raise ValueError(f"parameterisation '{self.parameterisation}' is not one of: edm, eps, v, x0")

    @cached_property
    def preconditioning(self):
        """The coefficients that make the network a denoiser (`fastdiff.diffusion.preconditioning`)."""
        if self.parameterisation == "edm":
            return of_arch(self.arch)
        return Discrete(self.parameterisation, self.schedule.levels(), self.time_shift, self.time_scale)

    @property
    def levels(self) -> np.ndarray | None:
        """The N training sigmas, ascending, float64; None for a network that takes any."""
        return self.preconditioning.levels

    @property
    def span(self) -> tuple[float, float]:
        """The range of sigma that trajectories cover."""
        return self.preconditioning.span

    @property
    def sigma_min(self) -> float:
        return self.preconditioning.domain[0]

    @property
    def sigma_max(self) -> float:
        return self.preconditioning.domain[1]

    def rounded(self, sigma: float) -> float:
        """The noise level the network takes sigma for (EDM's round_sigma)."""
        nearest = getattr(self.preconditioning, "nearest", None)
        return nearest(sigma) if nearest else sigma

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        if self.decoder is None:
            return tuple(self.shape)
        return self.decoder.channels, *(side * self.decoder.factor for side in self.shape[1:])

    def files(self) -> dict[str, tuple[str | None, str | None]]:
        """Every file of the card: dotted knob -> path or URL (None: not given yet), sha256 (None: any)."""
        parts = {name: part for name in ("decoder", "text") if (part := getattr(self, name))}
        inner = {f"{name}.{word}": file for name, part in parts.items() for word, file in part.files().items()}
        return {"weights": (self.weights, self.sha256)} | inner

    def fetched(self, knob: str) -> tuple[Path, str]:
        """A file of `files()` and its sha256. Raises as `fetch`, and ValueError if the card does not give it."""
        where, sha256 = self.files()[knob]
        if where is None:
            raise ValueError(f"model '{self.name}' needs prompts: give model.{knob}=<a text file, one prompt a line>")
        return fetch(where, sha256, self.name)

    def resolved(self) -> "ModelCard":
        """The card with the sha256 of its files and, for EDM's pickles, the file's arch filled in. Only such a card may
        go into a key."""
        card = self
        for knob in self.files():
            owner, _, name = knob.rpartition(".")
            path, digest = self.fetched(knob)
            known = {"sha256" if name == "weights" else f"{name}_sha256": digest}
            known |= {} if owner else {"arch": card_arch(path, self.arch, self.name)}
            card = replace(card, **({owner: replace(getattr(card, owner), **known)} if owner else known))
        return card

    def identity(self) -> dict:
        """Everything that images depend on; never name or path."""
        network = {"family": self.family, "arch": self.arch, "shape": list(self.shape), "sha256": self.sha256}
        network |= {"parameterisation": self.parameterisation, "classes": self.classes}
        network |= {"state_keys": list(self.state_keys)} if self.state_keys else {}
        network |= {name: part.identity() for name in ("decoder", "text") if (part := getattr(self, name))}
        if self.parameterisation == "edm":
            return network
        schedule = [self.schedule.name, self.schedule.N, self.schedule.beta_start, self.schedule.beta_end]
        return network | {"schedule": schedule, "time_shift": self.time_shift, "time_scale": self.time_scale}
