"""DeepCache: the measured speed-up beside the promised one, the share of each rung, and the DeepCache package."""

import time

import numpy as np

from fastdiff_benchmarks.studies.versus.network import SHAPE, Timed, brief, config, synchronise
from fastdiff_benchmarks.studies.versus.pipelines import ours, theirs
from fastdiff_benchmarks.studies.versus.targets import Target, beside

GOALS = {2: 0.95, 3: 0.95, 5: 0.9}  # interval -> least measured speed-up over the promised one


def measure(timed: Timed, batch: int, steps: int, how: tuple, options: dict) -> tuple[dict, list[Target], list[dict]]:
    """Arms by branch and interval, their targets, and a table. how: precision, memory format, compile."""
    import torch

    from fastdiff.profiling import call_cost, interleaved, peak_mb, trunk_bytes

    arms = {"interval 1": ours(timed, batch, steps, *how)}
    pairs = [(branch, interval) for branch in (1, 2, 3) for interval in GOALS]
    arms |= {f"branch {b}, interval {i}": ours(timed, batch, steps, *how, interval=i, branch=b) for b, i in pairs}
    briefly = {name: brief({name: work}, int(name[-1]))[name] for name, work in arms.items()}
    found = interleaved(arms, synchronise(timed.device), batch, **options, briefly=briefly)
    full, itemsize = call_cost("hf", config(timed.width), SHAPE), 2 if how[0] == "bfloat16" else 4
    targets, rows = [], []
    for branch, interval in pairs:
        name = f"branch {branch}, interval {interval}"
        shallow, arm = call_cost("hf", config(timed.width), SHAPE, branch), found[name]
        calls = [call % interval == 0 for call in range(steps)]
        macs = sum((full if runs else shallow).macs for runs in calls)
        promised, peak = full.macs * steps / macs, peak_mb(briefly[name], torch.device(timed.device))
        ends = arm.speedup_low / promised, arm.speedup_high / promised
        targets.append(Target(f"DeepCache, {name}: measured over promised speed-up", arm.speedup, promised,
                              arm.speedup / promised, GOALS[interval], unit="x",
                              low=ends[0], high=ends[1]))  # fmt: skip
        trunk = trunk_bytes("hf", config(timed.width), SHAPE, branch, itemsize) / 1e3
        rows.append({"branch": branch, "interval": interval, "skip_rate": 1 - sum(calls) / steps, "promised": promised,
                     "measured": arm.speedup, "measured.low": arm.speedup_low, "measured.high": arm.speedup_high,
                     "mmacs_per_image": macs / 1e6, "peak_mb": peak, "trunk_kb_per_image": trunk})  # fmt: skip
    return found, targets, rows


def against_package(timed: Timed, batch: int, steps: int, judged: bool, options: dict) -> tuple[dict, list[Target]]:
    """Interval 3 at the outermost skip, bfloat16, eager: ours, and the DeepCache package on diffusers in both memory
    formats."""
    from fastdiff.profiling import interleaved

    package, mine = "DeepCache package on diffusers, bfloat16, eager, interval 3", "ours, bfloat16, eager, interval 3"
    arms = {package: theirs(timed, batch, steps, interval=3, bfloat16=True)}
    arms |= {f"{package}, channels-last": theirs(timed, batch, steps, interval=3, bfloat16=True, channels_last=True)}
    arms |= {mine: ours(timed, batch, steps, "bfloat16", "channels_last", interval=3)}
    found = interleaved(arms, synchronise(timed.device), batch, **options, briefly=brief(arms, 3))
    name = "DeepCache, interval 3: against the DeepCache package"
    return found, [beside(name, found, mine, package, 1.15, judged),
                   beside(f"{name}, channels-last", found, mine, list(arms)[1], 1.15, judged)]  # fmt: skip


def by_rung(timed: Timed, batch: int, how: tuple, repeats: int = 20) -> list[dict]:
    """Time and MACs of a full call by piece: embedding, each rung (down and up), bottleneck and head."""
    import torch

    from fastdiff.profiling.macs import count

    unet, sync = timed.ours(*how[:2]), synchronise(timed.device)
    x = torch.randn(batch, *SHAPE, dtype=next(unet.parameters()).dtype, device=timed.device)
    with torch.inference_mode():
        runs = [dict(_pieces(unet, x, sync)) for _ in range(repeats + 2)][2:]
        with torch.device("meta"):
            from fastdiff.unets import build

            shape = build("hf", config(timed.width))
            macs = dict(_pieces(shape, torch.empty(1, *SHAPE), lambda: None, lambda run: _counted(run, count)))
    spent = {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
    total, operations = sum(spent.values()), sum(macs.values())
    return [{"piece": n, "ms": 1e3 * spent[n], "share_of_time": spent[n] / total, "share_of_macs": macs[n] / operations,
             "mmacs_per_image": macs[n] / 1e6} for n in spent]  # fmt: skip


def _pieces(unet, x, sync, clock=None):
    """(piece, seconds or the result of `clock`) of one walk."""
    import torch

    def clocked(run):
        sync()
        begun = time.perf_counter()
        result = run()
        sync()
        return result, time.perf_counter() - begun

    clock, spent, skips = clock or clocked, {}, []
    emb, spent["embedding"] = clock(lambda: unet.embed(torch.full((len(x),), 500.0, device=x.device), None))
    h = x
    for i in range(unet.rungs):
        (h, skip), spent[f"rung {i}"] = clock(lambda i=i, h=h: unet.down(i, h, emb))
        skips.append(skip)
    h, spent["bottleneck"] = clock(lambda: unet.mid(h, emb))
    for i in reversed(range(unet.rungs)):
        h, more = clock(lambda i=i, h=h: unet.up(i, h, skips[i], emb))
        spent[f"rung {i}"] += more
    _, spent["head"] = clock(lambda: unet.head(h, emb))
    return spent.items()


def _counted(run, count):
    """The result of a piece, and its MACs."""
    found = []
    cost = count(lambda: found.append(run()))
    return found[0], cost.macs
