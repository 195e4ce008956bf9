"""Network arguments as written in a card's `arch`: checked against a dataclass, brought to one spelling.

Also ADM's arguments, which have two spellings: those of guided-diffusion's create_model, and those of UNetModel's
constructor. The arguments of improved-diffusion and latent-diffusion are among them. Both spellings end in `ADMArch`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from numbers import Integral, Real
from typing import TypeVar

Arch = TypeVar("Arch")
MULTIPLIERS = ("ch_mult", "channel_mult", "multipliers", "resample_filter")  # each needs at least one number
TUPLES = (*MULTIPLIERS, "attention", "attention_resolutions", "attn_resolutions")

ADM = "arch of the adm family"
DIFFUSION = (  # of model_and_diffusion_defaults, in both of OpenAI's repositories: no effect on the network
    "diffusion_steps",
    "noise_schedule",
    "predict_xstart",
    "rescale_learned_sigmas",
    "rescale_timesteps",
    "sigma_small",
    "timestep_respacing",
    "use_kl",
)
WIDTHS = {  # create_model's channel_mult where it is given as ""; 32 pixels: improved-diffusion's
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
    32: (1, 2, 2, 2),
}


def read_arch(kind: type[Arch], arch: Mapping, whose: str) -> Arch:
    """arch as an instance of the dataclass `kind`. whose: the beginning of an error message, "arch of the adm family".

    Raises ValueError for an argument that is no field of `kind`, for a missing one that has no default, and as
    `normalised`.
    """
    arch, menu = normalised(arch, whose), {field.name: field.default for field in fields(kind)}
    for word in arch:
        if word not in menu:
            raise ValueError(f"{whose}: '{word}' is not one of: {', '.join(sorted(menu))}")
    missing = [word for word, default in menu.items() if default is MISSING and word not in arch]
    if missing:
        raise ValueError(f"{whose}: missing {', '.join(missing)}; the arguments are: {', '.join(sorted(menu))}")
    return kind(**arch)


def normalised(arch: Mapping, whose: str) -> dict:
    """arch in one spelling, from any file or flag.

    Arguments that are None are dropped, and so are multipliers that are "" (guided-diffusion's flag). Whole floats
    become ints. Arguments in TUPLES become tuples of numbers; they may be written "1,2", "(1, 2)", as any sequence or
    as one number. In other arguments [512] becomes 512. Raises ValueError where numbers are needed and there are none.
    """
    found = {}
    for word, value in arch.items():
        if value is None or (word in MULTIPLIERS and isinstance(value, str) and not value):
            continue
        if word in TUPLES:
            value = _numbers(word, value, whose)
        elif isinstance(value, (list, tuple)) and len(value) == 1:
            value = _number(value[0])
        found[word] = _number(value)
    return found


def _numbers(word: str, value, whose: str) -> tuple:
    """'(1, 2)', '1,2', [1, 2] or 1 -> a tuple."""
    try:
        if isinstance(value, str):
            parts = [float(part) for part in value.strip().strip("()[]").split(",") if part.strip()]
        else:
            parts = list(value) if isinstance(value, Iterable) else [value]
        numbers = tuple(_number(part if isinstance(part, Real) else float(part)) for part in parts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{whose}: {word} is {value!r}; it must be numbers, as in [1, 2] or '1,2'") from error
    if word in MULTIPLIERS and not numbers:
        raise ValueError(f"{whose}: {word} is empty; it must be numbers, as in [1, 2] or '1,2'")
    return numbers


def _number(value):
    """Whole numbers as int; other values unchanged."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer()):
        return int(value)
    return value


@dataclass(frozen=True)
class ADMArch:
    """The arguments of UNetModel, with guided-diffusion's defaults. attention_resolutions are downsampling factors.

    image_size, use_checkpoint, use_fp16 and dropout have no effect. n_classes is the argument of latent-diffusion's
    ClassEmbedder, which turns a label into a context. Raises ValueError for arguments that are not supported or that
    contradict each other.
    """

    in_channels: int
    model_channels: int
    out_channels: int
    num_res_blocks: int
    attention_resolutions: Sequence[int]
    image_size: int | None = None
    dropout: float = 0.0
    channel_mult: Sequence[float] = (1, 2, 4, 8)
    conv_resample: bool = True
    dims: int = 2
    num_classes: int | None = None
    use_checkpoint: bool = False
    use_fp16: bool = False
    num_heads: int | None = None
    num_head_channels: int = -1
    num_heads_upsample: int = -1
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    use_new_attention_order: bool = False
    use_spatial_transformer: bool = False
    transformer_depth: int = 1
    context_dim: int | None = None
    n_embed: int | None = None
    legacy: bool = True
    n_classes: int | None = None

    def __post_init__(self):
        for word in ("n_classes", "num_classes"):  # 0 means unconditional
            if isinstance(getattr(self, word), int) and not getattr(self, word):
                object.__setattr__(self, word, None)
        if self.dims != 2:
            raise ValueError(f"{ADM}: dims is {self.dims}; only images are supported: dims 2")
        if self.n_embed is not None:
            raise ValueError(f"{ADM}: n_embed is {self.n_embed}; predicting codebook entries is not supported")
        if self.num_classes is not None and not isinstance(self.num_classes, int):
            raise ValueError(f"{ADM}: num_classes is {self.num_classes!r}; it must be a number of labels or None")
        if self.use_spatial_transformer != isinstance(self.context_dim, int):
            raise ValueError(
                f"{ADM}: use_spatial_transformer and context_dim, one number, need each other; got"
                f" {self.use_spatial_transformer} and {self.context_dim}"
            )
        if self.n_classes is not None and not self.use_spatial_transformer:
            raise ValueError(f"{ADM}: n_classes makes a context, so it needs use_spatial_transformer and context_dim")
        if self.num_classes is not None and self.use_spatial_transformer:
            raise ValueError(f"{ADM}: num_classes and use_spatial_transformer need two different conditions; give one")
        # latent-diffusion has no default number of heads, guided-diffusion has 1
        heads = self.num_heads if self.num_heads is not None else -1 if self.use_spatial_transformer else 1
        if heads == -1 and self.num_head_channels == -1:
            raise ValueError(f"{ADM}: give num_heads or num_head_channels")

    def heads(self, channels: int, decoder: bool) -> tuple[int, int]:
        """Number and width of the attention heads over `channels`. Raises ValueError if `channels` cannot be split so.

        As in the official constructors: num_head_channels overrides num_heads. num_heads_upsample is used only in the
        decoder of a network without transformers and with legacy on. Transformers round their width down.
        """
        asked, width = 1 if self.num_heads is None else self.num_heads, self.num_head_channels
        if self.use_spatial_transformer:
            heads = asked if width == -1 else channels // width
            width = channels // max(heads, 1) if width == -1 or self.legacy else width
            fits = heads > 0 and width > 0
        else:
            if width == -1 and not self.legacy:
                width = max(channels // asked, 1)
            if decoder and self.num_heads_upsample != -1:
                asked = self.num_heads_upsample
            heads = asked if width == -1 else channels // width
            width = channels // max(heads, 1) if width == -1 else width
            fits = heads * width == channels
        if not fits:
            raise ValueError(
                f"{ADM}: {channels} channels cannot be split into heads by num_heads {self.num_heads},"
                f" num_heads_upsample {self.num_heads_upsample}, num_head_channels {self.num_head_channels}"
            )
        return heads, width


@dataclass(frozen=True)
class CreateModel:
    """The arguments of create_model, with its own defaults. (The command line has other defaults: num_heads
    4 and use_scale_shift_norm on.) attention_resolutions are in pixels. num_classes is used only with class_cond."""

    image_size: int
    num_channels: int
    num_res_blocks: int
    channel_mult: Sequence[float] = ()
    learn_sigma: bool = False
    class_cond: bool = False
    use_checkpoint: bool = False
    attention_resolutions: Sequence[int] = (16,)
    num_heads: int = 1
    num_head_channels: int = -1
    num_heads_upsample: int = -1
    use_scale_shift_norm: bool = False
    dropout: float = 0.0
    resblock_updown: bool = False
    use_fp16: bool = False
    use_new_attention_order: bool = False
    num_classes: int = 1000

    def adm_arch(self) -> ADMArch:
        """The same network in UNetModel's arguments."""
        mults = self.channel_mult or WIDTHS.get(self.image_size)
        if mults is None:
            known = ", ".join(map(str, sorted(WIDTHS)))
            raise ValueError(f"{ADM}: image_size {self.image_size} is not one of: {known}; or give channel_mult")
        if self.class_cond and not self.num_classes:
            raise ValueError(f"{ADM}: class_cond is on, but num_classes is 0; a conditional network needs labels")
        same = {field.name for field in fields(ADMArch)} & {field.name for field in fields(CreateModel)}
        return ADMArch(
            **{word: getattr(self, word) for word in same}
            | {
                "in_channels": 3,
                "model_channels": self.num_channels,
                "out_channels": 6 if self.learn_sigma else 3,
                "attention_resolutions": tuple(self.image_size // size for size in self.attention_resolutions),
                "channel_mult": mults,
                "num_classes": self.num_classes if self.class_cond else None,
            }
        )


def adm_arch(arch: Mapping) -> ADMArch:
    """arch in either spelling -> ADMArch. create_model's spelling has num_channels; arguments of the diffusion process
    may stand beside it and have no effect. UNetModel's spelling has model_channels."""
    if ("num_channels" in arch) == ("model_channels" in arch):
        raise ValueError(
            f"{ADM}: give either num_channels (arguments of create_model: {_menu(CreateModel)})"
            f" or model_channels (arguments of UNetModel: {_menu(ADMArch)})"
        )
    if "model_channels" in arch:
        return read_arch(ADMArch, arch, ADM)
    return read_arch(CreateModel, {word: arch[word] for word in arch if word not in DIFFUSION}, ADM).adm_arch()


def _menu(kind: type) -> str:
    return ", ".join(sorted(field.name for field in fields(kind)))
