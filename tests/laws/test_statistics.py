"""Standard errors and verdicts: two ways to one error, the second order, the textbook's Holm."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fastdiff.metrics import frechet, moments
from fastdiff.statistics import (
    Estimate,
    correlation,
    difference,
    estimate,
    frechet_expansion,
    holm,
    outside,
    p_value,
    standard_error,
    verdicts,
)
from fastdiff_benchmarks.studies.jackknife import frechet_left_out, jackknife, jackknife_error

D = 12
MIX = np.random.default_rng(99).normal(size=(D, D)) / D**0.5


def features(random, n: int, shift: float = 0.0, width: float = 1.0) -> np.ndarray:
    return (width * random.normal(size=(n, D)) + shift) @ MIX


@pytest.fixture(scope="module")
def reference():
    return moments(features(np.random.default_rng(1), 20000))


def test_the_jackknife_of_a_mean_is_its_exact_standard_error():
    x = np.random.default_rng(0).normal(size=50)
    left_out = (x.sum() - x) / 49
    assert jackknife_error(left_out) == pytest.approx(x.std(ddof=1) / 50**0.5, rel=1e-12)


def test_values_left_out_are_distances_of_the_images_that_stay(reference):
    x = features(np.random.default_rng(0), 405, shift=0.3)  # blocks of 10 and of 11 images
    left_out = frechet_left_out(x, reference)
    assert len(left_out) == 40
    for k in (0, 7, 39):
        stays = np.arange(405) % 40 != k
        assert left_out[k] == pytest.approx(frechet(moments(x[stays]), reference), rel=1e-9)


def test_the_jackknife_s_interval_is_student_s():
    left_out = np.array([1.0, 2.0, 3.0, 4.0])
    found, se = jackknife(2.0, left_out), math.sqrt(3 / 4 * 5)
    assert found == pytest.approx((2.0, se, 2 - 3.182446305284263 * se, 2 + 3.182446305284263 * se), rel=1e-9)


@pytest.mark.parametrize("blocks", [1, 21])
def test_too_few_images_for_the_blocks_are_refused(reference, blocks):
    with pytest.raises(ValueError, match=f"{blocks} blocks of 41 images: at least 2 blocks"):
        frechet_left_out(features(np.random.default_rng(0), 41), reference, blocks)


@pytest.mark.parametrize("paired", [False, True])
def test_influence_and_jackknife_agree_on_gaussian_features_far_from_the_reference(reference, paired):
    random, ratios = np.random.default_rng(0), []
    for _ in range(20):
        a = features(random, 1000, shift=0.3)
        b = a + 0.3 * features(random, 1000) if paired else features(random, 1000, shift=0.3, width=1.1)
        values = [frechet(moments(x), reference) for x in (a, b)]
        by_influence = difference(*values, *(frechet_expansion(x, reference) for x in (a, b)), paired=paired).se
        left = [frechet_left_out(x, reference) for x in (a, b)]
        by_blocks = jackknife_error(left[0] - left[1]) if paired else math.hypot(*map(jackknife_error, left))
        ratios.append(by_influence / by_blocks)
    assert np.mean(ratios) == pytest.approx(1, abs=0.15)


def test_influence_is_the_change_that_a_little_more_of_one_image_makes(reference):
    """Mixing with a point mass, by finite differences of moments with weights."""
    n, h = 2000, 1e-5
    x = features(np.random.default_rng(0), n, shift=0.2)
    psi = frechet_expansion(x, reference)[0]

    def mixed(i: int, step: float) -> float:
        weights = np.full(n, (1 - step) / n)
        weights[i] += step
        mean = weights @ x
        return frechet(moments(x)._replace(mean=mean, cov=(weights[:, None] * (x - mean)).T @ (x - mean)), reference)

    for i in (0, 17, int(psi.argmax()), int(psi.argmin())):
        numerical = (mixed(i, h) - mixed(i, -h)) / (2 * h)
        # psi is taken at a covariance divided by n - 1: a part in n of its own spread
        assert psi[i] == pytest.approx(numerical, rel=3 / n, abs=2 / n * psi.std())


def test_delta_is_half_the_change_of_psi_from_one_half_of_the_images_to_the_other(reference):
    """By finite differences: psi at moments that lean a little to the even or to the odd images."""
    n, h = 600, 1e-4
    x = features(np.random.default_rng(0), n, shift=0.2)
    L = np.linalg.cholesky(reference.cov)

    def psi_at(even_share: float) -> np.ndarray:
        weights = np.where(np.arange(n) % 2, 1 - even_share, even_share) / (n / 2)
        mean = weights @ x
        c = x - mean
        cov = (weights[:, None] * c).T @ c * n / (n - 1)
        values, vectors = np.linalg.eigh(L.T @ cov @ L)
        T = L @ vectors / np.sqrt(values) @ (L @ vectors).T
        return 2 * c @ (mean - reference.mean) + np.einsum("ni,ij,nj->n", c, np.eye(D) - T, c)

    numerical = (psi_at(0.5 + h) - psi_at(0.5 - h)) / (4 * h)  # a whole half of the way is 0.5
    _, delta = frechet_expansion(x, reference)
    np.testing.assert_allclose(delta, numerical - numerical.mean(), rtol=3 / n, atol=3 / n * numerical.std())


def test_at_the_reference_the_first_order_counts_the_spread_twice_and_the_second_order_once(reference):
    """Efron and Stein: psi alone states sqrt(2) of the true standard error; with delta it is right."""
    random = np.random.default_rng(0)
    samples = [features(random, 400) for _ in range(300)]
    spread = np.std([frechet(moments(x), reference) for x in samples], ddof=1)
    expansions = [frechet_expansion(x, reference) for x in samples]
    first, second = (np.mean([standard_error(part) for part in which]) / spread
                     for which in ([e[0] for e in expansions], expansions))  # fmt: skip
    # the spread of 300 values is known to 4 %
    assert first == pytest.approx(2**0.5, abs=0.17) and second == pytest.approx(1, abs=0.15)


def test_far_from_the_reference_the_second_order_changes_little(reference):
    found = frechet_expansion(features(np.random.default_rng(0), 4000, shift=0.5), reference)
    assert standard_error(found) == pytest.approx(standard_error(found[0]), rel=0.02)


def test_the_second_order_never_takes_more_than_half_of_the_standard_error():
    psi = np.array([1.0, -1.0, 1.0, -1.0])
    assert standard_error(np.stack([psi, 9 * psi])) == pytest.approx(standard_error(psi) / 2)


def test_identical_arms_differ_by_exactly_nothing_and_are_indistinguishable(reference):
    x = features(np.random.default_rng(0), 500)
    value, psi = frechet(moments(x), reference), frechet_expansion(x, reference)
    found = difference(value, value, psi, psi.copy(), paired=True)
    assert found == (0.0, 0.0, 0.0, 0.0)
    assert verdicts([found]) == [("indistinguishable", 1.0, 1.0)]
    assert correlation(psi, psi.copy()) == 1.0


def test_where_one_arm_has_no_second_order_both_are_compared_without():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 50)), random.normal(size=(2, 50))
    assert difference(2.0, 1.0, a, b[0], paired=True) == difference(2.0, 1.0, a[0], b[0], paired=True)


def test_paired_arms_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="paired arms need the same images: 30 and 40 were given"):
        difference(1.0, 1.0, np.zeros((2, 30)), np.zeros((2, 40)), paired=True)


def test_r_is_the_correlation_of_the_influence_values_and_unknown_where_one_is_constant():
    a, b = np.random.default_rng(0).normal(size=(2, 100))
    assert correlation(np.stack([a, b]), b) == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-12)
    assert math.isnan(correlation(a, np.zeros(100)))


def test_outside_its_domain_there_is_a_sentence_and_no_interval(reference):
    least = math.ceil(3.9 * D)
    x = features(np.random.default_rng(0), least)
    assert outside(least, D) is None and frechet_expansion(x, reference).shape == (2, least)
    assert frechet_expansion(x[1:], reference) is None
    assert outside(least - 1, D).startswith("no interval: 46 images are too few for a covariance of 12 features")
    assert outside(least - 1, D).endswith("at least 47 are needed") and outside(250, 64) is None


def test_holm_is_the_closed_test_of_all_subsets():
    """Brute force: the adjusted p of i is the largest Bonferroni p, |S| min p, of any set S of hypotheses with i."""
    random = np.random.default_rng(0)
    for m in (1, 2, 3, 5, 7):
        p = random.random(m) ** 3
        brute = [
            max(min(1.0, size * min(p[list(chosen)])) for size in range(1, m + 1)
                for chosen in itertools.combinations(range(m), size) if i in chosen)
            for i in range(m)
        ]  # fmt: skip
        np.testing.assert_allclose(holm(p), brute, rtol=1e-12)


def test_holm_of_the_textbook_s_example_and_of_ties():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.02, 0.02]), [0.04, 0.04])
    assert len(holm([])) == 0


def test_what_has_no_p_does_not_count_in_its_family():
    np.testing.assert_allclose(holm([0.02, math.nan, 0.03]), [0.04, math.nan, 0.04])


def of(value: float, se: float) -> Estimate:
    return Estimate(value, se, value - 1.96 * se, value + 1.96 * se)


def test_p_is_that_of_the_normal_distribution_on_both_sides():
    for z in (0.5, -1.96, 4.0):
        assert p_value(of(3 * z, 3.0)) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12)
    assert p_value(of(0.0, 0.0)) == 1 and p_value(of(-0.1, 0.0)) == 0 and math.isnan(p_value(of(1.0, math.nan)))


def test_verdicts_follow_the_direction_of_the_metric_and_the_level():
    found = [of(-3.0, 1.0), of(3.0, 1.0), of(1.0, 1.0), of(1.0, math.nan)]
    words = [verdict.word for verdict in verdicts(found)]
    assert words == ["better", "worse", "indistinguishable", None]
    assert [verdict.word for verdict in verdicts(found, -1)] == ["worse", "better", "indistinguishable", None]
    assert [verdict.word for verdict in verdicts(found, [1, -1, 1, 1])] == [
        "better",
        "better",
        "indistinguishable",
        None,
    ]
    assert {verdict.word for verdict in verdicts(found[:3], level=0.001)} == {"indistinguishable"}


def test_a_family_asks_more_of_each_of_its_members():
    one = verdicts([of(2.2, 1.0)])[0]
    many = verdicts([of(2.2, 1.0)] * 5)[0]
    assert one.word == "worse" and many.word == "indistinguishable"
    assert many.p == one.p and many.adjusted == pytest.approx(5 * one.p)


def test_a_family_of_nulls_has_a_verdict_in_at_most_5_of_100_cases():
    random = np.random.default_rng(0)
    families = random.normal(size=(1000, 6))
    told = sum(any(v.word != "indistinguishable" for v in verdicts([of(z, 1.0) for z in each])) for each in families)
    assert 0.03 < told / 1000 < 0.07


@pytest.mark.parametrize(
    "wrong, sentence",
    [({"level": 0}, "level is 0; it must be between 0 and 1"), ({"signs": [1, 1]}, "one for each of 1"),
     ({"signs": 0}, r"signs are \[0\]; 1 \(lower is better\) or -1")],
)  # fmt: skip
def test_wrong_levels_and_directions_are_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        verdicts([of(1.0, 1.0)], **wrong)


def test_the_interval_of_a_value_is_1_96_standard_errors_wide():
    found = estimate(5.0, np.array([-1.0, 1.0, -1.0, 1.0]))
    assert (found.low, found.high) == pytest.approx((5 - 1.959964 * found.se, 5 + 1.959964 * found.se), rel=1e-6)


def test_variances_of_unpaired_arms_add_before_they_are_bounded():
    a = np.stack([[1.0, -1.0, 1.0, -1.0], [2.0, -2.0, 2.0, -2.0]])  # alone at the bound
    b = np.stack([3 * a[0], 0 * a[0]])
    square = 4 / 3 / 4  # of a[0], over n
    assert difference(0.0, 0.0, a, b, paired=False).se == pytest.approx((10 * square - 4 * square / 2) ** 0.5)
    assert difference(0.0, 0.0, a[0], b, paired=False).se == pytest.approx((10 * square) ** 0.5)
