"""Accelerator, sampler and model combine freely: every family of networks under all plans at once, cell by cell."""

import copy

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from safetensors.torch import save_file
from torch import nn

from fastdiff.bench.cell import key
from fastdiff.bench.config import cell_of
from fastdiff.bench.cost import calls_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.run_cell import run_cell
from fastdiff.unets import FAMILIES, build
from fastdiff_benchmarks.entry import settings_of

# Tiny networks for 28 x 28 grey digits. Two downsamplings where an architecture has them; labels where it knows labels.
ADM = dict(image_size=28, in_channels=1, model_channels=32, num_res_blocks=1, attention_resolutions=[2])
EDM = dict(img_resolution=28, img_channels=1, model_channels=16, num_blocks=1, attn_resolutions=[14])
DHARIWAL = EDM | dict(class_name="DhariwalUNet", channels_per_head=16)
SONG = EDM | dict(class_name="SongUNet", channel_mult=[1, 2])
ARCH = {
    "native": dict(size=28, channels=8, multipliers=[1, 2, 2], blocks=1, attention=[7], classes=10),
    "ddim": dict(ch=32, out_ch=1, ch_mult=[1, 1, 1], num_res_blocks=1, attn_resolutions=[14], in_channels=1,
                 resolution=28),
    "adm": ADM | dict(out_channels=2, channel_mult=[1, 1, 2], num_classes=10, num_head_channels=16,
                      use_scale_shift_norm=True, resblock_updown=True),
    "adm-transformer": ADM | dict(out_channels=1, channel_mult=[1, 2], num_heads=2, use_spatial_transformer=True,
                                  context_dim=12, n_classes=11),
    "edm": DHARIWAL | dict(preconditioning="EDMPrecond", label_dim=10, channel_mult=[1, 2, 2]),
    "edm-iddpm": DHARIWAL | dict(preconditioning="iDDPMPrecond", channel_mult=[1, 2]),
    "edm-ddpmpp": SONG | dict(preconditioning="VPPrecond"),
    "edm-ncsnpp": SONG | dict(preconditioning="VEPrecond", embedding_type="fourier", channel_mult_noise=2,
                              encoder_type="residual", decoder_type="skip", resample_filter=[1, 3, 3, 1]),
    "hf": dict(_class_name="UNet2DModel", sample_size=28, in_channels=1, out_channels=1, layers_per_block=1,
               block_out_channels=[32, 32, 32], down_block_types=["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
               up_block_types=["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]),
}  # fmt: skip
LABELS = ("native", "adm", "adm-transformer", "edm")
SCORE_NORMS = dict(images=8)
PLANS = {
    "skip_tuning": dict(rho_bottom=0.7, rho_top=0.9, index="from_one", over_level="decreasing", apply="deep"),
    "deepcache": dict(interval=2, branch=2, schedule="centred", center=2, protect_last=1),
}
SAMPLERS = {
    "analytic_ddpm": dict(steps=5),
    "ddim": dict(steps=5),
    "heun": dict(steps=3, sigma_min=0.02, sigma_max=50.0, churn=3.0),
    "euler": dict(steps=5),
    "dpmpp_2m": dict(steps=5),
    "unipc": dict(steps=6, order=3),
}
# Every network with the sampler that asks most of it (a family's further kinds are slow), and with two more (slow); the
# others, which ask nothing new of a network, with one each.
MOST = ("analytic_ddpm", "ddim", "heun")
PAIRS = [(name, "analytic_ddpm") for name in ARCH if "-" not in name] + [("edm", "heun"), ("ddim", "ddim")]
SLOW = [(name, sampler) for name in ARCH for sampler in MOST if (name, sampler) not in PAIRS]
PAIRS += [pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW]
PAIRS += [("native", "dpmpp_2m"), ("ddim", "unipc"), ("edm-iddpm", "euler"), ("edm-ddpmpp", "euler")]


def weights(path, family: str, arch: dict) -> str:
    """Random weights, also where a network starts at zero, in the official form of a state dict."""
    torch.manual_seed(0)
    unet = build(family, arch)
    for layer in unet.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.05)
    state = getattr(unet, "official", unet).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return str(path)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """settings(name, sampler) -> the settings of a plain cell of that network, 4 images."""
    folder, made = tmp_path_factory.mktemp("weights"), {}

    def of(name: str, sampler: str) -> dict:
        family = name.partition("-")[0]
        if name not in made:
            made[name] = weights(folder / f"{name}.safetensors", family, ARCH[name])
        with initialize_config_module("fastdiff_conf", version_base="1.3"):
            tiny = ["budget.n=10", "device=cpu", "device.batch=5", "device.precision=float32", f"sampler={sampler}"]
            conf = settings_of(compose("config", overrides=tiny))
        card = dict(name=name, family=family, arch=ARCH[name], shape=[1, 28, 28], weights=made[name])
        card |= dict(classes=10 if name in LABELS else 0, time_shift=-1.0)
        card |= dict(parameterisation="edm" if family == "edm" else "eps")
        conf["model"], conf["sampler"] = card, conf["sampler"] | SAMPLERS[sampler]
        conf["score_norms"] |= SCORE_NORMS
        if family == "edm" and "spacing" in conf["sampler"]:
            conf["sampler"]["spacing"] = "karras"  # these networks have no training levels to place steps on
        return conf

    return of


@pytest.mark.parametrize(("name", "sampler"), PAIRS)
def test_a_cell_of_every_family_under_all_plans_at_once(settings, tmp_path, name, sampler):
    if name == "hf":
        pytest.importorskip("diffusers")
    assert {arch.partition("-")[0] for arch in ARCH} == set(FAMILIES.names())
    ledger, images = Ledger(tmp_path), {}
    base = settings(name, sampler)
    tuned = copy.deepcopy(base)
    for plan, knobs in PLANS.items():
        tuned["accelerator"][plan] = tuned["accelerator"].get(plan, {}) | knobs
    for arm, conf in {"plain": base, "all plans": tuned}.items():
        cell = cell_of(conf)
        outcome = run_cell(cell, ledger, conf)
        assert outcome.kind == "quality", outcome.record.reason
        cost, calls = outcome.record.cost, len(calls_of(cell))
        assert cost.nfe == calls and (cost.full_calls < calls) == (arm != "plain")
        images[arm] = ledger.samples(key(cell.generation()))
    assert images["plain"].std() > 1 and not np.array_equal(images["plain"], images["all plans"])
