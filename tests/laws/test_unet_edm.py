"""EDM's networks: official numbers where there are some, a straight-line loop over the same layers where not."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from networks import ones, scaled

from fastdiff.unets import build, walk
from fastdiff.unets.edm_blocks import Block, Conv, Fourier, Positional, Resample

FIXTURES = Path(__file__).parents[1] / "fixtures"
CASES = sorted(path.stem for path in (FIXTURES / "edm_unet").glob("*.json"))
TUNED = sorted(path.stem for path in (FIXTURES / "skip_tuning").glob("net_*.json"))

TINY = dict(img_resolution=16, img_channels=3, model_channels=8, label_dim=4, num_blocks=2, attn_resolutions=[16, 8])
VARIANTS = {
    f"{encoder}-{decoder}": TINY
    | dict(class_name="SongUNet", channel_mult=[1, 2, 1], encoder_type=encoder, decoder_type=decoder)
    | dict(resample_filter=[1, 3, 3, 1] if encoder == "residual" else [1, 1])
    for encoder in ("standard", "skip", "residual")
    for decoder in ("standard", "skip")
}
VARIANTS["dhariwal"] = TINY | dict(class_name="DhariwalUNet", channel_mult=[2, 1, 3], channels_per_head=8)


def random_net(seed=0, **arch):
    torch.manual_seed(seed)
    return build("edm", arch)


@pytest.fixture(params=sorted(VARIANTS))
def net(request):
    return random_net(**VARIANTS[request.param])


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return torch.randn(2, 3, 16, 16), torch.tensor([-1.0, 0.7]), torch.tensor([2, 4])


def straight(net, x, c_noise, cond, scales=None, replace=None):
    """The forward loop of the paper's networks: all layers in the order of their names, skips on a stack.

    replace: (i, state), the state (x, image so far) entering concat i is thrown away for that one.
    Returns the output and the states entering concats.
    """
    net, image, skips, entering = net.model, x, [], {}
    emb = net.embed(c_noise, cond)
    for name, layer in net.enc.items():
        if name.endswith("aux_down"):
            image = layer(image)
        elif name.endswith("aux_skip"):
            x = skips[-1] = x + layer(image)
        elif name.endswith("aux_residual"):
            image = x = skips[-1] = (x + layer(image)) / math.sqrt(2)
        else:
            x = layer(x) if name.endswith("conv") else layer(x, emb)
            skips.append(x)

    image = None
    for name, layer in net.dec.items():
        if name.endswith("aux_up"):
            image = layer(image)
        elif name.endswith("aux_norm"):
            normed = layer(x)
        elif name.endswith("aux_conv"):
            image = layer(F.silu(normed)) if image is None else layer(F.silu(normed)) + image
        elif "_block" in name:
            i = len(skips) - 1
            if replace is not None and replace[0] == i:
                x, image = replace[1]
            entering[i] = x, image
            skip = skips.pop()
            x = layer(torch.cat([x, skip if scales is None else skip * scales[i]], 1), emb)
        else:
            x = layer(x, emb)
    out = image if image is not None else net.out_conv(F.silu(net.out_norm(x)))
    return out, entering


def equal(state, expected) -> bool:
    """A walked state is x, or (x, image so far) under a skip decoder."""
    x, image = state if isinstance(state, tuple) else (state, None)
    return torch.equal(x, expected[0]) and (image is expected[1] or torch.equal(image, expected[1]))


def relative(a, b):
    return float((a - b).norm() / b.norm())


# --- official numbers


def official(golden, family, case):
    """The fixture's network and tensors, and a judge of outputs by the fixture's own tolerances."""
    tensors, about = golden(family, case)
    weights, config = tensors, dict(about["config"])
    if "weights_from" in about:
        weights, source = golden(*about["weights_from"].split("/"))
        config = source["config"]
    arch = {"precond": config["precond"], "channels_per_head": config["channels_per_head"], **config["kwargs"]}
    state = {name.removeprefix("weights/"): v for name, v in weights.items() if name.startswith("weights/")}
    assert state

    def agrees(name, value):
        name = f"outputs/{name}"
        error = (value - tensors[name]).abs().reshape(len(value), -1).amax(1)
        tight = about.get("tolerance_abs_per_leading_index", {}).get(name)
        print(f"{case} {name}: {error.max():.1e}")
        return value.dtype == torch.float32 and bool(
            (error <= torch.tensor(tight or about["tolerance_abs"][name])).all()
        )

    given = [tensors[f"inputs/{name}"] for name in ("x", "sigma")]
    return build("edm", arch, state), given, tensors.get("inputs/class_labels"), tensors, agrees


@pytest.mark.parametrize("case", TUNED)
def test_scaled_skips_give_the_official_numbers(golden, case):
    net, (x, sigma), labels, tensors, agrees = official(golden, "skip_tuning", case)
    coefficients, pixels = net.preconditioning, sigma[:, None, None, None]
    rho = tensors["inputs/rho"].flip(0)  # stored deepest first
    assert agrees("D_x_rho1", net(x, sigma, labels))
    raw, _ = walk(net, x / coefficients.scale(pixels), coefficients.noise(sigma), labels, scaled(rho))
    assert agrees("D_x_rho", coefficients.skip(pixels) * x + coefficients.out(pixels) * raw)


# --- rungs


def test_the_walk_equals_the_straight_line_loop_bitwise_and_unit_rho_changes_no_bit(net, inputs):
    expected, _ = straight(net, *inputs)
    assert expected.shape == inputs[0].shape
    assert expected.std() > 0.01
    assert torch.equal(walk(net, *inputs, ones(net))[0], expected)


def test_scales_act_on_the_skip_half_of_every_concat(net, inputs):
    scales = torch.linspace(1.1, 0.4, net.rungs)
    tuned = walk(net, *inputs, scaled(scales))[0]
    assert torch.equal(tuned, straight(net, *inputs, scales)[0])
    assert not torch.equal(tuned, straight(net, *inputs)[0])


def test_every_branchs_trunk_is_the_state_entering_its_concat_and_stands_in_for_all_that_is_deeper(net, inputs):
    x, c_noise, cond = inputs
    later, c_later = torch.randn_like(x), c_noise + 0.3
    scales = torch.linspace(0.8, 1.2, net.rungs)
    expected, entering = straight(net, *inputs, scales)
    for branch in range(1, net.rungs + 1):
        out, trunk = walk(net, *inputs, scaled(scales), branch)
        assert torch.equal(out, expected)
        assert equal(trunk, entering[branch - 1])

        shallow, kept = walk(net, later, c_later, cond, scaled(scales), branch, trunk)
        replaced, _ = straight(net, later, c_later, cond, scales, replace=(branch - 1, entering[branch - 1]))
        assert torch.equal(shallow, replaced)
        assert kept is trunk
        assert equal(trunk, entering[branch - 1])  # read, never written to

        again, _ = walk(net, *inputs, scaled(scales), branch, trunk)  # nothing changed: a shallow call is a full call
        assert torch.equal(again, expected)


def test_there_is_one_rung_for_every_concat(net, inputs):
    assert net.rungs == 9 == sum("_block" in name for name in net.model.dec)


def test_nothing_of_a_batch_leaks_into_another_image(net, inputs):
    x, c_noise, cond = (v.double() if v.is_floating_point() else v for v in inputs)
    both = walk(net.double(), x, c_noise, cond, ones(net))[0]
    for n in range(2):
        alone = walk(net, x[n : n + 1], c_noise[n : n + 1], cond[n : n + 1], ones(net))[0]
        torch.testing.assert_close(both[n : n + 1], alone, rtol=0, atol=1e-12)


# --- layers, against formulas written out


def test_resampling_is_zero_insertion_and_filtering():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for taps in ([1, 1], [1, 3, 3, 1], [1, 2, 3, 3, 2, 1]):
        g, reach = torch.tensor(taps, dtype=torch.float64) / sum(taps), len(taps) // 2
        # matrix of the one-dimensional filter: small pixel k lies between large pixels 2k and 2k + 1
        down = torch.zeros(8, 16, dtype=torch.float64)
        for k in range(8):
            for tap in range(len(taps)):
                if 0 <= 2 * k + tap - reach + 1 < 16:
                    down[k, 2 * k + tap - reach + 1] = g[tap]
        up = 2 * down.T
        assert torch.allclose(Resample("up", taps)(x), up @ x @ up.T, rtol=0, atol=1e-6)
        big = torch.randn(2, 3, 16, 16, dtype=torch.float64)
        assert torch.allclose(Resample("down", taps)(big), down @ big @ down.T, rtol=0, atol=1e-6)


def test_the_plain_filter_doubles_pixels_and_averages_fours():
    x = torch.randn(1, 2, 6, 6)
    assert torch.equal(Resample("up", [1, 1])(x), F.interpolate(x, scale_factor=2, mode="nearest"))
    torch.testing.assert_close(Resample("down", [1, 1])(x), F.avg_pool2d(x, 2))


def test_a_fused_convolution_differs_from_an_unfused_one_at_the_border_only():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 16, 16)
    fused = Conv(2, 3, 3, "down", [1, 3, 3, 1], fused=True)
    plain = Conv(2, 3, 3)
    plain.load_state_dict({"weight": fused.weight, "bias": fused.bias})
    apart = (fused(x) - Resample("down", [1, 3, 3, 1])(plain(x))).abs().amax((0, 1))
    assert apart[1:-1, 1:-1].max() < 1e-6 < apart.max()


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_a_softmax_over_pixels_with_channels_laid_out_head_c_3(heads):
    torch.manual_seed(0)
    block = Block(12, 12, 4, heads=heads, resample_proj=False, adaptive=True).double()
    x = torch.randn(2, 12, 4, 4, dtype=torch.float64)
    c, qkv = 12 // heads, block.qkv(block.norm2(x)).flatten(2)
    a = torch.zeros(2, 12, 16, dtype=torch.float64)
    for n in range(2):
        for head in range(heads):
            q, k, v = (qkv[n, 3 * c * head + part : 3 * c * (head + 1) : 3] for part in range(3))
            a[n, c * head : c * (head + 1)] = v @ (q.T @ k / math.sqrt(c)).softmax(1).T
    torch.testing.assert_close(block.attention(x), block.proj(a.reshape(2, 12, 4, 4)))


def test_positional_embeddings_are_waves_from_1_to_a_ten_thousandth():
    c_noise = torch.tensor([0.0, 0.3, 500.0], dtype=torch.float64)
    for endpoint in (True, False):
        emb = Positional(8, endpoint, sin_first=endpoint)(c_noise)
        rates = [10000 ** -(j / (3 if endpoint else 4)) for j in range(4)]
        sin, cos = emb.chunk(2, 1) if endpoint else reversed(emb.chunk(2, 1))
        for j, rate in enumerate(rates):
            torch.testing.assert_close(sin[:, j], (c_noise * rate).sin(), rtol=0, atol=1e-4)  # rates are float32
            torch.testing.assert_close(cos[:, j], (c_noise * rate).cos(), rtol=0, atol=1e-4)


# --- conditions


def test_integer_labels_are_one_hot_rows_and_the_label_after_the_last_is_no_label(net, inputs):
    x, c_noise, _ = inputs
    outs = {}
    for name, cond in {
        "labels": torch.tensor([2, 4]),
        "int32": torch.tensor([2, 4], dtype=torch.int32),
        "floats": torch.tensor([2.0, 4.0], dtype=torch.float64),
        "rows": torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 0]]),
        "all": torch.tensor([4, 4]),
        "none": None,
    }.items():
        outs[name] = walk(net, x, c_noise, cond, ones(net))[0]
    assert torch.equal(outs["labels"], outs["rows"])
    assert torch.equal(outs["labels"], outs["int32"])
    assert torch.equal(outs["labels"], outs["floats"])
    assert torch.equal(outs["all"], outs["none"])
    assert torch.equal(outs["labels"][1], outs["none"][1])
    assert not torch.equal(outs["labels"][0], outs["none"][0])


def test_conditions_of_another_shape_are_refused(net, inputs):
    for cond in (torch.zeros(2, 3), torch.zeros(3), torch.zeros(2, 4, 1)):
        with pytest.raises(ValueError, match=r"not \(B\) integer labels or \(B, 4\) one-hot rows"):
            net.embed(inputs[1], cond)


def test_an_unconditional_network_takes_no_notice_of_labels():
    net = random_net(**VARIANTS["standard-standard"] | dict(label_dim=0))
    c_noise = torch.zeros(2)
    assert torch.equal(net.embed(c_noise, torch.tensor([0, 1])), net.embed(c_noise, None))
    assert not any("map_label" in name for name in net.state_dict())


def test_augmentation_weights_load_and_add_nothing_without_augmentation_labels(inputs):
    for variant in ("residual-standard", "dhariwal"):
        plain = random_net(**VARIANTS[variant])
        augmented = build("edm", VARIANTS[variant] | dict(augment_dim=9))
        state = plain.state_dict() | {"model.map_augment.weight": torch.randn(8, 9)}
        augmented = build("edm", VARIANTS[variant] | dict(augment_dim=9), state)
        assert torch.equal(walk(augmented, *inputs, ones(plain))[0], walk(plain, *inputs, ones(plain))[0])


def test_augmentation_labels_enter_the_embedding_as_officially(inputs):
    """training/networks.py of NVlabs/edm: + map_augment(augment_labels), before the two layers."""
    x, sigma, labels = inputs[0], torch.tensor([0.3, 2.0]), inputs[2]
    for variant in ("residual-standard", "dhariwal"):
        net = random_net(**VARIANTS[variant] | dict(augment_dim=9))
        given, core, c_noise = torch.randn(2, 9), net.model, sigma.log() / 4
        emb, rows = core.map_noise(c_noise), F.one_hot(labels, 5)[:, :4].float()
        if variant == "dhariwal":
            emb = core.map_layer1(F.silu(core.map_layer0(emb + core.map_augment(given)))) + core.map_label(rows)
        else:
            emb = emb + core.map_label(rows * 2) + core.map_augment(given)
            emb = core.map_layer1(F.silu(core.map_layer0(emb)))
        assert torch.equal(core.embed(c_noise, labels, given), F.silu(emb))
        augmented = net(x, sigma, labels, force_fp32=True, augment_labels=given)
        assert relative(augmented, net(x, sigma, labels)) > 1e-4
        assert torch.equal(net(x, sigma, labels, augment_labels=torch.zeros(2, 9)), net(x, sigma, labels))
    with pytest.raises(ValueError, match="augment_dim 0 and takes no augment_labels"):
        random_net(**VARIANTS["dhariwal"])(x, sigma, labels, augment_labels=given)


def test_one_row_of_labels_serves_the_whole_batch_and_three_do_not(net, inputs):
    x, sigma, row = inputs[0], 0.7, torch.tensor([0.0, 0, 1, 0])
    one = net(x, sigma, torch.tensor([2, 2]))
    for rows in (row, row[None], row.expand(2, 4)):
        assert torch.equal(net(x, sigma, rows), one)
    with pytest.raises(ValueError, match=r"cond is \(3, 4\), not .* of 2 images"):
        net(x, sigma, row.expand(3, 4))


# --- denoising


def by_hand(net, name, x, sigma, labels):
    """D(x, sigma) from the straight-line loop and the columns of the paper's Table 1."""

    def raw(fed, c_noise):
        return straight(net, fed, c_noise, labels)[0][:, :3]

    p = sigma[:, None, None, None]
    if name == "edm":
        c_in = 1 / (p**2 + 0.25).sqrt()
        return 0.25 / (p**2 + 0.25) * x + 0.5 * p * c_in * raw(c_in * x, sigma.log() / 4)
    if name == "ve":
        return x + p * raw(x, (sigma / 2).log())
    if name == "vp":
        t = ((0.1**2 + 2 * 19.9 * (1 + sigma**2).log()).sqrt() - 0.1) / 19.9
        return x - p * raw(x / (1 + p**2).sqrt(), 999 * t)
    j = (net.u[None] - sigma[:, None]).abs().argmin(1)
    return x - p * raw(x / (1 + p**2).sqrt(), 999.0 - j)


@pytest.mark.parametrize("network", ["residual-skip", "dhariwal"])
@pytest.mark.parametrize("name", ["edm", "vp", "ve", "iddpm"])
def test_each_wrapper_denoises_by_its_column_of_table_1(name, network, inputs):
    net = random_net(**VARIANTS[network] | dict(preconditioning=name))
    x, _, labels = inputs
    sigma = torch.tensor([0.05, 12.0])
    assert walk(net, *inputs, ones(net))[0].shape[1] == (6 if name == "iddpm" else 3)
    torch.testing.assert_close(net(x, sigma, labels), by_hand(net, name, x, sigma, labels), rtol=1e-5, atol=1e-5)
    # a float, and one number for the whole batch
    one = net(x, torch.tensor([12.0, 12.0]), labels)
    assert torch.equal(net(x, 12.0, labels), one)
    assert torch.equal(net(x, torch.tensor(12.0), labels), one)


def official_edm_sampler(net, latents, labels, num_steps, S_churn=0.0, sigma_min=0.002, sigma_max=80, rho=7):
    """Algorithm 2 of Karras et al. 2022, asking of the network what generate.py of NVlabs/edm asks."""
    sigma_min, sigma_max = max(sigma_min, net.sigma_min), min(sigma_max, net.sigma_max)
    steps = torch.arange(num_steps, dtype=torch.float64)
    lows, highs = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    levels = net.round_sigma((highs + steps / (num_steps - 1) * (lows - highs)) ** rho)
    levels = torch.cat([levels, torch.zeros_like(levels[:1])])
    x = latents.double() * levels[0]
    for i, (t, s) in enumerate(pairwise(levels)):
        t_hat = net.round_sigma(t + min(S_churn / num_steps, 2**0.5 - 1) * t)
        d = (x - net(x, t_hat, labels).double()) / t_hat
        after = x + (s - t_hat) * d
        if i < num_steps - 1:
            after = x + (s - t_hat) * (d + (after - net(after, s, labels).double()) / s) / 2
        x = after
    return x


@pytest.mark.parametrize("name", ["edm", "vp", "ve", "iddpm"])
def test_the_official_sampler_runs_on_each_wrapper(name, inputs):
    net = random_net(**VARIANTS["standard-standard"] | dict(preconditioning=name))
    assert (net.img_resolution, net.img_channels, net.label_dim) == (16, 3, 4)
    low, high = {
        "edm": (0, math.inf),
        "vp": (math.sqrt(math.expm1(1e-6 + 9.95e-10)), math.sqrt(math.expm1(10.05))),
        "ve": (0.02, 100),
        "iddpm": (0.006422337, 20291.172),
    }[name]
    assert (net.sigma_min, net.sigma_max) == (pytest.approx(low, rel=2e-5), pytest.approx(high))
    shape = (net.img_channels, net.img_resolution, net.img_resolution)
    for churn in (0, 2):
        x = official_edm_sampler(net, torch.randn(2, *shape), inputs[2], num_steps=4, S_churn=churn)
        assert x.shape == (2, *shape) and x.isfinite().all()


def test_iddpm_rounds_bit_for_bit_as_the_official_wrapper():
    """iDDPMPrecond.round_sigma of NVlabs/edm: torch.cdist in float32, which now and then takes a level next door."""
    net = random_net(**VARIANTS["dhariwal"] | dict(preconditioning="iddpm"))
    torch.manual_seed(0)
    grid = torch.exp(torch.empty(500, dtype=torch.float64).uniform_(math.log(0.002), math.log(80)))
    index = torch.cdist(grid.float().reshape(1, -1, 1), net.u.reshape(1, -1, 1)).argmin(2).reshape(grid.shape)
    assert torch.equal(net.round_sigma(grid, return_index=True), index)
    assert torch.equal(net.round_sigma(grid), net.u[index].double())
    assert torch.equal(net.round_sigma(grid.reshape(5, 100)), net.u[index].double().reshape(5, 100))
    assert net.round_sigma(grid.float()).dtype == torch.float32
    one = [torch.cdist(sigma.float().reshape(1, 1, 1), net.u.reshape(1, -1, 1)).argmin() for sigma in grid]
    assert [net.preconditioning.nearest(float(sigma)) for sigma in grid] == net.u[torch.stack(one)].tolist()
    assert [net.preconditioning.noise(float(sigma)) for sigma in grid[:50]] == [999 - int(j) for j in one[:50]]


def test_a_noise_free_image_is_its_own_denoised_mean(net, inputs):
    x = inputs[0]
    torch.testing.assert_close(net(x, 1e-7), x, rtol=0, atol=1e-6)


def test_a_float64_network_denoises_in_float64(net, inputs):
    x, _, labels = inputs
    single = net(x, 0.7, labels)
    double = net.double()(x.double(), 0.7, labels)
    assert single.dtype == torch.float32
    assert double.dtype == torch.float64
    torch.testing.assert_close(single, double.float(), rtol=0, atol=2e-5)


def test_a_bfloat16_network_denoises_to_its_precision_and_keeps_its_frequencies(golden):
    for case in CASES:
        net, (x, sigma), labels, tensors, _ = official(golden, "edm_unet", case)
        freqs = net.state_dict().get("model.map_noise.freqs")
        low = net.to(torch.bfloat16)
        raw, _ = walk(low, tensors["outputs/model_input"].bfloat16(), tensors["outputs/c_noise"], labels, ones(net))
        assert raw.dtype == torch.bfloat16
        assert relative(raw.float(), tensors["outputs/F_x"]) < 0.03
        assert low(x, sigma, labels).dtype == torch.float32
        if freqs is not None:
            assert torch.equal(low.model.map_noise.freqs, freqs)


def test_frequencies_follow_a_network_to_float64_and_survive_the_way_back():
    layer = Fourier(8, sin_first=True)
    freqs = layer.freqs.clone()
    assert layer.double().freqs.dtype == torch.float64
    assert torch.equal(layer.half().float().freqs, freqs)


# --- building

CIFAR = dict(img_resolution=32, img_channels=3, augment_dim=9, model_channels=128, channel_mult=[2, 2, 2], dropout=0.13)
NCSNPP = dict(embedding_type="fourier", channel_mult_noise=2, encoder_type="residual", resample_filter=[1, 3, 3, 1])
IMAGENET = dict(class_name="EDMPrecond", model_type="DhariwalUNet", img_resolution=64, img_channels=3, label_dim=1000)


class Watched:
    """A network as it is, with the channels of both halves of every concat written down."""

    def __init__(self, unet):
        self.unet, self.concats = unet, []

    def __getattr__(self, name):
        return getattr(self.unet, name)

    def up(self, i, h, skip, emb):
        self.concats.append((h.shape[1], skip.shape[1]))
        return self.unet.up(i, h, skip, emb)


def on_meta(arch, batch=2):
    """The concats and the number of parameters of a network that is never materialised."""
    with torch.device("meta"):
        net = Watched(build("edm", arch))
        cond = torch.zeros(batch, dtype=torch.int64) if arch.get("label_dim") else None
        x = torch.empty(batch, 3, arch["img_resolution"], arch["img_resolution"])
        out, _ = walk(net, x, torch.empty(batch), cond, ones(net))
        assert out.shape == x.shape
        assert net.unet(x, 1.0, cond).shape == x.shape
    return net.concats, sum(weight.numel() for weight in net.unet.parameters())


def test_the_imagenet_64_network_has_the_sixteen_concats_and_the_size_of_the_papers():
    concats, size = on_meta(IMAGENET)
    expected = 3 * [(768, 768)] + 2 * [(768, 576)] + 2 * [(576, 576)] + 2 * [(576, 384)] + 2 * [(384, 384)]
    assert concats == expected + 2 * [(384, 192)] + 3 * [(192, 192)]
    assert round(size / 1e6) == 296  # "ADM (dropout)" of Karras et al. 2022


def test_the_cifar_10_networks_have_fifteen_concats_and_their_sizes():
    for more, size in (({}, 56), (NCSNPP, 56)):
        concats, found = on_meta(CIFAR | dict(class_name="SongUNet") | more)
        assert concats == 14 * [(256, 256)] + [(256, 128)]
        assert round(found / 1e6) == size


def test_the_constructors_defaults_are_the_official_ones():
    with torch.device("meta"):
        song = build("edm", dict(class_name="SongUNet", img_resolution=32, img_channels=3)).model
        adm = build("edm", dict(class_name="DhariwalUNet", img_resolution=64, img_channels=3)).model
    assert (song.rungs, adm.rungs) == (20, 16)
    assert (song.map_layer0.weight.shape, adm.map_layer0.weight.shape) == ((512, 128), (768, 192))
    attends = {name for part in (song.enc, song.dec) for name, layer in part.items() if getattr(layer, "heads", 0)}
    assert attends == {f"16x16_block{j}" for j in range(5)} | {"4x4_in0"}
    assert sum(getattr(layer, "heads", 0) > 0 for layer in song.dec.values()) == 2
    heads = {name: layer.heads for name, layer in adm.dec.items() if layer.heads}
    assert heads == {
        **{"8x8_in0": 12, **{f"8x8_block{j}": 12 for j in range(4)}},
        **{f"16x16_block{j}": 9 for j in range(4)},
        **{f"32x32_block{j}": 6 for j in range(4)},
    }


def test_fewer_channels_than_one_head_has_mean_no_attention():
    with torch.device("meta"):
        small = build("edm", VARIANTS["dhariwal"] | dict(channels_per_head=None))
        odd = build("edm", VARIANTS["dhariwal"] | dict(channels_per_head=10, channel_mult=[3, 2]))
    assert not any("qkv" in name for name in small.state_dict())
    assert {layer.heads for layer in odd.model.enc.values() if isinstance(layer, Block)} == {0, 1, 2}


@pytest.mark.parametrize(
    "words",
    [
        dict(class_name="SongUNet"),
        dict(class_name="songunet", preconditioning="EDMPrecond"),
        dict(class_name="training.networks.EDMPrecond", model_type="SongUNet", use_fp16=True),
        dict(class_name="EDMPrecond", model_type="SongUNet", precond="edm", channels_per_head=None),
        dict(model_type="SongUNet", sigma_data=0.5, in_channels=3, out_channels=3),
        dict(class_name="SongUNet", channels_per_head=64),
        dict(class_name="SongUNet", channel_mult="1,2,1", attn_resolutions="(16, 8)", resample_filter="[1, 1]"),
        dict(class_name="SongUNet", model_channels=8.0, label_dim=4.0, num_blocks=[2], channel_mult_noise=None),
    ],
)
def test_every_spelling_of_an_arch_names_the_same_network(words):
    arch = {word: value for word, value in VARIANTS["standard-standard"].items() if word != "class_name"}
    with torch.device("meta"):
        net = build("edm", arch | words)
    assert type(net.model).__name__ == "SongUNet"
    assert type(net.preconditioning).__name__ == "EDM"


def test_arguments_may_stand_in_a_dict_of_their_own():
    inner = {word: value for word, value in VARIANTS["standard-standard"].items() if word != "class_name"}
    inner |= dict(model_type="SongUNet", sigma_data=0.7)
    for arch in (
        {"class_name": "training.networks.EDMPrecond", "init_kwargs": inner},
        {"precond": "EDMPrecond", "kwargs": inner, "channels_per_head": None, "num_heads": "1 (hard-coded)"},
        {"precond": "EDMPrecond", "kwargs": inner, "label_dim": 4},
    ):
        with torch.device("meta"):
            net = build("edm", arch)
        assert type(net.model).__name__ == "SongUNet"
        assert (net.label_dim, net.preconditioning.sigma_data) == (4, 0.7)
    with pytest.raises(ValueError, match="label_dim is 5, and 4 in kwargs: keep one"):
        build("edm", {"kwargs": inner, "label_dim": 5})


def test_one_number_is_one_resolution_of_attention():
    with torch.device("meta"):
        found = [build("edm", VARIANTS["dhariwal"] | dict(attn_resolutions=given)) for given in (8, "8", (8.0,))]
    assert len({tuple(net.state_dict()) for net in found}) == 1


def test_a_wrapper_without_a_named_network_has_its_official_one():
    defaults = {"edm": "DhariwalUNet", "vp": "SongUNet", "ve": "SongUNet", "iddpm": "DhariwalUNet"}
    for name, network in defaults.items():
        with torch.device("meta"):
            net = build("edm", dict(TINY, preconditioning=name, channel_mult=[1]))
        assert type(net.model).__name__ == network
        assert ("u" in net.state_dict()) == (name == "iddpm")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (dict(class_name="UNet"), "class_name 'UNet' is not one of: SongUNet, DhariwalUNet, EDMPrecond, VPPrecond"),
        (dict(model_type="VPPrecond"), "model_type 'VPPrecond' is not one of: SongUNet, DhariwalUNet"),
        (dict(model_type="DhariwalUNet"), "two networks, DhariwalUNet and SongUNet"),
        (dict(preconditioning="SongUNet"), "preconditioning 'SongUNet' is not one of: EDMPrecond, VPPrecond"),
        (dict(preconditioning="vp", precond="ve"), "two preconditionings, VEPrecond and VPPrecond"),
        (dict(embedding_type="rotary"), "embedding_type 'rotary' is not one of: fourier, positional"),
        (dict(encoder_type="dense"), "encoder_type 'dense' is not one of: residual, skip, standard"),
        (dict(decoder_type="residual"), "decoder_type 'residual' is not one of: skip, standard"),
        (dict(channels_per_head=32), "'channels_per_head' of SongUNet is not one of: attn_resolutions, augment_dim"),
        (dict(beta_d=19.9), "'beta_d' of SongUNet is not one of"),
        (dict(img_channels=None), "lacks img_channels"),
        (dict(img_resolution=None), "lacks img_resolution"),
        (dict(in_channels=1), "in_channels is 1; with images of 3 channels it is 3"),
        (dict(precond="iddpm", out_channels=3), "out_channels is 3; with images of 3 channels it is 6"),
        (dict(img_resolution=18), "img_resolution 18 cannot be halved 2 times"),
        (dict(resample_filter=[1, 2, 1]), "resample_filter has 3 taps"),
    ],
)
def test_words_that_make_no_network_are_refused_in_one_sentence(changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        build("edm", VARIANTS["standard-standard"] | changed)


def test_a_state_that_does_not_fit_is_refused():
    arch = VARIANTS["residual-standard"] | dict(embedding_type="fourier", precond="iddpm")
    state = random_net(**arch).state_dict()
    build("edm", arch, state)
    for name in ("model.map_noise.freqs", "model.enc.8x8_aux_residual.resample_filter", "u"):
        with pytest.raises(ValueError, match=f"missing {name}"):
            build("edm", arch, {key: v for key, v in state.items() if key != name})
    bare = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    with pytest.raises(ValueError, match="this network's keys start with 'model.', as the official ones do"):
        build("edm", arch, bare)
    with pytest.raises(ValueError, match="the weights' keys start with 'ema.', which this network's do not"):
        build("edm", arch, {f"ema.{name}": tensor for name, tensor in state.items()})
    for wrong, sentence in (
        ([state], "the state is a list; it must be a mapping of names to tensors"),
        ({name: tensor.numpy() for name, tensor in state.items()}, "to tensors; its '[^']*' is a ndarray$"),
    ):
        with pytest.raises(ValueError, match=sentence):
            build("edm", arch, wrong)
    with pytest.raises(ValueError, match="unexpected model.extra"):
        build("edm", arch, state | {"model.extra": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"u is \(11,\), not \(1001,\)"):
        build("edm", arch, state | {"u": torch.zeros(11)})
