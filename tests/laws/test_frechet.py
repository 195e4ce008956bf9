"""The Frechet distance against its closed form, whatever the condition and the rank of the covariances."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastdiff.metrics import frechet, frechet_of, moments
from fastdiff.metrics.fid import Moments, root

EPS = np.finfo(np.float64).eps


def half(random, dimensions: int, rank: int, decades: float) -> np.ndarray:
    """A (D rank) of a covariance A A' whose standard deviations are spread over so many decades."""
    turn = np.linalg.qr(random.normal(size=(dimensions, dimensions)))[0][:, :rank]
    return turn * 10 ** -random.uniform(0, decades, rank)


def exact(A: np.ndarray, B: np.ndarray, gap: np.ndarray) -> float:
    """From the halves: tr sqrt(A A' B B') is the sum of the singular values of A' B: no root is taken."""
    return float(gap @ gap + (A * A).sum() + (B * B).sum() - 2 * np.linalg.svd(A.T @ B, compute_uv=False).sum())


def drawn(seed, dimensions, ranks, decades):
    random = np.random.default_rng(seed)
    A, B = (half(random, dimensions, 1 + round(rank * (dimensions - 1)), decades) for rank in ranks)
    gap = random.normal(size=dimensions) * 10 ** random.uniform(-6, 0)
    arm, reference = Moments(9, gap, A @ A.T), Moments(9, 0 * gap, B @ B.T)
    return arm, reference, exact(A, B, gap), (A * A).sum() + (B * B).sum()


SEEDS, SIZES, SHARES = st.integers(0, 2**32 - 1), st.integers(1, 24), st.tuples(st.floats(0, 1), st.floats(0, 1))


@settings(deadline=None, max_examples=150)
@given(SEEDS, SIZES, SHARES, st.floats(0, 8))
def test_the_distance_of_any_covariances_is_that_of_their_halves(seed, dimensions, ranks, decades):
    """Covariances are known to eps, their roots to sqrt(D eps) of the largest: D of them may be wrong by so much."""
    arm, reference, expected, size = drawn(seed, dimensions, ranks, decades)
    assert frechet(arm, reference) == pytest.approx(expected, abs=dimensions * (dimensions * EPS) ** 0.5 * size)


@settings(deadline=None, max_examples=100)
@given(SEEDS, SIZES, st.floats(0, 2))
def test_of_covariances_that_are_far_from_singular_it_is_known_to_eleven_digits(seed, dimensions, decades):
    arm, reference, expected, size = drawn(seed, dimensions, (1, 1), decades)
    assert frechet(arm, reference) == pytest.approx(expected, abs=1e-11 * size)


@settings(deadline=None, max_examples=50)
@given(SEEDS, SIZES, SHARES, st.floats(0, 8))
def test_the_distance_is_symmetric_and_not_negative_whatever_the_rank(seed, dimensions, ranks, decades):
    arm, reference, _, size = drawn(seed, dimensions, ranks, decades)
    allowed = 2 * dimensions * (dimensions * EPS) ** 0.5 * size
    assert frechet(arm, reference) == pytest.approx(frechet(reference, arm), abs=allowed)
    assert frechet(arm, reference) > -allowed and abs(frechet(arm, arm)) < allowed


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.integers(2, 30), st.integers(1, 40))
def test_fewer_images_than_dimensions_give_the_distance_by_their_gram_matrix(seed, n, more):
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, n + more)) + 1
    B = half(random, n + more, n + more, 2)
    reference = Moments(9, np.zeros(n + more), B @ B.T)
    x = features - features.mean(0)
    expected = exact(x.T / (n - 1) ** 0.5, B, features.mean(0))
    assert frechet_of(features, reference) == pytest.approx(expected, rel=1e-9)


def test_with_more_images_than_dimensions_it_is_the_distance_of_their_moments_to_the_last_digit():
    random = np.random.default_rng(0)
    features, reference = random.normal(size=(50, 8)), moments(random.normal(size=(60, 8)))
    assert frechet_of(features, reference) == frechet(moments(features), reference)


@pytest.mark.parametrize("n", [5, 40])  # by the Gram matrix, by the moments
def test_features_that_are_not_finite_name_the_first_bad_image(n):
    random = np.random.default_rng(0)
    features = random.normal(size=(n, 16))
    features[[3, 4], 2] = np.nan
    with pytest.raises(ValueError, match=rf"features of image 3 are NaN or infinite \(2 of {n} are\)"):
        frechet_of(features, moments(random.normal(size=(60, 16))))


def test_one_image_has_no_covariance():
    with pytest.raises(ValueError, match="at least 2 images; 1 was given"):
        frechet_of(np.ones((1, 4)), Moments(9, np.zeros(4), np.eye(4)))


def test_a_reference_is_factored_once(monkeypatch):
    from fastdiff.metrics import fid

    calls = []
    monkeypatch.setattr(fid, "root", lambda cov: calls.append(1) or root(cov))
    random = np.random.default_rng(0)
    reference = moments(random.normal(size=(60, 8)))
    for _ in range(3):
        frechet(moments(random.normal(size=(50, 8))), reference)
    assert calls == [1]


def test_the_factor_of_a_rank_deficient_covariance_has_its_rank():
    flat = np.diag([2.0, 0.0, 3.0])
    assert root(flat).shape == (3, 2)
    np.testing.assert_allclose(root(flat) @ root(flat).T, flat, atol=1e-15)
    assert frechet(Moments(9, np.zeros(3), 0 * flat), Moments(9, np.zeros(3), 0 * flat)) == 0


@pytest.mark.parametrize("rank", [700, 300])
def test_a_large_covariance_has_the_same_distance_by_either_product(rank, monkeypatch):
    from fastdiff.metrics import fid

    random = np.random.default_rng(0)
    arm, reference = (moments(random.normal(size=(rank, 520)) + shift) for shift in (0, 0.1))
    large = frechet(arm, reference)
    monkeypatch.setattr(fid, "LARGE", 521)
    assert large == pytest.approx(frechet(arm, reference), rel=1e-7 if rank < 520 else 1e-11)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")
def test_at_2048_dimensions_it_is_clean_fids_number_in_a_tenth_of_the_time():
    from cleanfid.fid import frechet_distance

    random = np.random.default_rng(0)
    scales = 10 ** -random.uniform(0, 1.5, 2048)
    arm, reference = (moments(random.normal(size=(5000, 2048)) * scales + shift) for shift in (0.01, 0))

    def timed(run) -> tuple[float, float]:
        start = time.perf_counter()
        return run(), time.perf_counter() - start

    _, factoring = timed(lambda: reference.factor)
    ours, seconds = min((timed(lambda: frechet(arm, reference)) for _ in range(3)), key=lambda found: found[1])
    theirs, slow = timed(lambda: frechet_distance(arm.mean, arm.cov, reference.mean, reference.cov))
    print(f"factor {factoring:.2f} s, ours {seconds:.2f} s, clean-fid {slow:.2f} s, {ours:.9f} {theirs:.9f}")
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert slow > 10 * seconds
