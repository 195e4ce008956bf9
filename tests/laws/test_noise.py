"""Noise is a pure function of (seed, stream, image, step, pixel)."""

import numpy as np
import pytest
import torch
from scipy import stats

from fastdiff.diffusion.noise import SAMPLING, SCORE_NORMS, noise_of, normals, philox4x32, uniform_labels
from fastdiff.samplers import preset
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.sampling.generate import generate, to_uint8


@pytest.mark.parametrize(
    "counter, key, expected",
    # Random123's kat_vectors (Salmon et al. 2011), philox4x32 of 10 rounds
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_reproduces_the_known_answers_of_random123(counter, key, expected):
    words = [torch.tensor([int(word, 16)]) for word in counter.split()]
    found = philox4x32(words, tuple(int(word, 16) for word in key.split()))
    assert " ".join(f"{int(word):08x}" for word in found) == expected


def test_words_are_32_bits_without_a_sign():
    counter = [
        torch.arange(1000),
        torch.full((1000,), 0xFFFFFFFF),
        torch.zeros(1000, dtype=torch.int64),
        torch.arange(1000),
    ]
    for word in philox4x32(counter, (0xFFFFFFFF, 0xFFFFFFFF)):
        assert int(word.min()) >= 0 and int(word.max()) < 2**32


SHAPE = (1, 7, 5)  # 35 values: no multiple of the four that one counter gives


def test_noise_is_bitwise_equal_for_any_batch_size_order_and_subset():
    whole = noise_of(3, range(64), SHAPE)(2)
    for size in (1, 7, 64):
        parts = [noise_of(3, range(i, min(i + size, 64)), SHAPE)(2) for i in range(0, 64, size)]
        assert torch.equal(torch.cat(parts), whole)
    order = np.random.default_rng(0).permutation(64)
    assert torch.equal(noise_of(3, order, SHAPE)(2), whole[order])
    assert torch.equal(noise_of(3, [60, 5], SHAPE)(2), whole[[60, 5]])


def test_drawn_labels_are_uniform_and_depend_on_seed_and_image_alone():
    labels = uniform_labels(0, 1000, np.arange(100_000))
    assert labels.dtype == np.int64 and labels.min() == 0 and labels.max() == 999
    assert stats.chisquare(np.bincount(labels, minlength=1000)).pvalue > 1e-3
    assert uniform_labels(0, 1000, [7, 70_000]).tolist() == labels[[7, 70_000]].tolist()
    assert (uniform_labels(1, 1000, np.arange(1000)) != labels[:1000]).mean() > 0.98


def test_steps_may_be_asked_for_in_any_order_and_again():
    noise = noise_of(0, range(4), SHAPE)
    first, later = noise(0), noise(5)
    assert torch.equal(noise(5), later)
    assert torch.equal(noise(0), first)


def test_global_generators_are_neither_read_nor_advanced():
    torch.manual_seed(1)
    state, first = torch.get_rng_state(), noise_of(0, range(4), SHAPE)(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(noise_of(0, range(4), SHAPE)(0), first)


def test_each_of_seed_step_stream_and_image_makes_other_noise():
    variants = [
        noise_of(0, [0], SHAPE)(0),
        noise_of(1, [0], SHAPE)(0),
        noise_of(2**32 - 1, [0], SHAPE)(0),
        noise_of(0, [0], SHAPE)(1),
        noise_of(0, [0], SHAPE, stream=SCORE_NORMS)(0),
        noise_of(0, [1], SHAPE)(0),
    ]
    assert SAMPLING != SCORE_NORMS
    for i, a in enumerate(variants):
        for b in variants[:i]:
            assert (a != b).float().mean() > 0.9


def test_images_beyond_2_to_the_32_are_not_those_below():
    low, high = noise_of(0, [5], SHAPE)(0), noise_of(0, [5 + 2**32], SHAPE)(0)
    assert (low != high).float().mean() > 0.9


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_would_not_fit_the_key_is_refused(seed):
    with pytest.raises(ValueError, match=r"0 \.\. 2\*\*32 - 1"):
        noise_of(seed, [0], SHAPE)


def test_values_are_standard_normal_and_uncorrelated_between_pixels_images_and_steps():
    n = 200_000
    values = normals(0, SAMPLING, torch.arange(50), 0, (1, 40, 100)).double().flatten()
    assert len(values) == n
    # four standard errors of each moment of a normal sample; the seed is fixed, so this passes always or never
    assert abs(values.mean()) < 4 / n**0.5
    assert abs(values.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((values**3).mean()) < 4 * (15 / n) ** 0.5
    assert abs((values**4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert stats.kstest(values.numpy(), "norm").pvalue > 1e-3

    neighbours = (values[:-1] * values[1:]).mean()
    step = normals(0, SAMPLING, torch.arange(50), 1, (1, 40, 100)).double().flatten()
    image = normals(0, SAMPLING, torch.arange(1, 51), 0, (1, 40, 100)).double().flatten()
    for correlation in (neighbours, (values * step).mean(), (values * image).mean()):
        assert abs(correlation) < 4 / n**0.5


@pytest.mark.parametrize("word, largest", [(0, (64 * np.log(2)) ** 0.5), (0xFFFFFFFF, 0.0)])
def test_the_extreme_words_give_finite_values(monkeypatch, word, largest):
    """The word 0 comes once in 2^32 draws, which is once in a few million images; a uniform in (0, 1] survives it."""
    monkeypatch.setattr(
        "fastdiff.diffusion.noise.philox4x32", lambda counter, key: [torch.full_like(counter[0], word)] * 4
    )
    values = noise_of(0, [0], SHAPE)(0)
    assert float(values.abs().max()) == pytest.approx(largest, rel=1e-6)


def test_noise_is_float32_whatever_the_default_dtype():
    first = noise_of(0, [0], SHAPE)(0)
    torch.set_default_dtype(torch.float64)
    try:
        second = noise_of(0, [0], SHAPE)(0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert first.dtype == second.dtype == torch.float32
    assert torch.equal(first, second)


@pytest.mark.parametrize("parameterisation, gain", [("eps", 1.0), ("x0", 0.1)])
def test_the_image_of_a_seed_hardly_depends_on_the_batch_it_is_made_in(make_unet, make_card, parameterisation, gain):
    """Noise is bitwise the same; convolutions of other batch sizes may sum in another order: 99.9 % and one level.

    As eps, random weights end mostly in black and white; as x0, turned down, every pixel is grey.
    """
    arch = dict(size=28, channels=24, multipliers=(1, 2, 2), attention=(7,), classes=10)
    unet = make_unet(**arch)
    unet.out[-1].weight *= gain
    card = make_card(arch=arch, shape=(1, 28, 28), classes=10, parameterisation=parameterisation)
    sampler = preset("ddpm", steps=5)

    def images(batch):
        batches = generate(Denoiser(unet, card), sampler, 0, np.arange(64), lambda indices: indices % 10, None, batch)
        return np.concatenate([made.pixels for made in batches]).astype(int)

    whole = images(64)
    assert whole.shape == (64, 1, 28, 28)
    assert whole.std() > 10  # a picture, not a constant
    for batch in (1, 7):
        apart = abs(images(batch) - whole)
        assert apart.max() <= 1
        assert (apart == 0).mean() >= 0.999


def test_pixels_are_rounded_half_to_even_and_clamped():
    assert to_uint8(torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]), (-1.0, 1.0)).tolist() == [0, 0, 128, 255, 255]
    halves = torch.tensor([0.5, 1.5, 2.5, 254.5])
    assert to_uint8(halves, (0.0, 255.0)).tolist() == [0, 2, 2, 254]


def test_a_trajectory_that_ends_in_nan_names_its_first_bad_image(fake_unet, make_card):
    def broken(x, n, cond):
        return torch.where(cond.reshape(-1, 1, 1, 1) == 2, float("nan"), x)

    denoiser = Denoiser(fake_unet(broken), make_card())
    batches = generate(denoiser, preset("ddim", steps=2), 0, np.arange(10, 20), lambda i: (i == 16) * 2, None, 4)
    next(batches)
    with pytest.raises(FloatingPointError, match="image 16 is NaN or infinite"):
        next(batches)
