"""Two estimators of what x leaves unknown of eps, and the norms of shallow calls, against what is exactly true.

For data of second moment S2 the best linear denoiser is eps = t / (S2 + t^2) x; with it eps_ms = t^2 / (S2 + t^2) and
mse = S2 / (S2 + t^2), whatever else the data is.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from fastdiff.accelerators import DeepCache, SkipTuning
from fastdiff.analytic import Joint, Norm, ScoreNorms, covariances, estimate, estimate_joint, grid, interpolated, joints
from fastdiff.bench.cell import key
from fastdiff.bench.cost import calls_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.score_norms import (
    Estimator,
    joint_identity,
    norms_identity,
    norms_note,
    placed,
    score_covariances,
    score_norms,
)
from fastdiff.data import Images
from fastdiff.diffusion.schedules import Schedule
from fastdiff.files import read_json, write_json
from fastdiff.samplers import DDIM
from fastdiff.sampling.denoiser import Denoiser

LEVELS = Schedule().levels()
SOME = [float(LEVELS[n - 1]) for n in (1, 50, 200, 500, 1000)]


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).normal(127.5, 40, (2048, 1, 8, 8)).round().clip(0, 255)
    return Images(pixels.astype(np.uint8), np.zeros(2048, np.int64))


@pytest.fixture(scope="module")
def S2(images):
    return float(((images.pixels / 255 * 2 - 1) ** 2).mean())


@pytest.fixture
def linear(fake_unet, make_card, S2):
    """linear(bias) -> the best linear denoiser, its eps off by a constant."""

    def make(bias=0.0):
        def eps(x_vp, n, cond):
            t = torch.from_numpy(LEVELS)[n.long() - 1].reshape(-1, 1, 1, 1).float()
            return t / (S2 + t**2) * x_vp * (1 + t**2).sqrt() + bias

        return Denoiser(fake_unet(eps), make_card())

    return make


def test_both_estimators_agree_with_their_closed_forms_within_four_standard_errors(linear, images, S2):
    for t, norm in estimate(linear(), images, SOME, ScoreNorms(images=512), batch=128).items():
        assert abs(norm.eps_ms - t**2 / (S2 + t**2)) < 4 * norm.se
        assert abs(norm.mse - S2 / (S2 + t**2)) < 4 * norm.mse_se
        assert abs(norm.eps_ms + norm.mse - 1) < 4 * (norm.se + norm.mse_se)
        assert norm.mse_se > 0 < norm.se


def test_mse_is_the_surer_of_the_two_where_there_is_much_noise(linear, images):
    norm = estimate(linear(), images, SOME[-1:], ScoreNorms(images=512), batch=128)[SOME[-1]]
    assert norm.mse_se < norm.se / 100  # 1 - eps_ms is a small difference of large numbers there


def test_an_error_of_the_network_moves_the_two_in_opposite_directions_by_its_own_square(linear, images):
    exact, off = (estimate(linear(bias), images, SOME, ScoreNorms(images=512), batch=128) for bias in (0.0, 0.3))
    for t in SOME:
        lower, higher = (exact[t].left(name) - off[t].left(name) for name in ("eps_ms", "mse"))
        assert lower == pytest.approx(0.09, abs=0.02) and higher == pytest.approx(-0.09, abs=0.02)


@pytest.mark.parametrize("clip", ["none", "x0", "x0_and_eps"])
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_mse_is_the_second_moment_of_what_each_sampler_s_own_step_is_off_by(linear, images, clip, eta):
    """KL-optimal for the mean at hand, of a network so far off that clips bind: x_s is drawn, the step is taken."""
    denoiser, sigmas = linear(0.8), [float(LEVELS[n - 1]) for n in (500, 400)] + [0.0]
    norms = estimate(denoiser, images, sigmas[:-1], ScoreNorms(images=2048), batch=512)
    cov_x0 = covariances(norms, sigmas, None, "mse", denoiser.cov_max, clip, eta)
    sampler = DDIM(2, eta=eta, variance="analytic", clip=clip)
    (keep, var), _ = sampler.coefficients(sigmas, cov_x0, vp=True)
    torch.manual_seed(0)
    x0 = torch.from_numpy(images.pixels).float() / 255 * 2 - 1
    t, s = sigmas[:2]
    eps, z = torch.randn_like(x0), torch.randn_like(x0)
    x = x0 + t * eps
    x_s = x0 + keep * eps + eta * s * math.sqrt(1 - s**2 / t**2) * z
    raw = denoiser.start([t])(x, t)
    clipped = raw if clip == "none" else raw.clamp(-1, 1)
    mean = clipped + keep * (x - (clipped if clip == "x0_and_eps" else raw)) / t
    assert float((x_s - mean).square().mean()) == pytest.approx(var, rel=0.01)


@pytest.mark.parametrize("clip", ["none", "x0", "x0_and_eps"])
def test_a_step_from_a_level_to_itself_adds_no_variance_under_mse(clip):
    norms = {2.0: Norm(0.9, 0.0, 0.4, 0.0, 0.3, 0.0, 0.2, 0.0)}
    sampler = DDIM(2, eta=0.0, variance="analytic", clip=clip)
    cov_x0 = covariances(norms, [2.0, 2.0, 0.0], None, "mse", 1.0, clip, 0.0)
    assert sampler.coefficients([2.0, 2.0, 0.0], cov_x0, vp=True)[0] == (2.0, 0.0)


def test_mse_is_bounded_by_nothing_and_needs_norms_that_know_the_clipped_x0():
    sigmas, whole = [2.0, 0.5, 0.0], {t: Norm(0.9, 0.0, 0.4, 0.0, 0.3, 0.0, 0.2, 0.0) for t in (2.0, 0.5)}
    assert covariances(whole, sigmas, None, "mse", 0.5) == pytest.approx([1.6, 0.1])
    assert covariances(whole, sigmas, None, "mse", 0.5, "x0_and_eps", 1.0) == pytest.approx([1.2, 0.075])
    for older in (Norm(0.9, 0.0), Norm(0.9, 0.0, 0.4, 0.0)):
        with pytest.raises(ValueError, match="no score norm for 1 of 2 noise levels"):
            covariances(whole | {0.5: older}, sigmas, None, "mse", 1.0)


# --- shallow calls: the joint law of x_t and x_full ---


def chain(sigmas, eta):
    """Covariance of (u_0, u_1, ...), u = x_t - x0 per pixel, of q step by step: u_s = keep / t u_t + sqrt(lam2) z."""
    rows = np.zeros((len(sigmas), len(sigmas)))
    rows[0, 0] = sigmas[0]  # u_i as a combination of independent normals
    for i, (t, s) in enumerate(zip(sigmas, sigmas[1:])):
        lam2 = eta**2 * s**2 * (1 - s**2 / t**2)
        rows[i + 1] = math.sqrt(s**2 - lam2) / t * rows[i]
        rows[i + 1, i + 1] = math.sqrt(lam2)
    return rows @ rows.T


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.8, 1.0])
def test_the_joint_law_is_that_of_the_forward_process_step_after_step(eta):
    sigmas = [80.0, 20.0, 9.0, 3.0, 1.0, 0.2]
    covariance = chain(sigmas, eta)
    np.testing.assert_allclose(np.diag(covariance), np.square(sigmas), rtol=1e-12)  # marginals do not depend on eta
    calls = joints(sigmas, [True, False, False, True, False, False], eta)
    assert calls[0] is None and calls[3] is None
    for i, full in ((1, 0), (2, 0), (4, 3), (5, 3)):
        t, t_full, r = calls[i]
        assert (t, t_full) == (sigmas[i], sigmas[full])
        assert r == pytest.approx(covariance[i, full] / (t * t_full), rel=1e-12)
        if eta in (0, 1):
            assert r == pytest.approx(1 if eta == 0 else t / t_full, rel=1e-12)


def test_under_ddpm_x_full_is_x_t_and_fresh_noise_in_either_form():
    t, t_full, r = joints([9.0, 3.0, 1.0], [True, False, False], 1.0)[2]
    # x0 + t_full (r eps + sqrt(1 - r^2) z) = x_t + sqrt(t_full^2 - t^2) z
    assert t_full * r == pytest.approx(t) and t_full**2 * (1 - r**2) == pytest.approx(t_full**2 - t**2)
    # VP form, alpha = alpha_bar_full / alpha_bar_t: x_full = sqrt(alpha) x_t + sqrt(1 - alpha) z
    alpha = (1 + t**2) / (1 + t_full**2)
    assert t_full**2 * (1 - r**2) / (1 + t_full**2) == pytest.approx(1 - alpha)


@pytest.mark.parametrize("r", [0.0, 0.4, 1.0])
def test_the_statistics_of_a_shallow_call_are_of_x_t_and_x_full_together(fake_unet, make_card, images, S2, r):
    """A one-rung network on its trunk alone, a x_full: E ||z - a x_full||^2 and E ||a x_full||^2 in closed form."""
    t, t_full, a = 2.0, 7.0, 0.8
    denoiser = Denoiser(fake_unet(lambda x, n, cond: a * x), make_card(), (DeepCache(3, 1),))
    norm = estimate_joint(denoiser, images, [Joint(t, t_full, r)], ScoreNorms(images=2048), 512)[Joint(t, t_full, r)]
    a = a / math.sqrt(1 + t_full**2)
    assert abs(norm.eps_ms - a**2 * (S2 + t_full**2)) < 4 * norm.se
    assert abs(norm.mse - (1 - 2 * a * r * t_full + a**2 * (S2 + t_full**2))) < 4 * norm.mse_se


def test_a_shallow_call_at_the_level_of_its_full_call_has_the_norm_of_the_uncached_network(
    random_unet, make_card, images
):
    tuned = Denoiser(random_unet, make_card(), (SkipTuning(0.6), DeepCache(2, 2)))
    knobs = ScoreNorms(images=32)
    for t in (0.5, 5.0):
        joint = estimate_joint(tuned, images, [Joint(t, t, 1.0)], knobs, 16)
        assert joint[Joint(t, t, 1.0)] == estimate(tuned, images, [t], knobs, 16)[t]  # to the last bit
        apart = Joint(t, 2 * t, 1.0)
        assert abs(estimate_joint(tuned, images, [apart], knobs, 16)[apart].mse - joint[Joint(t, t, 1.0)].mse) > 1e-4


def test_factors_of_skips_are_those_of_a_shallow_call_in_a_trajectory(random_unet, make_card, images):
    def mse(apply):
        denoiser = Denoiser(random_unet, make_card(), (SkipTuning(0.6, 0.8, apply=apply), DeepCache(2, 2)))
        return estimate_joint(denoiser, images, [Joint(1.0, 2.0, 1.0)], ScoreNorms(images=16), 16)[1.0, 2.0, 1.0].mse

    # `full` and `deep` differ in the outer skips of full calls alone, which a shallow call does not see
    assert mse("all") != mse("full") == mse("deep")


# --- a cell's norms in its ledger ---


@pytest.fixture
def cell(make_cell):
    return make_cell(sampler=DDIM(6, eta=1.0, variance="analytic"), score_norms=ScoreNorms(images=16))


def known(denoiser, images):
    """The noise levels of a denoiser, and what its norms are estimated with."""
    return denoiser.noise_levels, Estimator(denoiser, images)


def changed(cell, **knobs):
    own = {f.name for f in dataclasses.fields(ScoreNorms)} & set(knobs)
    norms = dataclasses.replace(cell.score_norms, **{name: knobs.pop(name) for name in own})
    return dataclasses.replace(cell, score_norms=norms, **knobs)


def test_without_caching_joint_norms_are_base_norms_and_alter_no_key(cell, denoiser, images, tmp_path):
    joint = changed(cell, cached="joint")
    assert joint.key == cell.key
    one, other = (score_covariances(c, Ledger(tmp_path), *known(denoiser, images)) for c in (cell, joint))
    assert one == other


@pytest.mark.parametrize("estimator", ["eps_ms", "mse"])
def test_joint_norms_are_of_shallow_calls_alone_and_are_kept(cell, random_unet, make_card, images, tmp_path, estimator):
    plan, ledger = DeepCache(3, 2), Ledger(tmp_path)
    denoiser = Denoiser(random_unet, make_card(), (plan,))
    base, joint = (changed(cell, accelerators=(plan,), cached=c, estimator=estimator) for c in ("base", "joint"))
    assert base.key != joint.key
    assert norms_identity(base) == norms_identity(joint) == norms_identity(cell)
    found = [score_covariances(c, ledger, *known(denoiser, images)) for c in (base, joint)]
    differ = [a != b for a, b in zip(*found)]
    full = plan.full_calls(6)
    assert not any(d for d, f in zip(differ, full) if f) and any(d for d, f in zip(differ, full) if not f)
    stored = read_json(ledger.path("norms", key(joint_identity(joint))))
    assert len(stored["eps_ms"]) == len(stored["mse"]) == 4
    assert key(stored["identity"]) == key(joint_identity(joint))
    calls = []
    random_unet.register_forward_pre_hook(lambda *_: calls.append(1))
    assert (
        score_covariances(joint, ledger, *known(denoiser, images[:2])) == found[1]
    )  # 2 images would not do: nothing is run


def test_the_key_of_joint_norms_says_which_shallow_calls_they_are_of(cell):
    base = changed(cell, accelerators=(DeepCache(3, 2),), cached="joint")
    changes = [
        {"accelerators": (DeepCache(3, 1),)},
        {"sampler": DDIM(6, eta=0.5, variance="analytic")},
        {"accelerators": (SkipTuning(0.9), DeepCache(3, 2))},
        {"accelerators": (SkipTuning(0.9, apply="deep"), DeepCache(3, 2))},
        {"images": 17},
    ]
    keys = {key(joint_identity(changed(base, **change))) for change in changes}
    assert len(keys | {key(joint_identity(base))}) == len(changes) + 1
    # which calls are full, and how many there are, is in the store: entry by entry
    same = [
        {"accelerators": (DeepCache(2, 2),)},
        {"sampler": DDIM(9, eta=1.0, variance="analytic")},
        {"estimator": "mse"},
    ]
    assert {key(joint_identity(changed(base, **change))) for change in same} == {key(joint_identity(base))}


def test_a_store_that_knows_eps_ms_alone_is_read_until_mse_is_asked_for(cell, denoiser, images, tmp_path):
    ledger, sigmas = Ledger(tmp_path), [1.0, 2.0]
    path = ledger.path("norms", key(norms_identity(cell)))
    write_json(path, {"identity": norms_identity(cell), "eps_ms": [[1.0, 0.123, 0.01], [2.0, 0.456, 0.02]]})
    assert score_norms(cell, ledger, *known(denoiser, images), sigmas) == {
        1.0: Norm(0.123, 0.01),
        2.0: Norm(0.456, 0.02),
    }
    found = score_norms(changed(cell, estimator="mse"), ledger, *known(denoiser, images), sigmas)
    assert all(found[t].mse > 0 and found[t].eps_ms != old for t, old in ((1.0, 0.123), (2.0, 0.456)))
    assert score_norms(cell, ledger, *known(denoiser, images[:2]), sigmas) == found


def test_both_estimators_come_from_one_pass(cell, random_unet, make_card, images, tmp_path):
    ledger, denoiser = Ledger(tmp_path), Denoiser(random_unet, make_card())
    one = score_covariances(cell, ledger, *known(denoiser, images))
    other = score_covariances(
        changed(cell, estimator="mse"), ledger, *known(denoiser, images[:2])
    )  # too few to estimate from
    assert one != other and len(list((tmp_path / "norms").glob("*.json"))) == 1


def test_a_record_says_which_norms_its_variance_came_from(cell):
    assert norms_note(cell) == {"estimator": "eps_ms", "images": 16, "seed": 0, "accelerators": [], "cache": "none"}
    joint = norms_note(changed(cell, accelerators=(DeepCache(3, 2),), cached="joint", estimator="mse"))
    assert joint["estimator"] == "mse" and joint["cache"] == "joint norms of the cached network on its shallow calls"
    assert "guided network" in norms_note(dataclasses.replace(cell, guidance=2.0))["warning"]
    plain = dataclasses.replace(cell, sampler=DDIM(6, eta=1.0))
    assert norms_note(plain) is None
    dp = norms_note(dataclasses.replace(plain, sampler=DDIM(6, "dp", eta=1.0)))
    assert dp["estimator"] == "terms of the bound" and dp["levels"] == 64


# --- the curve that optimal trajectories are placed by ---


def test_the_curve_is_exact_where_norms_are_known_and_linear_in_log_sigma_between(make_card):
    levels, known = grid(make_card().noise_levels, 64)
    assert levels is not known and len(levels) == 1000 and 40 < len(known) <= 67
    assert set(known) <= set(levels) and {levels[0], levels[1], levels[-1]} <= set(known)
    values = 3 + 2 * np.log(known)
    np.testing.assert_allclose(interpolated(levels, known, values), 3 + 2 * np.log(levels), rtol=1e-12)
    exact = np.random.default_rng(0).random(len(known))
    curve = dict(zip(levels, interpolated(levels, known, exact)))
    assert [curve[t] for t in known] == exact.tolist()
    levels, known = grid(make_card().noise_levels, 1000)
    assert np.array_equal(levels, known)


def test_the_curve_of_a_gaussian_from_64_levels_is_right_to_two_thousandths(make_card, S2):
    levels, known = grid(make_card().noise_levels, 64)
    curve = interpolated(levels, known, known**2 / (S2 + known**2))
    assert np.abs(np.array(curve) - levels**2 / (S2 + levels**2)).max() < 2e-3


def test_a_placed_denoiser_walks_an_optimal_trajectory_whatever_is_known(
    cell, random_unet, make_card, images, tmp_path
):
    ledger, denoiser = Ledger(tmp_path), Denoiser(random_unet, make_card())
    with pytest.raises(ValueError, match="spacing 'dp' places steps by eps_ms at every level"):
        DDIM(5, "dp", eta=1.0, variance="analytic").sigmas(denoiser.noise_levels)
    levels, estimator = known(denoiser, images)
    assert placed(cell, ledger, levels, estimator) is levels
    for variance, spacing in (("analytic", "dp"), ("analytic", "dp_plain"), ("small", "dp"), ("large", "dp")):
        dp = dataclasses.replace(cell, sampler=DDIM(5, spacing, eta=1.0, variance=variance))
        dp = changed(dp, levels=12, estimator="mse")  # norms of a random network are above 1; its mse never is
        curves = placed(dp, ledger, levels, estimator)
        sigmas = dp.sampler.sigmas(curves)
        assert len(sigmas) == 6 == len(calls_of(dp)) + 1 and sigmas[-1] == 0
        assert sigmas[0] == LEVELS[-1] and set(sigmas[:-1]) <= set(LEVELS)
        assert all(t > s for t, s in itertools.pairwise(sigmas))
        assert (score_covariances(dp, ledger, curves, estimator) is None) == (variance != "analytic")


def test_a_network_without_training_levels_has_norms_shallow_norms_and_optimal_trajectories_too(
    cell, random_unet, make_card, images, tmp_path
):
    card = make_card(parameterisation="edm", arch={"preconditioning": "EDMPrecond"})
    denoiser = Denoiser(random_unet, card, (DeepCache(2, 2),))
    sampler = DDIM(5, "dp", eta=1.0, variance="analytic")
    edm = changed(
        cell, model=card, sampler=sampler, accelerators=(DeepCache(2, 2),), cached="joint", estimator="mse", levels=9
    )
    ledger = Ledger(tmp_path)
    levels = placed(edm, ledger, *known(denoiser, images))
    sigmas = sampler.sigmas(levels)
    assert levels.levels is None and (sigmas[0], sigmas[-2]) == pytest.approx(levels.span[::-1])
    cov = score_covariances(edm, ledger, levels, Estimator(denoiser, images))
    assert len(cov) == 5 == len(calls_of(edm)) and all(0 <= c <= 1 for c in cov)


def test_an_official_file_gives_every_level_of_the_curve(cell, denoiser, images, tmp_path):
    eps_ms = LEVELS**2 / (0.25 + LEVELS**2)
    torch.save(torch.tensor([0.0, *eps_ms]), tmp_path / "ms_eps.pth")
    sampler = DDIM(5, "dp", eta=1.0, variance="analytic")
    filed = dataclasses.replace(cell, sampler=sampler, score_norms=ScoreNorms(file=str(tmp_path / "ms_eps.pth")))
    curves = placed(filed, Ledger(tmp_path), *known(denoiser, images)).curves
    np.testing.assert_allclose(curves.eps_ms, eps_ms, rtol=1e-6)
    assert curves.levels == tuple(LEVELS.tolist())
    small = dataclasses.replace(filed, sampler=DDIM(5, "dp", eta=1.0))
    with pytest.raises(ValueError, match="an ms_eps file knows nothing of a bound with variance small or large"):
        placed(small, Ledger(tmp_path), *known(denoiser, images))
