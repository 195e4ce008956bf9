"""The report says what the ledger says, on one page that needs nothing but itself."""

from importlib.resources import files
from itertools import product

import numpy as np
from omegaconf import OmegaConf

from fastdiff.cell import key
from fastdiff.records import Ledger

FID = "fid[mnist-classifier,n=1000]"
PLAIN = {"ddpm": 60.0, "ddim": 40.0, "analytic_ddpm": 38.0, "analytic_ddim": 36.0}  # fid = 8 + this / steps ** 0.9


def card(group: str, name: str) -> dict:
    return OmegaConf.to_container(OmegaConf.load(files("fastdiff_conf") / group / f"{name}.yaml"))


def settings(sampler: str, steps: int, interval: int, rho: float, n: int = 1000) -> dict:
    """What benchmarks.sweep.settings_of gives for a cell."""
    groups = {"model": "mnist", "data": "mnist10k", "metrics": "mnist_classifier", "budget": "bench", "device": "auto"}
    conf = {group: card(group, name) for group, name in groups.items()} | {"guidance": 1.0}
    conf |= {"sampler": card("sampler", sampler) | {"steps": steps}, "accelerator": card("accelerator", "none")}
    conf["accelerator"]["deepcache"]["interval"] = interval
    conf["accelerator"]["skip_tuning"]["rho_bottom"] = rho
    conf["budget"]["n"] = n
    return conf


def write_cell(ledger: Ledger, conf: dict, draw: np.random.Generator, pixels: np.ndarray) -> str:
    """Records in the shape of bench.run_cell, with plausible numbers; returns the key."""
    sampler, n = conf["sampler"], conf["budget"]["n"]
    interval, rho = conf["accelerator"]["deepcache"]["interval"], conf["accelerator"]["skip_tuning"]["rho_bottom"]
    steps, analytic = sampler["steps"], sampler["variance"] == "analytic"
    off = {
        "skip_tuning": {"rho_bottom": rho} if rho != 1 else {},
        "deepcache": {"interval": interval} if interval > 1 else {},
    }
    norms = {"score_norms": {"images": 256}} if analytic else {}
    generation = {"sampler": sampler, "seed": 0, "model": conf["model"], **off, **norms}
    name, speed_name = key({"generation": generation, "n": n}), key({"generation": generation, "device": "test"})
    full_calls = -(-steps // interval)
    value = 8 + PLAIN[sampler["name"]] / steps**0.9 + (interval - 1) * 30 / steps**1.2
    value += (1 - rho) * (30 - 60 * (interval > 1)) / steps**0.7 + draw.normal(0, 0.1)
    psi = value * (2 * np.random.default_rng(0).normal(size=n) + draw.normal(size=n)) / 2
    fid = {"metric": "fid", "value": value, "se": psi.std() / n**0.5}
    fid |= {"low": value - 1.96 * fid["se"], "high": value + 1.96 * fid["se"]}
    values = {f"fid[mnist-classifier,n={n}]": fid}
    values[f"is[mnist-classifier,splits=10,n={n}]"] = {
        "metric": "is",
        "value": 9.5,
        "se": 0.02,
        "low": 9.46,
        "high": 9.54,
    }
    macs = 156_451_392 * full_calls + 70_000_000 * (steps - full_calls)
    cost = {"nfe": steps, "full_calls": full_calls, "macs": macs, "conv_macs": macs * 99 // 100}
    versions = {"fastdiff": "0.1.0", "python": "3.11.7", "numpy": "2.4.6", "torch": "2.14.1"}
    made = {
        "made": "2026-11-24T05:57:27+00:00",
        "versions": versions,
        "git_commit": "0123456789abcdef",
        "git_dirty": True,
    }
    where = {"device": "Test CPU, 2 cores", "precision": "bfloat16", "made": made, "settings": conf}
    per_s = 8.2e10 / macs * draw.normal(1, 0.01)
    speed = {"kind": "speed", "key": speed_name, "protocol": "quick", "images_per_s": per_s, "latency_ms": 5e4 / per_s}
    ledger.write("speed", speed_name, speed | {"batches": 3, "device": where["device"], "made": made})
    ledger.write_influence(name, {"fid": psi, "is": psi})
    ledger.write_samples(key(generation), pixels)
    record = {"kind": "quality", "key": name, "identity": {"generation": generation, "n": n}, "n": n, "values": values}
    ledger.write("quality", name, record | {"cost": cost, "speed_key": speed_name, **where})
    return name


def fill(root, pixels: np.ndarray | None = None) -> Ledger:
    """Two grids of conf/grid, default (24 cells) and steps (12 cells), and one failed cell."""
    ledger, draw = Ledger(root), np.random.default_rng(1)
    pixels = draw.integers(0, 256, (64, 1, 28, 28), dtype=np.uint8) if pixels is None else pixels
    default = product(("ddpm", "analytic_ddpm"), (10, 25), (1, 2, 5), (1.0, 0.8))
    grids = {"default": list(default), "steps": list(product(PLAIN, (5, 8, 15), (1,), (1.0,)))}
    for grid, cells in grids.items():
        keys = [write_cell(ledger, settings(*cell), draw, pixels) for cell in cells]
        ledger.write("grids", grid, {"grid": grid, "keys": keys})
    return ledger
