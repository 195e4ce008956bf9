"""The DDPM U-Net in official words: its laws, and parity with diffusers (with official weights: tests/parity)."""

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from networks import ones, randomised, scaled

from fastdiff.profiling import call_cost
from fastdiff.unets import build, walk

SMALL = dict(ch=32, out_ch=3, ch_mult=[1, 2, 1], num_res_blocks=1, attn_resolutions=[8], in_channels=3, resolution=16)
CIFAR = {  # configs/cifar10.yml of ermongroup/ddim, with the words that do not concern the network
    "data": {"dataset": "CIFAR10", "image_size": 32, "channels": 3, "rescaled": True, "num_workers": 4},
    "model": {
        "type": "simple",
        "in_channels": 3,
        "out_ch": 3,
        "ch": 128,
        "ch_mult": [1, 2, 2, 2],
        "num_res_blocks": 2,
        "attn_resolutions": [16],
        "dropout": 0.1,
        "var_type": "fixedlarge",
        "ema_rate": 0.9999,
        "ema": True,
        "resamp_with_conv": True,
    },
    "diffusion": {"beta_schedule": "linear", "beta_start": 0.0001, "num_diffusion_timesteps": 1000},
    "training": {"batch_size": 128},
    "sampling": {"batch_size": 64, "last_only": True},
    "optim": {"lr": 0.0002},
}


@pytest.fixture(scope="module")
def small():
    return randomised(build("ddim", SMALL))


@pytest.fixture(scope="module")
def inputs():
    torch.manual_seed(1)
    return torch.randn(2, 3, 16, 16), torch.tensor([3.0, 977.0]), None


def as_diffusers(state: dict, levels: int) -> dict:
    """Our (the official) names of weights in diffusers' words; 1x1 convs of attention are its linear layers."""
    renamed = {}
    for name, tensor in state.items():
        for ours, theirs in (
            ("temb.dense.0.", "time_embedding.linear_1."),
            ("temb.dense.1.", "time_embedding.linear_2."),
            ("norm_out.", "conv_norm_out."),
            ("mid.block_1.", "mid_block.resnets.0."),
            ("mid.block_2.", "mid_block.resnets.1."),
            ("mid.attn_1.", "mid_block.attentions.0."),
            *((f"down.{i}.", f"down_blocks.{i}.") for i in range(levels)),
            *((f"up.{i}.", f"up_blocks.{levels - 1 - i}.") for i in range(levels)),
        ):
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
        if ".attn" in name or "attentions" in name:
            for ours, theirs in ((".norm.", ".group_norm."), (".proj_out.", ".to_out.0."), *Q_K_V):
                name = name.replace(ours, theirs)
            tensor = tensor.flatten(1) if tensor.ndim == 4 else tensor
        for ours, theirs in (
            (".block.", ".resnets."),
            (".attn.", ".attentions."),
            (".temb_proj.", ".time_emb_proj."),
            (".nin_shortcut.", ".conv_shortcut."),
            (".downsample.", ".downsamplers.0."),
            (".upsample.", ".upsamplers.0."),
        ):
            name = name.replace(ours, theirs)
        renamed[name] = tensor
    return renamed


Q_K_V = tuple((f".{letter}.", f".to_{letter}.") for letter in "qkv")


@pytest.mark.parametrize(
    "mults, blocks, attention", [((1, 2), 1, (16, 8)), ((1, 2, 1), 3, (8,)), ((1, 2, 3, 2), 2, (16, 2))]
)
def test_other_depths_agree_with_diffusers(mults, blocks, attention, inputs):
    diffusers = pytest.importorskip("diffusers")
    unet = randomised(build("ddim", SMALL | dict(ch_mult=mults, num_res_blocks=blocks, attn_resolutions=attention)))
    attends = [16 >> level in attention for level in range(len(mults))]
    other = diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=[32 * mult for mult in mults],
        layers_per_block=blocks,
        down_block_types=["AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends],
        up_block_types=["AttnUpBlock2D" if attend else "UpBlock2D" for attend in attends[::-1]],
        attention_head_dim=None,
        norm_eps=1e-6,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    ).eval()
    other.load_state_dict(as_diffusers(unet.state_dict(), len(mults)))
    with torch.inference_mode():
        theirs, ours = other(*inputs[:2]).sample, unet(*inputs[:2])
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_the_embedding_is_sin_then_cos_with_rates_from_1_to_1_in_10000(small):
    """Ho et al. 2020, released code; the two layers and the last SiLU written out."""
    n = torch.arange(16, dtype=torch.float64)
    angles = torch.tensor([[7.0]], dtype=torch.float64) * 10000 ** (-n / 15)
    first, second = copy.deepcopy(small.temb.dense).double()
    expected = F.silu(second(F.silu(first(torch.cat([angles.sin(), angles.cos()], 1)))))
    assert torch.allclose(small.embed(torch.tensor([7]), None).double(), expected, atol=1e-5)


def test_a_trunk_is_what_the_decoder_block_sees_beside_its_skip(small, inputs):
    assert small.rungs == 6
    whole = small(*inputs[:2])
    for branch in range(1, 7):
        level, at = divmod(branch - 1, 2)
        seen = []
        block = small.up[level].block[1 - at]
        handle = block.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
        out, trunk = walk(small, *inputs, ones(small), branch)
        handle.remove()
        assert torch.equal(out, whole)
        assert torch.equal(seen[0][:, : trunk.shape[1]], trunk)
        assert torch.equal(walk(small, *inputs, ones(small), branch, trunk)[0], whole)


def test_a_shallow_call_of_branch_1_runs_conv_in_and_the_last_decoder_block_alone(small, inputs):
    """Its price by the textbook formula: C_out H W (C_in k^2) a convolution."""
    shallow = call_cost("ddim", SMALL, (3, 16, 16), 1)
    conv_in, last, conv_out = 3 * 32 * 9, 64 * 32 * 9 + 32 * 32 * 9 + 64 * 32, 32 * 3 * 9
    assert shallow.conv_macs == 16 * 16 * (conv_in + last + conv_out)


def test_scales_multiply_the_skip_half_of_every_concat(small, inputs):
    scales = torch.linspace(1.1, 0.4, 6)
    by_hooks = copy.deepcopy(small)
    for i, scale in enumerate(scales):
        width = walk(small, *inputs, ones(small), i + 1)[1].shape[1]

        def hook(module, args, width=width, scale=scale):
            x, emb = args
            return torch.cat([x[:, :width], x[:, width:] * scale], 1), emb

        by_hooks.up[i // 2].block[1 - i % 2].register_forward_pre_hook(hook)
    tuned = walk(small, *inputs, scaled(scales))[0]
    assert torch.equal(by_hooks(*inputs[:2]), tuned)
    assert (small(*inputs[:2]) - tuned).abs().max() > 0.01


def test_the_nested_and_the_flat_spelling_are_the_same_network(small, inputs):
    words = dict(SMALL, dropout=0.1, resamp_with_conv=True)
    nested = {"data": {"image_size": words.pop("resolution")}, "model": words | {"ema_rate": 0.999, "type": "simple"}}
    other = build("ddim", nested, small.state_dict())
    assert torch.equal(other(*inputs[:2]), small(*inputs[:2]))


def test_the_words_of_a_config_may_stand_side_by_side(small, inputs):
    words = {word: value for word, value in SMALL.items() if word != "resolution"}
    training = dict(type="simple", ema=True, ema_rate=0.999, var_type="fixedlarge")
    for arch in (
        words | training | dict(image_size=16),
        words | training | dict(resolution=16),
        words | dict(resolution=16, image_size=16.0, dropout=None, ch=32.0),
        SMALL | dict(ch_mult="1,2,1", attn_resolutions=8, resamp_with_conv=None),
        SMALL | dict(ch_mult="(1, 2, 1)", attn_resolutions="8", num_res_blocks=[1]),
        {"data": {"image_size": 16}, "model": words | dict(ch_mult=(1.0, 2.0, 1.0), dropout=None), "diffusion": None},
    ):
        assert torch.equal(build("ddim", arch, small.state_dict())(*inputs[:2]), small(*inputs[:2]))
    flat = SMALL | dict(type="bayesian", num_diffusion_timesteps=250)
    assert build("ddim", flat).logvar.shape == (250,)


def test_a_bayesian_network_has_logvar_besides_and_the_same_output(small, inputs):
    words = dict(SMALL)
    nested = {
        "data": {"image_size": words.pop("resolution")},
        "model": words | {"type": "bayesian"},
        "diffusion": {"num_diffusion_timesteps": 250},
    }
    state = small.state_dict() | {"logvar": torch.zeros(250)}
    assert torch.equal(build("ddim", nested, state)(*inputs[:2]), small(*inputs[:2]))
    with pytest.raises(ValueError, match="missing logvar"):
        build("ddim", nested, small.state_dict())


def test_resampling_without_convs_is_the_mean_of_four_and_four_copies(small, inputs):
    plain = randomised(build("ddim", SMALL | dict(resamp_with_conv=False)))
    assert small.state_dict().keys() - plain.state_dict().keys() == {
        f"{side}.conv.{kind}"
        for side in ("down.0.downsample", "down.1.downsample", "up.1.upsample", "up.2.upsample")
        for kind in ("weight", "bias")
    }
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(plain.down[0].downsample(x)[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    assert torch.equal(plain.up[1].upsample(x)[0, 0], x[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert plain(*inputs[:2]).shape == inputs[0].shape


@pytest.mark.parametrize("dtype, close", [(torch.float64, 1e-4), (torch.bfloat16, 0.2)])
def test_other_precisions_run_in_their_own_dtype_and_stay_close(small, inputs, dtype, close):
    x, t, _ = inputs
    out = copy.deepcopy(small).to(dtype)(x.to(dtype), t)
    exact = small(x, t).double()
    assert out.dtype == dtype
    assert (out - exact).abs().max() < close * exact.abs().max()


def published(size, mults, **changed):
    return CIFAR | {
        "data": {"image_size": size, "channels": 3},
        "model": CIFAR["model"] | {"ch_mult": mults} | changed,
    }


@pytest.mark.parametrize(
    "config, size, rungs, parameters",
    [
        (CIFAR, 32, 12, 35.7e6),  # Ho et al. 2020, appendix B: 35.7 million
        (published(64, [1, 2, 2, 2, 4]), 64, 15, 78.7e6),
        (published(256, [1, 1, 2, 2, 4, 4], type="bayesian"), 256, 18, 114e6),  # and 114 million
    ],
)
def test_the_published_networks_have_their_published_size_and_run_on_meta(config, size, rungs, parameters):
    with torch.device("meta"):
        unet = build("ddim", config)
        x, t = torch.empty(1, 3, size, size), torch.empty(1)
    assert unet.rungs == rungs
    assert sum(weight.numel() for weight in unet.parameters()) == pytest.approx(parameters, rel=0.004)
    assert unet(x, t).shape == x.shape


def test_the_cifar_network_costs_6_05_g_of_convolutions_and_a_deeper_branch_costs_more():
    assert round(call_cost("ddim", CIFAR, (3, 32, 32)).conv_macs / 1e9, 2) == 6.05
    costs = [call_cost("ddim", SMALL, (3, 16, 16), branch).macs for branch in range(1, 7)]
    assert all(less < more for less, more in pairwise(costs))


@pytest.mark.parametrize(
    "arch, sentence",
    [
        (SMALL | {"chmult": [1]}, "'chmult' is not one of: attn_resolutions, ch, ch_mult, dropout, in_channels"),
        ({k: v for k, v in SMALL.items() if k != "out_ch"}, "missing out_ch; the arguments are"),
        (SMALL | {"ch_mult": [1] * 6}, "resolution 16 cannot be halved 5 times"),
        (CIFAR | {"dta": {}}, "section 'dta' is not one of: data, diffusion, model"),
        (CIFAR | {"data": {}}, "missing resolution"),
        (
            CIFAR | {"model": CIFAR["model"] | {"type": "complex"}},
            "model.type 'complex' is not one of: bayesian, simple",
        ),
        (CIFAR | {"model": CIFAR["model"] | {"type": "bayesian"}, "diffusion": {}}, "needs diffusion"),
        (SMALL | {"ch": 20}, "divisible"),
        (SMALL | {"image_size": 32}, "image_size is 32 and resolution 16: keep one"),
        (SMALL | {"type": "complex"}, "type 'complex' is not one of: bayesian, simple"),
        (SMALL | {"ch_mult": "1,x"}, r"ch_mult is '1,x'; it must be numbers, as in \[1, 2\] or '1,2'"),
        (SMALL | {"ch_mult": []}, "ch_mult is empty"),
        (None, "is a NoneType; it must be a mapping of arguments"),
    ],
)
def test_wrong_words_are_refused_with_a_sentence(arch, sentence):
    with pytest.raises(ValueError, match=sentence):
        build("ddim", arch)


def test_a_condition_and_a_truncated_state_are_refused(small, inputs):
    with pytest.raises(ValueError, match="unconditional"):
        walk(small, *inputs[:2], torch.tensor([1, 2]), ones(small))
    state = small.state_dict()
    state.pop("up.0.block.0.conv1.weight")
    with pytest.raises(ValueError, match=r"missing up\.0\.block\.0\.conv1\.weight"):
        build("ddim", SMALL, state)
