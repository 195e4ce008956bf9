"""Hugging Face diffusers' UNet2DModel and UNet2DConditionModel, as rungs.

The network is diffusers' own object, unchanged. Rungs call its sub-modules in the order of its own forward, and `walk`
with unit scales gives its output bit for bit (tested with diffusers 0.42). diffusers is imported inside functions only.
"""

import inspect
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .protocol import walk

DOWN = ("AttnDownBlock2D", "DownBlock2D", "ResnetDownsampleBlock2D")
UP = ("AttnUpBlock2D", "ResnetUpsampleBlock2D", "UpBlock2D")
CHOICES = {  # for each class, the arguments for which not every value of diffusers is supported
    "UNet2DModel": {
        "down_block_types": DOWN,
        "mid_block_type": ("UNetMidBlock2D", None),
        "up_block_types": UP,
        "time_embedding_type": ("fourier", "positional"),
        "class_embed_type": ("identity", "timestep", None),
    },
    # cond is the text. Networks with a second condition (SDXL's sizes, classes, images) are not supported.
    "UNet2DConditionModel": {
        "down_block_types": ("CrossAttnDownBlock2D", *DOWN),
        "mid_block_type": ("UNetMidBlock2D", "UNetMidBlock2DCrossAttn", None),
        "up_block_types": ("CrossAttnUpBlock2D", *UP),
        "time_embedding_type": ("fourier", "positional"),
        "class_embed_type": (None,),
        "num_class_embeds": (None,),
        "addition_embed_type": (None,),
        "time_cond_proj_dim": (None,),
        "encoder_hid_dim": (None,),
        "encoder_hid_dim_type": (None,),
        "dual_cross_attention": (False,),  # diffusers' own forward fails on it
    },
}

FEW, WIDE = 256, 32  # plain products beat the flash kernel in bfloat16 up to FEW tokens, from head width WIDE on
FLASH_UNITS = "amx_bf16"  # the CPU's matrix units; with them the flash kernel is faster, by a tenth of a whole call


@dataclass
class Call:
    """Arguments of the blocks in one network call, besides the state; made by `embed`."""

    c_noise: Tensor  # (B)
    emb: Tensor  # (B D)
    text: Tensor | None  # (B L D'), only of a UNet2DConditionModel
    # Filled in by `down`: (H, W) of the input of down(i), which is also the size of skip i - 1. The upsample at the end
    # of rung i restores it: 5 x 5 and 6 x 6 both shrink to 3 x 3, so it cannot be computed.
    sizes: dict = field(default_factory=dict)


class HFUNet(nn.Module):
    """A diffusers U-Net with the protocol `UNet`. The attribute `official` is the diffusers object.

    cond: int64 labels (B) of a UNet2DModel with num_class_embeds or class_embed_type timestep, (B D) embeddings with
    class_embed_type identity, None without classes; encoder_hidden_states (B L D) of a UNet2DConditionModel.
    """

    def __init__(self, official: nn.Module):
        super().__init__()
        kind = type(official).__name__
        _check(kind, official.config)
        if any(getattr(block, word, None) for block in official.up_blocks for word in ("s1", "s2", "b1", "b2")):
            raise ValueError("FreeU is enabled in this diffusers model, which is not supported; call disable_freeu()")
        self.label_rows = official.config.get("num_class_embeds")
        self.official, self.conditional = official, kind == "UNet2DConditionModel"
        self.context = _context(official.config) if self.conditional else None  # (L, D) of cond, for counting costs
        # (block, layer) of each rung, outermost first. Rung 0 of the encoder is conv_in. A trailing downsample is
        # one more layer of its block.
        self.downs = [None] + [
            (b, layer)
            for b, block in enumerate(official.down_blocks)
            for layer in range(len(block.resnets) + (block.downsamplers is not None))
        ]
        eaters = [(b, layer) for b, block in enumerate(official.up_blocks) for layer in range(len(block.resnets))]
        self.ups = eaters[::-1]
        self.rungs = len(self.ups)
        if self.rungs != len(self.downs):
            raise ValueError(f"this diffusers model makes {len(self.downs)} skips but uses {self.rungs}")
        # Other sides than multiples of this need upsamples to a given size, which few of diffusers' blocks support.
        doublings = [type(block).__name__ for block in official.up_blocks if block.upsamplers is not None]
        self.multiple = 2 ** len(doublings)
        self.any_size = self.conditional and set(doublings) <= {"UpBlock2D", "CrossAttnUpBlock2D"}

    def embed(self, c_noise: Tensor, cond: Tensor | None) -> Call:
        """c_noise (B), cond as above. Raises ValueError if cond is missing, or given in vain."""
        net = self.official
        if self.conditional and cond is None:
            raise ValueError("a UNet2DConditionModel needs cond: encoder_hidden_states (B L D)")
        if not self.conditional and (cond is None) != (net.class_embedding is None):
            has = "without classes takes no cond" if cond is not None else "with classes needs cond: labels (B)"
            raise ValueError(f"a UNet2DModel {has}")
        dtype = net.conv_in.weight.dtype  # diffusers' net.dtype, which looks through all modules at every call
        emb = net.time_embedding(net.time_proj(c_noise).to(dtype))
        if self.conditional:
            return Call(c_noise, emb if net.time_embed_act is None else net.time_embed_act(emb), cond)
        if cond is not None:
            labels = net.time_proj(cond).to(dtype) if net.config.class_embed_type == "timestep" else cond
            emb = emb + net.class_embedding(labels).to(dtype)
        return Call(c_noise, emb, None)

    def down(self, i: int, h: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        """Raises ValueError at rung 0 if the network cannot restore the image's sides after halving them."""
        net, call.sizes[i] = self.official, tuple(h.shape[-2:])
        if i == 0:
            if self._uneven(call) and not self.any_size:
                raise ValueError(f"image sides {call.sizes[0]} must be multiples of {self.multiple} for this network")
            h = net.conv_in(2 * h - 1.0 if net.config.center_input_sample else h)
            return h, h
        b, layer = self.downs[i]
        block = net.down_blocks[b]
        h = _layer(block, layer, h, call) if layer < len(block.resnets) else _resample(block.downsamplers[0], h, call)
        return h, h

    def mid(self, h: Tensor, call: Call) -> Tensor:
        block = self.official.mid_block
        if block is None:
            return h
        if getattr(block, "has_cross_attention", False):
            return block(h, call.emb, encoder_hidden_states=call.text)
        return block(h, call.emb)

    def up(self, i: int, h: Tensor, skip: Tensor, call: Call) -> Tensor:
        b, layer = self.ups[i]
        block = self.official.up_blocks[b]
        h = _layer(block, layer, torch.cat([h, skip], 1), call)
        if layer == len(block.resnets) - 1 and block.upsamplers is not None:
            h = _resample(block.upsamplers[0], h, call, *([call.sizes[i]] if self._uneven(call) else []))
        return h

    def head(self, h: Tensor, call: Call) -> Tensor:
        net = self.official
        if net.conv_norm_out is not None:
            h = net.conv_act(net.conv_norm_out(h))
        out = net.conv_out(h)
        if net.config.time_embedding_type == "fourier" and not self.conditional:
            out = out / call.c_noise.reshape(-1, 1, 1, 1)  # NCSN++ is fed sigma and gives the score
        return out

    def forward(self, sample: Tensor, timestep: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """diffusers' own call: sample (B C H W), timestep one number or (B) -> (B C_out H W), skips unchanged."""
        c_noise = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        return walk(self, sample, c_noise, cond)[0]

    def channels_last(self) -> None:
        """Called after the weights were changed to channels-last."""
        weight = self.official.conv_in.weight
        if weight.device.type == "cpu" and weight.dtype == torch.bfloat16:
            hurry(self.official)

    def _uneven(self, call: Call) -> bool:
        return any(side % self.multiple for side in call.sizes[0])


def _layer(block: nn.Module, layer: int, h: Tensor, call: Call) -> Tensor:
    """One resnet of a block, followed by its attention if the block has any."""
    h = block.resnets[layer](h, call.emb)
    if getattr(block, "has_cross_attention", False):
        return block.attentions[layer](h, encoder_hidden_states=call.text, return_dict=False)[0]
    return block.attentions[layer](h) if hasattr(block, "attentions") else h


def _resample(sampler: nn.Module, h: Tensor, call: Call, *size) -> Tensor:
    """A down- or upsampler; those that are resnets (OpenAI's ADM in diffusers) also take the embedding."""
    if hasattr(sampler, "time_emb_proj"):
        return sampler(h, call.emb)
    return upsampled(sampler, h) if not size and detours(sampler, h) else sampler(h, *size)


def _context(config: dict) -> tuple[int, int]:
    """(L, D) of a context. The network takes any L; texts have CLIP's 77."""
    width = config["cross_attention_dim"]
    return 77, width if isinstance(width, int) else width[0]


def _check(kind: str, config: dict) -> None:
    """Raises ValueError, with the menu, for a network that these rungs cannot run exactly."""
    if kind not in CHOICES:
        raise ValueError(f"diffusers class '{kind}' is not one of: {', '.join(CHOICES)}")
    for word, menu in CHOICES[kind].items():
        found = config.get(word, menu[0])
        for value in found if isinstance(found, (list, tuple)) else [found]:
            name = value.removeprefix("UNetRes") if isinstance(value, str) else value  # an old prefix, as diffusers'
            if name not in menu:
                choices = ", ".join("null" if choice is None else str(choice) for choice in menu)
                raise ValueError(f"{word} '{value}' of {kind} is not one of: {choices}")


def from_model(official: nn.Module) -> HFUNet:
    """Wrap a diffusers model. It is not copied, not changed and not put in evaluation mode."""
    return HFUNet(official)


def make(arch: dict) -> HFUNet:
    """arch: diffusers' config.json: `_class_name` (or class_name; default UNet2DModel) and the class's arguments.

    Other arguments that begin with `_` are ignored. Raises ModuleNotFoundError without diffusers, and ValueError for
    arguments and values that are unknown or not supported.
    """
    try:
        import diffusers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the hf family needs diffusers: pip install 'fastdiff-bench[hf]'") from error
    kind = arch.get("_class_name", arch.get("class_name", "UNet2DModel"))
    words = {word: value for word, value in arch.items() if word != "class_name" and not word.startswith("_")}
    _check(kind, words)
    constructor = getattr(diffusers, kind)
    known = list(inspect.signature(constructor).parameters)
    for word in words:
        if word not in known:
            raise ValueError(f"arch word '{word}' of {kind} is not one of: {', '.join(sorted(known))}")
    return from_model(constructor(**words))


OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def renamed(state: dict) -> dict:
    """A state dict from before diffusers 0.14 (google/ddpm-*) under today's names, as diffusers renames them."""

    def today(name: str) -> str:
        path, _, kind = name.rpartition(".")
        owner, _, layer = path.rpartition(".")
        return f"{owner}.{OLD_NAMES[layer]}.{kind}" if layer in OLD_NAMES and ".attentions." in f".{owner}." else name

    return {today(name): tensor for name, tensor in state.items()}


# Two things that diffusers does slowly on a CPU, done in another way. The results are equal up to rounding. Used for
# channels-last networks only: a network in contiguous format stays bit for bit what diffusers computes.


class FewTokensProcessor:
    """Attention of diffusers: plain products if tokens are few and heads wide, else the flash kernel."""

    def __init__(self):
        from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

        self.plain, self.flash = AttnProcessor(), AttnProcessor2_0()

    def __call__(self, attn, hidden_states: Tensor, encoder_hidden_states=None, attention_mask=None, temb=None):
        tokens = hidden_states.shape[2:].numel() if hidden_states.ndim == 4 else hidden_states.shape[1]
        way = self.plain if tokens <= FEW and attn.inner_dim >= WIDE * attn.heads else self.flash
        return way(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


def hurry(official: nn.Module) -> None:
    """Give a bfloat16 diffusers model with channels-last weights on a CPU a faster attention."""
    if getattr(torch.cpu, "get_capabilities", dict)().get(FLASH_UNITS):
        return
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0

    for part in official.modules():
        if isinstance(part, Attention) and isinstance(part.processor, AttnProcessor2_0):
            part.set_processor(FewTokensProcessor())


def detours(sampler: nn.Module, h: Tensor) -> bool:
    """Whether diffusers' upsampler would copy channels-last states to contiguous ones and back. It does so from 64
    images on (its issue 984, about CUDA); a CPU does not need that."""
    usual = getattr(sampler, "interpolate", False) and sampler.norm is None and sampler.name == "conv"
    return usual and h.device.type == "cpu" and sampler.use_conv and not sampler.conv.weight.is_contiguous()


def upsampled(sampler: nn.Module, h: Tensor) -> Tensor:
    """The same upsampling of h (B C H W) without these copies -> (B C' 2H 2W)."""
    return sampler.conv(F.interpolate(h, scale_factor=2.0))
