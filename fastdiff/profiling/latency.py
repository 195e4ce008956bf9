"""Latency of whole trajectories: arms take turns on a synchronised clock; medians have distribution-free intervals."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

LEAST = 6  # measurements of an arm: fewer have no distribution-free 95 % interval of the median


class Throughput(NamedTuple):
    """Median over batches: images_per_s, latency_ms per batch, and the number of batches."""

    images_per_s: float
    latency_ms: float
    batches: int


def throughput(seconds: list[float], batch: int) -> Throughput:
    """seconds: synchronised trajectory times of full batches, without warm-up (protocol `quick`). -> Throughput."""
    if not seconds:
        raise ValueError("no timed batch: at least one full batch after the warm-up is needed")
    median = float(np.median(seconds))
    return Throughput(batch / median, 1000 * median, len(seconds))


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the median, for any distribution: x_(r) .. x_(n + 1 - r) of the ordered values, with the
    largest r that has P(Bin(n, 1/2) < r) <= 0.025 at either end.

    With fewer than 6 values it is their range, which covers the median with probability 1 - 2^(1 - n) < 0.95.
    """
    ordered, n = sorted(map(float, values)), len(values)
    if not n:
        raise ValueError("median_interval needs at least one value")
    r, below = 0, 1  # below = 2^n P(Bin(n, 1/2) <= r), in whole numbers
    while 40 * below <= 2**n:
        r += 1
        below += math.comb(n, r)
    r = max(r, 1)
    return ordered[r - 1], ordered[n - r]


class Latency(NamedTuple):
    """Milliseconds of one trajectory of one batch: median, its 95 % interval low_ms .. high_ms, and percentiles
    (interpolated; with fewer than 100 repeats p99_ms is about the slowest). repeats: number of measurements. warm_ups:
    number of calls before them, without the first. images_per_s = batch / median. event_ms: median by the device's own
    clock, or None.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    repeats: int
    warm_ups: int
    images_per_s: float
    event_ms: float | None = None

    @classmethod
    def of(cls, seconds: Sequence[float], batch: int, warm_ups: int = 0, event_ms: Sequence[float] = ()) -> "Latency":
        """seconds: synchronised times of trajectories of `batch` images. event_ms: the same by events, if any."""
        low, high = median_interval(seconds)
        median, p90, p99 = map(float, np.percentile(seconds, (50, 90, 99)))
        by_events = float(np.median(event_ms)) if len(event_ms) else None
        ms = [1000 * t for t in (median, low, high, median, p90, p99)]
        return cls(ms[0], ms[1], ms[2], ms[3], ms[4], ms[5], len(seconds), warm_ups, batch / median, by_events)


class WarmUp(NamedTuple):
    """seconds: of each call. settled: whether they had become steady at the end."""

    seconds: list[float]
    settled: bool


class Arm(NamedTuple):
    """One arm compared with the baseline. speedup: median over rounds of baseline seconds / this arm's seconds, with a
    95 % interval. first_call_s: seconds of the very first call, which may compile. settled: whether the warm-up became
    steady. seconds: every measurement, in the order of the rounds."""

    latency: Latency
    speedup: float
    speedup_low: float
    speedup_high: float
    first_call_s: float
    settled: bool
    seconds: list[float]


@dataclass(frozen=True)
class CudaEvent:
    """A moment on the current stream of `device`, which need not be the current device (`interleaved`'s events)."""

    device: torch.device
    event: Any

    def record(self) -> None:
        self.event.record(torch.cuda.current_stream(self.device))

    def elapsed_time(self, end: "CudaEvent") -> float:
        """Milliseconds from here to end; both must have passed (synchronise)."""
        return self.event.elapsed_time(end.event)


def cuda_events(device: torch.device) -> Callable[[], CudaEvent] | None:
    """A function that makes events on a CUDA device; None for any other device."""
    if device.type != "cuda":
        return None
    return lambda: CudaEvent(device, torch.cuda.Event(enable_timing=True))


def timed(work: Callable[[], object], synchronise: Callable[[], object]) -> float:
    """Seconds of work(), a whole trajectory. Its result is not copied anywhere.

    synchronise() returns when the device is idle. It is called before the clock starts, to leave out older work, and
    before the clock stops, to include all of this work.
    """
    synchronise()
    begun = time.perf_counter()
    result = work()
    synchronise()
    seconds = time.perf_counter() - begun
    del result  # freed outside the clock
    return seconds


def warm_up(
    run: Callable[[], float], settle: float = 0.01, window: int = 5, most: int = 50, seconds: float = math.inf
) -> WarmUp:
    """Call run() -> seconds until the median of its last `window` calls differs from that of the `window` before by
    less than the share `settle`; give up after `most` calls, or when they took `seconds` together."""
    spent = []
    while len(spent) < most and sum(spent) < seconds:
        spent.append(run())
        if len(spent) >= 2 * window:
            before, now = np.median(spent[-2 * window : -window]), np.median(spent[-window:])
            if abs(now - before) < settle * before:
                return WarmUp(spent, True)
    return WarmUp(spent, False)


def interleaved(
    arms: dict[str, Callable[[], object]],
    synchronise: Callable[[], object],
    batch: int,
    repeats: int = 30,
    seconds: float = 10.0,
    progress: Callable[[str], object] = id,
    events: Callable[[], Any] | None = None,
    briefly: dict[str, Callable[[], object]] | None = None,
) -> dict[str, Arm]:
    """Time arms in turns. The first is the baseline. An arm is one trajectory of `batch` images (`timed`).

    First comes each arm's first call and warm-up (at most `seconds`), then rounds in ABBA order (A B C, C B A, ...),
    in pairs: a machine that slows down then slows all arms alike. They end when every arm has `repeats` measurements or
    has run for `seconds`, but not before `LEAST` measurements. briefly: by an arm's name, a shorter piece of its work
    for its first call and warm-up; default: the whole work. progress(sentence) is called after every warm-up and round.
    events(): makes objects with record() and elapsed_time(end) in ms (`cuda_events`), as a second clock. Raises
    ValueError for wrong numbers.
    """
    if not arms:
        raise ValueError("there is no arm to time; give at least the baseline")
    for name, value, least in (("batch", batch, 1), ("repeats", repeats, 1), ("seconds", seconds, 0)):
        if not value >= least:
            raise ValueError(f"{name} is {value}; at least {least} is needed")
    runs = {name: partial(_clocks, work, synchronise, events) for name, work in arms.items()}
    first, warm, spent = {}, {}, {name: [] for name in arms}
    for name, work in (arms | (briefly or {})).items():
        run = partial(timed, work, synchronise)
        first[name] = run()
        warm[name] = warm_up(run, seconds=seconds)
        progress(f"{name}: {'' if warm[name].settled else 'not '}settled after {len(warm[name].seconds)} warm-up calls")
    rounds = 0
    while rounds < LEAST or any(len(own) < repeats and sum(s for s, _ in own) < seconds for own in spent.values()):
        for order in (list(runs), list(runs)[::-1]):
            for name in order:
                spent[name].append(runs[name]())
            rounds += 1
            progress(f"round {rounds}")
    baseline = [s for s, _ in next(iter(spent.values()))]
    return {name: _arm(spent[name], baseline, first[name], warm[name], batch) for name in arms}


def _clocks(work, synchronise, events) -> tuple[float, float | None]:
    """Seconds by the host's clock, and milliseconds by events or None."""
    if events is None:
        return timed(work, synchronise), None
    begin, end = events(), events()

    def between():
        begin.record()
        result = work()
        end.record()
        return result

    return timed(between, synchronise), begin.elapsed_time(end)


def _arm(spent: list[tuple], baseline: list[float], first: float, warm: WarmUp, batch: int) -> Arm:
    own = [s for s, _ in spent]
    ratios = [theirs / mine for theirs, mine in zip(baseline, own)]
    latency = Latency.of(own, batch, len(warm.seconds), [ms for _, ms in spent if ms is not None])
    return Arm(latency, float(np.median(ratios)), *median_interval(ratios), first, warm.settled, own)
