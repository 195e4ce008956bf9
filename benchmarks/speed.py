"""make speed: ours beside what people use today, on one network with the same weights, in one run.

    python benchmarks/speed.py
    python benchmarks/speed.py 'parts=[caching]' device=cuda width=128
    python benchmarks/speed.py 'parts=[own]' sampler=ddpm sampler.steps=25 'intervals=[2,3]'

Arms take turns (ABBA), so that a machine that drifts slows all of them; ratios are paired round by round, medians with
95 % intervals. Written into `out`: targets.csv (target, ours, theirs, ratio, goal, met), arms.csv, caching.csv,
rungs.csv, quality.csv (what each faster way to compute costs), conditions.json and a figure. Figures for a GPU come
from the reader's GPU: device=cuda.
"""

import dataclasses
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fastdiff_benchmarks.entry import entry, settings_of

PARTS = ("pipelines", "caching", "package", "loop", "cells", "scores", "quality", "own", "batch")
TABLES = ("arms", "overheads", "caching", "rungs", "quality", "own", "batch")  # files beside targets.csv


@entry("speed")
def main(cfg: DictConfig) -> None:
    import pandas as pd
    import torch

    from fastdiff.files import write, write_json
    from fastdiff.profiling import watched
    from fastdiff.records import provenance
    from fastdiff.settings import device_name, resolved_device

    parts = list(cfg.parts)
    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"part '{unknown[0]}' is not one of: {', '.join(PARTS)}")
    device = resolved_device(OmegaConf.to_container(cfg.device))
    if device.threads:
        torch.set_num_threads(device.threads)
    out, found, tables = Path(cfg.out), [], {name: [] for name in TABLES}
    kept = ("width", "batch", "steps", "repeats", "seconds")
    facts = {"device": device_name(device), "made": provenance(), "settings": {name: cfg[name] for name in kept}}
    facts["settings"] |= dataclasses.asdict(device)
    for part in parts:
        print(f"{part} ...", flush=True)
        with watched(torch.device(device.name)) as conditions:
            targets, rows = measured(part, cfg, device)
        busy = f" (busy: {conditions.said})" if conditions.busy else ""
        found += [dataclasses.replace(target, note=f"{target.note}{busy}".strip()) for target in targets]
        for name, each in rows.items():
            tables[name] += [{"part": part, **row} for row in each] if name == "arms" else each
        facts[part] = dataclasses.asdict(conditions) | {"busy": conditions.busy, "said": conditions.said}
        print(f"  {conditions.said}")
    table = pd.DataFrame([target.row() for target in found])
    for name, rows in {"targets": table.to_dict("records"), **tables}.items():
        if rows:
            text = pd.DataFrame(rows).to_csv(index=False, float_format="%.5g")
            write(out / f"{name}.csv", lambda file, text=text: file.write(text.encode()))
    write_json(out / "conditions.json", facts)
    if tables["caching"]:
        from fastdiff.reports.figures import render
        from fastdiff.reports.speed import drawn

        for suffix in ("svg", "png"):
            content = render(drawn(pd.DataFrame(tables["caching"]), pd.DataFrame(tables["rungs"])), suffix)
            write(out / f"caching.{suffix}", lambda file, content=content: file.write(content))
    for shown in (
        table.drop(columns=["low", "high", "note"], errors="ignore"),
        *map(pd.DataFrame, (tables["quality"], tables["own"], tables["batch"])),
    ):
        if len(shown):
            print(f"\n{shown.to_string(index=False, float_format='{:.3g}'.format)}")
    print(f"\n{device_name(device)}, {torch.get_num_threads()} threads, width {cfg.width}; written to {out}")


def measured(part: str, cfg: DictConfig, device) -> tuple[list, dict]:
    """Targets and rows of one part."""
    from fastdiff.records import Ledger
    from fastdiff_benchmarks.versus import batches, caching, cells, loop, own, pipelines, quality, scores
    from fastdiff_benchmarks.versus.network import Timed

    options = {"repeats": cfg.repeats, "seconds": cfg.seconds, "progress": progress}
    if part == "quality":
        settings = settings_of(cfg)
        return [], {"quality": quality.measure(settings, Ledger(cfg.ledger), low=device.precision == "bfloat16")}
    if part == "batch":
        return [], {"batch": batches.measure(settings_of(cfg), options)}
    if part == "cells":
        return cells.measure(), {}
    if part == "scores":
        return [scores.distance(), scores.extraction()], {}
    timed, low = Timed(cfg.width, device.name), device.precision == "bfloat16"
    how = (device.precision, device.memory_format, device.compile)
    rows = {}
    if part == "own":
        arms, lines = own.measure(settings_of(cfg), list(cfg.intervals), options)
        targets, rows = [], {"own": lines}
    elif part == "pipelines":
        arms, targets, around = pipelines.measure(timed, cfg.batch, cfg.steps, low, options)
        rows = {"overheads": around}
    elif part == "package":
        arms, targets = caching.against_package(timed, cfg.batch, cfg.steps, low, options)
    elif part == "loop":
        arms, targets = loop.measure(timed, cfg.batch, cfg.steps, how, options)
    else:
        arms, targets, promised = caching.measure(timed, cfg.batch, cfg.steps, how, options)
        rows = {"caching": promised, "rungs": caching.by_rung(timed, cfg.batch, how)}
    return targets, rows | {"arms": [flat(name, arm) for name, arm in arms.items()]}


def flat(name: str, arm) -> dict:
    """An arm as a line: its latency, its speed-up over the first arm of its run, and how it was had."""
    row = {"arm": name} | arm.latency._asdict() | arm._asdict()
    return {key: value for key, value in row.items() if key not in ("latency", "seconds")}


def progress(sentence: str) -> None:
    print(f"  {sentence}", end="\n" if "settled" in sentence else "\r", flush=True)


if __name__ == "__main__":
    main()
