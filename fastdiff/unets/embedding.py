"""What tells a network of noise level and label: waves of c_noise, and labels as integers."""

import torch
from torch import Tensor


def exact(dtype: torch.dtype) -> torch.dtype:
    """float32, or wider if dtype is: what noise levels are computed in, whatever a network's weights are."""
    return torch.promote_types(torch.float32, dtype)


def sinusoid(c_noise: Tensor, rates: Tensor, sin_first: bool) -> Tensor:
    """[sin(c_noise w), cos(c_noise w)], or the cosines first: c_noise (B), rates w (m) -> (B 2m), in their dtype.

    Each family makes its own rates, in the order of operations of its official code: their last digits count.
    """
    angles = c_noise[:, None] * rates
    sin, cos = angles.sin(), angles.cos()
    return torch.cat([sin, cos] if sin_first else [cos, sin], 1)


def integers(labels: Tensor) -> Tensor:
    """Labels of any dtype, floats of whole numbers among them -> int64."""
    return labels.to(torch.int64)
