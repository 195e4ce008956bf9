"""What an ADM is told: the words of guided-diffusion's create_model, or those of UNetModel's constructor.

improved-diffusion's and latent-diffusion's words are among them. Both spellings end in `Words`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from .words import read

WHOSE = "arch of the adm family"
DIFFUSION = (  # words of model_and_diffusion_defaults that make no network, in both of OpenAI's repositories
    "diffusion_steps",
    "noise_schedule",
    "predict_xstart",
    "rescale_learned_sigmas",
    "rescale_timesteps",
    "sigma_small",
    "timestep_respacing",
    "use_kl",
)
MULTIPLIERS = {  # create_model's channel_mult where it is given as ""; 32 pixels: improved-diffusion's
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
    32: (1, 2, 2, 2),
}


@dataclass(frozen=True)
class Words:
    """The arguments of UNetModel, with guided-diffusion's defaults. attention_resolutions are downsampling factors.

    image_size, use_checkpoint, use_fp16 and dropout change no number. n_classes is the argument of latent-diffusion's
    ClassEmbedder, which makes the context of a label. Raises ValueError for what is not implemented or cannot be.
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
        for word in ("n_classes", "num_classes"):  # 0 labels are none
            if isinstance(getattr(self, word), int) and not getattr(self, word):
                object.__setattr__(self, word, None)
        if self.dims != 2:
            raise ValueError(f"{WHOSE}: dims is {self.dims}; only images are supported: dims 2")
        if self.n_embed is not None:
            raise ValueError(f"{WHOSE}: n_embed is {self.n_embed}; predicting codebook entries is not supported")
        if self.num_classes is not None and not isinstance(self.num_classes, int):
            raise ValueError(f"{WHOSE}: num_classes is {self.num_classes!r}; it must be a number of labels or None")
        if self.use_spatial_transformer != isinstance(self.context_dim, int):
            raise ValueError(
                f"{WHOSE}: use_spatial_transformer and context_dim, one number, need each other; got"
                f" {self.use_spatial_transformer} and {self.context_dim}"
            )
        if self.n_classes is not None and not self.use_spatial_transformer:
            raise ValueError(f"{WHOSE}: n_classes makes a context, so it needs use_spatial_transformer and context_dim")
        if self.num_classes is not None and self.use_spatial_transformer:
            raise ValueError(f"{WHOSE}: num_classes and use_spatial_transformer would need two conditions; give one")
        # latent-diffusion has no default number of heads, guided-diffusion has 1
        heads = self.num_heads if self.num_heads is not None else -1 if self.use_spatial_transformer else 1
        if heads == -1 and self.num_head_channels == -1:
            raise ValueError(f"{WHOSE}: give num_heads or num_head_channels")

    def heads(self, channels: int, decoder: bool) -> tuple[int, int]:
        """Number and width of the heads of an attention over `channels`. Raises ValueError where they do not fit.

        As in the official constructors: num_head_channels overrules num_heads; num_heads_upsample counts only in the
        decoder of a network without transformers and with legacy on; transformers round their width down.
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
                f"{WHOSE}: {channels} channels cannot be split into heads by num_heads {self.num_heads},"
                f" num_heads_upsample {self.num_heads_upsample}, num_head_channels {self.num_head_channels}"
            )
        return heads, width


@dataclass(frozen=True)
class CreateModel:
    """The arguments of create_model with its defaults (not those of the command line, which has num_heads 4 and
    use_scale_shift_norm on). attention_resolutions are in pixels. num_classes counts only with class_cond."""

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

    def words(self) -> Words:
        """The same network in the words of UNetModel."""
        mults = self.channel_mult or MULTIPLIERS.get(self.image_size)
        if mults is None:
            known = ", ".join(map(str, sorted(MULTIPLIERS)))
            raise ValueError(f"{WHOSE}: image_size {self.image_size} is not one of: {known}; or give channel_mult")
        if self.class_cond and not self.num_classes:
            raise ValueError(f"{WHOSE}: class_cond is on, but num_classes is 0; a conditional network needs labels")
        same = {field.name for field in fields(Words)} & {field.name for field in fields(CreateModel)}
        return Words(
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


def words_of(arch: Mapping) -> Words:
    """arch in either spelling: create_model's has num_channels, and may have the diffusion's words, which are without
    effect; UNetModel's has model_channels."""
    if ("num_channels" in arch) == ("model_channels" in arch):
        raise ValueError(
            f"{WHOSE}: give either num_channels (the words of create_model: {_menu(CreateModel)})"
            f" or model_channels (the words of UNetModel: {_menu(Words)})"
        )
    if "model_channels" in arch:
        return read(Words, arch, WHOSE)
    return read(CreateModel, {word: arch[word] for word in arch if word not in DIFFUSION}, WHOSE).words()


def _menu(words: type) -> str:
    return ", ".join(sorted(field.name for field in fields(words)))
