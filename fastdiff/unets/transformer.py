"""Latent diffusion's transformer over pixels (Rombach et al. 2022, sec. 3.3), through which a context enters a U-Net.

Names of weights as in CompVis/latent-diffusion. B images, C channels, N pixels, L context vectors of width D.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import integers, norm
from .protocol import walk


class CrossAttention(nn.Module):
    """softmax(q k' / sqrt(head width)) v: x (B N C) attends to context (B L D) -> (B N C)."""

    def __init__(self, channels: int, context_dim: int, heads: int, width: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, heads * width, bias=False)
        self.to_k = nn.Linear(context_dim, heads * width, bias=False)
        self.to_v = nn.Linear(context_dim, heads * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * width, channels))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        a = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(a.transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    """a * GELU(b), [a b] = proj(x) (Shazeer 2020): (B N C) -> (B N C_out)."""

    def __init__(self, channels: int, c_out: int):
        super().__init__()
        self.proj = nn.Linear(channels, 2 * c_out)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.proj(x).chunk(2, -1)
        return a * F.gelu(b)


class FeedForward(nn.Module):
    """GEGLU to four times the width, and back: (B N C) -> (B N C)."""

    def __init__(self, channels: int):
        super().__init__()
        # the middle layer is dropout officially
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the context, feed-forward, each normed and residual: (B N C) -> (B N C)."""

    def __init__(self, channels: int, context_dim: int, heads: int, width: int):
        super().__init__()
        self.attn1 = CrossAttention(channels, channels, heads, width)
        self.attn2 = CrossAttention(channels, context_dim, heads, width)
        self.ff = FeedForward(channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.attn1(h, h)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """norm, 1x1 conv, `depth` transformer blocks over pixels, 1x1 conv, + x: (B C H W), (B L D) -> (B C H W)."""

    def __init__(self, channels: int, context_dim: int, heads: int, width: int, depth: int):
        super().__init__()
        inner = heads * width  # less than `channels` if heads do not divide them
        self.norm = norm(channels)
        self.proj_in = nn.Conv2d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(inner, context_dim, heads, width) for _ in range(depth)
        )
        self.proj_out = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.proj_in(self.norm(x))
        pixels = h.flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            pixels = block(pixels, context)
        return x + self.proj_out(pixels.transpose(1, 2).reshape(h.shape))


class LabelledContext(nn.Module):
    """A network with cross-attention and latent-diffusion's ClassEmbedder: cond is a label, its context a row.

    Names of weights as in an official LatentDiffusion checkpoint: model.diffusion_model.* and
    cond_stage_model.embedding.weight (n_classes, context_dim).
    """

    def __init__(self, unet: nn.Module, n_classes: int, context_dim: int):
        super().__init__()
        self.rungs = unet.rungs
        self.model, self.cond_stage_model = nn.Module(), nn.Module()
        self.model.diffusion_model = unet
        self.cond_stage_model.embedding = nn.Embedding(n_classes, context_dim)

    def embed(self, c_noise: Tensor, cond: Tensor | None) -> Any:
        """c_noise (B); cond: int64 labels (B), 0 .. n_classes - 1; None: the last class, LDM-4's "no label"."""
        table = self.cond_stage_model.embedding
        if cond is None:
            cond = torch.full_like(c_noise, table.num_embeddings - 1, dtype=torch.int64)
        return self.model.diffusion_model.embed(c_noise, table(integers(cond))[:, None])

    def down(self, i: int, h: Tensor, emb: Any) -> tuple[Tensor, Tensor]:
        return self.model.diffusion_model.down(i, h, emb)

    def mid(self, h: Tensor, emb: Any) -> Tensor:
        return self.model.diffusion_model.mid(h, emb)

    def up(self, i: int, h: Tensor, skip: Tensor, emb: Any) -> Tensor:
        return self.model.diffusion_model.up(i, h, skip, emb)

    def head(self, h: Tensor, emb: Any) -> Tensor:
        return self.model.diffusion_model.head(h, emb)

    def forward(self, x: Tensor, timesteps: Tensor, y: Tensor | None = None) -> Tensor:
        """x (B C H W), timesteps (B), labels y (B) or None -> (B C_out H W), with unchanged skips."""
        return walk(self, x, timesteps, y)[0]
