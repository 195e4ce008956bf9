"""Preconditioning: x0 = skip(sigma) x + out(sigma) F(x / scale(sigma), noise(sigma)), for every kind of network."""

import math

import numpy as np
import pytest
import torch

from fastdiff.diffusion.preconditioning import EDM, IDDPM, VE, VP, WRAPPERS, Discrete, of_arch, wrapper
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.unets import build, walk
from fastdiff.weights.model_card import ModelCard

LEVELS = np.geomspace(0.01, 150, 40)
KINDS = {
    **{predicts: Discrete(predicts, LEVELS, time_shift=-1, time_scale=2.0) for predicts in ("eps", "v", "x0")},
    **{"edm": EDM(), "edm_narrow": EDM(1.0, 0.01, 50), "vp": VP(), "vp_other": VP(10.0, 0.5, 100, 1e-4), "ve": VE()},
    **{"iddpm": IDDPM(), "iddpm_short": IDDPM(M=100)},
}


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    return KINDS[request.param]


def inside(kind, many=7):
    """Some noise levels of its span, both ends included."""
    return [float(sigma) for sigma in np.geomspace(*kind.span, many)]


def test_a_float_and_a_tensor_of_any_shape_give_the_same(kind):
    sigmas = inside(kind)
    for shape in ((7,), (7, 1, 1, 1)):
        batch = torch.tensor(sigmas, dtype=torch.float64).reshape(shape)
        for name in ("skip", "out", "scale", "noise"):
            alone = [getattr(kind, name)(sigma) for sigma in sigmas]
            assert all(type(value) is float for value in alone), name
            together = getattr(kind, name)(batch)
            if isinstance(together, torch.Tensor):
                assert together.shape == shape and together.dtype == torch.float64
                np.testing.assert_allclose(together.flatten(), alone, rtol=1e-12, err_msg=name)
            else:
                assert set(alone) == {together}, name


def test_a_tensor_keeps_its_precision(kind):
    for name in ("skip", "out", "scale", "noise"):
        value = getattr(kind, name)(torch.tensor([1.0, 2.0]))
        assert not isinstance(value, torch.Tensor) or value.dtype == torch.float32


def test_numpys_and_pythons_numbers_are_floats_too(kind):
    for name in ("skip", "out", "scale", "noise"):
        one = getattr(kind, name)(1.0)
        assert getattr(kind, name)(1) == one
        assert getattr(kind, name)(np.float64(1)) == one
        assert getattr(kind, name)(np.float32(1)) == pytest.approx(one, rel=1e-6)


def test_the_span_is_finite_and_inside_the_domain(kind):
    (low, high), (least, most) = kind.span, kind.domain
    assert 0 <= least <= low < high <= most
    assert low > 0
    assert math.isfinite(high)


def test_levels_are_ascending_and_span_the_domain(kind):
    if kind.levels is not None:
        assert kind.levels.dtype == np.float64
        assert (np.diff(kind.levels) > 0).all()
        assert kind.domain == (kind.levels[0], kind.levels[-1])


def test_the_network_sees_unit_variance_from_its_scale(kind):
    """x / scale has variance 1 for data of its own variance, but for VE, which is fed x as it is."""
    variance = getattr(kind, "sigma_data", 1.0) ** 2
    for sigma in inside(kind):
        expected = 1.0 if isinstance(kind, VE) else math.sqrt(variance + sigma**2)
        assert kind.scale(sigma) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_the_true_target_gives_back_the_true_image(predicts):
    x0, eps, kind = 0.3, -1.7, KINDS[predicts]
    for sigma in inside(kind):
        target = {"eps": eps, "x0": x0, "v": (eps - sigma * x0) / math.sqrt(1 + sigma**2)}[predicts]
        x = x0 + sigma * eps
        assert kind.skip(sigma) * x + kind.out(sigma) * target == pytest.approx(x0, abs=1e-12)


@pytest.mark.parametrize("name", ["vp", "iddpm"])
def test_eps_networks_give_back_the_true_image(name):
    x0, eps, kind = 0.3, -1.7, KINDS[name]
    for sigma in inside(kind):
        assert kind.skip(sigma) * (x0 + sigma * eps) + kind.out(sigma) * eps == pytest.approx(x0, abs=1e-12)


def test_ves_network_predicts_the_negative_noise():
    x0, eps, kind = 0.3, -1.7, VE()
    assert kind.skip(5.0) * (x0 + 5 * eps) + kind.out(5.0) * -eps == pytest.approx(x0)


@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
def test_edm_asks_for_a_target_of_unit_variance_with_the_least_amplification(sigma_data):
    """Karras et al., app. B.6: with independent x0 of variance sigma_data^2, Var(F target) = 1 at every sigma."""
    kind = EDM(sigma_data)
    for sigma in (0.01, 0.5, 3.0, 70.0):
        skip, out = kind.skip(sigma), kind.out(sigma)
        assert ((1 - skip) ** 2 * sigma_data**2 + skip**2 * sigma**2) / out**2 == pytest.approx(1)
        # skip is where that amplification is least
        for other in (skip - 1e-3, skip + 1e-3):
            assert (1 - other) ** 2 * sigma_data**2 + other**2 * sigma**2 > out**2


def test_edms_limits_are_the_image_itself_without_noise_and_the_network_alone_in_pure_noise():
    kind = EDM()
    assert kind.skip(1e-9) == pytest.approx(1)
    assert kind.out(1e-9) == pytest.approx(1e-9)
    assert kind.skip(1e9) * 1e9 == pytest.approx(0, abs=1e-9)
    assert kind.out(1e9) == pytest.approx(0.5)
    assert kind.span == (0.002, 80.0)
    assert EDM(sigma_min=0.01, sigma_max=50).span == (0.01, 50)


@pytest.mark.parametrize("kind", [VP(), VP(beta_d=10, beta_min=0.5)])
def test_vps_time_is_the_inverse_of_its_noise_level(kind):
    for t in (1e-5, 1e-3, 0.1, 0.5, 1.0):
        assert kind.t(kind.sigma(t)) == pytest.approx(t, rel=1e-7)
        # c_noise is (M - 1) t but for float32's rounding of 1 + sigma^2 and of t
        rounding = 2.0**-23 / (kind.beta_min + kind.beta_d * t) + 2.0**-21 * t
        assert kind.noise(kind.sigma(t)) == pytest.approx(999 * t, abs=999 * rounding)


def test_vps_noise_level_solves_its_differential_equation():
    """d(sigma^2) / dt = beta(t) (1 + sigma^2) with beta(t) = beta_min + beta_d t."""
    kind, h = VP(), 1e-6
    for t in (0.01, 0.3, 0.9):
        slope = (kind.sigma(t + h) ** 2 - kind.sigma(t - h) ** 2) / (2 * h)
        assert slope == pytest.approx((0.1 + 19.9 * t) * (1 + kind.sigma(t) ** 2), rel=1e-6)


def test_vps_range_is_the_official_one():
    """vp_sigma(1) of EDM's README and generate.py is about 152; its sampler starts at t = 1e-3."""
    assert VP().domain[1] == pytest.approx(math.sqrt(math.exp(10.05) - 1))
    assert VP().span == (VP().sigma(1e-3), VP().sigma(1))


def test_iddpms_levels_are_the_cosine_schedule_of_its_paper():
    """sigma_n^2 = (1 - alpha_bar) / alpha_bar, alpha_bar(n) = cos^2((n / N + s) / (1 + s) pi / 2) over its start
    (Nichol & Dhariwal 2021, eq. 17); beta is clipped at 0.999, which makes the last level alone differ."""
    n = np.arange(1, 1000)
    angle = (n / 1000 + 0.008) / 1.008 * np.pi / 2
    start = np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    alpha_bar = np.cos(angle) ** 2 / start
    levels = IDDPM().levels
    assert len(levels) == 1000
    np.testing.assert_allclose(levels[:-1], np.sqrt((1 - alpha_bar) / alpha_bar), rtol=6e-4)
    np.testing.assert_allclose(levels[50:-1], np.sqrt((1 - alpha_bar) / alpha_bar)[50:], rtol=2e-5)
    assert levels[-1] == pytest.approx(math.sqrt((1 + levels[-2] ** 2) / 0.001 - 1), rel=1e-6)


def test_iddpms_table_ends_where_the_official_one_does():
    """Computed once by the official recursion in float32, torch 2.14.1 on a CPU."""
    kind = IDDPM()
    assert kind.u[-1] == 0
    assert kind.u[-2] == pytest.approx(0.006422337, rel=2e-5)
    assert kind.u[0] == pytest.approx(20291.172, rel=1e-6)
    assert kind.span == (kind.u[-2], kind.u[8])  # the paper's j_0 = 8
    assert kind.span[1] == pytest.approx(80.20371, rel=1e-6)


def test_iddpm_counts_down_its_levels_and_rounds_to_the_nearest():
    kind = IDDPM()
    for j in (0, 1, 8, 500, 998, 999):
        assert kind.noise(float(kind.u[j])) == 999 - j
        assert kind.nearest(1.0001 * kind.u[j]) == kind.u[j]
    batch = torch.tensor(kind.u[:-1].copy(), dtype=torch.float32)
    assert torch.equal(kind.noise(batch), torch.arange(999.0, -1.0, -1.0))


def test_discrete_networks_are_fed_the_exact_number_of_a_training_level():
    kind = Discrete("eps", LEVELS, time_shift=-1)
    assert [kind.noise(float(sigma)) for sigma in LEVELS] == list(range(40))
    between = math.sqrt(LEVELS[3] * LEVELS[4])
    assert kind.noise(between) == pytest.approx(3.5)
    assert Discrete("eps", LEVELS, -0.5, 10.0).noise(between) == pytest.approx(40)


def test_wrappers_are_found_by_any_spelling():
    for word in ("preconditioning", "precond", "class_name"):
        for name in ("VPPrecond", "training.networks.VPPrecond", "vpprecond", "vp", "VP"):
            assert of_arch({word: name, "beta_d": 10.0}) == VP(beta_d=10.0)
    assert wrapper("iddpm", {"M": 10, "C_1": None, "img_channels": 3}) == IDDPM(M=10)
    assert {type(of_arch({"precond": name})) for name in WRAPPERS} == {EDM, VP, VE, IDDPM}
    for arch in ({}, {"class_name": "SongUNet"}, {"class_name": "DhariwalUNet", "preconditioning": None}):
        assert of_arch(arch) == EDM()
    assert of_arch({"class_name": "SongUNet", "preconditioning": "ve"}) == VE()
    assert of_arch({"class_name": "VEPrecond", "preconditioning": "ve", "model_type": "SongUNet"}) == VE()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: wrapper("ddpm", {}),
            "preconditioning 'ddpm' is not one of: EDMPrecond, VPPrecond, VEPrecond, iDDPMPr",
        ),
        (lambda: of_arch({"precond": "SongUNet"}), "precond 'SongUNet' is not one of: EDMPrecond"),
        (
            lambda: of_arch({"class_name": "UNet"}),
            "class_name 'UNet' is not one of: SongUNet, DhariwalUNet, EDMPrecond",
        ),
        (lambda: of_arch({"class_name": "EDMPrecond", "precond": "vp"}), "two preconditionings, EDMPrecond and VPPrec"),
        (lambda: Discrete("score", LEVELS), "predicts 'score' is not one of: eps, v, x0"),
    ],
)
def test_wrong_words_are_refused_with_the_menu(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_words_one_level_deeper_are_read_too():
    assert of_arch({"class_name": "EDMPrecond", "init_kwargs": {"sigma_data": 1.0}}).sigma_data == 1.0
    assert of_arch({"precond": "VPPrecond", "kwargs": {"model_type": "SongUNet", "beta_d": 10.0}}).beta_d == 10.0


VP_FOURIER = dict(
    preconditioning="VPPrecond", model_type="SongUNet", embedding_type="fourier", channel_mult_noise=2,
    img_resolution=16, img_channels=3, model_channels=8, channel_mult=[1, 2], num_blocks=1, attn_resolutions=[8],
)  # fmt: skip


def official_vp_noise(sigma: float) -> torch.Tensor:
    """c_noise of VPPrecond (Karras et al. 2022, Table 1), every operation in float32 as in the official code."""
    sigma, beta_d, beta_min = torch.tensor(sigma, dtype=torch.float64).to(torch.float32), 19.9, 0.1
    return 999 * (((beta_min**2 + 2 * beta_d * (1 + sigma**2).log()).sqrt() - beta_min) / beta_d)


@pytest.fixture
def vp_fourier():
    """A DDPM++ with Fourier embedding and VP preconditioning, random weights, and our denoiser of it."""
    torch.manual_seed(0)
    unet = build("edm", VP_FOURIER)
    for layer in unet.modules():
        if isinstance(layer, torch.nn.Conv2d) or hasattr(layer, "weight") and not layer.weight.any():
            torch.nn.init.normal_(layer.weight, std=0.1)
    card = ModelCard("vp", "edm", VP_FOURIER, (3, 16, 16), "none", parameterisation="edm")
    return unet, Denoiser(unet, card)


def predicted(unet, x, sigma: float, c_noise: torch.Tensor) -> torch.Tensor:
    """x - sigma F(x / sqrt(1 + sigma^2), c_noise)."""
    return x - sigma * walk(unet, x / (1 + sigma**2) ** 0.5, c_noise.expand(len(x)), None)[0]


def test_a_vp_network_with_a_fourier_embedding_is_fed_the_official_float32_level(vp_fourier):
    """To a Fourier embedding, a c_noise with more digits is another input: it moves F by up to 0.01."""
    unet, denoiser = vp_fourier
    x, kind = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)), VP()
    ours, exact = [], []
    with torch.inference_mode():
        for sigma in inside(kind, 9):
            assert denoiser.c_noise(sigma) == float(official_vp_noise(sigma))
            noised = x * (1 + sigma**2) ** 0.5
            official = predicted(unet, noised, sigma, official_vp_noise(sigma))
            more_digits = predicted(unet, noised, sigma, torch.tensor(999 * kind.t(sigma)))
            ours.append(float((denoiser.start([sigma])(noised, sigma) - official).abs().max()) / sigma)
            exact.append(float((more_digits - official).abs().max()) / sigma)
    assert max(ours) < 1e-5
    assert max(exact) > 1e-3
