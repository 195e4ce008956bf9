"""Two things that diffusers does slowly on a CPU, done another way: equal to its own but for rounding.

Only for channels-last networks: those whose memory is contiguous stay bit for bit what diffusers computes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW, WIDE = 256, 32  # tokens up to, and head width from which plain products beat the flash kernel in bfloat16
FLASH_UNITS = "amx_bf16"  # the CPU's matrix units; where they are, the flash kernel wins by a tenth of a whole call


class FewTokensProcessor:
    """Attention of diffusers by plain products where tokens are few and heads wide, else as it was."""

    def __init__(self):
        from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

        self.plain, self.flash = AttnProcessor(), AttnProcessor2_0()

    def __call__(self, attn, hidden_states: Tensor, encoder_hidden_states=None, attention_mask=None, temb=None):
        tokens = hidden_states.shape[2:].numel() if hidden_states.ndim == 4 else hidden_states.shape[1]
        way = self.plain if tokens <= FEW and attn.inner_dim >= WIDE * attn.heads else self.flash
        return way(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


def hurry(official: nn.Module) -> None:
    """Give a bfloat16 diffusers model, whose weights are channels-last on a CPU, attention that is faster there."""
    if getattr(torch.cpu, "get_capabilities", dict)().get(FLASH_UNITS):
        return
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0

    for part in official.modules():
        if isinstance(part, Attention) and isinstance(part.processor, AttnProcessor2_0):
            part.set_processor(FewTokensProcessor())


def detours(sampler: nn.Module, h: Tensor) -> bool:
    """Whether diffusers' upsampler would copy channels-last states to contiguous ones and back, as it does for 64
    images and more (its issue 984, of CUDA); on a CPU nothing needs that."""
    usual = getattr(sampler, "interpolate", False) and sampler.norm is None and sampler.name == "conv"
    return usual and h.device.type == "cpu" and sampler.use_conv and not sampler.conv.weight.is_contiguous()


def upsampled(sampler: nn.Module, h: Tensor) -> Tensor:
    """What that upsampler does to h (B C H W), without the detour -> (B C' 2H 2W)."""
    return sampler.conv(F.interpolate(h, scale_factor=2.0))
