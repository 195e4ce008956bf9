"""The sample ladder's decision: who falls, who stays, and how often it is wrong."""

import math

import numpy as np
import pytest
from scipy import stats

from fastdiff.statistics import LEVEL
from fastdiff.statistics.ladder import Arm, fallen


def arms(psi: np.ndarray, losses, macs) -> list[Arm]:
    """Arms a, b, c, ... with these influence values (arms n)."""
    return [Arm(chr(97 + i), *facts) for i, facts in enumerate(zip(macs, losses, psi))]


def names(falls) -> set[str]:
    return {fall.name for fall in falls}


@pytest.fixture
def psi():
    return np.random.default_rng(0).normal(size=(6, 250))


def test_an_arm_far_behind_one_of_no_more_macs_falls_and_says_against_whom(psi):
    (fall,) = fallen(arms(psi[:2], [5.0, 1.0], [10, 10]), 2000, 2)
    assert (fall.name, fall.rival, fall.behind) == ("a", "b", 4.0) and fall.chance < 1e-9
    assert fall.sentence().startswith("behind b, which needs no more MACs, by 4 (se 0.0")
    assert "the full run finds it better with a chance of at most" in fall.sentence()


def test_an_arm_that_needs_fewer_macs_than_all_that_are_better_stays(psi):
    assert fallen(arms(psi[:3], [9.0, 5.0, 1.0], [10, 20, 30]), 2000, 3) == []


def test_identical_arms_both_stay_and_both_fall_against_a_third(psi):
    twins = arms(psi[[0, 0]], [2.0, 2.0], [10, 10])
    assert fallen(twins, 2000, 2) == []
    assert names(fallen([*twins, Arm("z", 10, 0.5, psi[1])], 2000, 3)) == {"a", "b"}


def test_the_best_arm_of_every_cost_stays_whatever_the_level(psi):
    found = fallen(arms(psi, [3.0, 3.1, 2.0, 2.1, 1.0, 1.1], [1, 1, 2, 2, 3, 3]), 2000, 6, level=1.0)
    assert names(found) == {"b", "d", "f"}


def test_arms_without_an_interval_neither_fall_nor_make_others_fall(psi):
    unknown = [Arm("x", 10, 99.0, None), Arm("y", 1, 0.0, None)]
    assert names(fallen([*arms(psi[:2], [5.0, 1.0], [10, 10]), *unknown], 2000, 4)) == {"a"}


def test_who_falls_does_not_depend_on_the_order_of_the_arms(psi):
    random = np.random.default_rng(1)
    given = arms(psi, 0.15 * random.normal(size=6), [1, 1, 2, 2, 2, 3])
    expected = fallen(given, 2000, 6, level=0.3)
    assert expected
    for _ in range(20):
        assert fallen([given[i] for i in random.permutation(6)], 2000, 6, level=0.3) == expected


def test_with_an_endless_full_run_the_chance_is_student_s_one_sided_p_value(psi):
    (fall,) = fallen(arms(psi[:2], [0.2, 0.0], [10, 10]), math.inf, 2, level=1.0)
    t = 0.2 / ((psi[0] - psi[1]).std(ddof=1) / 250**0.5)
    assert fall.chance == pytest.approx(stats.t.sf(t, 249), rel=1e-9)


def test_the_chance_is_how_often_the_full_run_tells_the_arm_apart_as_better():
    """Full runs that go on from d after n of N images, the truth drawn from what d leaves open."""
    random, n, N, d, family = np.random.default_rng(0), 400, 800, 0.004, 2
    psi = random.normal(size=(2, n))
    (fall,) = fallen(arms(psi, [d, 0.0], [10, 10]), N, family, level=1.0)
    s = (psi[0] - psi[1]).std(ddof=1)
    truth = d + s / n**0.5 * random.normal(size=200_000)
    rest = truth + s / (N - n) ** 0.5 * random.normal(size=200_000)
    better = (n * d + (N - n) * rest) / N < -1.96 * s / N**0.5
    assert fall.chance == pytest.approx(better.mean(), abs=0.004)  # se 0.0006, and Student's for the normal law


def test_a_second_order_and_a_larger_family_are_used(psi):
    both = np.stack([psi[:2], 0.9 * psi[2:4]], 1)
    (first,), (second,) = (fallen(arms(each, [0.3, 0.0], [10, 10]), 2000, 2, level=1.0) for each in (psi[:2], both))
    assert second.se < first.se and second.chance < first.chance
    (larger,) = fallen(arms(psi[:2], [0.3, 0.0], [10, 10]), 2000, 100, level=1.0)
    assert larger.chance < first.chance


def test_arms_that_cannot_be_compared_are_refused(psi):
    with pytest.raises(ValueError, match=r"arms of \[249, 250\] images and a full run of 2000"):
        fallen([Arm("a", 1, 0.0, psi[0]), Arm("b", 1, 1.0, psi[1][1:])], 2000, 2)
    with pytest.raises(ValueError, match=r"arms of \[250\] images and a full run of 250"):
        fallen(arms(psi, [0.0] * 6, [1] * 6), 250, 6)


def climbed(random, truth: np.ndarray, macs: list[int], rungs: list[int], N: int, full: float, level: float = LEVEL):
    """A ladder of Gaussian images, half of whose variance is shared: who stays, and the whole sample (arms N)."""
    m = len(truth)
    x = truth[:, None] + math.sqrt(0.5) * (random.normal(size=(1, N)) + random.normal(size=(m, N)))
    stay = list(range(m))
    for n in rungs:
        mean = x[:, :n].mean(1)
        given = [Arm(str(i), macs[i], mean[i], x[i, :n] - mean[i]) for i in stay]
        gone = names(fallen(given, full, m, level))
        stay = [i for i in stay if str(i) not in gone]
    return stay, x


def test_an_arm_of_the_true_front_falls_no_more_often_than_the_level_allows():
    """Equal arms, all of them on the front, and an endless full run: each is one comparison's p-value, and its rivals
    are as many as there are arms."""
    random, rungs, lost = np.random.default_rng(0), [20, 40], 0
    for _ in range(2000):
        stay, _ = climbed(random, np.zeros(2), [2, 1], rungs, 80, math.inf, LEVEL / 2)  # p-values of two rungs add up
        lost += 0 not in stay
    assert lost / 2000 <= LEVEL + 2 * math.sqrt(LEVEL / 2000)
    assert lost > 0  # else nothing was tried


@pytest.mark.parametrize(("m", "rungs"), [(12, [20, 40, 60]), pytest.param(54, [20, 40, 60], marks=pytest.mark.slow)])
def test_how_often_one_good_arm_among_many_equal_ones_is_lost(m, rungs):
    """Better by 4 standard errors of the full run; whichever other seems best after few images is ahead of it."""
    random, N, lost = np.random.default_rng(0), 160, 0
    truth = np.zeros(m)
    truth[0] = -4 * math.sqrt(1 / N)
    for _ in range(300):
        stay, x = climbed(random, truth, [1] * m, rungs, N, N)
        gaps = [(x[j] - x[0]).mean() / ((x[j] - x[0]).std(ddof=1) / N**0.5) for j in stay if j]
        lost += 0 not in stay and min(gaps) > stats.norm.isf(LEVEL / 2 / (m - 1))
    print(f"{m} arms: lost in {lost} of 300 ladders")
    assert lost <= LEVEL * 300


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 3.0])
def test_an_arm_that_the_full_run_tells_apart_from_all_that_stay_is_lost_rarely(spread):
    """What the ladder promises: of the arms on the full run's front, at most a share `level` is neither kept nor
    indistinguishable from a kept one of no more MACs."""
    random, rungs, N, macs = np.random.default_rng(0), [20, 40], 160, [1, 1, 1, 2, 2, 2]
    lost = kept = fronts = 0
    for _ in range(400):
        truth = spread / math.sqrt(20) * random.normal(size=6)
        stay, x = climbed(random, truth, macs, rungs, N, N)
        kept += len(stay)
        mean, z = x.mean(1), stats.norm.isf(LEVEL / 2 / 5)
        for i in range(6):
            if any(macs[j] <= macs[i] and mean[j] < mean[i] for j in range(6)):
                continue
            fronts += 1
            rivals = [j for j in stay if macs[j] <= macs[i]]
            gaps = [(mean[j] - mean[i]) / ((x[j] - x[i]).std(ddof=1) / N**0.5) for j in rivals if j != i]
            lost += i not in stay and all(gap > z for gap in gaps)
    assert lost <= LEVEL * fronts
    assert kept < 400 * 5  # and it does drop arms
