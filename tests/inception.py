"""Inception-v3 with random weights, in the files that clean-fid loads: the whole path without a download."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


def network() -> nn.Module:
    """pytorch-fid's Inception-v3, as clean-fid builds it, with weights whose features do not vanish.

    Torchvision's own initialisation loses a factor at each of the 20 layers: the features' std is 4e-8 in the end. He
    et al.'s keeps the size of what passes a ReLU.
    """
    from cleanfid import inception_pytorch as blocks
    from torchvision.models import Inception3

    torch.manual_seed(0)
    net = Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    for name, block in {
        "Mixed_5b": blocks.FIDInceptionA(192, pool_features=32),
        "Mixed_5c": blocks.FIDInceptionA(256, pool_features=64),
        "Mixed_5d": blocks.FIDInceptionA(288, pool_features=64),
        "Mixed_6b": blocks.FIDInceptionC(768, channels_7x7=128),
        "Mixed_6c": blocks.FIDInceptionC(768, channels_7x7=160),
        "Mixed_6d": blocks.FIDInceptionC(768, channels_7x7=160),
        "Mixed_6e": blocks.FIDInceptionC(768, channels_7x7=192),
        "Mixed_7b": blocks.FIDInceptionE_1(1280),
        "Mixed_7c": blocks.FIDInceptionE_2(2048),
    }.items():
        setattr(net, name, block)
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return net.eval().requires_grad_(False)


class Layers(nn.Module):
    """Images (B 3 299 299) in -1 .. 1 -> features (B 2048)."""

    def __init__(self, net: nn.Module):
        super().__init__()
        stem = [net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3, nn.MaxPool2d(3, stride=2)]
        stem += [net.Conv2d_3b_1x1, net.Conv2d_4a_3x3, nn.MaxPool2d(3, stride=2)]
        mixed = [getattr(net, f"Mixed_{name}") for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e")]
        self.all = nn.Sequential(*stem, *mixed, net.Mixed_7a, net.Mixed_7b, net.Mixed_7c)

    def forward(self, x):
        return self.all(x).mean((2, 3))


class Scripted(nn.Module):
    """What the TorchScript file holds: `layers`, and a `forward` that resizes within, like TensorFlow 1."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.layers = torch.jit.trace(Layers(net), torch.zeros(2, 3, 299, 299), check_trace=False)

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert return_features
        size = [x.shape[2], x.shape[3]]
        # pixel i of 299 is taken at i * size / 299, without half pixels: grid_sample's coordinates of it
        at = [torch.arange(299, dtype=torch.float32) * (n / 299) for n in size]
        at = [2 * a / max(n - 1, 1) - 1 for a, n in zip(at, size)]
        y, x_ = at[0][:, None].expand(299, 299), at[1][None].expand(299, 299)
        grid = torch.stack([x_, y], 2)[None].expand(x.shape[0], 299, 299, 2)
        resized = F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="border", align_corners=True)
        return self.layers((resized - 128) / 128)


def write_torchscript(path: Path) -> None:
    torch.jit.script(Scripted(network())).save(str(path))


def write_pytorch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network().state_dict(), path)
