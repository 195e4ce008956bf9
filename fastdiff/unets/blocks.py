"""Layers that several families share: DDPM's blocks (Ho et al. 2020) and the embedding of noise levels.

The names of weights are those of ermongroup/ddim and pesser/pytorch_diffusion.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def exact(dtype: torch.dtype) -> torch.dtype:
    """The type for computing with noise levels: float32, or dtype if that is wider."""
    return torch.promote_types(torch.float32, dtype)


def sinusoid(c_noise: Tensor, rates: Tensor, sin_first: bool) -> Tensor:
    """[sin(c_noise w), cos(c_noise w)], or the cosines first: c_noise (B), rates w (m) -> (B 2m), in their dtype.

    Each family computes its own rates, with the order of operations of its official code: the last digits matter.
    """
    angles = c_noise[:, None] * rates
    sin, cos = angles.sin(), angles.cos()
    return torch.cat([sin, cos] if sin_first else [cos, sin], 1)


def integers(labels: Tensor) -> Tensor:
    """Labels of any dtype, also floats with whole values -> int64."""
    return labels.to(torch.int64)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class Block(nn.Module):
    """norm, SiLU, conv, + embedding, norm, SiLU, conv, + shortcut: (B C_in H W), (B C_emb) -> (B C_out H W)."""

    def __init__(self, c_in: int, c_out: int, c_emb: int):
        super().__init__()
        self.norm1 = norm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.temb_proj = nn.Linear(c_emb, c_out)
        self.norm2 = norm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.temb_proj(emb)[:, :, None, None]
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """x + proj(softmax(q k' / sqrt(C)) v), one head over pixels: (B C H W) -> (B C H W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        # contiguous: fused attention needs a pixel's channels side by side
        q, k, v = (layer(h).flatten(2).transpose(1, 2).contiguous() for layer in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(a.transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """(B C H W) -> (B C H/2 W/2): a strided conv, padded on the right and below only, or the mean of 2 x 2 pixels."""

    def __init__(self, channels: int, with_conv: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2) if with_conv else None

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.conv is None else self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """(B C H W) -> (B C 2H 2W): every pixel four times, then a conv if asked."""

    def __init__(self, channels: int, with_conv: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if with_conv else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
