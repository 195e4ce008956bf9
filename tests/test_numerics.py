"""Images alter only when `NUMERICS` is raised: old records then stay apart from new ones.

The golden images were made by this very test on the day NUMERICS became what the file says:
`python tests/test_numerics.py` writes them anew, after the number was raised.
"""

from pathlib import Path

import numpy as np
import torch

from fastdiff.accelerators import DeepCache, SkipTuning
from fastdiff.bench.cell import NUMERICS
from fastdiff.diffusion.noise import normals
from fastdiff.samplers import preset
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.sampling.generate import generate
from fastdiff.unets import build
from fastdiff.weights.model_card import ModelCard

GOLDEN = Path(__file__).parent / "fixtures" / "golden.npz"
ARCH = dict(size=8, in_channels=1, channels=8, multipliers=(1, 2), blocks=1, attention=(4,), classes=3)


def images() -> np.ndarray:
    """Four images of a network whose weights come from our own noise, so that no torch release alters them."""
    unet = build("native", ARCH)
    for number, (name, weight) in enumerate(unet.named_parameters()):
        values = normals(1, 9, torch.tensor([number]), 0, tuple(weight.shape))[0]
        centre = 1.0 if weight.ndim == 1 and name.endswith("weight") else 0.0  # of a norm
        weight.copy_(centre + (0.1 if weight.ndim == 1 else weight[0].numel() ** -0.5) * values)
    card = ModelCard("golden", "native", ARCH, (1, 8, 8), "none", parameterisation="x0", classes=3, time_shift=-1)
    denoiser = Denoiser(unet, card, (SkipTuning(0.7, 0.9), DeepCache(2, 2)))
    sampler = preset("analytic_ddpm", steps=5)
    cov_x0 = [0.05] * 5
    batches = generate(denoiser, sampler, 3, np.arange(4), lambda indices: indices % 3, cov_x0, 4)
    return next(iter(batches)).pixels


def test_images_are_those_of_this_number_of_numerics():
    with np.load(GOLDEN) as golden:
        assert golden["numerics"] == NUMERICS, "NUMERICS was raised: make the golden images anew"
        off = np.abs(images().astype(int) - golden["images"].astype(int))
    # another CPU may sum in another order, which moves a few pixels by one level
    assert off.max() <= 1 and (off > 0).mean() <= 0.01, "images changed: raise fastdiff.bench.cell.NUMERICS"


if __name__ == "__main__":
    np.savez(GOLDEN, numerics=NUMERICS, images=images())
