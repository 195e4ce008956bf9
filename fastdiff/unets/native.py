"""The embedded network: a small DDPM-style U-Net (Ho et al. 2020), written as rungs.

GroupNorm has channels // 8 groups. As channels is a multiple of 8, no group contains channels from both sides of a
concat. The factor of a skip then acts through the block's 1x1 shortcut alone (up to the norm's eps), which makes
Skip-Tuning easy to check.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .arch import normalised
from .blocks import sinusoid
from .protocol import walk


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // 8, channels, eps=1e-6)


def zero(layer: nn.Conv2d) -> nn.Conv2d:
    """Initialise a residual branch with zeros: a new block is the identity."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Attention(nn.Module):
    """Single-head self-attention over pixels with a residual connection, (B C H W) -> (B C H W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(B, 3, C, H * W).transpose(2, 3).unbind(1)
        a = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(a.transpose(1, 2).reshape(B, C, H, W))


class Block(nn.Module):
    """norm, SiLU, conv, + embedding, norm, SiLU, conv, + shortcut, then attention if asked."""

    def __init__(self, c_in: int, c_out: int, c_emb: int, attention: bool, shortcut: bool):
        super().__init__()
        self.norm1 = norm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.emb = nn.Linear(c_emb, c_out)
        self.norm2 = norm(c_out)
        self.conv2 = zero(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if shortcut or c_in != c_out else nn.Identity()
        self.attention = Attention(c_out) if attention else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.emb(emb)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.attention(self.shortcut(x) + h)


class NativeUNet(nn.Module):
    """eps(x, n) for images (B in_channels size size); K = len(multipliers) * (blocks + 1) rungs.

    attention: the resolutions with self-attention. classes: 0 makes an unconditional network; otherwise cond (B) has
    labels 0 .. classes - 1, and the label `classes` (or cond None) means "no label".
    """

    def __init__(
        self,
        size: int = 28,
        in_channels: int = 1,
        channels: int = 24,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (7,),
        classes: int = 10,
    ):
        super().__init__()
        if channels % 8:
            raise ValueError(f"channels is {channels}; it must be a multiple of 8, or a norm's group spans a concat")
        if size % 2 ** (len(multipliers) - 1):
            raise ValueError(f"size {size} cannot be halved {len(multipliers) - 1} times")
        self.channels, self.classes = channels, classes
        c_emb = 8 * channels
        self.time = nn.Sequential(nn.Linear(channels, c_emb), nn.SiLU(), nn.Linear(c_emb, c_emb))
        self.label = nn.Embedding(classes + 1, c_emb) if classes else None

        c, made = channels, [channels]
        self.downs = nn.ModuleList([nn.Conv2d(in_channels, channels, 3, padding=1)])
        for level, multiplier in enumerate(multipliers):
            if level:
                self.downs.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                made.append(c)
            for _ in range(blocks):
                c_out = channels * multiplier
                self.downs.append(Block(c, c_out, c_emb, size >> level in attention, shortcut=False))
                c = c_out
                made.append(c)
        self.rungs = len(made)

        self.mids = nn.ModuleList(Block(c, c, c_emb, attention=i == 0, shortcut=False) for i in range(2))

        ups, upsamples = [], {}
        for i in reversed(range(self.rungs)):
            level = i // (blocks + 1)
            c_out = channels * multipliers[level]
            ups.append(Block(c + made[i], c_out, c_emb, size >> level in attention, shortcut=True))
            c = c_out
            if level and i % (blocks + 1) == 0:
                upsamples[str(i)] = nn.Conv2d(c, c, 3, padding=1)
        self.ups = nn.ModuleList(reversed(ups))
        self.upsamples = nn.ModuleDict(upsamples)
        self.out = nn.Sequential(norm(c), nn.SiLU(), zero(nn.Conv2d(c, in_channels, 3, padding=1)))

    def embed(self, c_noise: Tensor, cond: Tensor | None) -> Tensor:
        half = self.channels // 2
        rates = torch.exp(torch.arange(half, device=c_noise.device) * (-math.log(10000) / half))
        emb = self.time(sinusoid(c_noise.float(), rates, sin_first=True).to(self.time[0].weight.dtype))
        if self.label is not None:
            emb = emb + (self.label.weight[-1] if cond is None else self.label(cond))
        return F.silu(emb)

    def down(self, i: int, h: Tensor, emb: Tensor) -> tuple[Tensor, Tensor]:
        layer = self.downs[i]
        h = layer(h, emb) if isinstance(layer, Block) else layer(h)
        return h, h

    def mid(self, h: Tensor, emb: Tensor) -> Tensor:
        for block in self.mids:
            h = block(h, emb)
        return h

    def up(self, i: int, h: Tensor, skip: Tensor, emb: Tensor) -> Tensor:
        h = self.ups[i](torch.cat([h, skip], 1), emb)
        if str(i) in self.upsamples:
            h = self.upsamples[str(i)](F.interpolate(h, scale_factor=2, mode="nearest"))
        return h

    def head(self, h: Tensor, emb: Tensor) -> Tensor:
        return self.out(h)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """The whole network with unchanged skips, for training."""
        return walk(self, x, c_noise, cond)[0]


def make(arch: dict) -> NativeUNet:
    """arch: the arguments of NativeUNet. classes None means 0."""
    unconditional = {"classes": 0} if "classes" in arch and arch["classes"] is None else {}
    return NativeUNet(**normalised(arch, "arch of the native family") | unconditional)
