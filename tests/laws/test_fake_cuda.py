"""The GPU path without a GPU: fake CUDA tensors carry shapes and devices, and refuse to be mixed or looked into.

What would be a device mix-up, or a wait for the GPU inside the trajectory, raises here.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fastdiff.accelerators import DeepCache, SkipTuning, branch_of, joins_of
from fastdiff.diffusion.noise import noise_of
from fastdiff.samplers import PLMS, PRESETS, DPMpp2M, Euler, Heun, UniPC, preset
from fastdiff.sampling.denoiser import DTYPES, Denoiser
from fastdiff.sampling.generate import to_host
from fastdiff.unets import Runner, build
from fastdiff.weights.model_card import ModelCard

CARD = ModelCard("fake", "native", {}, (1, 28, 28), "none", classes=10)


class NoCopyToHost(TorchDispatchMode):
    """Fake tensors allow `.cpu()`, and a copy to the GPU that is waited for; a trajectory must not need either."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[-1] if func is torch.ops.aten.copy_.default else args[0]
            if source.device.type == "cuda" and out.device.type == "cpu":
                raise AssertionError("a copy from the GPU to the host inside the trajectory")
            unwaited = (kwargs or {}).get("non_blocking") or args[2:3] == (True,)
            if source.device.type == "cpu" and out.device.type == "cuda" and not unwaited:
                raise AssertionError("a copy to the GPU that is waited for inside the trajectory")
        return out


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_trajectory_with_every_plan_stays_on_the_gpu(name, dtype, guidance):
    unet = build("native", {}).to(dtype)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad():
        unet = unet.to("cuda")
        denoiser = Denoiser(unet, CARD, (SkipTuning(0.8, 0.9), DeepCache(2, 2)), guidance)
        noise = noise_of(0, range(4), CARD.shape, "cuda")
        cond = torch.zeros(4, dtype=torch.int64)
        with NoCopyToHost():
            x = preset(name, steps=4)(denoiser, noise, cond, [0.1] * 4)
    assert x.device.type == "cuda" and x.shape == (4, 1, 28, 28) and x.dtype == torch.float32


def test_finished_images_go_to_pinned_memory_without_waiting_and_are_waited_for_once(monkeypatch):
    tape = []

    class Tape(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.copy_.default:
                tape.append((args[1].device.type, args[0].device.type, args[2]))
            return func(*args, **(kwargs or {}))

    class Stream:
        def synchronize(self):
            tape.append("wait")

    real = torch.empty
    pinned = []
    monkeypatch.setattr(torch, "empty", lambda *a, pin_memory=False, **o: pinned.append(pin_memory) or real(*a, **o))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    monkeypatch.setattr(torch.Tensor, "numpy", lambda tensor: tape.append("read"))
    with FakeTensorMode():
        images, flags = (real(4, 3, device="cuda", dtype=dtype) for dtype in (torch.uint8, torch.bool))
        with Tape():
            to_host(images, flags)
    assert pinned == [True, True]
    assert tape == [("cuda", "cpu", True)] * 2 + ["wait", "read", "read"]


NETWORKS = {
    "adm": dict(in_channels=1, model_channels=32, out_channels=2, num_res_blocks=1, attention_resolutions=[2],
                channel_mult=[1, 1], num_classes=10, use_scale_shift_norm=True, resblock_updown=True),
    "ddim": dict(ch=32, out_ch=1, ch_mult=[1, 1], num_res_blocks=1, attn_resolutions=[14], in_channels=1,
                 resolution=28),
    "edm": dict(class_name="SongUNet", preconditioning="EDMPrecond", img_resolution=28, img_channels=1, label_dim=10,
                model_channels=16, channel_mult=[1, 1], num_blocks=1, embedding_type="fourier", channel_mult_noise=2,
                encoder_type="residual", decoder_type="skip", resample_filter=[1, 3, 3, 1], attn_resolutions=[14]),
    "hf": dict(_class_name="UNet2DModel", sample_size=28, in_channels=1, out_channels=1, layers_per_block=1,
               block_out_channels=[32, 32], down_block_types=["DownBlock2D", "AttnDownBlock2D"],
               up_block_types=["AttnUpBlock2D", "UpBlock2D"]),
}  # fmt: skip


@pytest.mark.parametrize("family", NETWORKS)
def test_a_second_order_trajectory_of_every_family_stays_on_the_gpu(family):
    if family == "hf":
        pytest.importorskip("diffusers")
    unet, labels = build(family, NETWORKS[family]), family in ("adm", "edm")
    kind = "edm" if family == "edm" else "eps"
    card = ModelCard("fake", family, NETWORKS[family], (1, 28, 28), "none", parameterisation=kind, classes=10 * labels)
    plans = SkipTuning(0.8, 0.9, over_level="increasing", apply="deep"), DeepCache(2, 2, protect_last=1)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad():
        denoiser = Denoiser(unet.to("cuda"), card, plans)
        cond = torch.zeros(4, dtype=torch.int64) if labels else None
        noise = noise_of(0, range(4), card.shape, "cuda")
        with NoCopyToHost():
            x = Heun(3, churn=1.0)(denoiser, noise, cond)
    assert x.device.type == "cuda" and x.shape == (4, 1, 28, 28) and x.dtype == torch.float32


SOLVERS = {
    "euler": Euler(3),
    "dpmpp_2m": DPMpp2M(3),
    "unipc": UniPC(5, order=3),
    "heun": Heun(3, churn=1.0),
    "plms": PLMS(5),
}
PLANS = {
    "none": (),
    "both": (SkipTuning(0.8, 0.9), DeepCache(2, 2)),
    "listed, window": (
        SkipTuning(0.8, over_level="window", window=(0.2, 0.7)),
        DeepCache(schedule="list", full=(0, 2)),
    ),
    "quadratic, deep": (SkipTuning(0.8, index="from_one", apply="deep"), DeepCache(2, 3, "quadratic", protect_last=1)),
}


def every() -> list:
    """Plans and precisions; all combinations run, those with neither the usual plans nor precision among the slow."""
    usual = [("both", precision) for precision in ("float32", "bfloat16", "tf32")] + [(p, "float32") for p in PLANS]
    pairs = [(plans, precision) for plans in PLANS for precision in ("float32", "bfloat16", "tf32")]
    return [pytest.param(*pair, marks=() if pair in usual else pytest.mark.slow) for pair in pairs]


@pytest.mark.parametrize(("plans", "precision"), every())
@pytest.mark.parametrize("name", SOLVERS)
def test_a_trajectory_of_every_solver_plan_and_precision_stays_on_the_gpu(name, plans, precision):
    unet, members = build("native", {}).to(DTYPES[precision]), PLANS[plans]
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad():
        unet = unet.to("cuda")
        joins, branch = joins_of(members, unet.rungs), branch_of(members)
        runner = Runner(unet, joins, branch, tf32=precision == "tf32")
        denoiser = Denoiser(unet, CARD, members, 2.0, runner=runner)
        noise, cond = noise_of(0, range(4), CARD.shape, "cuda"), torch.zeros(4, dtype=torch.int64)
        with NoCopyToHost():
            x = SOLVERS[name](denoiser, noise, cond)
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
        with NoCopyToHost(), pytest.raises(AssertionError, match="waited for"):
            on_host.to("cuda")
