"""make speed: our speed beside diffusers, the DeepCache package and clean-fid, on one network with the same weights.

    python benchmarks/studies/speed.py
    python benchmarks/studies/speed.py 'parts=[caching]' device=cuda width=128
    python benchmarks/studies/speed.py 'parts=[own]' sampler=ddpm sampler.steps=25 'intervals=[2,3]'

The arms of a part take turns (ABBA), and a machine that drifts slows all of them. Ratios are taken round by round. They
are medians with 95 % intervals. Each part writes its tables into `out` when it is done: targets.csv (ours, theirs,
ratio, goal, met), arms.csv, overheads.csv, operators.csv (where the time of a call goes), caching.csv and rungs.csv
with a figure, quality.csv (what a faster way to compute costs in quality) and conditions.json. Parts own and batch are
the parts of `fastdiff speed`.
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from fastdiff_benchmarks import speed
from fastdiff_benchmarks.entry import entry, settings_of
from fastdiff_benchmarks.speed import Tables, flat


@entry("speed", package="fastdiff_benchmarks.studies")
def main(cfg: DictConfig) -> None:
    from fastdiff.report.export import write_figure
    from fastdiff_benchmarks.studies import figures

    speed.time_parts(cfg, PARTS)
    if "caching" in cfg.parts:  # drawn last: a browser that runs beside the clock would count as load
        out = Path(cfg.out)
        figure = figures.caching(speed.read(out / "caching.csv"), speed.read(out / "rungs.csv"))
        if reason := write_figure(figure, out / "caching.svg"):
            print(reason, file=sys.stderr)


def pipelines(cfg: DictConfig, device, options: dict) -> Tables:
    """DDIM beside diffusers' pipeline."""
    from fastdiff_benchmarks.studies.versus import pipelines

    arms, targets, around = pipelines.measure(_timed(cfg, device), cfg.batch, cfg.steps, _low(device), options)
    return _tables(targets, arms) | {"overheads": around}


def operators(cfg: DictConfig, device, options: dict) -> Tables:
    """Where the time of a network call goes."""
    from fastdiff_benchmarks.studies.versus import operators

    return {"operators": operators.measure(_timed(cfg, device), cfg.batch, _how(device))}


def caching(cfg: DictConfig, device, options: dict) -> Tables:
    """DeepCache beside the speed-up that its MACs promise, and the share of each rung."""
    from fastdiff_benchmarks.studies.versus import caching

    timed, how = _timed(cfg, device), _how(device)
    arms, targets, promised = caching.measure(timed, cfg.batch, cfg.steps, how, options)
    return _tables(targets, arms) | {"caching": promised, "rungs": caching.by_rung(timed, cfg.batch, how)}


def package(cfg: DictConfig, device, options: dict) -> Tables:
    """DeepCache beside the DeepCache package."""
    from fastdiff_benchmarks.studies.versus import caching

    arms, targets = caching.against_package(_timed(cfg, device), cfg.batch, cfg.steps, _low(device), options)
    return _tables(targets, arms)


def loop(cfg: DictConfig, device, options: dict) -> Tables:
    """What the code around the network costs."""
    from fastdiff_benchmarks.studies.versus import loop

    arms, targets, around = loop.measure(_timed(cfg, device), cfg.batch, cfg.steps, _how(device), options)
    return _tables(targets, arms) | {"overheads": around}


def cells(cfg: DictConfig, device, options: dict) -> Tables:
    """What a cell of a sweep costs beyond sampling and scoring."""
    from fastdiff_benchmarks.studies.versus import cells

    return _tables(cells.measure())


def scores(cfg: DictConfig, device, options: dict) -> Tables:
    """The Frechet distance and the features beside clean-fid."""
    from fastdiff_benchmarks.studies.versus import scores

    return _tables([scores.distance(), scores.extraction()])


def quality(cfg: DictConfig, device, options: dict) -> Tables:
    """What a faster way to compute costs in quality."""
    from fastdiff.bench.ledger import Ledger
    from fastdiff_benchmarks.studies.versus import quality

    return {"quality": quality.measure(settings_of(cfg), Ledger(cfg.ledger), low=_low(device))}


PARTS = {part.__name__: part for part in (pipelines, operators, caching, package, loop, cells, scores, quality)}
PARTS |= speed.PARTS


def _timed(cfg: DictConfig, device):
    from fastdiff_benchmarks.studies.versus.network import Timed

    return Timed(cfg.width, device.name)


def _low(device) -> bool:
    return device.precision == "bfloat16"


def _how(device) -> tuple[str, str, str]:
    return device.precision, device.memory_format, device.compile


def _tables(targets: list, arms: dict | None = None) -> Tables:
    rows = {"targets": [target.row() for target in targets]}
    return rows if arms is None else rows | {"arms": [flat(name, arm) for name, arm in arms.items()]}


if __name__ == "__main__":
    main()
