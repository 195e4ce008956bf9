"""The seam between accelerators, samplers and networks: what a plan says is what runs, and each member acts alone."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from gaussian import S2, Gaussian
from networks import randomised

from fastdiff.accelerators import RUN, Accelerator, DeepCache, SkipTuning, branch_of, joins_of, plan
from fastdiff.bench.cost import calls_of, cost_of
from fastdiff.bench.resources import Resources
from fastdiff.diffusion.noise_levels import Curves
from fastdiff.diffusion.schedules import Schedule
from fastdiff.samplers import DDIM, PLMS, SAMPLERS, Euler, Heun, UniPC
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.unets import Runner, build, walk
from fastdiff.unets.whole import Whole


@dataclass(frozen=True)
class Interval(Accelerator):
    """The cell's guidance for sigma in (low, high], none elsewhere."""

    name: ClassVar[str] = "interval"
    low: float = 0.0
    high: float = math.inf

    def guidance(self, trajectory, call):
        return trajectory.guidance if self.low < trajectory.sigmas[call] <= self.high else 1.0


@dataclass(frozen=True)
class Line(Accelerator):
    """Every second call runs, and the others continue the line through the last two."""

    name: ClassVar[str] = "line"
    branch: int = 1
    on: bool = False

    def sources(self, trajectory):
        found, ran = [], []
        for call in range(len(trajectory.sigmas)):
            if call % 2 == 0 or len(ran) < 2:
                ran.append(call)
                found.append(RUN)
            else:
                old, new = ran[-2:]
                r = (call - new) / (new - old)
                found.append(((old, -r), (new, 1 + r)))
        return found


@dataclass(frozen=True)
class Given(Accelerator):
    """The sources that a test names."""

    name: ClassVar[str] = "given"
    listed: tuple = ()
    branch: int = 1

    def sources(self, trajectory):
        return self.listed


@dataclass(frozen=True)
class Boost(Accelerator):
    """The main operand of the deepest rung times b, down to noise level `until` (in [0, 1])."""

    name: ClassVar[str] = "boost"
    knobs: ClassVar[int] = 1
    b: float = 1.0
    until: float = 0.0

    def joined(self, rungs):
        return (rungs - 1,)

    def factors(self, trajectory, call):
        return [(self.b,)] * trajectory.rungs if trajectory.levels[call] >= self.until else None

    @staticmethod
    def join(h, skip, factor):
        return h * factor[0], skip


@dataclass(frozen=True)
class Shift(Boost):
    """The same operand plus b: it does not commute with `Boost`."""

    name: ClassVar[str] = "shift"
    neutral: ClassVar[tuple[float, ...]] = (0.0,)
    b: float = 0.0

    @staticmethod
    def join(h, skip, factor):
        return h + factor[0], skip


COND, SIGMAS = torch.tensor([0, 1, 2]), [20.0, 10.0, 5.0, 1.0, 0.2]


def start(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- samplers tell which calls they make


class VP(Gaussian):
    """The exact denoiser of N(0, S^2 I) for a VP network of 1000 levels, of which score norms and terms are known."""

    value_range = (-1.0, 1.0)

    def __init__(self):
        super().__init__(levels=Schedule().levels())
        levels = self.noise_levels.levels
        ends = (float(levels[0]), float(levels[-1]))
        eps_ms, recon = levels**2 / (S2 + levels**2), S2 * levels**2 / (S2 + levels**2)
        curves = Curves(tuple(levels.tolist()), *(tuple(each.tolist()) for each in (eps_ms, recon, recon)))
        self.noise_levels = replace(
            self.noise_levels, span=ends, sigma_min=ends[0], sigma_max=ends[1], vp=True, curves=curves
        )


MORE = [
    DDIM(15, "stride", eta=1.0),
    DDIM(100, "quadratic"),
    DDIM(5, "dp", eta=1.0, variance="analytic"),
    DDIM(5, "dp", eta=1.0, variance="large"),
    Heun(6, churn=3.0, churn_max=50.0, sigma_max=100.0),
    Heun(1),
    UniPC(7, order=3),
    PLMS(50, offset=0),
]


@pytest.mark.parametrize("sampler", [*(SAMPLERS.get(name)(5) for name in SAMPLERS.names()), *MORE], ids=str)
def test_call_sigmas_are_the_noise_levels_that_a_sampler_really_calls_in_order(sampler):
    denoiser = VP()
    said = sampler.call_sigmas(denoiser.noise_levels)
    sampler(denoiser, lambda i: start(2, 1, 2, 2, seed=i), cov_x0=[0.1] * len(said))
    assert [sigma for sigma, _ in denoiser.calls] == said
    assert denoiser.begun == (said, sampler.asked)


@pytest.mark.parametrize("sampler", [Heun(9, churn=2.0), Euler(9)], ids=str)
def test_call_sigmas_are_those_that_a_network_rounds_to(sampler):
    denoiser = Gaussian(0.01, 150.0, rounded=lambda sigma: 2.0 ** round(math.log2(sigma)))
    sampler(denoiser, lambda i: start(1, 1, 2, 2, seed=i))
    assert [sigma for sigma, _ in denoiser.calls] == sampler.call_sigmas(denoiser.noise_levels)


def test_a_call_at_another_noise_level_than_was_said_is_refused(denoiser):
    step, x = denoiser.start([5.0, 1.0], COND), torch.zeros(3, 1, 8, 8)
    step(x, 5.0)
    with pytest.raises(RuntimeError, match="call 1 of this trajectory is at sigma 1, not 2"):
        step(x, 2.0)


# --- branch 0 keeps the output


@pytest.mark.parametrize("parameterisation", ["eps", "x0"])
@pytest.mark.parametrize(
    "cache", [DeepCache(4, 0), DeepCache(5, 0, "quadratic"), DeepCache(branch=0, schedule="list", full=(1, 2, 7, 11))]
)
def test_holding_the_output_under_ddim_is_ddim_on_the_thinned_grid(random_unet, make_card, cache, parameterisation):
    random_unet.double()
    card, sampler = make_card(parameterisation=parameterisation), DDIM(16, state_dtype="float64")
    z = start(3, 1, 8, 8)
    calls = []
    random_unet.mids[0].register_forward_hook(lambda *_: calls.append(1))
    held = sampler(Denoiser(random_unet, card, (cache,)), lambda i: z, COND)
    full_calls = cache.full_calls(16)
    assert len(calls) == sum(full_calls) < 16

    class Thinned(DDIM):
        def sigmas(self, noise_levels):
            return [t for t, full in zip(super().sigmas(noise_levels), full_calls) if full] + [0.0]

    thinned = Thinned(16, state_dtype="float64")(Denoiser(random_unet, card), lambda i: z, COND)
    torch.testing.assert_close(held, thinned, rtol=0, atol=1e-12 * float(thinned.abs().max()))


# --- guidance, call by call


def test_a_call_outside_the_interval_is_the_conditional_call_and_costs_one_half(random_unet, make_card, make_cell):
    card, x = make_card(), start(3, 1, 8, 8).float()
    member = Interval(0.5, 6.0)
    guided = Denoiser(random_unet, card, (member,), guidance=3.0).start(SIGMAS, COND)
    conditional = Denoiser(random_unet, card).start(SIGMAS, COND)
    everywhere = Denoiser(random_unet, card, guidance=3.0).start(SIGMAS, COND)
    for t in SIGMAS:
        found, alone, both = (denoise(t * x, t) for denoise in (guided, conditional, everywhere))
        assert torch.equal(found, both if 0.5 < t <= 6.0 else alone) and not torch.equal(both, alone)
    cell = make_cell(sampler=DDIM(9), accelerators=(member,), guidance=3.0)
    inside = sum(0.5 < t <= 6.0 for t in cell.sampler.call_sigmas(card.noise_levels))
    cost = cost_of(cell, Resources(), rungs=6)
    assert 0 < inside < 9 and cost.nfe == cost.full_calls == 9 + inside
    assert cost.macs == (9 + inside) * cost.full_call_macs


def test_under_a_cache_the_first_guided_call_runs_and_leaving_the_interval_reads_the_conditional_half(
    random_unet, make_card
):
    unet, card, x, batches = random_unet.double(), make_card(), start(3, 1, 8, 8), []
    members = (Interval(3.0, 12.0), DeepCache(5, 2))
    calls = plan(members, SIGMAS, card.noise_levels, rungs=6, guidance=3.0)
    assert [call.sources for call in calls] == [RUN, RUN, *[((1, 1.0),)] * 3]
    assert [call.halves for call in calls] == [1, 2, 2, 1, 1]
    conditional, none = (Denoiser(unet, card, (DeepCache(5, 2),)).start(SIGMAS[1:], cond) for cond in (COND, None))
    apart = [[denoise(t * x, t) for t in SIGMAS[1:]] for denoise in (conditional, none)]
    expected = [Denoiser(unet, card).start(SIGMAS[:1], COND)(SIGMAS[0] * x, SIGMAS[0])]
    expected += [n + 3.0 * (c - n) if t > 3 else c for c, n, t in zip(*apart, SIGMAS[1:])]
    unet.mids[0].register_forward_hook(lambda module, args, out: batches.append(len(out)))
    denoise = Denoiser(unet, card, members, guidance=3.0).start(SIGMAS, COND)
    for t, x0 in zip(SIGMAS, expected):
        torch.testing.assert_close(denoise(t * x, t), x0, rtol=1e-12, atol=1e-11 * t)
    assert batches == [3, 6]


def test_compiled_guidance_that_comes_and_goes_takes_four_graphs_and_is_the_eager_one(random_unet, make_card, traced):
    card, x, found = make_card(), start(3, 1, 8, 8).float(), []
    members = (Interval(3.0, 12.0), DeepCache(5, 2))
    for compile in ("none", "default"):
        runner = Runner(random_unet, (), 2, compile)
        with torch.inference_mode():
            denoise = Denoiser(random_unet, card, members, guidance=3.0, runner=runner).start(SIGMAS, COND)
            found.append([denoise(t * x, t) for t in SIGMAS])
    for eager, compiled in zip(*found):
        torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-4)
    assert runner.graphs == 4


def test_two_members_that_set_the_guidance_are_refused(make_card):
    @dataclass(frozen=True)
    class Other(Interval):
        name: ClassVar[str] = "other"

    with pytest.raises(ValueError, match="interval and other both set the guidance of call 0: switch one off"):
        plan((Interval(1.0), Other(2.0)), SIGMAS, make_card().noise_levels, guidance=2.0)


# --- weights on kept tensors


@pytest.mark.parametrize("branch", [0, 1])
def test_a_forecast_through_two_points_reproduces_a_linear_trunk(fake_unet, make_card, branch):
    """The network's only state is x / sqrt(1 + sigma^2), and on a call that does not run it is fed zeros instead."""
    unet, card, sigmas = fake_unet(lambda h, n, cond: h, torch.float64), make_card(classes=0), np.geomspace(50, 0.1, 8)
    a, b = start(2, 3, 1, 8, 8)
    member = Line(branch, on=True)
    denoise = Denoiser(unet, card, (member,)).start(sigmas.tolist())
    for call, (t, planned) in enumerate(zip(sigmas.tolist(), plan((member,), sigmas, card.noise_levels, rungs=1))):
        x = (1 + t**2) ** 0.5 * (a + call * b) if planned.runs else torch.zeros_like(a)
        torch.testing.assert_close(denoise(x, t), x - t * (a + call * b), rtol=1e-12, atol=1e-12 * t)


def test_weights_need_not_sum_to_one(fake_unet, make_card):
    unet, x = fake_unet(lambda h, n, cond: h, torch.float64), start(3, 1, 8, 8)
    member = Given((RUN, RUN, ((0, 0.5), (1, -2.0)), ((1, 0.25),)))
    denoise = Denoiser(unet, make_card(classes=0), (member,)).start([4.0, 3.0, 2.0, 1.0])
    first, second = ((x - denoise(x, t)) / t for t in (4.0, 3.0))
    torch.testing.assert_close((x - denoise(x, 2.0)) / 2.0, 0.5 * first - 2.0 * second)
    torch.testing.assert_close(x - denoise(x, 1.0), 0.25 * second)


def test_two_members_that_keep_tensors_are_refused(random_unet, make_card, make_cell):
    said = "deepcache and line both keep tensors between calls, and a cell has room for one: switch one off"
    with pytest.raises(ValueError, match=said):
        Denoiser(random_unet, make_card(), (DeepCache(2), Line(on=True)))
    with pytest.raises(ValueError, match=said):
        make_cell(accelerators=(DeepCache(2), Line(on=True)))
    make_cell(accelerators=(DeepCache(), Line(on=True)))  # one that is off keeps nothing


@pytest.mark.parametrize(("listed", "said"), [
    ((RUN, ((0, 1.0),), ((1, 1.0),)), "'given': call 2 reads call 1; only an earlier call that runs every rung keeps"),
    ((RUN, ((1, 1.0),), RUN), "'given': call 1 reads call 1; only an earlier call that runs every rung keeps a tensor"),
    ((RUN, ((-1, 1.0),), RUN), "'given': call 1 reads call -1"),
    ((RUN, RUN, ((0, math.nan),)), "'given': call 2 has a weight of nan"),
    ((RUN, RUN), "'given' has sources of 2 calls; the trajectory has 3"),
])  # fmt: skip
def test_sources_that_keep_no_tensor_are_refused(denoiser, listed, said):
    with pytest.raises(ValueError, match=said):
        denoiser.with_accelerators([Given(listed)]).start([3.0, 2.0, 1.0])


# --- joins


def test_a_join_at_identity_changes_no_bit(random_unet, make_card):
    @dataclass(frozen=True)
    class Always(Boost):
        off: ClassVar[bool] = False

    x, card = start(3, 1, 8, 8).float(), make_card()
    plain, dropped, on = (
        Denoiser(random_unet, card, m).start([2.0], COND)(x, 2.0) for m in ((), (Boost(),), (Always(),))
    )
    assert torch.equal(plain, dropped) and torch.equal(plain, on)
    assert not torch.equal(plain, Denoiser(random_unet, card, (Boost(1.3),)).start([2.0], COND)(x, 2.0))


def test_a_join_acts_on_the_first_entry_of_ncsnpps_state():
    arch = dict(model_type="SongUNet", img_resolution=8, img_channels=3, model_channels=16, channel_mult=[1, 2],
                num_blocks=1, attn_resolutions=[], embedding_type="fourier", channel_mult_noise=2,
                encoder_type="residual", decoder_type="skip", resample_filter=[1, 3, 3, 1])  # fmt: skip
    unet = randomised(build("edm", arch))
    x, c_noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.5])
    tuples = []

    class ByHand:
        """The same network, whose decoder scales the main operand of the deepest rung itself."""

        def __getattr__(self, name):
            return getattr(unet, name)

        def up(self, i, h, skip, emb):
            tuples.append(isinstance(h, tuple))
            return unet.up(i, (1.4 * h[0], *h[1:]) if i == unet.rungs - 1 else h, skip, emb)

    run = Runner(unet, joins_of([Boost(1.4)], unet.rungs))
    found = run.full(x, c_noise, None, [torch.full((unet.rungs, 1), 1.4)])[0]
    assert torch.equal(found, walk(ByHand(), x, c_noise, None)[0]) and all(tuples)
    assert not torch.equal(found, walk(unet, x, c_noise, None)[0])


def test_compiled_joins_with_neutral_rows_are_the_eager_ones(random_unet, make_card, traced):
    members = (Boost(1.3, until=0.5), Shift(0.2, until=0.7), SkipTuning(0.8), DeepCache(2, 6))
    card, x, found = make_card(), start(3, 1, 8, 8).float(), []
    for compile in ("none", "default"):
        runner = Runner(random_unet, joins_of(members, 6), branch_of(members), compile)
        with torch.inference_mode():
            denoise = Denoiser(random_unet, card, members, runner=runner).start(SIGMAS, COND)
            found.append([denoise(t * x, t) for t in SIGMAS])
    for eager, compiled in zip(*found):
        torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-5)
    calls = plan(members, SIGMAS, card.noise_levels, rungs=6)
    assert {tuple(rows is None for rows in call.factors) for call in calls} >= {(False,) * 3, (True, True, False)}
    assert runner.graphs == 2


def test_the_order_of_joins_matters_and_is_in_the_key(random_unet, make_card, make_cell):
    x, members = start(3, 1, 8, 8).float(), (Boost(1.3), Shift(0.2))
    one, other = (Denoiser(random_unet, make_card(), m).start([2.0], COND)(x, 2.0) for m in (members, members[::-1]))
    assert not torch.equal(one, other)
    assert make_cell(accelerators=members).key != make_cell(accelerators=members[::-1]).key
    cache = DeepCache(2)  # a member without a join has no place among them
    assert make_cell(accelerators=(*members, cache)).key == make_cell(accelerators=(cache, *members)).key


@pytest.mark.parametrize("compile", ["none", "default"])
def test_the_kept_trunk_is_the_state_before_the_join(random_unet, make_card, traced, compile):
    """A shallow call joins it again: at the level and x of its full call it says the same."""
    members = (Boost(1.3), DeepCache(2, 6))
    runner = Runner(random_unet, joins_of(members, 6), 6, compile)
    x, c_noise = start(3, 1, 8, 8).float(), torch.full((3,), 500.0)
    factors = [torch.full((6, 1), 1.3)]
    with torch.inference_mode():
        out, trunk = runner.full(x, c_noise, COND, factors)
        assert torch.equal(trunk, walk(random_unet, x, c_noise, COND, None, 6)[1])
        assert torch.equal(runner.shallow(x, c_noise, COND, factors, trunk), out)


def test_rows_that_do_not_fit_and_rungs_that_are_not_there_are_refused(make_card):
    class Deeper(Boost):
        def joined(self, rungs):
            return (rungs,)

        def factors(self, trajectory, call):
            return [(1.0, 2.0)] * trajectory.rungs

    with pytest.raises(ValueError, match=r"'boost' joins at rungs \[6\]; this network has 0 .. 5"):
        joins_of([Deeper(1.2)], 6)
    with pytest.raises(ValueError, match="'boost' gives 6 rows of factors; 6 rows of 1 numbers are needed"):
        plan([Deeper(1.2)], SIGMAS, make_card().noise_levels, rungs=6)


def test_a_network_without_rungs_refuses_what_joins_and_takes_what_keeps_its_output(make_card):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64), requires_grad=False)

        def forward(self, x, c_noise, cond):
            return torch.tanh(x) * self.weight

    unet, card, x = Whole(Plain()), make_card(classes=0), start(3, 1, 8, 8)
    held = Denoiser(unet, card, (DeepCache(2, 0),)).start([2.0, 1.0])
    torch.testing.assert_close((x - held(x, 2.0)) / 2.0, x - held(x, 1.0))
    with pytest.raises(ValueError, match="branch is 1, but this network is not cut into rungs: only branch 0"):
        Denoiser(unet, card, (DeepCache(2, 1),))
    with pytest.raises(
        ValueError, match="'skip_tuning' acts where skips are joined, .* not cut into rungs: leave it out"
    ):
        joins_of([SkipTuning(0.8)], unet.rungs)
    with pytest.raises(ValueError, match="'skip_tuning' acts where skips are joined"):
        Denoiser(unet, card, (SkipTuning(0.8),)).start([1.0])


# --- cells


def test_members_at_identity_are_no_part_of_a_cell(make_cell):
    plain = make_cell()
    off = make_cell(accelerators=(SkipTuning(apply="deep"), DeepCache(branch=5), Boost(), Line()))
    assert off.accelerators == () and off == plain and off.key == plain.key
    assert plain.baseline and off.baseline and off.cache is None
    for on in (SkipTuning(0.9), DeepCache(2), Boost(1.1)):
        cell = make_cell(accelerators=(on,))
        assert not cell.baseline and cell.key != plain.key
    assert not make_cell(sampler=DDIM(10, variance="analytic")).baseline


def test_a_member_that_joins_and_keeps_is_planned_before_the_network_is_known(make_cell):
    @dataclass(frozen=True)
    class Both(Line):
        knobs: ClassVar[int] = 1

        def factors(self, trajectory, call):
            return [(0.9,)] * trajectory.rungs

    cell = make_cell(accelerators=(Both(on=True),))
    runs = [call.runs for call in calls_of(cell)]
    assert runs == [call.runs for call in calls_of(cell, rungs=6)] and runs.count(False) == 4


def test_where_skip_tuning_applies_counts_under_a_cache_alone(make_cell):
    def keys(*others):
        return {make_cell(accelerators=(SkipTuning(0.8, apply=a), *others)).key for a in ("all", "deep", "full")}

    assert len(keys()) == len(keys(DeepCache())) == 1
    assert len(keys(DeepCache(2))) == 3
