"""Layers of EDM's networks (Karras et al. 2022, arXiv 2206.00364), under the official parameter names.

Weights are initialised with PyTorch's defaults: these networks are loaded, not trained.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import exact, sinusoid


def group_norm(channels: int, eps: float) -> nn.GroupNorm:
    """At most 32 groups, with at least 4 channels each."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps)


def outer_filter(taps: list[float]) -> Tensor:
    """Taps of a separable filter -> the filter (1 1 k k), with sum 1."""
    if len(taps) % 2:
        raise ValueError(f"resample_filter has {len(taps)} taps; only an even number doubles a size exactly")
    f = torch.tensor(taps, dtype=torch.float32)
    return (f.outer(f) / f.sum() ** 2)[None, None]


class Resample(nn.Module):
    """Filter every channel, then halve or double the size: (B C H W) -> (B C H/2 W/2) or (B C 2H 2W)."""

    def __init__(self, how: str, taps: list[float]):
        super().__init__()
        self.how = how
        self.register_buffer("resample_filter", outer_filter(taps))

    def forward(self, x: Tensor) -> Tensor:
        return resampled(x, self.resample_filter, self.how)


def resampled(x: Tensor, f: Tensor, how: str, pad: int | None = None) -> Tensor:
    """how: "down" keeps every second pixel of the filtered image; "up" filters the image with zeros between its pixels,
    times 4 to keep its mean. pad: zeros around the image; by default those that make the size exact."""
    C, pad = x.shape[1], (f.shape[-1] - 1) // 2 if pad is None else pad
    f = f.to(x.dtype).expand(C, -1, -1, -1)
    if how == "up":
        return F.conv_transpose2d(x, 4 * f, stride=2, padding=pad, groups=C)
    return F.conv2d(x, f, stride=2, padding=pad, groups=C)


class Conv(nn.Conv2d):
    """A convolution that keeps the size, after a Resample if `how` is "up" or "down".

    fused: convolve first, including the filter's border, then resample without padding; for "down" only.
    """

    def __init__(
        self, c_in: int, c_out: int, kernel: int, how: str | None = None, taps: Any = (1, 1), fused: bool = False
    ):
        super().__init__(c_in, c_out, kernel, padding=kernel // 2)
        self.how, self.fused = how, fused
        if how:
            self.register_buffer("resample_filter", outer_filter(taps))
            self.padding = (kernel // 2 + (len(taps) - 1) // 2,) * 2 if fused else self.padding

    def forward(self, x: Tensor) -> Tensor:
        if self.how and not self.fused:
            x = resampled(x, self.resample_filter, self.how)
        x = super().forward(x)
        return resampled(x, self.resample_filter, self.how, pad=0) if self.fused else x


class Positional(nn.Module):
    """cos and sin of c_noise 10000^(-j / m), j < channels / 2: (B) -> (B channels).

    m = channels / 2; with `endpoint` one less, for a last rate of exactly 1 / 10000. The rates are float32 in any
    precision: the network was trained with them, and c_noise reaches 999. sin_first: the order of the two halves.
    """

    def __init__(self, channels: int, endpoint: bool, sin_first: bool):
        super().__init__()
        self.half, self.endpoint, self.sin_first = channels // 2, endpoint, sin_first

    def forward(self, c_noise: Tensor) -> Tensor:
        j = torch.arange(self.half, dtype=torch.float32, device=c_noise.device)
        rates = (1 / 10000) ** (j / (self.half - self.endpoint))
        return sinusoid(c_noise, rates.to(c_noise.dtype), self.sin_first)


class Fourier(nn.Module):
    """cos and sin of 2 pi f c_noise at random frequencies f of standard deviation 16, kept in the checkpoint."""

    def __init__(self, channels: int, sin_first: bool):
        super().__init__()
        self.sin_first = sin_first
        self.register_buffer("freqs", 16 * torch.randn(channels // 2))

    def forward(self, c_noise: Tensor) -> Tensor:
        return sinusoid(c_noise, (2 * math.pi * self.freqs).to(c_noise.dtype), self.sin_first)

    def _apply(self, fn, recurse=True):
        """Keep freqs in float32: rounded to bfloat16's 3 digits, they would change the phase by up to half a radian."""
        kept = self.freqs
        super()._apply(fn, recurse)
        if self.freqs.dtype != exact(self.freqs.dtype):
            self.freqs = kept.to(self.freqs.device)
        return self


class Block(nn.Module):
    """norm, SiLU, conv (resampling), + embedding, norm, SiLU, conv, + shortcut, then attention.

    heads: attention heads; 0 = no attention. how: "up", "down" or None, done by the first conv and the shortcut.
    gain: factor of both residual sums; sqrt(1/2) keeps their variance. adaptive: the embedding scales and shifts the
    second norm's output instead of being added before it. resample_proj: a resampling shortcut has a 1x1 conv too.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        c_emb: int,
        *,
        heads: int = 0,
        how: Any = None,
        eps: float = 1e-5,
        gain: float = 1.0,
        taps: Any = (1, 1),
        resample_proj: bool,
        adaptive: bool,
    ):
        super().__init__()
        self.heads, self.gain, self.adaptive = heads, gain, adaptive
        self.norm0 = group_norm(c_in, eps)
        self.conv0 = Conv(c_in, c_out, 3, how, taps)
        self.affine = nn.Linear(c_emb, 2 * c_out if adaptive else c_out)
        self.norm1 = group_norm(c_out, eps)
        self.conv1 = Conv(c_out, c_out, 3)
        self.skip = None
        if c_in != c_out or (how and resample_proj):
            self.skip = Conv(c_in, c_out, 1, how, taps)
        elif how:
            self.skip = Resample(how, taps)
        if heads:
            if c_out % heads:
                raise ValueError(f"{c_out} channels do not split into {heads} attention heads")
            self.norm2 = group_norm(c_out, eps)
            self.qkv = Conv(c_out, 3 * c_out, 1)
            self.proj = Conv(c_out, c_out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        given = self.affine(emb)[:, :, None, None]
        if self.adaptive:
            scale, shift = given.chunk(2, 1)
            h = torch.addcmul(shift, self.norm1(h), scale + 1)
        else:
            h = self.norm1(h + given)
        h = self.conv1(F.silu(h))
        x = (h + (x if self.skip is None else self.skip(x))) * self.gain
        return (self.attention(x) + x) * self.gain if self.heads else x

    def attention(self, x: Tensor) -> Tensor:
        """softmax(q k / sqrt(c)) v over pixels, c channels a head; the channels of qkv are laid out (head, c, 3)."""
        B, C, H, W = x.shape
        qkv = self.qkv(self.norm2(x)).reshape(B, self.heads, C // self.heads, 3, H * W)
        q, k, v = qkv.permute(3, 0, 1, 4, 2).contiguous()  # each (B heads HW c); fused kernels need them contiguous
        a = F.scaled_dot_product_attention(q, k, v)  # the softmax is float32 or wider in any precision
        return self.proj(a.transpose(2, 3).reshape(B, C, H, W))
