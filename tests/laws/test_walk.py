"""Rungs: the one walk against straight-line networks written out here."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from networks import ones, scaled
from torch import nn

from fastdiff.accelerators import DeepCache, SkipTuning
from fastdiff.profiling import call_cost
from fastdiff.samplers import DDIM
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.unets import build, walk


def straight(unet, x, c_noise, cond, scales=None, replace=None):
    """The textbook loop over the network's layers: encoder, bottleneck, decoder level by level.

    replace: (i, h): the state entering concat i is thrown away for h. Returns output and the states entering concats.
    """
    half = unet.channels // 2
    rates = torch.exp(torch.arange(half) * (-math.log(10000) / half))
    angles = c_noise.float()[:, None] * rates
    emb = unet.time(torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype)) + unet.label(cond)
    emb = F.silu(emb)

    skips, h = [], x
    for layer in unet.downs:
        h = layer(h) if isinstance(layer, nn.Conv2d) else layer(h, emb)
        skips.append(h)
    for block in unet.mids:
        h = block(h, emb)

    upsamples, entering = list(unet.upsamples.values()), {}
    per_level = len(unet.ups) // (len(upsamples) + 1)
    for i in reversed(range(len(unet.ups))):
        if replace is not None and replace[0] == i:
            h = replace[1]
        entering[i] = h
        skip = skips.pop()
        h = unet.ups[i](torch.cat([h, skip if scales is None else skip * scales[i]], 1), emb)
        if i % per_level == 0 and i:
            h = upsamples.pop(0)(F.interpolate(h, scale_factor=2, mode="nearest"))
    return unet.out(h), entering


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return torch.randn(3, 1, 8, 8), torch.tensor([0.0, 400.0, 999.0]), torch.tensor([0, 2, 3])


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


def test_the_walk_equals_the_straight_line_network_bitwise(random_unet, inputs):
    expected, _ = straight(random_unet, *inputs)
    assert expected.std() > 0.1
    assert torch.equal(walk(random_unet, *inputs, ones(random_unet))[0], expected)
    assert torch.equal(random_unet(*inputs), expected)


def test_no_condition_is_the_label_after_the_last(random_unet, inputs):
    x, c_noise, _ = inputs
    none, last = (walk(random_unet, x, c_noise, cond, ones(random_unet))[0] for cond in (None, torch.full((3,), 3)))
    assert torch.equal(none, last)


def test_asking_for_the_trunk_changes_no_bit_and_it_is_the_state_entering_the_concat(random_unet, inputs):
    expected, entering = straight(random_unet, *inputs)
    for branch in range(1, random_unet.rungs + 1):
        out, trunk = walk(random_unet, *inputs, ones(random_unet), branch)
        assert torch.equal(out, expected)
        assert torch.equal(trunk, entering[branch - 1])


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_identity_plans_change_no_bit_of_an_image(random_unet, make_card, eta):
    noises = torch.randn(6, 4, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    cond, sampler, card = torch.tensor([0, 1, 2, 3]), DDIM(6, eta=eta), make_card()

    # the sampler's arithmetic on the straight-line network: no plan exists here
    sigmas = sampler.sigmas(card.noise_levels)
    x = (1 + sigmas[0] ** 2) ** 0.5 * noises[0]
    for i, (t, s) in enumerate(zip(sigmas, sigmas[1:])):
        n = float(1 + (abs(card.noise_levels.levels - t)).argmin())
        x0 = x - t * straight(random_unet, x / (1 + t**2) ** 0.5, torch.full((4,), n), cond)[0]
        if s:
            lam2 = eta**2 * s**2 * (1 - s**2 / t**2)
            x = x0 + math.sqrt(s**2 - lam2) * ((x - x0) / t)
            x = x + math.sqrt(lam2) * noises[i + 1] if eta else x

    plans = [
        (),
        (SkipTuning(1.0, 1.0), DeepCache(interval=1)),
        (DeepCache(interval=1, branch=4),),
        (DeepCache(interval=1, branch=99),),  # a knob of a method that is off means nothing
    ]
    for plan in plans:
        assert torch.equal(sampler(Denoiser(random_unet, card, plan), lambda i: noises[i], cond), x0), plan


@pytest.mark.parametrize("branch", range(1, 7))
def test_a_shallow_call_is_a_full_call_with_the_trunk_put_in_its_place(random_unet, inputs, branch):
    torch.manual_seed(branch)
    scales, later = 2 * torch.rand(random_unet.rungs), torch.randn(3, 1, 8, 8)
    trunk = walk(random_unet, *inputs, scaled(scales), branch)[1]
    assert torch.equal(trunk, straight(random_unet, *inputs, scales)[1][branch - 1])

    c_noise = torch.tensor([5.0, 300.0, 800.0])
    shallow, kept = walk(random_unet, later, c_noise, inputs[2], scaled(scales), branch, trunk)
    expected, _ = straight(random_unet, later, c_noise, inputs[2], scales, replace=(branch - 1, trunk))
    assert torch.equal(shallow, expected)
    assert kept is trunk
    assert not torch.equal(shallow, straight(random_unet, later, c_noise, inputs[2], scales)[0])


class Watched:
    """A network as it is, with every state entering up(branch - 1) written down: the object and a copy of it."""

    def __init__(self, unet, branch):
        self.unet, self.branch, self.seen, self.visited = unet, branch, [], []

    def __getattr__(self, name):
        return getattr(self.unet, name)

    def down(self, i, h, emb):
        self.visited.append(i)
        return self.unet.down(i, h, emb)

    def up(self, i, h, skip, emb):
        if i == self.branch - 1:
            self.seen.append((h, h.clone()))
        return self.unet.up(i, h, skip, emb)


@pytest.mark.parametrize("branch", [1, 3, 6])
def test_a_trunk_is_the_same_object_with_the_same_bits_after_a_trajectory_of_shallow_calls(
    random_unet, make_card, branch
):
    watched = Watched(random_unet, branch)
    plans = SkipTuning(0.6, 0.9), DeepCache(interval=8, branch=branch)
    noises = torch.randn(8, 2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    DDIM(8, eta=1.0)(Denoiser(watched, make_card(), plans), lambda i: noises[i], torch.tensor([0, 1]))
    assert len(watched.seen) == 8
    trunk, copied = watched.seen[0]
    assert all(h is trunk for h, _ in watched.seen)
    assert torch.equal(trunk, copied)
    # one full call, then only the rungs of the branch
    assert watched.visited == list(range(6)) + 7 * list(range(branch))


def scaled_by_hooks(unet, scales):
    """Def. 3.1 without walk's help: each decoder block's input has its skip half multiplied."""
    for block, skip, scale in zip(unet.ups, skip_channels(unet), scales):

        def hook(module, args, skip=skip, scale=scale):
            x, emb = args
            return torch.cat([x[:, :-skip], x[:, -skip:] * scale], 1), emb

        block.register_forward_pre_hook(hook)
    return unet


def skip_channels(unet) -> list[int]:
    return [layer.out_channels if isinstance(layer, nn.Conv2d) else layer.conv2.out_channels for layer in unet.downs]


def test_scaling_the_skip_half_of_every_concat_by_a_hook_is_what_scales_do(random_unet, inputs):
    scales = torch.linspace(1.1, 0.4, random_unet.rungs)
    by_walk = walk(random_unet, *inputs, scaled(scales))[0]
    by_hooks = straight(scaled_by_hooks(copy.deepcopy(random_unet), scales), *inputs)[0]
    assert torch.equal(by_walk, by_hooks)
    assert relative(by_walk, straight(random_unet, *inputs)[0]) > 0.01


def folded_difference(unet, inputs, scales, eps) -> float:
    """Relative difference between scaled skips and rho folded into the skip columns of the shortcuts' weights."""
    unet, (x, c_noise, cond) = copy.deepcopy(unet).double(), inputs
    for layer in unet.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.eps = eps if eps is not None else layer.eps
    folded = copy.deepcopy(unet)
    for block, skip, scale in zip(folded.ups, skip_channels(unet), scales):
        block.shortcut.weight[:, -skip:] *= scale
    tuned = walk(unet, x.double(), c_noise, cond, scaled(scales.double()))[0]
    return relative(walk(folded, x.double(), c_noise, cond, scaled(torch.ones(unet.rungs).double()))[0], tuned)


def test_rho_folds_into_the_shortcut_weights_up_to_the_eps_of_the_norms(random_unet, inputs, record_property):
    """A group that lies wholly inside a skip forgets its scale, so rho acts through the 1x1 shortcut alone."""
    scales = torch.linspace(1.0, 0.5, random_unet.rungs)
    exact, real = (folded_difference(random_unet, inputs, scales, eps) for eps in (0.0, None))
    record_property("relative difference with the real eps", real)
    print(f"folded rho: relative difference {exact:.1e} with eps 0, {real:.1e} with eps 1e-6")
    assert exact < 1e-9
    # a norm feels rho through eps (1 / rho^2 - 1) / 2 = 1.5e-6 at rho = 0.5 and unit variance; 2e-7 was measured
    assert exact < real < 2e-6


def test_no_norm_group_straddles_a_concat_of_the_default_network():
    unet = build("native", {})
    for block, skip in zip(unet.ups, skip_channels(unet)):
        group = block.norm1.num_channels // block.norm1.num_groups
        assert skip % group == 0
        assert (block.norm1.num_channels - skip) % group == 0


def test_a_network_whose_groups_would_straddle_is_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        build("native", {"channels": 20})


def test_the_default_network_has_nine_rungs_and_its_stated_size_and_price():
    unet = build("native", dict(size=28, channels=24, multipliers=(1, 2, 2)))
    assert unet.rungs == 9
    assert 0.9e6 < sum(weight.numel() for weight in unet.parameters()) < 1.5e6
    full = call_cost("native", dict(size=28, channels=24, multipliers=(1, 2, 2)), (1, 28, 28), labels=True)
    assert 2 * full.macs <= 0.45e9  # FLOP = 2 MACs
