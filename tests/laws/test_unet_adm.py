"""UNetModel in official words: its laws, and parity with diffusers (with official weights: tests/parity)."""

import copy
from itertools import pairwise

import pytest
import torch
from networks import ones, randomised

from fastdiff.profiling import call_cost
from fastdiff.unets import build, walk

SMALL = dict(
    image_size=16,
    num_channels=32,
    num_res_blocks=1,
    channel_mult="1,2",
    learn_sigma=True,
    class_cond=True,
    num_classes=10,
    attention_resolutions="8",
    num_heads=2,
    resblock_updown=True,
    use_scale_shift_norm=True,
)
LDM = dict(
    image_size=16,
    in_channels=3,
    out_channels=3,
    model_channels=32,
    attention_resolutions=[2, 1],
    num_res_blocks=1,
    channel_mult=[1, 2, 3],
    num_heads=2,
    use_spatial_transformer=True,
    transformer_depth=2,
    context_dim=24,
)
ADM256 = dict(  # guided-diffusion's README, 256x256_diffusion.pt
    attention_resolutions="32,16,8",
    class_cond=True,
    image_size=256,
    learn_sigma=True,
    num_channels=256,
    num_head_channels=64,
    num_res_blocks=2,
    resblock_updown=True,
    use_fp16=True,
    use_scale_shift_norm=True,
)
LDM4 = dict(  # configs/latent-diffusion/cin256-v2.yaml
    image_size=64,
    in_channels=3,
    out_channels=3,
    model_channels=192,
    attention_resolutions=[8, 4, 2],
    num_res_blocks=2,
    channel_mult=[1, 2, 3, 5],
    num_heads=1,
    use_spatial_transformer=True,
    transformer_depth=1,
    context_dim=512,
    n_classes=1001,
)


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.fixture(scope="module")
def inputs():
    torch.manual_seed(1)
    return torch.randn(2, 3, 16, 16), torch.tensor([3.0, 977.0])


NETWORKS = {  # arch and a condition of two images
    "labels": (SMALL, torch.tensor([0, 9])),
    "plain": (SMALL | dict(class_cond=False, resblock_updown=False, use_scale_shift_norm=False), None),
    "context": (LDM, torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(2))),
    "labelled context": (LDM | dict(n_classes=4), torch.tensor([0, 2])),
}


@pytest.fixture(scope="module")
def networks():
    return {name: (randomised(build("adm", arch)), cond) for name, (arch, cond) in NETWORKS.items()}


LAYERS = {  # what guided-diffusion and what diffusers calls a layer
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
    "norm": "group_norm",
    "proj_out": "to_out.0",
    "op": "conv",
    "conv": "conv",
}


def lend(unet, other, new_order: bool, width: int):
    """Give a diffusers UNet2DModel our weights, layer by layer; q, k and v, head by head, are cut out of qkv."""
    given = 0

    def copy_layer(ours, theirs):
        nonlocal given
        for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
            its.data.copy_(mine.reshape(its.shape))
            given += its.numel()

    def copy_block(ours, theirs):
        nonlocal given
        for name, its in LAYERS.items():
            found = dict(ours.named_modules()).get(name)
            if found is not None and list(found.parameters()):
                copy_layer(found, theirs.get_submodule(its))
        if hasattr(ours, "qkv"):
            for mine, kind in ((ours.qkv.weight.flatten(1), "weight"), (ours.qkv.bias[:, None], "bias")):
                heads = len(mine) // 3 // width
                qkv = (
                    mine.reshape(3, heads, width, -1)
                    if new_order
                    else mine.reshape(heads, 3, width, -1).transpose(0, 1)
                )
                for part, letter in zip(qkv, "qkv"):
                    its = getattr(getattr(theirs, f"to_{letter}"), kind)
                    its.data.copy_(part.reshape(its.shape))
                    given += its.numel()

    per = other.config.layers_per_block + 1
    copy_layer(unet.time_embed, other.time_embedding)
    copy_layer(unet.input_blocks[0], other.conv_in)
    copy_layer(unet.out, torch.nn.ModuleList([other.conv_norm_out, other.conv_out]))
    if other.class_embedding is not None:
        copy_layer(unet.label_emb, other.class_embedding)
    rungs = [(rung, other.down_blocks[i // per], i % per) for i, rung in enumerate(unet.input_blocks[1:])]
    rungs += [(rung, other.up_blocks[i // per], i % per) for i, rung in enumerate(unet.output_blocks)]
    for rung, block, at in rungs:
        theirs = [
            *block.resnets[at : at + 1],
            *getattr(block, "attentions", ())[at : at + 1],
            *(getattr(block, "downsamplers", None) or [])[: at == per - 1],
            *(getattr(block, "upsamplers", None) or [])[: at == per - 1],
        ]
        for ours, its in zip(rung, theirs, strict=True):
            copy_block(ours, its)
    mid = other.mid_block
    for ours, its in zip(unet.middle_block, (mid.resnets[0], mid.attentions[0], mid.resnets[1])):
        copy_block(ours, its)
    assert given == sum(weight.numel() for weight in other.parameters())


@pytest.mark.parametrize(
    "words, resample",
    [
        (dict(channel_mult="1,2,3", num_res_blocks=2, attention_resolutions="16,4", class_cond=False), "resnet"),
        (
            dict(channel_mult="1,2,1", num_res_blocks=3, attention_resolutions="8", use_new_attention_order=True),
            "resnet",
        ),
        (dict(channel_mult="1,2", resblock_updown=False, use_scale_shift_norm=False, learn_sigma=False), "conv"),
    ],
)
def test_other_depths_agree_with_diffusers(words, resample, inputs):
    diffusers = pytest.importorskip("diffusers")
    arch = SMALL | dict(num_heads=-1, num_head_channels=16) | words
    unet = randomised(build("adm", arch))
    mults = [int(mult) for mult in arch["channel_mult"].split(",")]
    attends = [str(16 >> level) in arch["attention_resolutions"].split(",") for level in range(len(mults))]
    kind = "Resnet{}sampleBlock2D" if resample == "resnet" else "{}Block2D"
    other = diffusers.UNet2DModel(
        sample_size=16,
        out_channels=6 if arch["learn_sigma"] else 3,
        block_out_channels=[32 * mult for mult in mults],
        layers_per_block=arch["num_res_blocks"],
        down_block_types=["AttnDownBlock2D" if attend else kind.format("Down") for attend in attends],
        up_block_types=["AttnUpBlock2D" if attend else kind.format("Up") for attend in attends[::-1]],
        downsample_type=resample,
        upsample_type=resample,
        attention_head_dim=16,
        attn_norm_num_groups=32,
        resnet_time_scale_shift="scale_shift" if arch["use_scale_shift_norm"] else "default",
        num_class_embeds=10 if arch["class_cond"] else None,
    ).eval()
    lend(unet, other, arch.get("use_new_attention_order", False), width=16)
    y = torch.tensor([0, 9]) if arch["class_cond"] else None
    with torch.inference_mode():
        theirs, ours = other(*inputs, y).sample, unet(*inputs, y)
    assert relative(ours, theirs) < 1e-5


@pytest.mark.parametrize(
    "words, heads",
    [
        (dict(num_heads=2), [2, 2, 2]),
        (dict(num_heads=1, n_classes=7), [1, 1, 1]),
        (dict(num_heads=-1, num_head_channels=16, legacy=False, num_heads_upsample=3), [2, 4, 6]),
        (dict(channel_mult=[1, 2], num_res_blocks=2, num_head_channels=8, attention_resolutions=[1, 2]), [4, 8]),
    ],
)
def test_latent_diffusion_agrees_with_diffusers_and_its_own_renaming_of_the_weights(words, heads, inputs):
    diffusers = pytest.importorskip("diffusers")
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    arch = LDM | words
    unet, levels = randomised(build("adm", arch)), len(arch["channel_mult"])
    attends = [2**level in arch["attention_resolutions"] for level in range(levels)]
    other = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        block_out_channels=[32 * mult for mult in arch["channel_mult"]],
        layers_per_block=arch["num_res_blocks"],
        down_block_types=["CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends],
        up_block_types=["CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in attends[::-1]],
        transformer_layers_per_block=arch["transformer_depth"],
        cross_attention_dim=arch["context_dim"],
        attention_head_dim=heads,  # diffusers' name for the number of heads
    ).eval()
    state = unet.state_dict()
    if "n_classes" not in arch:
        state = {f"model.diffusion_model.{name}": tensor for name, tensor in state.items()}
    other.load_state_dict(convert_ldm_unet_checkpoint(state, other.config))
    if "n_classes" in arch:
        cond = torch.tensor([0, 6])
        context = state["cond_stage_model.embedding.weight"][cond][:, None]
    else:
        cond = context = NETWORKS["context"][1]
    with torch.inference_mode():
        theirs, ours = other(*inputs, context).sample, unet(*inputs, cond)
    assert relative(ours, theirs) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_trunk_is_what_the_decoder_block_sees_beside_its_skip(networks, inputs, name):
    unet, cond = networks[name]
    core, seen = getattr(unet, "model", None), []
    core = unet if core is None else core.diffusion_model
    whole = unet(*inputs, cond)
    for branch in range(1, unet.rungs + 1):
        block = core.output_blocks[unet.rungs - branch]
        handle = block.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        out, trunk = walk(unet, *inputs, cond, ones(unet), branch)
        handle.remove()
        assert torch.equal(out, whole)
        assert torch.equal(seen.pop()[:, : trunk.shape[1]], trunk)
        assert torch.equal(walk(unet, *inputs, cond, ones(unet), branch, trunk)[0], whole)


def test_a_label_changes_the_output_and_none_is_the_last_class_of_a_labelled_context(networks, inputs):
    for name in ("labels", "labelled context"):
        unet, cond = networks[name]
        assert relative(unet(*inputs, cond), unet(*inputs, cond.flip(0))) > 0.01
    assert torch.equal(unet(*inputs), unet(*inputs, torch.tensor([3, 3])))


def test_a_labelled_context_is_the_context_of_its_row(networks, inputs):
    unet, cond = networks["labelled context"]
    state = unet.state_dict()
    prefix = "model.diffusion_model."
    assert {name for name in state if not name.startswith(prefix)} == {"cond_stage_model.embedding.weight"}
    bare = build("adm", LDM, {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    context = state["cond_stage_model.embedding.weight"][cond][:, None]
    assert torch.equal(bare(*inputs, context=context), unet(*inputs, cond))
    assert torch.equal(bare(*inputs, context), unet(*inputs, cond))  # latent-diffusion's third argument is the context


def test_the_words_of_create_model_and_of_unet_model_make_the_same_network(networks, inputs):
    unet, y = networks["labels"]
    same = dict(
        image_size=16,
        in_channels=3,
        model_channels=32,
        out_channels=6,
        num_res_blocks=1,
        attention_resolutions=(2,),
        channel_mult=(1, 2),
        num_classes=10,
        num_heads=2,
        resblock_updown=True,
        use_scale_shift_norm=True,
        dropout=0.3,
        use_checkpoint=True,
        use_fp16=True,
    )
    assert torch.equal(build("adm", same, unet.state_dict())(*inputs, y), unet(*inputs, y))


def heads(unet) -> list[list[int]]:
    """Heads of every attention: encoder, bottleneck, decoder."""
    parts = (unet.input_blocks, unet.middle_block, unet.output_blocks)
    return [[layer.heads for layer in part.modules() if hasattr(layer, "heads")] for part in parts]


@pytest.mark.parametrize(
    "words, expected",
    [
        (dict(), [[1, 1], [1], [1, 1, 1, 1]]),
        (dict(num_heads=4), [[4, 4], [4], [4, 4, 4, 4]]),
        (dict(num_heads=4, num_heads_upsample=2), [[4, 4], [4], [2, 2, 2, 2]]),
        (dict(num_heads=4, num_heads_upsample=2, legacy=False), [[4, 4], [4], [4, 4, 4, 4]]),
        (dict(num_heads=4, num_heads_upsample=2, num_head_channels=32), [[1, 3], [3], [3, 3, 1, 1]]),
        (dict(num_heads=3, num_heads_upsample=1, attention_resolutions=[2]), [[3], [3], [1, 1]]),
    ],
)
def test_heads_are_those_of_the_official_constructors(words, expected):
    arch = dict(in_channels=3, model_channels=32, out_channels=3, num_res_blocks=1, attention_resolutions=[1, 2])
    assert heads(build("adm", arch | dict(channel_mult=[1, 3]) | words)) == expected


def test_a_transformer_s_heads_and_their_width_follow_legacy():
    """96 channels by num_head_channels 64: one head, whose width legacy stretches to all channels."""
    arch = LDM | dict(num_heads=-1, num_head_channels=64, channel_mult=[2, 3], attention_resolutions=[2])
    widths = [build("adm", arch | dict(legacy=legacy)).middle_block[1].proj_in.out_channels for legacy in (True, False)]
    assert widths == [96, 64]


@pytest.mark.parametrize(
    "size, mults",
    [
        (512, (0.5, 1, 1, 2, 2, 4, 4)),
        (256, (1, 1, 2, 2, 4, 4)),
        (128, (1, 1, 2, 3, 4)),
        (64, (1, 2, 3, 4)),
        (32, (1, 2, 2, 2)),
    ],
)
def test_create_model_knows_the_multipliers_of_its_image_sizes(size, mults):
    arch = dict(image_size=size, num_channels=64, num_res_blocks=1)
    with torch.device("meta"):
        unet = build("adm", arch)
    widths = [unet.input_blocks[1 + 2 * level][0].out_layers[3].out_channels for level in range(len(mults))]
    assert widths == [int(64 * mult) for mult in mults]
    assert unet.input_blocks[0][0].out_channels == widths[0]


@pytest.mark.parametrize("dtype, close", [(torch.float64, 1e-4), (torch.bfloat16, 0.3)])
@pytest.mark.parametrize("name", ["labels", "context"])
def test_other_precisions_run_in_their_own_dtype_and_stay_close(networks, inputs, name, dtype, close):
    unet, cond = networks[name]
    x, t = inputs
    out = copy.deepcopy(unet).to(dtype)(x.to(dtype), t, cond)
    exact = unet(x, t, cond).double()
    assert out.dtype == dtype
    assert relative(out.double(), exact) < close


@pytest.mark.parametrize(
    "arch, shape, cond, rungs, parameters",
    [
        (ADM256, (3, 256, 256), torch.zeros(1, dtype=torch.int64), 18, 553.8e6),  # Dhariwal & Nichol 2021: 554 million
        (LDM4, (3, 64, 64), None, 12, 401.4e6),  # U-Net 400.9 million (Rombach et al. 2022: 400) and 1001 x 512 labels
    ],
)
def test_the_published_networks_have_their_published_size_and_run_on_meta(arch, shape, cond, rungs, parameters):
    with torch.device("meta"):
        unet = build("adm", arch)
        x, t = torch.empty(1, *shape), torch.empty(1)
        cond = None if cond is None else torch.zeros(1, dtype=torch.int64)
    assert unet.rungs == rungs
    assert sum(weight.numel() for weight in unet.parameters()) == pytest.approx(parameters, rel=1e-3)
    assert unet(x, t, cond).shape[2:] == x.shape[2:]


def test_adm_256_costs_1120_g_and_a_deeper_branch_costs_more():
    """1120 GFLOPs of Dhariwal & Nichol 2021 are multiply-accumulates."""
    assert call_cost("adm", ADM256, (3, 256, 256), labels=True).macs / 1e9 == pytest.approx(1120, rel=1e-3)
    for arch in (SMALL, LDM | dict(n_classes=4)):
        rungs = build("adm", arch).rungs
        costs = [call_cost("adm", arch, (3, 16, 16), branch, labels=True).macs for branch in range(1, rungs + 1)]
        assert all(less < more for less, more in pairwise(costs))


def test_one_word_has_many_spellings(networks, inputs):
    unet, y = networks["labels"]
    nothing = dict.fromkeys(("num_head_channels", "num_heads_upsample", "dropout", "use_fp16", "use_checkpoint"))
    diffusion = dict(diffusion_steps=1000, noise_schedule="linear", timestep_respacing="ddim25", use_kl=False)
    diffusion |= dict(predict_xstart=False, rescale_timesteps=True, rescale_learned_sigmas=False, sigma_small=False)
    for words in (
        nothing,
        diffusion,
        dict(channel_mult=(1, 2), attention_resolutions=8, num_channels=32.0),
        dict(channel_mult="(1, 2)", attention_resolutions=["8"], num_heads=[2]),
    ):
        assert torch.equal(build("adm", SMALL | words, unet.state_dict())(*inputs, y), unet(*inputs, y))
    same = dict(in_channels=3, model_channels=32, out_channels=6, num_res_blocks=1, num_classes=10, num_heads=2)
    same |= dict(resblock_updown=True, use_scale_shift_norm=True, attention_resolutions="2", channel_mult="1,2")
    for words in (nothing, dict(attention_resolutions=2, legacy=None, context_dim=None, num_classes=10.0)):
        assert torch.equal(build("adm", same | words, unet.state_dict())(*inputs, y), unet(*inputs, y))
    for words in (dict(num_classes=0), dict(num_classes=None)):
        assert not hasattr(build("adm", same | words), "label_emb")
    with torch.device("meta"):
        assert build("adm", SMALL | dict(num_classes=None)).label_emb.num_embeddings == 1000
        assert build("adm", SMALL | dict(image_size=32, channel_mult="")).rungs == 8
        assert build("adm", LDM | dict(context_dim=[24], num_classes=None)).arch.context_dim == 24


def test_labels_may_be_floats_of_whole_numbers(networks, inputs):
    for name in ("labels", "labelled context"):
        unet, y = networks[name]
        for dtype in (torch.float64, torch.float32, torch.int32):
            assert torch.equal(unet(*inputs, y.to(dtype)), unet(*inputs, y))
            assert torch.equal(walk(unet, *inputs, y.to(dtype), ones(unet))[0], unet(*inputs, y))


PLAIN = dict(in_channels=3, model_channels=32, out_channels=3, num_res_blocks=1, attention_resolutions=[2])


@pytest.mark.parametrize(
    "arch, sentence",
    [
        (SMALL | dict(num_chanels=1), "'num_chanels' is not one of: attention_resolutions, channel_mult, class_cond"),
        (PLAIN | dict(num_head_chanels=1), "'num_head_chanels' is not one of: attention_resolutions, channel_mult"),
        (SMALL | dict(model_channels=32), "either num_channels .* or model_channels"),
        (dict(image_size=32), "either num_channels .* or model_channels"),
        (dict(num_channels=32), "missing image_size, num_res_blocks; the arguments are"),
        (
            dict(image_size=100, num_channels=32, num_res_blocks=1),
            "image_size 100 is not one of: 32, 64, 128, 256, 512",
        ),
        (PLAIN | dict(dims=3), "dims is 3"),
        (LDM | dict(n_embed=8192), "n_embed is 8192"),
        (PLAIN | dict(num_classes="continuous"), "num_classes is 'continuous'"),
        (PLAIN | dict(num_heads=5), "cannot be split into heads by num_heads 5"),
        (PLAIN | dict(num_head_channels=24), "num_head_channels 24"),
        (PLAIN | dict(num_heads=-1), "give num_heads or num_head_channels"),
        ({word: LDM[word] for word in LDM if word != "num_heads"}, "give num_heads or num_head_channels"),
        (PLAIN | dict(context_dim=8), "need each other"),
        (PLAIN | dict(use_spatial_transformer=True), "need each other"),
        (PLAIN | dict(n_classes=8), "needs use_spatial_transformer"),
        (LDM | dict(num_classes=8), "two different conditions"),
        (SMALL | dict(num_classes=0), "class_cond is on, but num_classes is 0"),
        (SMALL | dict(channel_mult="1;2"), "channel_mult is '1;2'; it must be numbers"),
        (PLAIN | dict(channel_mult=[]), "channel_mult is empty"),
        (LDM | dict(context_dim=[24, 24]), "need each other"),
        (PLAIN | dict(use_kl=False), "'use_kl' is not one of"),
    ],
)
def test_wrong_words_are_refused_with_a_sentence(arch, sentence):
    with pytest.raises(ValueError, match=sentence):
        build("adm", arch)


def test_a_missing_or_useless_condition_is_refused(networks, inputs):
    for name, sentence in (
        ("labels", r"class-conditional and needs cond: int64 labels \(B\), 0 .. 9"),
        ("context", r"needs cond: a context \(B L 24\)"),
    ):
        with pytest.raises(ValueError, match=sentence):
            networks[name][0](*inputs)
    with pytest.raises(ValueError, match="takes no cond"):
        networks["plain"][0](*inputs, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"a context .* got shape \(2,\)"):
        networks["context"][0](*inputs, torch.tensor([0, 1]))


@pytest.mark.parametrize("name, lost", [("labels", "label_emb.weight"), ("context", "out.2.bias")])
def test_a_truncated_state_is_refused(networks, name, lost):
    state = dict(networks[name][0].state_dict())
    state.pop(lost)
    with pytest.raises(ValueError, match=f"missing {lost}"):
        build("adm", NETWORKS[name][0], state)
