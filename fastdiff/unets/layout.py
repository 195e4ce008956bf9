"""Where a network's numbers lie in memory: contiguous (channel by channel) or channels-last (pixel by pixel)."""

import torch
from torch import Tensor, nn

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SMALL = 1024  # pixels below which PyTorch 2.14 norms channels-last maps group by group, with strides


class SmallMapNorm(nn.GroupNorm):
    """GroupNorm that takes small channels-last maps as contiguous ones and hands them back channels-last.

    On a CPU the two copies cost far less than the strides do. In a graph the norm is fused anyway.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or x.ndim != 4 or x.shape[2] * x.shape[3] >= SMALL:
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


def laid_out(unet: nn.Module, memory_format: str) -> nn.Module:
    """The network with its weights, and so its states, in that format, a key of FORMATS. Changed in place."""
    unet = unet.to(memory_format=FORMATS[memory_format])
    if memory_format == "channels_last" and next(unet.parameters()).device.type == "cpu":
        for module in list(unet.modules()):
            for name, norm in module.named_children():
                if type(norm) is nn.GroupNorm:
                    setattr(module, name, _small_map_norm(norm))
        if hasattr(unet, "channels_last"):
            unet.channels_last()
    return unet


def _small_map_norm(norm: nn.GroupNorm) -> SmallMapNorm:
    """The same norm with the same weights."""
    made = SmallMapNorm(norm.num_groups, norm.num_channels, norm.eps, affine=False)
    made.affine, made.weight, made.bias = norm.affine, norm.weight, norm.bias
    return made.train(norm.training)
