"""UNetModel of openai/improved-diffusion (Nichol & Dhariwal 2021), openai/guided-diffusion (ADM, Dhariwal & Nichol
2021) and CompVis/latent-diffusion (Rombach et al. 2022), cut into rungs.

Rung i is input_blocks[i] on the way down and output_blocks[K - 1 - i], whose last layer may upsample, on the way up.
Names of weights are the official ones. B images, C channels, T pixels.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .arch import ADMArch, adm_arch
from .blocks import Upsample, exact, integers, sinusoid
from .protocol import walk
from .transformer import LabelledContext, SpatialTransformer

Emb = tuple[Tensor, Tensor | None]  # noise level and label (B 4C); context (B L D) of a network with transformers


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


class ResBlock(nn.Module):
    """norm, SiLU, [resample], conv, embedding, norm, SiLU, conv, + shortcut.

    (B C_in H W), (B C_emb) -> (B C_out H' W'). The embedding is added before the second norm, or with scale_shift it
    acts after the norm: norm(h) (1 + scale) + shift.
    """

    def __init__(self, c_in: int, c_out: int, c_emb: int, scale_shift: bool, resample: nn.Module | None = None):
        super().__init__()
        self.scale_shift = scale_shift
        self.resample = nn.Identity() if resample is None else resample
        # Index 0 of emb_layers is SiLU officially; `embed` applies it once for all blocks. Index 2 of out_layers is
        # dropout officially, without effect here. The indices are part of the weights' names.
        self.in_layers = nn.Sequential(norm(c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.Identity(), nn.Linear(c_emb, 2 * c_out if scale_shift else c_out))
        self.out_layers = nn.Sequential(norm(c_out), nn.SiLU(), nn.Identity(), nn.Conv2d(c_out, c_out, 3, padding=1))
        self.skip_connection = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        first, act, conv = self.in_layers
        h = conv(self.resample(act(first(x))))
        second, act, _, conv = self.out_layers
        emb = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = emb.chunk(2, 1)
            h = second(h) * (1 + scale) + shift
        else:
            h = second(h + emb)
        return self.skip_connection(self.resample(x)) + conv(act(h))


class Attention(nn.Module):
    """x + proj(softmax(q k' / sqrt(head width)) v) over pixels: (B C H W) -> (B C H W).

    The order of the 3 C channels of qkv: (head, q k v, width), or with `new_order` (q k v, head, width).
    """

    def __init__(self, channels: int, heads: int, new_order: bool):
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        B, C, T = flat.shape
        order = (3, self.heads) if self.new_order else (self.heads, 3)
        qkv = self.qkv(self.norm(flat)).reshape(B, *order, C // self.heads, T)
        # contiguous: fused attention needs a pixel's channels side by side
        q, k, v = qkv.transpose(3, 4).contiguous().unbind(1 if self.new_order else 2)
        a = F.scaled_dot_product_attention(q, k, v)
        return (flat + self.proj_out(a.transpose(2, 3).reshape(B, C, T))).reshape(x.shape)


class Downsample(nn.Module):
    """(B C H W) -> (B C H/2 W/2): a strided conv, or the mean of 2 x 2 pixels."""

    def __init__(self, channels: int, with_conv: bool):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if with_conv else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Rung(nn.Sequential):
    """Layers in a row; each gets the part of the embedding that it needs."""

    def forward(self, h: Tensor, emb: Emb) -> Tensor:
        noise, context = emb
        for layer in self:
            if isinstance(layer, ResBlock):
                h = layer(h, noise)
            elif isinstance(layer, SpatialTransformer):
                h = layer(h, context)
            else:
                h = layer(h)
        return h


class UNetModel(nn.Module):
    """(B in_channels H W) -> (B out_channels H W); a learned sigma is the second half of the channels.

    K = len(channel_mult) * (num_res_blocks + 1) rungs.
    """

    def __init__(self, arch: ADMArch):
        super().__init__()
        self.arch, self.channels = arch, arch.model_channels
        widths = [int(mult * arch.model_channels) for mult in arch.channel_mult]
        c_emb, blocks, last = 4 * arch.model_channels, arch.num_res_blocks, len(widths) - 1
        self.rungs = len(widths) * (blocks + 1)
        self.time_embed = nn.Sequential(nn.Linear(self.channels, c_emb), nn.SiLU(), nn.Linear(c_emb, c_emb))
        if arch.num_classes is not None:
            self.label_emb = nn.Embedding(arch.num_classes, c_emb)
        self.label_rows = arch.num_classes  # no row stands for "no label"

        def block(c_in: int, c_out: int, between: nn.Module | None = None) -> ResBlock:
            return ResBlock(c_in, c_out, c_emb, arch.use_scale_shift_norm, between)

        def resample(layer: type[nn.Module], c: int) -> nn.Module:
            return block(c, c, layer(c, False)) if arch.resblock_updown else layer(c, arch.conv_resample)

        def attention(level: int, c: int, decoder: bool = False) -> list[nn.Module]:
            return [_attention(arch, c, decoder)] if 2**level in arch.attention_resolutions else []

        c = widths[0]
        downs, made = [Rung(nn.Conv2d(arch.in_channels, c, 3, padding=1))], [c]
        for level, width in enumerate(widths):
            for _ in range(blocks):
                downs.append(Rung(block(c, width), *attention(level, width)))
                c = width
                made.append(c)
            if level < last:
                downs.append(Rung(resample(Downsample, c)))
                made.append(c)
        self.input_blocks = nn.ModuleList(downs)
        self.middle_block = Rung(block(c, c), _attention(arch, c, False), block(c, c))
        ups = []
        for level in reversed(range(last + 1)):
            for at in range(blocks + 1):
                layers = [block(c + made.pop(), widths[level]), *attention(level, widths[level], decoder=True)]
                c = widths[level]
                if level and at == blocks:
                    layers.append(resample(Upsample, c))
                ups.append(Rung(*layers))
        self.output_blocks = nn.ModuleList(ups)
        self.out = nn.Sequential(norm(c), nn.SiLU(), nn.Conv2d(c, arch.out_channels, 3, padding=1))

    def embed(self, c_noise: Tensor, cond: Tensor | None) -> Emb:
        """c_noise (B), the official timesteps; cond: labels (B) of a network with num_classes, a context
        (B L context_dim) of one with transformers, None for all others. Raises ValueError for a wrong cond.

        [cos(t w), sin(t w)], w_j = 10000^(-j / (C / 2)), then two layers, + the label's row.
        """
        arch, weight = self.arch, self.time_embed[0].weight
        dims = 3 if arch.use_spatial_transformer else 0 if arch.num_classes is None else 1
        if dims != (0 if cond is None else cond.ndim):
            raise ValueError(
                f"this adm network {_wants(arch)}; got {'none' if cond is None else f'shape {tuple(cond.shape)}'}"
            )
        half, dtype = self.channels // 2, exact(weight.dtype)
        rates = torch.exp(torch.arange(half, dtype=dtype, device=c_noise.device) * -math.log(10000) / half)
        emb = F.pad(sinusoid(c_noise.to(dtype), rates, sin_first=False), (0, self.channels % 2))
        emb = self.time_embed(emb.to(weight.dtype))
        if arch.num_classes is not None:
            emb = emb + self.label_emb(integers(cond))
        return F.silu(emb), cond.to(weight.dtype) if arch.use_spatial_transformer else None

    def down(self, i: int, h: Tensor, emb: Emb) -> tuple[Tensor, Tensor]:
        h = self.input_blocks[i](h, emb)
        return h, h

    def mid(self, h: Tensor, emb: Emb) -> Tensor:
        return self.middle_block(h, emb)

    def up(self, i: int, h: Tensor, skip: Tensor, emb: Emb) -> Tensor:
        return self.output_blocks[self.rungs - 1 - i](torch.cat([h, skip], 1), emb)

    def head(self, h: Tensor, emb: Emb) -> Tensor:
        return self.out(h)

    def forward(self, x: Tensor, timesteps: Tensor, y: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """The official call, with unchanged skips. A network takes labels y or a context; guided-diffusion's
        order (x, timesteps, y) and latent-diffusion's (x, timesteps, context, y) both work."""
        return walk(self, x, timesteps, context if y is None else y)[0]


def _attention(arch: ADMArch, channels: int, decoder: bool) -> nn.Module:
    heads, width = arch.heads(channels, decoder)
    if arch.use_spatial_transformer:
        return SpatialTransformer(channels, arch.context_dim, heads, width, arch.transformer_depth)
    return Attention(channels, heads, arch.use_new_attention_order)


def _wants(arch: ADMArch) -> str:
    if arch.num_classes is not None:
        return f"is class-conditional and needs cond: int64 labels (B), 0 .. {arch.num_classes - 1}"
    if arch.use_spatial_transformer:
        return f"has cross-attention and needs cond: a context (B L {arch.context_dim})"
    return "is unconditional and takes no cond"


def make(arch: Mapping) -> UNetModel | LabelledContext:
    """arch: arguments of create_model or of UNetModel (`fastdiff.unets.arch`); n_classes adds a table of contexts, one
    for each label.

    Raises ValueError for arguments that are unknown, missing, not supported or contradict each other.
    """
    found = adm_arch(arch)
    unet = UNetModel(found)
    return unet if found.n_classes is None else LabelledContext(unet, found.n_classes, found.context_dim)
