"""The U-Net of DDPM (Ho et al. 2020) as in ermongroup/ddim and pesser/pytorch_diffusion, cut into rungs.

Both have the same network and names of weights. Rung 0 is conv_in. Then every level has num_res_blocks rungs, and all
levels but the last have a rung that downsamples. K = len(ch_mult) * (num_res_blocks + 1).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .arch import normalised, read_arch
from .blocks import Attention, Block, Downsample, Upsample, exact, norm, sinusoid
from .protocol import walk

SECTIONS = ("data", "diffusion", "model", "optim", "sampling", "training")  # of ermongroup's config files
TYPES = ("bayesian", "simple")
TRAINING = ("ema", "ema_rate", "var_type")  # of its section model: no effect on the network
WHOSE = "arch of the ddim family"


@dataclass(frozen=True)
class DDIMArch:
    """The arguments of pesser's constructor. attn_resolutions are in pixels; dropout acts in training only."""

    ch: int
    out_ch: int
    num_res_blocks: int
    attn_resolutions: Sequence[int]
    in_channels: int
    resolution: int
    ch_mult: Sequence[int] = (1, 2, 4, 8)
    dropout: float = 0.0
    resamp_with_conv: bool = True


class Level(nn.Module):
    """The blocks of one resolution, each followed by attention if asked. `DDIMUNet` adds downsample or upsample."""

    def __init__(self, c: int, skips: Sequence[int], c_out: int, c_emb: int, attention: bool):
        """c: input channels. skips[i]: channels of the skip that block i also takes (0: none)."""
        super().__init__()
        self.block = nn.ModuleList(Block((c_out if i else c) + skip, c_out, c_emb) for i, skip in enumerate(skips))
        self.attn = nn.ModuleList(Attention(c_out) for _ in skips if attention)

    def forward(self, i: int, h: Tensor, emb: Tensor) -> Tensor:
        h = self.block[i](h, emb)
        return self.attn[i](h) if len(self.attn) else h


class Down(nn.ModuleList):
    """The encoder's levels; called, it is the protocol's `down`."""

    def __init__(self, conv_in: nn.Conv2d, levels: list[Level], blocks: int):
        super().__init__(levels)
        self.blocks = blocks
        self._conv_in = (conv_in,)  # in a tuple, to list its weights only once: at the root, as officially

    def forward(self, i: int, h: Tensor, emb: Tensor) -> tuple[Tensor, Tensor]:
        if i == 0:
            h = self._conv_in[0](h)
        else:
            level, at = divmod(i - 1, self.blocks + 1)
            h = self[level](at, h, emb) if at < self.blocks else self[level].downsample(h)
        return h, h


class Mid(nn.Module):
    """The bottleneck; called, it is the protocol's `mid`."""

    def __init__(self, channels: int, c_emb: int):
        super().__init__()
        self.block_1 = Block(channels, channels, c_emb)
        self.attn_1 = Attention(channels)
        self.block_2 = Block(channels, channels, c_emb)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(h, emb)), emb)


class Up(nn.ModuleList):
    """The decoder's levels, finest first; called, it is the protocol's `up`."""

    def __init__(self, levels: list[Level], blocks: int):
        super().__init__(levels)
        self.blocks = blocks

    def forward(self, i: int, h: Tensor, skip: Tensor, emb: Tensor) -> Tensor:
        level, at = divmod(i, self.blocks + 1)
        h = self[level](self.blocks - at, torch.cat([h, skip], 1), emb)
        return self[level].upsample(h) if level and at == 0 else h


class DDIMUNet(nn.Module):
    """eps(x, n) for images (B in_channels resolution resolution) -> (B out_ch resolution resolution).

    `down`, `mid` and `up` are modules, called as the protocol's methods: the official weights have these names.
    logvar: length of the extra parameter of a "bayesian" network, which no output depends on.
    """

    def __init__(self, arch: DDIMArch, logvar: int = 0):
        super().__init__()
        ch, mults, blocks = arch.ch, tuple(arch.ch_mult), arch.num_res_blocks
        last, c_emb = len(mults) - 1, 4 * arch.ch
        if arch.resolution % 2**last:
            raise ValueError(f"resolution {arch.resolution} cannot be halved {last} times, as ch_mult asks")
        self.channels, self.rungs = ch, len(mults) * (blocks + 1)
        if logvar:
            self.logvar = nn.Parameter(torch.zeros(logvar))
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList([nn.Linear(ch, c_emb), nn.Linear(c_emb, c_emb)])
        self.conv_in = nn.Conv2d(arch.in_channels, ch, 3, padding=1)

        attends = [arch.resolution >> level in arch.attn_resolutions for level in range(last + 1)]
        downs, made, c = [], [ch], ch
        for level, mult in enumerate(mults):
            downs.append(Level(c, [0] * blocks, ch * mult, c_emb, attends[level]))
            c = ch * mult
            made += [c] * blocks
            if level < last:
                downs[-1].downsample = Downsample(c, arch.resamp_with_conv)
                made.append(c)
        self.down = Down(self.conv_in, downs, blocks)
        self.mid = Mid(c, c_emb)
        ups = []
        for level in reversed(range(last + 1)):
            skips = [made.pop() for _ in range(blocks + 1)]
            ups.append(Level(c, skips, ch * mults[level], c_emb, attends[level]))
            c = ch * mults[level]
            if level:
                ups[-1].upsample = Upsample(c, arch.resamp_with_conv)
        self.up = Up(ups[::-1], blocks)
        self.norm_out = norm(c)
        self.conv_out = nn.Conv2d(c, arch.out_ch, 3, padding=1)

    def embed(self, c_noise: Tensor, cond: None = None) -> Tensor:
        """c_noise (B), the official t = 0 .. N - 1 -> (B 4ch). Raises ValueError when there is a cond.

        [sin(t w), cos(t w)], w_j = 10000^(-j / (ch / 2 - 1)) (Ho et al. 2020, released code), then two layers.
        """
        if cond is not None:
            raise ValueError("a ddim network is unconditional and takes no cond")
        half, first = self.channels // 2, self.temb.dense[0]
        dtype = exact(first.weight.dtype)
        rates = torch.exp(torch.arange(half, dtype=dtype, device=c_noise.device) * (-math.log(10000) / (half - 1)))
        emb = sinusoid(c_noise.to(dtype), rates, sin_first=True).to(first.weight.dtype)
        return F.silu(self.temb.dense[1](F.silu(first(emb))))  # the last SiLU: once here, not in every block

    def head(self, h: Tensor, emb: Tensor) -> Tensor:
        return self.conv_out(F.silu(self.norm_out(h)))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The official call: x (B C H W), t (B) -> eps (B C_out H W), with unchanged skips."""
        return walk(self, x, t, None)[0]


def make(arch: Mapping) -> DDIMUNet:
    """arch: `DDIMArch` (the arguments of pesser's Model), or ermongroup's config: sections data, model, diffusion.

    Only the arguments of the network are read from a config. They may also be given without sections: image_size is
    resolution; type "bayesian" adds the parameter logvar, as long as num_diffusion_timesteps; ema, ema_rate and
    var_type have no effect. Raises ValueError for arguments that are unknown, missing or contradict each other.
    """
    words = _flat(arch) if "model" in arch else normalised(arch, WHOSE)
    kind, steps = words.pop("type", "simple"), words.pop("num_diffusion_timesteps", None)
    if kind not in TYPES:
        raise ValueError(f"{WHOSE}: model.type '{kind}' is not one of: {', '.join(TYPES)}")
    if kind == "bayesian" and steps is None:
        raise ValueError(f"{WHOSE}: a bayesian model needs diffusion.num_diffusion_timesteps")
    if "image_size" in words:
        size = words.pop("image_size")
        if words.setdefault("resolution", size) != size:
            raise ValueError(f"{WHOSE}: image_size is {size} and resolution {words['resolution']}: keep one")
    words = {word: value for word, value in words.items() if word not in TRAINING}
    found = read_arch(DDIMArch, words, f"{WHOSE} (resolution is data.image_size)")
    return DDIMUNet(found, steps if kind == "bayesian" else 0)


def _flat(config: Mapping) -> dict:
    """The arguments of the network, from the sections of a config."""
    for section in config:
        if section not in SECTIONS:
            raise ValueError(f"{WHOSE}: section '{section}' is not one of: {', '.join(SECTIONS)}")
    wanted = {
        "model": ("type", *DDIMArch.__dataclass_fields__),
        "data": ("image_size",),
        "diffusion": ("num_diffusion_timesteps",),
    }
    sections = {section: normalised(config.get(section) or {}, WHOSE) for section in wanted}
    return {word: sections[s][word] for s, words in wanted.items() for word in words if word in sections[s]}
