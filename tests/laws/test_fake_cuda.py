"""The GPU path without a GPU: fake CUDA tensors carry shapes and devices, and refuse to be mixed or looked into.

What would be a device mix-up, or a wait for the GPU inside the trajectory, raises here.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fastdiff.denoise import Denoiser
from fastdiff.model_card import ModelCard
from fastdiff.noise import noise_of
from fastdiff.plans import DeepCache, SkipTuning
from fastdiff.samplers import PRESETS, preset
from fastdiff.unets import build

CARD = ModelCard("fake", "native", {}, (1, 28, 28), "none", classes=10)


class NoCopyToHost(TorchDispatchMode):
    """Fake tensors allow `.cpu()`; a trajectory must not need it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[-1] if func is torch.ops.aten.copy_.default else args[0]
            if source.device.type == "cuda" and out.device.type == "cpu":
                raise AssertionError("a copy from the GPU to the host inside the trajectory")
        return out


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_trajectory_with_every_plan_stays_on_the_gpu(name, dtype, guidance):
    unet = build("native", {}).to(dtype)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad():
        unet = unet.to("cuda")
        denoiser = Denoiser(unet, CARD, SkipTuning(0.8, 0.9), DeepCache(2, 2), guidance)
        noise = noise_of(0, range(4), CARD.shape, "cuda")
        cond = torch.zeros(4, dtype=torch.int64)
        with NoCopyToHost():
            x = preset(name, steps=4)(denoiser, noise, cond, [0.1] * 4)
    assert x.device.type == "cuda" and x.shape == (4, 1, 28, 28) and x.dtype == torch.float32


def test_the_trap_is_set():
    """The same modes do raise on a device mix-up, on a look at a value, and on a copy to the host."""
    with FakeTensorMode(), torch.no_grad():
        on_gpu, on_host = torch.ones(2, device="cuda"), torch.ones(2)
        with pytest.raises(Exception, match="two devices|Device Propagation"):
            on_gpu + on_host
        with pytest.raises(DataDependentOutputException):
            on_gpu.sum().item()
        with NoCopyToHost(), pytest.raises(AssertionError, match="to the host"):
            on_gpu.cpu()
