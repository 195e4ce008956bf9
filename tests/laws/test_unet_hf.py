"""Rungs of diffusers' U-Nets against diffusers' own forward, which stays untouched: bit for bit."""

import copy
import sys
from functools import cache

import pytest
import torch
from networks import ones, scaled

from fastdiff.profiling import call_cost
from fastdiff.unets import build, hf, laid_out, walk
from fastdiff.unets.hf import from_model, make

diffusers = pytest.importorskip("diffusers")
attention = pytest.importorskip("diffusers.models.attention_processor")

# The config.json of google/ddpm-cifar10-32 (Ho et al. 2020).
CIFAR = dict(
    _class_name="UNet2DModel",
    _diffusers_version="0.0.4",
    act_fn="silu",
    attention_head_dim=None,
    block_out_channels=[128, 256, 256, 256],
    center_input_sample=False,
    down_block_types=["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    downsample_padding=0,
    flip_sin_to_cos=False,
    freq_shift=1,
    in_channels=3,
    layers_per_block=2,
    mid_block_scale_factor=1,
    norm_eps=1e-6,
    norm_num_groups=32,
    out_channels=3,
    sample_size=32,
    time_embedding_type="positional",
    up_block_types=["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
)
# The unet/config.json of stable-diffusion-v1-5 (Rombach et al. 2022).
SD = dict(
    _class_name="UNet2DConditionModel",
    _diffusers_version="0.6.0",
    act_fn="silu",
    attention_head_dim=8,
    block_out_channels=[320, 640, 1280, 1280],
    center_input_sample=False,
    cross_attention_dim=768,
    down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    downsample_padding=1,
    flip_sin_to_cos=True,
    freq_shift=0,
    in_channels=4,
    layers_per_block=2,
    mid_block_scale_factor=1,
    norm_eps=1e-5,
    norm_num_groups=32,
    out_channels=4,
    sample_size=64,
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
)
TINY = CIFAR | dict(block_out_channels=[32, 64, 64, 64])
TINY_SD = SD | dict(block_out_channels=[32, 64, 64, 64], cross_attention_dim=24)
SMALL = dict(block_out_channels=[32, 64], norm_num_groups=16)
SELF = dict(down_block_types=["DownBlock2D", "AttnDownBlock2D"], up_block_types=["AttnUpBlock2D", "UpBlock2D"])
CROSS = dict(
    down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"], up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"]
)
ADM = dict(  # OpenAI's networks in diffusers' clothes: resnets that resample, scale-shift norms, attention heads
    down_block_types=["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    up_block_types=["AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    block_out_channels=[32, 64, 64],
    downsample_type="resnet",
    upsample_type="resnet",
    attention_head_dim=16,
    resnet_time_scale_shift="scale_shift",
)

# name: arch, image sides. Everything that diffusers' two forwards branch on, and that rungs support, is in here.
CASES = {
    "ddpm": (TINY, (16, 16)),
    "ddpm, oblong": (TINY, (8, 24)),
    "labels": (TINY | SMALL | SELF | dict(num_class_embeds=5), (8, 8)),
    "labels as times": (TINY | SMALL | SELF | dict(class_embed_type="timestep"), (8, 8)),
    "labels as embeddings": (TINY | SMALL | SELF | dict(class_embed_type="identity"), (8, 8)),
    "heads": (TINY | SMALL | SELF | dict(attention_head_dim=8, layers_per_block=3, flip_sin_to_cos=True), (8, 8)),
    "adm": (TINY | SMALL | ADM | dict(num_class_embeds=5), (8, 8)),
    "fourier": (TINY | SMALL | SELF | dict(time_embedding_type="fourier", center_input_sample=True), (8, 8)),
    "no mid": (TINY | SMALL | SELF | dict(mid_block_type=None, layers_per_block=1), (8, 8)),
    "old names": (TINY | SMALL | SELF | dict(up_block_types=["UNetResAttnUpBlock2D", "UNetResUpBlock2D"]), (8, 8)),
    "sd": (TINY_SD, (16, 16)),
    "sd, odd": (TINY_SD, (13, 18)),
    "sd, odd everywhere": (TINY_SD, (11, 7)),
    "sd, uneven layers": (TINY_SD | SMALL | CROSS | dict(layers_per_block=[1, 3], attention_head_dim=[2, 4]), (8, 8)),
    "sd, linear": (
        TINY_SD
        | SMALL
        | CROSS
        | dict(use_linear_projection=True, upcast_attention=True, transformer_layers_per_block=[2, 1]),
        (8, 9),
    ),
    "sd, other embeddings": (
        TINY_SD
        | SMALL
        | CROSS
        | dict(time_embedding_type="fourier", time_embedding_act_fn="silu", timestep_post_act="gelu", conv_in_kernel=5),
        (8, 8),
    ),
    "sd, other middle": (
        TINY_SD
        | SMALL
        | CROSS
        | dict(mid_block_type="UNetMidBlock2D", center_input_sample=True, only_cross_attention=True),
        (8, 8),
    ),
    "sd, self-attention": (TINY_SD | SMALL | SELF | dict(mid_block_type=None), (8, 8)),
    "sd, resnets": (
        TINY_SD
        | SMALL
        | dict(
            down_block_types=["ResnetDownsampleBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
            resnet_skip_time_act=True,
            resnet_out_scale_factor=1.4,
        ),
        (8, 8),
    ),
}
cases = pytest.mark.parametrize("case", CASES)
main_cases = pytest.mark.parametrize("case", ["ddpm", "adm", "sd", "sd, odd"])


@cache
def official(case: str):
    """diffusers' own model with weights none of which is trivially zero or one."""
    arch = {word: value for word, value in CASES[case][0].items() if not word.startswith("_")}
    torch.manual_seed(0)
    model = getattr(diffusers, CASES[case][0]["_class_name"])(**arch).eval().requires_grad_(False)
    for weights in model.parameters():
        if weights.dim() == 1 or not weights.any():
            weights += 0.3 * torch.randn_like(weights)
    return model


def inputs(case: str, seed: int = 1):
    """x, c_noise and cond of a call on two images."""
    (arch, sides), generator = CASES[case], torch.Generator().manual_seed(seed)
    x = torch.randn(2, arch["in_channels"], *sides, generator=generator)
    c_noise = torch.tensor([0.7, 3.0]) if arch.get("time_embedding_type") == "fourier" else torch.tensor([3.0, 871.0])
    cond = None
    if arch["_class_name"] == "UNet2DConditionModel":
        cond = torch.randn(2, 5, 24, generator=generator)
    elif arch.get("class_embed_type") == "identity":
        cond = torch.randn(2, 128, generator=generator)
    elif "num_class_embeds" in arch or "class_embed_type" in arch:
        cond = torch.tensor([4, 0])
    return x, c_noise, cond


def concats(model):
    """The decoder's resnets, rung 0 first: each gets the concat of its rung."""
    return [resnet for block in model.up_blocks for resnet in block.resnets][::-1]


def official_output(model, x, c_noise, cond, change=None):
    """diffusers' own forward, and what every concat was made of; change(i, concat) -> what it becomes instead."""
    seen = {}

    def hook(i):
        def look(module, args):
            seen[i] = args[0] if change is None else change(i, args[0])
            return (seen[i], *args[1:])

        return look

    handles = [resnet.register_forward_pre_hook(hook(i)) for i, resnet in enumerate(concats(model))]
    try:
        return model(x, c_noise, cond, return_dict=False)[0], seen
    finally:
        for handle in handles:
            handle.remove()


@cases
def test_the_walk_equals_diffusers_own_forward_bitwise(case):
    model = official(case)
    expected = model(*inputs(case), return_dict=False)[0]
    unet = from_model(model)
    assert expected.std() > 0.05
    assert torch.equal(walk(unet, *inputs(case), ones(unet))[0], expected)
    assert torch.equal(unet(*inputs(case)), expected)


@main_cases
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_so_it_does_in_other_precisions(case, dtype):
    model = copy.deepcopy(official(case)).to(dtype)
    x, c_noise, cond = inputs(case)
    x, cond = x.to(dtype), cond.to(dtype) if cond is not None and cond.is_floating_point() else cond
    expected = model(x, c_noise, cond, return_dict=False)[0]
    assert expected.dtype == dtype
    assert torch.equal(from_model(model)(x, c_noise, cond), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("arch", [TINY, TINY | dict(attention_head_dim=8)])
@pytest.mark.parametrize("units", [False, True])
def test_channels_last_on_a_cpu_takes_other_ways_to_the_same_output(units, arch, dtype, monkeypatch):
    """64 images, for which diffusers' upsamplers copy; attention by plain products in bfloat16 where heads are wide and
    the CPU has no matrix units."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {hf.FLASH_UNITS: units}, raising=False)
    net, x = build("hf", arch).to(dtype), torch.randn(64, 3, 32, 32).to(dtype)
    with torch.inference_mode():
        expected = net.official(x, 500).sample
        turned = laid_out(copy.deepcopy(net), "channels_last")
        found = turned(x, 500)
    limit = 1e-5 if dtype == torch.float32 else 2e-2
    assert apart(found, expected) < limit
    hurried = [not isinstance(part.processor, attention.AttnProcessor2_0) for part in attentions(turned)]
    assert hurried and all(hurried) == any(hurried) == (dtype == torch.bfloat16 and not units)
    assert all(isinstance(part.processor, attention.AttnProcessor2_0) for part in attentions(net))
    graph = torch.compile(turned.__call__, fullgraph=True, dynamic=False, backend="eager")  # no graph break
    with torch.inference_mode():
        assert apart(graph(x, 500), expected) < limit


def apart(one, other) -> float:
    return float((one - other).float().norm() / other.float().norm())


def attentions(net) -> list:
    return [part for part in net.modules() if isinstance(part, attention.Attention)]


def test_a_single_time_serves_the_whole_batch():
    x, _, _ = inputs("ddpm")
    expected = official("ddpm")(x, 42, return_dict=False)[0]
    assert torch.equal(from_model(official("ddpm"))(x, 42), expected)


@main_cases
def test_a_shallow_call_with_its_own_trunk_changes_no_bit_on_any_branch(case):
    unet = from_model(official(case))
    for branch in range(1, unet.rungs + 1):
        full, trunk = walk(unet, *inputs(case), ones(unet), branch)
        kept = trunk.clone()
        shallow, _ = walk(unet, *inputs(case), ones(unet), branch, trunk)
        assert torch.equal(shallow, full) and torch.equal(trunk, kept)


@main_cases
def test_trunk_and_skip_are_what_diffusers_concatenates(case):
    unet, (x, c_noise, cond) = from_model(official(case)), inputs(case)
    _, seen = official_output(official(case), x, c_noise, cond)
    call, h = unet.embed(c_noise, cond), x
    assert len(seen) == unet.rungs
    for i in range(unet.rungs):
        h, skip = unet.down(i, h, call)
        trunk = walk(unet, x, c_noise, cond, ones(unet), branch=i + 1)[1]
        assert torch.equal(torch.cat([trunk, skip], 1), seen[i])


@main_cases
def test_a_cached_trunk_is_diffusers_with_that_operand_replaced(case):
    unet = from_model(official(case))
    for branch in (1, 2, 4, unet.rungs):
        trunk = walk(unet, *inputs(case, seed=1), ones(unet), branch)[1]

        def change(i, concat, at=branch - 1, trunk=trunk):
            return torch.cat([trunk, concat[:, trunk.shape[1] :]], 1) if i == at else concat

        expected, _ = official_output(official(case), *inputs(case, seed=2), change)
        assert torch.equal(walk(unet, *inputs(case, seed=2), ones(unet), branch, trunk)[0], expected)
        assert not torch.equal(expected, unet(*inputs(case, seed=2)))


@main_cases
def test_scales_are_diffusers_with_scaled_skips(case):
    unet, (x, c_noise, cond) = from_model(official(case)), inputs(case)
    scales = torch.linspace(1.1, 0.7, unet.rungs)
    call, h, widths = unet.embed(c_noise, cond), x, []
    for i in range(unet.rungs):
        h, skip = unet.down(i, h, call)
        widths.append(skip.shape[1])

    def change(i, concat):
        trunk, skip = concat.split([concat.shape[1] - widths[i], widths[i]], 1)
        return torch.cat([trunk, skip * scales[i]], 1)

    expected, _ = official_output(official(case), x, c_noise, cond, change)
    assert torch.equal(walk(unet, x, c_noise, cond, scaled(scales))[0], expected)


@pytest.mark.parametrize("case", ["ddpm", "labels", "adm", "sd"])
def test_build_takes_a_config_and_diffusers_own_weights(case):
    state = official(case).state_dict()
    unet = build("hf", CASES[case][0], state)
    assert unet.official.state_dict().keys() == state.keys()
    assert not unet.training and not any(weights.requires_grad for weights in unet.parameters())
    assert torch.equal(unet(*inputs(case)), official(case)(*inputs(case), return_dict=False)[0])


def test_weights_that_do_not_fit_are_refused():
    state = dict(official("ddpm").state_dict())
    del state["mid_block.resnets.0.conv1.weight"]
    with pytest.raises(ValueError, match="missing mid_block.resnets.0.conv1.weight; unexpected none"):
        build("hf", TINY, state)


def test_the_class_has_two_spellings_and_a_default():
    words = {word: value for word, value in TINY.items() if word != "_class_name"}
    assert type(make(words).official) is diffusers.UNet2DModel
    spelt = {word: value for word, value in TINY_SD.items() if word != "_class_name"}
    assert type(make(spelt | {"class_name": "UNet2DConditionModel"}).official) is diffusers.UNet2DConditionModel


@pytest.mark.parametrize(
    "arch, message",
    [
        (TINY | dict(_class_name="UNet3DModel"), "'UNet3DModel' is not one of: UNet2DModel, UNet2DConditionModel"),
        (TINY | dict(depth=3), "arch word 'depth' of UNet2DModel is not one of: act_fn, add_attention, "),
        (TINY | dict(down_block_types=["SkipDownBlock2D"] * 4), "'SkipDownBlock2D' of UNet2DModel is not one of: Attn"),
        (TINY | dict(up_block_types=["KUpBlock2D"] * 4), "up_block_types 'KUpBlock2D' of UNet2DModel is not one of: "),
        (TINY | dict(up_block_types=["CrossAttnUpBlock2D"] * 4), "is not one of: AttnUpBlock2D, ResnetUpsampleBlock2D"),
        (TINY | dict(time_embedding_type="learned"), "'learned' of UNet2DModel is not one of: fourier, positional"),
        (TINY | dict(class_embed_type="projection"), "'projection' of UNet2DModel is not one of: identity, timestep"),
        (TINY_SD | dict(mid_block_type="UNetMidBlock2DSimpleCrossAttn"), "one of: UNetMidBlock2D, .*CrossAttn, null"),
        (TINY_SD | dict(addition_embed_type="text_time"), "addition_embed_type 'text_time' .* is not one of: null"),
        (TINY_SD | dict(num_class_embeds=7), "num_class_embeds '7' of UNet2DConditionModel is not one of: null"),
        (TINY_SD | dict(time_cond_proj_dim=256), "time_cond_proj_dim '256' of UNet2DConditionModel is not one of"),
        (TINY_SD | dict(dual_cross_attention=True), "dual_cross_attention 'True' of .* is not one of: False"),
        (TINY_SD | dict(encoder_hid_dim=64), "encoder_hid_dim '64' of UNet2DConditionModel is not one of: null"),
    ],
)
def test_what_rungs_cannot_run_is_refused_with_the_menu(arch, message):
    with pytest.raises(ValueError, match=message):
        build("hf", arch)


def test_unsupported_models_are_refused_as_objects_too():
    with pytest.raises(ValueError, match="'Linear' is not one of: UNet2DModel"):
        from_model(_with_config(torch.nn.Linear(1, 1)))
    skips = dict(down_block_types=["SkipDownBlock2D"] * 2, up_block_types=["SkipUpBlock2D"] * 2)
    with pytest.raises(ValueError, match="SkipDownBlock2D"):
        from_model(diffusers.UNet2DModel(block_out_channels=[32, 32], **skips))
    freeu = copy.deepcopy(official("sd"))
    freeu.enable_freeu(0.9, 0.2, 1.2, 1.4)
    with pytest.raises(ValueError, match="FreeU"):
        from_model(freeu)
    freeu.disable_freeu()
    from_model(freeu)


def _with_config(module):
    module.config = {}
    return module


@pytest.mark.parametrize("case", ["ddpm", "labels", "sd"])
def test_a_condition_that_is_missing_or_has_no_use_is_refused(case):
    x, c_noise, cond = inputs(case)
    with pytest.raises(ValueError, match=r"^a UNet2D\w*Model .*cond"):
        from_model(official(case))(x, c_noise, None if cond is not None else torch.tensor([0, 1]))


@pytest.mark.parametrize("case, multiple", [("ddpm", 8), ("sd, self-attention", 2)])
def test_sides_that_diffusers_cannot_restore_are_refused_at_the_start(case, multiple):
    x, c_noise, cond = inputs(case)
    with pytest.raises(ValueError, match=rf"image sides \(8, 7\) must be multiples of {multiple}"):
        from_model(official(case))(x[:, :, :8, :7], c_noise, cond)


def test_without_diffusers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fastdiff-bench\[hf\]'"):
        build("hf", TINY)


def test_the_cifar_network_costs_what_deepcache_counts_for_it():
    """DeepCache (Ma et al. 2023), G MACs per call: tables 2 and 12 (CIFAR-10, interval 5, branches 1, 2, 3).

    They count convolutions. The projections q, k, v, out of attention (five times at 16 x 16, once at 4 x 4) are
    convolutions in the network that they ran, and linear layers here.
    """
    projections = 4 * 256**2 * (5 * 16**2 + 4**2)
    with torch.device("meta"):
        assert build("hf", CIFAR).rungs == 12
    full = call_cost("hf", CIFAR, (3, 32, 32))
    assert full.conv_macs == 5_711_331_328
    assert (full.conv_macs + projections) / 1e9 == pytest.approx(6.05, abs=0.005)
    assert full.conv_macs + projections < full.macs
    for branch, printed in (1, 1.60), (2, 2.24), (3, 3.01):
        shallow = call_cost("hf", CIFAR, (3, 32, 32), branch)
        assert (full.conv_macs + projections + 4 * shallow.conv_macs) / 5e9 == pytest.approx(printed, abs=0.01)


def test_stable_diffusion_walks_on_meta_tensors():
    with torch.device("meta"):
        unet = build("hf", SD)
        x, c_noise, text = torch.empty(1, 4, 64, 64), torch.empty(1), torch.empty(1, 77, 768)
        out, trunk = walk(unet, x, c_noise, text, ones(unet), branch=2)
    assert unet.rungs == 12 and out.shape == (1, 4, 64, 64) and trunk.shape == (1, 320, 64, 64)
    assert sum(weights.numel() for weights in unet.parameters()) == 859_520_964  # stable-diffusion-v1-5's parameters


def test_attention_names_of_old_checkpoints_are_read_as_todays():
    """google/ddpm-* keep query, key, value and proj_attn; diffusers renames them when it loads, and so do we."""
    unet = build("hf", TINY)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, tensor in unet.official.state_dict().items():
        for today, before in old.items():
            name = name.replace(f".{today}.", f".{before}.")
        state[name] = tensor
    assert any(".query." in name for name in state) and not any(".to_q." in name for name in state)
    again = build("hf", TINY, state).official.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in unet.official.state_dict().items())
