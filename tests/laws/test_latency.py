"""Timing that a sceptic accepts: what is claimed of a clock, on clocks whose truth is known."""

import json
import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastdiff.profiling import Latency, cuda_events, interleaved, latency, median_interval, timed, warm_up


def nothing():
    pass


class Clock:
    """A virtual machine: work(cost) takes `cost` seconds, times its slowness at the moment it begins."""

    def __init__(self, slowness=lambda now: 1.0):
        self.now, self.slowness, self.tape = 0.0, slowness, []

    def work(self, name: str, cost: float):
        def run():
            self.tape.append(name)
            self.now += cost * self.slowness(self.now)

        return run

    def arms(self, **costs):
        return {name: self.work(name, cost) for name, cost in costs.items()}


@pytest.fixture
def clock(monkeypatch):
    """clock(slowness) -> a Clock that `fastdiff.profiling.latency` reads."""

    def make(*slowness) -> Clock:
        made = Clock(*slowness)
        monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: made.now))
        return made

    return make


# --- the interval of a median


def test_the_interval_holds_the_true_median_of_skewed_times_as_often_as_it_says():
    generator = np.random.default_rng(0)
    intervals = [median_interval(generator.lognormal(0.0, 1.0, 30)) for _ in range(1000)]
    assert 0.93 <= np.mean([low <= 1.0 <= high for low, high in intervals]) <= 0.99


@pytest.mark.parametrize("n", [6, 7, 10, 30, 31, 100, 1000])
def test_the_interval_is_the_narrowest_symmetric_one_that_covers_95_percent(n):
    low, high = median_interval(range(1, n + 1))  # values are their own ranks

    def coverage(rank):
        return 1 - 2 * sum(math.comb(n, k) for k in range(int(rank))) / 2**n

    assert low + high == n + 1
    assert coverage(low) >= 0.95 > coverage(low + 1)


def test_the_ranks_at_30_are_those_of_the_tables():
    assert median_interval(range(1, 31)) == (10, 21)


def test_too_few_values_give_their_whole_range_and_none_are_refused():
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    with pytest.raises(ValueError, match="median_interval needs at least one value"):
        median_interval([])


def test_the_order_of_measurements_and_one_outlier_move_nothing_much():
    seconds = list(np.linspace(0.1, 0.2, 30))
    found = Latency.of(seconds, 8)
    assert Latency.of(seconds[::-1], 8) == found
    wild = Latency.of([*seconds[:-1], 1000.0], 8)
    assert (wild.median_ms, wild.low_ms, wild.high_ms) == (found.median_ms, found.low_ms, found.high_ms)


def test_percentiles_are_milliseconds_and_images_per_second_belong_to_the_median():
    found = Latency.of([k / 1000 for k in range(101)], batch=25, warm_ups=3)
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == pytest.approx((50, 90, 99))
    assert (found.median_ms, found.repeats, found.warm_ups) == (found.p50_ms, 101, 3)
    assert found.images_per_s == pytest.approx(25 / 0.050)
    assert found.event_ms is None


# --- warm-up


def test_warm_up_stops_when_two_windows_agree():
    times = iter([9.0, 5.0, 3.0, 2.0, 1.5] + [1.0] * 100)
    found = warm_up(lambda: next(times))
    assert found.settled
    assert found.seconds == [9.0, 5.0, 3.0, 2.0, 1.5] + [1.0] * 8  # the 4th to 8th have median 1, the 9th to 13th too


def test_a_constant_clock_needs_two_windows():
    assert warm_up(lambda: 1.0) == ([1.0] * 10, True)
    assert warm_up(lambda: 1.0, window=2) == ([1.0] * 4, True)


def test_warm_up_gives_up_at_most_calls_and_says_so():
    growing = iter(1.1**k for k in range(1000))
    found = warm_up(lambda: next(growing), most=17)
    assert (len(found.seconds), found.settled) == (17, False)


def test_warm_up_gives_up_when_its_seconds_are_spent():
    assert warm_up(lambda: 4.0, seconds=10.0) == ([4.0] * 3, False)


# --- a clock that waits


class Slow:
    """A device whose work returns at once and ends 50 ms later."""

    def __init__(self):
        self.pending = []

    def work(self):
        self.pending.append(threading.Thread(target=time.sleep, args=(0.05,)))
        self.pending[-1].start()

    def synchronise(self):
        while self.pending:
            self.pending.pop().join()


def test_work_is_timed_to_its_end_and_not_to_its_return():
    device = Slow()
    assert timed(device.work, device.synchronise) >= 0.05
    assert min(timed(device.work, nothing) for _ in range(3)) < 0.01  # what it would be without synchronisation
    device.synchronise()


def test_work_begun_earlier_is_not_counted():
    device = Slow()

    def late():
        device.work()
        return timed(nothing, device.synchronise)

    assert min(late() for _ in range(3)) < 0.01


def test_every_measurement_of_interleaved_arms_is_synchronised():
    device = Slow()
    found = interleaved({"slow": device.work}, device.synchronise, 1, repeats=1, seconds=0.0)["slow"]
    assert min(found.seconds + [found.first_call_s]) >= 0.05


# --- turns


def test_rounds_go_there_and_back(clock):
    machine = clock()
    interleaved(machine.arms(A=1.0, B=0.5, C=0.25), nothing, 1, repeats=8, seconds=math.inf)
    once = ["A"] * 11 + ["B"] * 11 + ["C"] * 11  # the first call and two windows of warm-up
    assert "".join(machine.tape) == "".join(once) + "ABCCBA" * 4


def test_repeats_or_seconds_whichever_is_first_but_never_fewer_than_six(clock):
    def repeats(costs, **limits):
        (found,) = {arm.latency.repeats for arm in interleaved(clock().arms(**costs), nothing, 1, **limits).values()}
        return found

    assert repeats(dict(A=1e-3, B=1e-3)) == 30
    assert repeats(dict(A=1.0, B=1.0)) == 10
    assert repeats(dict(A=1.0, B=0.5)) == 20  # the fastest arm has run for 10 s
    assert repeats(dict(A=1.0, B=1e-3)) == 30  # it has not; but it has its repeats
    assert repeats(dict(A=99.0, B=99.0)) == 6
    assert repeats(dict(A=1.0), repeats=1) == 6


def test_a_machine_that_slows_to_half_leaves_the_speed_up_right_and_the_medians_wrong(clock):
    machine = clock(lambda now: 1.0 if now < 16.5 + 12 * 1.5 else 2.0)  # slow from the 13th of 30 rounds on
    found = interleaved(machine.arms(plain=1.0, cached=0.5), nothing, 1, seconds=math.inf)
    cached = found["cached"]
    assert (cached.speedup, cached.speedup_low, cached.speedup_high) == pytest.approx((2, 2, 2))
    assert found["plain"].latency.median_ms == pytest.approx(2000)  # the truth is 1000
    assert cached.latency.median_ms == pytest.approx(1000)  # the truth is 500

    machine = clock(lambda now: 1.0 if now < 30 else 2.0)  # the same arms one after the other
    plain, alone = ([timed(run, nothing) for _ in range(30)] for run in machine.arms(plain=1.0, cached=0.5).values())
    assert np.median(plain) / np.median(alone) == pytest.approx(1)


def test_a_steady_drift_favours_neither_end_of_a_round(clock):
    """Within a round the machine slows by 2 %; there and back cancel to first order."""
    machine = clock(lambda now: 1 + now / 100)
    found = interleaved(machine.arms(A=1.0, B=1.0), nothing, 1, repeats=8, seconds=math.inf)["B"]
    assert found.speedup == pytest.approx(1, abs=1e-3)
    assert found.speedup_low < 0.995 and found.speedup_high > 1.005


def test_the_baseline_s_speed_up_is_exactly_one(clock):
    generator = np.random.default_rng(0)
    machine = clock(lambda now: generator.lognormal())
    found = interleaved(machine.arms(plain=1.0, cached=0.5), nothing, 1)
    assert found["plain"][1:4] == (1.0, 1.0, 1.0)
    assert found["cached"].speedup_low < found["cached"].speedup < found["cached"].speedup_high


def test_compilation_is_told_apart_and_enters_no_median(clock):
    machine = clock(lambda now: 40.0 if now == 0 else 1.0)
    found = interleaved(machine.arms(plain=0.1), nothing, 4)["plain"]
    assert (found.first_call_s, found.settled, found.latency.warm_ups) == (pytest.approx(4.0), True, 10)
    assert found.latency.p99_ms == pytest.approx(100)
    assert found.latency.images_per_s == pytest.approx(40)


def test_what_is_found_is_json_and_progress_is_told_in_sentences(clock):
    said = []
    found = interleaved(clock().arms(A=1.0, B=0.5), nothing, 1, progress=said.append)
    rows = {name: arm._asdict() | {"latency": arm.latency._asdict()} for name, arm in found.items()}
    assert json.loads(json.dumps(rows)) == rows
    assert said[:3] == ["A: settled after 10 warm-up calls", "B: settled after 10 warm-up calls", "round 1"]


@pytest.mark.parametrize(
    ("arms", "wrong", "sentence"),
    [
        ({}, {}, "there is no arm to time; give at least the baseline"),
        ({"A": nothing}, dict(repeats=-1), "repeats is -1; at least 1 is needed"),
        ({"A": nothing}, dict(repeats=0), "repeats is 0; at least 1 is needed"),
        ({"A": nothing}, dict(batch=0), "batch is 0; at least 1 is needed"),
        ({"A": nothing}, dict(seconds=-1.0), "seconds is -1.0; at least 0 is needed"),
        ({"A": nothing}, dict(seconds=math.nan), "seconds is nan; at least 0 is needed"),
    ],
)
def test_what_cannot_be_timed_is_refused_in_one_sentence(arms, wrong, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        interleaved(arms, nothing, **dict(batch=1) | wrong)


# --- the device's own clock


def test_events_are_recorded_around_the_work_alone_and_read_after_synchronisation(clock):
    machine, tape = clock(), []

    class Event:
        def record(self):
            tape.append("record")
            self.at = machine.now

        def elapsed_time(self, end):
            tape.append("read")
            return 1000 * (end.at - self.at)

    def synchronise():
        tape.append("wait")
        machine.now += 0.5  # the host waits longer than the device works

    def work():
        tape.append("work")
        machine.now += 1.0

    found = interleaved({"A": work}, synchronise, 1, events=Event)["A"].latency
    assert (found.event_ms, found.median_ms) == pytest.approx((1000, 1500))
    assert tape[-6:] == ["wait", "record", "work", "record", "wait", "read"]


def test_a_long_arm_is_warmed_up_by_a_short_piece_of_its_work(clock):
    machine, calls = clock(), {"whole": 0, "brief": 0}

    def work(name: str, seconds: float):
        calls[name] += 1
        machine.now += seconds

    arms, short = {"A": lambda: work("whole", 50.0)}, {"A": lambda: work("brief", 0.1)}
    arm = interleaved(arms, lambda: None, 1, repeats=6, seconds=10, briefly=short)["A"]
    assert (arm.latency.warm_ups, arm.settled, arm.first_call_s) == (10, True, pytest.approx(0.1))
    assert calls == {"whole": 6, "brief": 11} and arm.latency.median_ms == pytest.approx(50_000)


def test_cuda_events_time_the_stream_of_their_own_device(monkeypatch):
    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            self.stream = stream

        def elapsed_time(self, end):
            return (self.stream, end.stream)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    make = cuda_events(torch.device("cuda:1"))
    begin, end = make(), make()
    begin.record(), end.record()
    assert begin.elapsed_time(end) == ("stream of cuda:1",) * 2
    assert cuda_events(torch.device("cpu")) is None
