"""Networks whose every layer matters, for the laws of families."""

import torch


def randomised(unet, seed=0):
    """Random weights everywhere, also where a fresh layer starts at zero."""
    generator = torch.Generator().manual_seed(seed)
    for weight in unet.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator) * (0.08 if weight.ndim > 1 else 0.3))
    return unet


def scaled(scales):
    """The join that multiplies skip i by scales[i] (K)."""
    return lambda i, h, skip: (h, skip * scales[i])


def ones(unet):
    """The join that multiplies every skip by 1."""
    return scaled(torch.ones(unet.rungs))
