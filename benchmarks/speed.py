"""make speed: ours beside what people use today, on one network with the same weights, in one run.

    python benchmarks/speed.py
    python benchmarks/speed.py 'parts=[caching]' device=cuda width=128
    python benchmarks/speed.py 'parts=[own]' sampler=ddpm sampler.steps=25 'intervals=[2,3]'

Arms take turns (ABBA), so that a machine that drifts slows all of them; ratios are paired round by round, medians with
95 % intervals. Written into `out` after every part, in place of what an earlier run of it wrote: targets.csv (target,
ours, theirs, ratio, goal, met), arms.csv, overheads.csv, operators.csv (where a call's time goes, and its floor),
caching.csv, rungs.csv, quality.csv (what each faster way to compute costs), conditions.json and a figure. Figures for a
GPU come from the reader's GPU: device=cuda.
"""

import dataclasses
import json
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fastdiff_benchmarks.entry import entry, settings_of

PARTS = ("pipelines", "operators", "caching", "package", "loop", "cells", "scores", "quality", "own", "batch")


@entry("speed")
def main(cfg: DictConfig) -> None:
    import torch

    from fastdiff.bench.config import device_name, resolved_device
    from fastdiff.bench.ledger import provenance
    from fastdiff.profiling import watched

    parts = list(cfg.parts)
    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"part '{unknown[0]}' is not one of: {', '.join(PARTS)}")
    device = resolved_device(OmegaConf.to_container(cfg.device))
    if device.threads:
        torch.set_num_threads(device.threads)
    out = Path(cfg.out)
    kept = {name: cfg[name] for name in ("width", "batch", "steps", "repeats", "seconds")}
    kept["device"] = dataclasses.asdict(device)  # its batch is of parts quality, own and cells alone
    facts = {"machine": device_name(device), "made": provenance(), "settings": kept}
    for part in parts:
        print(f"{part} ...", flush=True)
        with watched(torch.device(device.name)) as conditions:
            targets, tables = measured(part, cfg, device)
        busy = f" (busy: {conditions.said})" if conditions.busy else ""
        found = [dataclasses.replace(target, note=f"{target.note}{busy}".strip()).row() for target in targets]
        conditions_said = dataclasses.asdict(conditions) | {"busy": conditions.busy, "said": conditions.said}
        store(out, part, {"targets": found, **tables}, facts | conditions_said)
        print(f"  {conditions.said}")
    for name in ("targets", "operators", "quality", "own", "batch"):
        if (path := out / f"{name}.csv").exists():
            shown = of_parts(path, parts).drop(columns=["part", "note"], errors="ignore").dropna(axis=1, how="all")
            if len(shown):
                print(f"\n{shown.to_string(index=False, float_format='{:.3g}'.format)}")
    print(f"\n{device_name(device)}, {torch.get_num_threads()} threads, width {cfg.width}; written to {out}")


def store(out: Path, part: str, tables: dict[str, list[dict]], facts: dict) -> None:
    """Write a part's rows in place of those an earlier run of it wrote; other parts' stay, with their own facts."""
    import pandas as pd

    from fastdiff.files import write, write_json
    from fastdiff.report.figures import rendered
    from fastdiff_benchmarks.versus.figure import speedups

    for name, rows in tables.items():
        path, new = out / f"{name}.csv", pd.DataFrame([{"part": part, **row} for row in rows])
        others = of_parts(path, [other for other in PARTS if other != part]) if path.exists() else new[:0]
        if len(frame := pd.concat([each for each in (others, new) if len(each)] or [new])):
            text = frame.sort_values("part", key=lambda parts: parts.map(PARTS.index), kind="stable")
            write(path, lambda file, text=text: file.write(text.to_csv(index=False, float_format="%.5g").encode()))
    path = out / "conditions.json"
    write_json(path, (json.loads(path.read_text()) if path.exists() else {}) | {part: facts})
    if part == "caching":
        figure = speedups(*(pd.DataFrame(tables[name]) for name in ("caching", "rungs")))
        contents, absent = rendered(figure, "caching")
        for name, content in contents.items():
            write(out / name, lambda file, content=content: file.write(content))
        if absent:
            print(absent)


def of_parts(path: Path, parts: list[str]):
    """The rows of a table that these parts wrote."""
    import pandas as pd

    frame = pd.read_csv(path)
    return frame[frame["part"].isin(parts)]


def measured(part: str, cfg: DictConfig, device) -> tuple[list, dict]:
    """Targets and rows of one part."""
    import torch

    from fastdiff.bench.ledger import Ledger
    from fastdiff.profiling import cuda_events
    from fastdiff_benchmarks.versus import batches, caching, cells, loop, operators, own, pipelines, quality, scores
    from fastdiff_benchmarks.versus.network import Timed

    options = {"repeats": cfg.repeats, "seconds": cfg.seconds, "progress": progress}
    options["events"] = cuda_events(torch.device(device.name))
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
    if part == "operators":
        return [], {"operators": operators.measure(timed, cfg.batch, how)}
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
        arms, targets, around = loop.measure(timed, cfg.batch, cfg.steps, how, options)
        rows = {"overheads": around}
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
