"""Multiply-accumulates, counted on meta tensors: without weights or arithmetic, and the same on every machine."""

from typing import Any, NamedTuple

from ..accelerators.plan import check_branch
from ..unets import build, walk


class Cost(NamedTuple):
    """MACs per image (FLOPs / 2). conv_macs: of convolutions only. layer_macs: of convolutions and linear layers but
    not of attention's products; this is the number that DeepCache prints."""

    macs: int
    conv_macs: int
    layer_macs: int

    def __add__(self, other):
        return Cost(*(mine + its for mine, its in zip(self, other)))

    def __mul__(self, times: int):
        return Cost(*(mine * times for mine in self))


def count(run: Any) -> Cost:
    """MACs of run(). Attention is counted in its math form, because fused CPU kernels would count as nothing."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    flops = counter.get_flop_counts()["Global"]
    conv = sum(number for op, number in flops.items() if "convolution" in str(op))
    linear = sum(number for op, number in flops.items() if str(op) in ("aten.addmm", "aten.mm"))
    return Cost(*(total // 2 for total in (sum(flops.values()), conv, conv + linear)))


def call_cost(
    family: str, arch: dict, shape: tuple[int, int, int], branch: int | None = None, labels: bool = False
) -> Cost:
    """Cost of one call on one image: a full call, or with `branch` the shallow call of that branch.

    Raises ValueError for a branch that the network does not have.
    """
    run = on_meta(family, arch, shape, branch, labels)
    if not branch:
        return count(run)
    _, trunk = run(branch)
    return count(lambda: run(branch, trunk))


def on_meta(family: str, arch: dict, shape: tuple[int, int, int], branch: int | None = None, labels: bool = False):
    """A network's `walk` of one image on meta tensors, as a function run(branch=None, trunk=None) -> output, trunk.

    Raises ValueError for a branch that the network does not have.
    """
    import torch

    with torch.device("meta"):
        unet = build(family, arch)
        check_branch(branch, unet.rungs)
        x, c_noise = torch.empty(1, *shape), torch.empty(1)
        cond = torch.zeros(1, dtype=torch.int64) if labels else None
        if context := getattr(unet, "context", None):  # (L, D) of a text-conditional network
            cond = torch.empty(1, *context)

    def run(branch=None, trunk=None):
        with torch.device("meta"), torch.inference_mode():
            return walk(unet, x, c_noise, cond, None, branch or None, trunk)

    return run
