"""What EDM's networks have in common: levels of encoder and decoder blocks, as rungs (arXiv 2206.00364).

A level is num_blocks + 1 rungs. The first makes its skip with the level's conv or downsampling block and eats it in the
level's last decoder block, which is followed by what prepares the next level: the upsampling block, and in a `skip`
decoder the image so far. What an encoder adds from its auxiliary branch ends up inside that first skip.
"""

import torch
from torch import Tensor, nn

from .edm_blocks import Conv
from .embedding import integers


class EDMUNet(nn.Module):
    """The encoder, bottleneck and decoder that all of them share, under the official names (enc, dec)."""

    def _build(self, size, c_in, stem, widths, num_blocks, attention, everywhere, block):
        """stem: width of the first conv. attention: sizes of images that have it; everywhere: in all decoder blocks of
        such a level, not only in its last. block(c_in, c_out, attention=..., how=...) makes a Block."""
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

        None, and the label `label_dim`, stand for "no label": a row of zeros. One row, (label_dim) too, serves the
        whole batch. That labels are in range is for the caller to see to."""
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
        """(B augment_dim) -> what they add to the embedding of the noise level."""
        if self.map_augment is None:
            raise ValueError("this edm network has augment_dim 0; it takes no augment_labels")
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
