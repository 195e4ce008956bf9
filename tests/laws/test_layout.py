"""A network's memory layout changes neither its weights' names nor, but for rounding, what it computes."""

import copy

import pytest
import torch

from fastdiff.unets import laid_out, walk
from fastdiff.unets.runner import SmallMapNorm


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_small_maps_are_normed_as_ever_and_stay_channels_last(side, dtype):
    usual = torch.nn.GroupNorm(4, 8)
    torch.nn.init.normal_(usual.weight)
    net = laid_out(torch.nn.Sequential(copy.deepcopy(usual)).to(dtype), "channels_last")
    x = torch.randn(2, 8, side, side).to(dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        found, expected = net(x), usual.to(dtype)(x.contiguous())
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_the_network_is_the_same_in_both_layouts(random_unet):
    names = list(random_unet.state_dict())
    turned = laid_out(copy.deepcopy(random_unet), "channels_last")
    assert list(turned.state_dict()) == names
    assert any(isinstance(part, SmallMapNorm) for part in turned.modules())
    assert not turned.training and not any(weight.requires_grad for weight in turned.parameters())
    x, c_noise, labels = torch.randn(3, 1, 8, 8), torch.rand(3), torch.tensor([0, 1, 2])
    with torch.inference_mode():
        found, expected = (walk(net, x, c_noise, labels, None, 2) for net in (turned, random_unet))
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_contiguous_networks_are_left_alone(random_unet):
    laid_out(random_unet, "contiguous")
    assert not any(isinstance(part, SmallMapNorm) for part in random_unet.modules())
