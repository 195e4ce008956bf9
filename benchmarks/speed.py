"""fastdiff speed: time your network, uncached and cached, and find its best batch size.

    fastdiff speed model=mnist sampler=ddpm sampler.steps=25 'intervals=[2,3]'
    fastdiff speed 'parts=[batch]' device=cuda

Part `own` times whole trajectories. Its arms take turns (ABBA), and a machine that drifts slows all of them. Ratios are
medians over rounds with 95 % intervals. Part `batch` doubles the batch while images come faster. Each part writes its
tables into `out` (own.csv, arms.csv, batch.csv) and the load of the machine into conditions.json. It replaces the rows
of an earlier run of the same part.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fastdiff_benchmarks.entry import entry, settings_of

Tables = dict[str, list[dict]]  # name of a csv -> its rows
Part = Callable[[DictConfig, object, dict], Tables]  # (settings, device, options of `interleaved`) -> tables


@entry("speed")
def main(cfg: DictConfig) -> None:
    time_parts(cfg, PARTS)


def own(cfg: DictConfig, device, options: dict) -> Tables:
    """The network and the sampler of the settings, uncached and at some DeepCache intervals."""
    from fastdiff_benchmarks.network_speed import by_interval

    arms, rows = by_interval(settings_of(cfg), list(cfg.intervals), options)
    return {"own": rows, "arms": [flat(name, arm) for name, arm in arms.items()]}


def batch(cfg: DictConfig, device, options: dict) -> Tables:
    """The network of the settings by batch size."""
    from fastdiff_benchmarks.network_speed import by_batch

    return {"batch": by_batch(settings_of(cfg), options)}


PARTS: dict[str, Part] = {"own": own, "batch": batch}


def time_parts(cfg: DictConfig, menu: dict[str, Part]) -> None:
    """Measure the parts that `cfg.parts` names, store each as soon as it is done, and print the tables."""
    import torch

    from fastdiff.bench.ledger import provenance
    from fastdiff.device import device_name, resolved_device
    from fastdiff.profiling import cuda_events, watched

    parts, out = list(cfg.parts), Path(cfg.out)
    if unknown := [part for part in parts if part not in menu]:
        raise ValueError(f"part '{unknown[0]}' is not one of: {', '.join(menu)}")
    device = resolved_device(OmegaConf.to_container(cfg.device))
    if device.threads:
        torch.set_num_threads(device.threads)
    options = {"repeats": cfg.repeats, "seconds": cfg.seconds, "progress": progress}
    options["events"] = cuda_events(torch.device(device.name))
    kept = {name: cfg[name] for name in ("width", "batch", "steps", "repeats", "seconds") if name in cfg}
    kept["device"] = dataclasses.asdict(device)
    facts = {"machine": device_name(device), "made": provenance(), "settings": kept}
    for part in parts:
        print(f"{part} ...", flush=True)
        with watched(torch.device(device.name)) as conditions:
            tables = menu[part](cfg, device, options)
        if conditions.busy:
            busy = f" (busy: {conditions.said})"
            tables["targets"] = [row | {"note": f"{row['note']}{busy}".strip()} for row in tables.get("targets", [])]
        said = dataclasses.asdict(conditions) | {"busy": conditions.busy, "said": conditions.said}
        store(out, part, tables, facts | said, list(menu))
        print(f"  {conditions.said}")
    for name in ("targets", "operators", "quality", "own", "batch"):
        if (path := out / f"{name}.csv").exists():
            rows = read(path)
            shown = rows[rows["part"].isin(parts)].drop(columns=["part", "note"], errors="ignore")
            if len(shown := shown.dropna(axis=1, how="all")):
                print(f"\n{shown.to_string(index=False, float_format='{:.3g}'.format)}")
    print(f"\n{device_name(device)}, {torch.get_num_threads()} threads; written to {out}")


def store(out: Path, part: str, tables: Tables, facts: dict, order: list[str]) -> None:
    """Write the rows of a part in place of the rows of an earlier run. The rows of other parts stay.

    order: the parts as the files list them.
    """
    import pandas as pd

    from fastdiff.files import write, write_json

    for name, rows in tables.items():
        path, new = out / f"{name}.csv", pd.DataFrame([{"part": part, **row} for row in rows])
        old = read(path) if path.exists() else new[:0]
        others = old[old["part"] != part] if len(old) else old
        if len(frame := pd.concat([each for each in (others, new) if len(each)] or [new])):
            places = {part: place for place, part in enumerate(order)}
            text = frame.sort_values("part", key=lambda parts: parts.map(places).fillna(-1), kind="stable")
            write(path, lambda file, text=text: file.write(text.to_csv(index=False, float_format="%.5g").encode()))
    path = out / "conditions.json"
    write_json(path, (json.loads(path.read_text()) if path.exists() else {}) | {part: facts})


def read(path: Path):
    """A table as pandas' DataFrame, with the column `part`."""
    import pandas as pd

    return pd.read_csv(path)


def flat(name: str, arm) -> dict:
    """An arm as a row: its latency, its speed-up over the first arm of its run, and how it was measured."""
    row = {"arm": name} | arm.latency._asdict() | arm._asdict()
    return {key: value for key, value in row.items() if key not in ("latency", "seconds")}


def progress(sentence: str) -> None:
    print(f"  {sentence}", end="\n" if "settled" in sentence else "\r", flush=True)


if __name__ == "__main__":
    main()
