"""EDM's networks: DDPM++, NCSN++ and the ADM of Dhariwal & Nichol (Karras et al. 2022, arXiv 2206.00364).

Their constructors take the official arguments. dropout and label_dropout have no effect: nothing is trained here.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import exact, integers
from .edm_blocks import Block, Conv, Fourier, Positional, Resample, group_norm


class EDMUNet(nn.Module):
    """Encoder, bottleneck and decoder of both networks, under the official names (enc, dec).

    A level is num_blocks + 1 rungs. Its first rung makes a skip with the level's conv or downsampling block, and takes
    that skip in the level's last decoder block. The upsampling block and, in a `skip` decoder, the image so far belong
    to this rung too. What an encoder adds from its auxiliary branch is part of the first skip.
    """

    def _build(self, size, c_in, stem, widths, num_blocks, attention, everywhere, block):
        """stem: width of the first conv. attention: image sizes with attention. everywhere: attention in all decoder
        blocks of such a level, not only in its last. block(c_in, c_out, attention=..., how=...) makes a Block."""
        if size % 2 ** (len(widths) - 1):
            raise ValueError(f"img_resolution {size} cannot be halved {len(widths) - 1} times")
        self.sizes = [size >> level for level in range(len(widths))]
        self.per_level = num_blocks + 1
        self.rungs = len(widths) * self.per_level
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()

        c, skips = stem, [stem]
        self.enc[self._key(0, "conv")] = Conv(c_in, stem, 3)
        for level, width in enumerate(widths):
            if level:
                self.enc[self._key(level, "down")] = block(c, c, how="down")
                self._add_encoder_aux(level, c)
                skips.append(c)
            for j in range(num_blocks):
                self.enc[self._key(level, f"block{j}")] = block(c, width, attention=self.sizes[level] in attention)
                c = width
                skips.append(c)

        for level, width in reversed(list(enumerate(widths))):
            if level == len(widths) - 1:
                self.dec[self._key(level, "in0")] = block(c, c, attention=True)
                self.dec[self._key(level, "in1")] = block(c, c)
            else:
                self.dec[self._key(level, "up")] = block(c, c, how="up")
            for j in range(self.per_level):
                attends = self.sizes[level] in attention and (everywhere or j == num_blocks)
                self.dec[self._key(level, f"block{j}")] = block(c + skips.pop(), width, attention=attends)
                c = width
            self._add_decoder_aux(level, c)

    def _key(self, level: int, name: str) -> str:
        return f"{self.sizes[level]}x{self.sizes[level]}_{name}"

    def _add_encoder_aux(self, level: int, c: int):
        pass

    def _add_decoder_aux(self, level: int, c: int):
        pass

    def _labels(self, cond: Tensor | None, weight: Tensor, batch: int) -> Tensor:
        """cond (B) labels, int64 or floats of whole numbers, (B label_dim) one-hot rows, or None -> one-hot rows.

        None and the label `label_dim` mean "no label": a row of zeros. A single row, also of shape (label_dim), is used
        for the whole batch. The caller checks that labels are in range."""
        label_dim = weight.shape[1]
        if cond is None:
            return weight.new_zeros(1, label_dim)
        shape = tuple(cond.shape)
        if cond.is_floating_point() and shape == (label_dim,) != (batch,):
            cond = cond[None]
        elif cond.ndim == 1:
            cond = integers(cond)[:, None] == torch.arange(label_dim, device=cond.device)
        if cond.ndim != 2 or cond.shape[1] != label_dim or 1 != len(cond) != batch != 1:
            raise ValueError(
                f"cond is {shape}, not (B) integer labels or (B, {label_dim}) one-hot rows of {batch} images"
            )
        return cond.to(weight.dtype)

    def _augmented(self, augment_labels: Tensor) -> Tensor:
        """(B augment_dim) -> a term of the noise level's embedding."""
        if self.map_augment is None:
            raise ValueError("this edm network has augment_dim 0 and takes no augment_labels")
        return self.map_augment(augment_labels.to(self.map_augment.weight.dtype))

    def down(self, i: int, h: Tensor, emb: Tensor) -> tuple[Tensor, Tensor]:
        level, j = divmod(i, self.per_level)
        layer = self.enc[self._key(level, f"block{j - 1}" if j else "down" if level else "conv")]
        h = layer(h, emb) if i else layer(h)
        return h, h

    def mid(self, h: Tensor, emb: Tensor) -> Tensor:
        for name in ("in0", "in1"):
            h = self.dec[self._key(-1, name)](h, emb)
        return h

    def _merge(self, i: int, h: Tensor, skip: Tensor, emb: Tensor) -> Tensor:
        level, j = divmod(i, self.per_level)
        return self.dec[self._key(level, f"block{self.per_level - 1 - j}")](torch.cat([h, skip], 1), emb)

    def _rise(self, i: int, h: Tensor, emb: Tensor) -> Tensor:
        level, j = divmod(i, self.per_level)
        return self.dec[self._key(level - 1, "up")](h, emb) if level and j == 0 else h

    def up(self, i: int, h: Tensor, skip: Tensor, emb: Tensor) -> Tensor:
        return self._rise(i, self._merge(i, h, skip, emb), emb)


class SongUNet(EDMUNet):
    """DDPM++ (all defaults) and NCSN++ (fourier, residual encoder, filter 1 3 3 1, channel_mult_noise 2): the networks
    of Song et al. 2021 (arXiv 2011.13456), under EDM's constructor arguments.

    The state of the `skip` and `residual` encoders is (x, aux). aux is the image, smaller at every level, or the sum of
    the outputs of all levels so far. The state of the `skip` decoder is (x, aux), where aux is the image so far and
    None before the first level is done. Every other state is a plain tensor.
    """

    def __init__(
        self, img_resolution: int, in_channels: int, out_channels: int, label_dim: int=0, augment_dim: int=0,
        model_channels: int=128,
        channel_mult: Sequence[int]=(1, 2, 2, 2), channel_mult_emb: int=4, num_blocks: int=4,
        attn_resolutions: Sequence[int]=(16,), dropout: float=0.10,
        label_dropout: float=0, embedding_type: str="positional", channel_mult_noise: int=1,
        encoder_type: str="standard",
        decoder_type: str="standard", resample_filter: Sequence[float]=(1, 1),
    ):  # fmt: skip
        super().__init__()
        _one_of("embedding_type", embedding_type, ("fourier", "positional"))
        _one_of("encoder_type", encoder_type, ("residual", "skip", "standard"))
        _one_of("decoder_type", decoder_type, ("skip", "standard"))
        self.encoder_type, self.decoder_type = encoder_type, decoder_type
        self.taps, self.c_aux, self.c_out = list(resample_filter), in_channels, out_channels
        c_emb, c_noise = model_channels * channel_mult_emb, model_channels * channel_mult_noise
        fourier = embedding_type == "fourier"
        self.map_noise = Fourier(c_noise, True) if fourier else Positional(c_noise, endpoint=True, sin_first=True)
        self.map_label = nn.Linear(label_dim, c_noise) if label_dim else None
        self.map_augment = nn.Linear(augment_dim, c_noise, bias=False) if augment_dim else None
        self.map_layer0 = nn.Linear(c_noise, c_emb)
        self.map_layer1 = nn.Linear(c_emb, c_emb)

        def block(c_in, c_out, attention=False, how=None):
            style = dict(eps=1e-6, gain=0.5**0.5, taps=self.taps, resample_proj=True, adaptive=False)
            return Block(c_in, c_out, c_emb, heads=int(attention), how=how, **style)

        widths = [model_channels * mult for mult in channel_mult]
        self._build(img_resolution, in_channels, model_channels, widths, num_blocks, attn_resolutions, False, block)

    def _add_encoder_aux(self, level: int, c: int):
        if self.encoder_type == "skip":
            self.enc[self._key(level, "aux_down")] = Resample("down", self.taps)
            self.enc[self._key(level, "aux_skip")] = Conv(self.c_aux, c, 1)
        elif self.encoder_type == "residual":
            self.enc[self._key(level, "aux_residual")] = Conv(self.c_aux, c, 3, "down", self.taps, fused=True)
            self.c_aux = c

    def _add_decoder_aux(self, level: int, c: int):
        if level and self.decoder_type == "standard":
            return
        if level < len(self.sizes) - 1 and self.decoder_type == "skip":
            self.dec[self._key(level, "aux_up")] = Resample("up", self.taps)
        self.dec[self._key(level, "aux_norm")] = group_norm(c, 1e-6)
        self.dec[self._key(level, "aux_conv")] = Conv(c, self.c_out, 3)

    def embed(self, c_noise: Tensor, cond: Tensor | None, augment_labels: Tensor | None = None) -> Tensor:
        """c_noise (B), cond as in `_labels`, augment_labels (B augment_dim) or None for none -> (B c_emb)."""
        weight = self.map_layer0.weight
        emb = self.map_noise(c_noise.to(exact(weight.dtype))).to(weight.dtype)
        if self.map_label is not None:
            rows = self._labels(cond, self.map_label.weight, len(c_noise))
            emb = emb + self.map_label(rows * rows.shape[1] ** 0.5)
        if augment_labels is not None:
            emb = emb + self._augmented(augment_labels)
        return F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))

    def down(self, i: int, h: Any, emb: Tensor):
        if self.encoder_type == "standard":
            return super().down(i, h, emb)
        x, aux = h if i else (h, h)
        x, _ = super().down(i, x, emb)
        level, j = divmod(i, self.per_level)
        if level and j == 0 and self.encoder_type == "skip":
            aux = self.enc[self._key(level, "aux_down")](aux)
            x = x + self.enc[self._key(level, "aux_skip")](aux)
        elif level and j == 0:
            x = aux = (x + self.enc[self._key(level, "aux_residual")](aux)) / 2**0.5
        return (x, aux), x

    def mid(self, h: Any, emb: Tensor):
        x = super().mid(h if self.encoder_type == "standard" else h[0], emb)
        return x if self.decoder_type == "standard" else (x, None)

    def up(self, i: int, h: Any, skip: Tensor, emb: Tensor):
        if self.decoder_type == "standard":
            return super().up(i, h, skip, emb)
        x, aux = h
        x = self._merge(i, x, skip, emb)
        level, j = divmod(i, self.per_level)
        if level and j == 0:
            aux = self._image(level, x, aux)
        return self._rise(i, x, emb), aux

    def head(self, h: Any, emb: Tensor) -> Tensor:
        x, aux = (h, None) if self.decoder_type == "standard" else h
        return self._image(0, x, aux)

    def _image(self, level: int, x: Tensor, aux: Tensor | None) -> Tensor:
        out = self.dec[self._key(level, "aux_conv")](F.silu(self.dec[self._key(level, "aux_norm")](x)))
        return out if aux is None else out + self.dec[self._key(level, "aux_up")](aux)


class DhariwalUNet(EDMUNet):
    """ADM (Dhariwal & Nichol 2021, arXiv 2105.05233) under EDM's constructor arguments. Every state is a plain tensor.

    An attention block has c_out // channels_per_head heads. With none, for too few channels, it has no attention.
    """

    def __init__(
        self, img_resolution: int, in_channels: int, out_channels: int, label_dim: int=0, augment_dim: int=0,
        model_channels: int=192,
        channel_mult: Sequence[int]=(1, 2, 3, 4), channel_mult_emb: int=4, num_blocks: int=3,
        attn_resolutions: Sequence[int]=(32, 16, 8), dropout: float=0.10,
        label_dropout: float=0, channels_per_head: int=64,
    ):  # fmt: skip
        super().__init__()
        c_emb = model_channels * channel_mult_emb
        self.map_noise = Positional(model_channels, endpoint=False, sin_first=False)
        self.map_augment = nn.Linear(augment_dim, model_channels, bias=False) if augment_dim else None
        self.map_layer0 = nn.Linear(model_channels, c_emb)
        self.map_layer1 = nn.Linear(c_emb, c_emb)
        self.map_label = nn.Linear(label_dim, c_emb, bias=False) if label_dim else None

        def block(c_in, c_out, attention=False, how=None):
            heads = c_out // channels_per_head if attention else 0
            return Block(c_in, c_out, c_emb, heads=heads, how=how, resample_proj=False, adaptive=True)

        widths = [model_channels * mult for mult in channel_mult]
        self._build(img_resolution, in_channels, widths[0], widths, num_blocks, attn_resolutions, True, block)
        self.out_norm = group_norm(widths[0], 1e-5)
        self.out_conv = Conv(widths[0], out_channels, 3)

    def embed(self, c_noise: Tensor, cond: Tensor | None, augment_labels: Tensor | None = None) -> Tensor:
        """c_noise (B), cond as in `_labels`, augment_labels (B augment_dim) or None for none -> (B c_emb)."""
        weight = self.map_layer0.weight
        emb = self.map_noise(c_noise.to(exact(weight.dtype))).to(weight.dtype)
        if augment_labels is not None:
            emb = emb + self._augmented(augment_labels)
        emb = self.map_layer1(F.silu(self.map_layer0(emb)))
        if self.map_label is not None:
            emb = emb + self.map_label(self._labels(cond, self.map_label.weight, len(c_noise)))
        return F.silu(emb)

    def head(self, h: Tensor, emb: Tensor) -> Tensor:
        return self.out_conv(F.silu(self.out_norm(h)))


def _one_of(word: str, value, menu: tuple):
    if value not in menu:
        raise ValueError(f"{word} '{value}' is not one of: {', '.join(menu)}")
