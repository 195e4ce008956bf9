"""A record as one flat line: every knob under its own name, every quality value under its protocol's name."""

from collections.abc import Iterable
from dataclasses import fields

import pandas as pd

from ..accelerators import DeepCache, SkipTuning
from ..bench.ledger import Ledger

_TUNING = ["index", "over_level", "window", "apply"]
_CACHING = ["schedule", "center", "power", "full", "protect_first", "protect_last"]
_NORMS = ["estimator", "cached", "levels"]
_SOLVING = ["solver", "order", "variant", "discretization", "noise_schedule", "scaling", "alpha", "karras_rho"]
_SOLVING += ["sigma_min", "sigma_max", "epsilon_s", "C_1", "C_2", "M", "offset", "churn", "churn_min", "churn_max"]
_SOLVING += ["noise_scale"]

# What a cell is, in the order people read it; W&B's config.
KNOBS = [
    "sampler", "steps", "rho_bottom", "rho_top", *_TUNING, "interval", "branch", *_CACHING, "variance", "eta", "clip",
    "spacing", "sigma2_clip", *_SOLVING, "state_dtype", "guidance", "analytic_images", *_NORMS, "model", "data",
    "metrics", "seed", "part", "precision", "compile", "memory_format", "batch", "device",
]  # fmt: skip

# Not in the first tables: columns of a file only where a cell has a value.
LATER = [*_TUNING, *_CACHING, *_SOLVING, *_NORMS, "part", "compile", "memory_format"]

MEMORY = ("peak_mb", "trunk_mb")  # of speed records, which earlier versions wrote without

# Quality values that cells are not compared by, in the order people read them.
MORE = ("is", "kid", "precision", "recall", "density", "coverage", "psnr", "ssim", "largest_difference")
MORE += ("feature_distance",)

# Knobs that have to be equal for two cells to be compared: all but the three methods'.
METHODS = {"sampler", "rho_bottom", "rho_top", "interval", "branch", "variance", "analytic_images"}
METHODS |= {*_TUNING, *_CACHING, *_NORMS}
SETTING = [knob for knob in KNOBS if knob not in METHODS] + ["n"]


def row(record: dict, speed: dict | None) -> dict:
    """One quality record and its speed record -> one flat line, with every knob.

    A knob is None where nothing reads it: its method is off, its schedule or sampler has no use for it. Records of
    earlier versions, whose settings lack the later knobs, did what the defaults of today do.
    """
    settings, identity = record["settings"], record["identity"]["generation"]
    plans, device = settings["accelerator"], settings["device"]
    line = dict.fromkeys(["key", *KNOBS]) | {"key": record["key"]} | _sampling(settings["sampler"])
    line |= _tuning(plans["skip_tuning"], identity["skip_tuning"], bool(identity["deepcache"]))
    line |= _caching(plans["deepcache"], identity["deepcache"]) | {"guidance": float(settings["guidance"])}
    line |= _norms(identity, settings["sampler"].get("variance") == "analytic") | {"seed": settings["budget"]["seed"]}
    line |= {name: settings[name]["name"] for name in ("model", "data", "metrics")}
    part = settings["budget"].get("part", "all")
    line["part"] = None if part == "all" else part
    for knob, usual in (("compile", "none"), ("memory_format", "contiguous")):
        line[knob] = None if device.get(knob, usual) == usual else device[knob]
    line |= {"precision": record["precision"], "batch": device["batch"], "device": record["device"], "n": record["n"]}
    for protocol, value in record["values"].items():
        line[protocol] = value["value"]
        line |= {f"{protocol}.{end}": value[end] for end in ("low", "high") if end in value}
    for name in ("images_per_s", "latency_ms", *MEMORY):
        line[name] = speed.get(name) if speed else None
    cost = record["cost"]
    line |= {name: cost[name] for name in ("nfe", "full_calls", "macs", "conv_macs")}
    # of the network calls those that were shallow, and what their MACs promise
    return line | {"skip_rate": 1 - cost["full_calls"] / cost["nfe"],
                   "promised": cost["nfe"] * cost["full_call_macs"] / cost["macs"]}  # fmt: skip


def rows(records: Iterable[dict], ledger: Ledger) -> pd.DataFrame:
    """The lines of quality records, all knobs first."""
    frame = pd.DataFrame([row(record, ledger.read("speed", record["speed_key"])) for record in records])
    return frame[["key", *KNOBS, *(name for name in frame if name not in KNOBS and name != "key")]]


def _sampling(sampler: dict) -> dict:
    """Knobs of a sampler; the limits of churn count only where there is churn."""
    unread = () if sampler.get("churn") else ("churn_min", "churn_max", "noise_scale")
    knobs = {name: value for name, value in sampler.items() if name not in ("name", *unread)}
    return {"sampler": sampler.get("name", "ddim")} | knobs


def _tuning(settings: dict, identity: dict, cached: bool) -> dict:
    """Knobs of Skip-Tuning. identity: what counts, {} = off; which calls it applies to is a question of caching."""
    plan = _complete(SkipTuning, settings, identity)
    line = {"rho_bottom": float(plan["rho_bottom"]), "rho_top": float(plan["rho_top"])}
    if not identity:
        return line
    window = "{:g}-{:g}".format(*plan["window"]) if plan["over_level"] == "window" else None
    line |= {"index": plan["index"], "over_level": plan["over_level"], "window": window}
    return line | {"apply": plan["apply"] if cached else None}


def _caching(settings: dict, identity: dict) -> dict:
    """Knobs of DeepCache. identity: what counts, {} = off; a list of calls has no interval."""
    plan = _complete(DeepCache, settings, identity)
    if not identity:
        return {"interval": int(plan["interval"])}
    listed, bent = plan["schedule"] == "list", plan["schedule"] in ("centred", "quadratic")
    return {
        "interval": None if listed else int(plan["interval"]),
        "branch": int(plan["branch"]),
        "schedule": plan["schedule"],
        "center": int(plan["center"]) if plan["schedule"] == "centred" else None,
        "power": plan["power"] if bent else None,
        "full": ",".join(map(str, plan["full"])) if listed else None,
        "protect_first": int(plan["protect_first"]),
        "protect_last": int(plan["protect_last"]),
    }


def _norms(identity: dict, analytic: bool) -> dict:
    """Knobs of score norms, as far as the cell uses them: for its variance, under a cache, to place its steps."""
    norms = identity.get("score_norms", {})
    line = {"analytic_images": norms.get("images"), "levels": norms.get("levels")}
    line |= {"estimator": norms.get("estimator", "eps_ms")} if analytic else {}
    return line | ({"cached": norms.get("cached", "base")} if analytic and identity["deepcache"] else {})


def _complete(plan: type, settings: dict, identity: dict) -> dict:
    """Every knob of a plan: as it counts in the key (a power of null is resolved there), as set, or the default."""
    return {f.name: f.default for f in fields(plan)} | settings | identity


def cached(cells: pd.DataFrame | pd.Series):
    """Whether DeepCache is at work, for each row of a table or for one row: only then is there a branch.

    The interval does not tell: a list of full calls has none.
    """
    return pd.notna(cells["branch"])


def plain(frame: pd.DataFrame) -> pd.Series:
    """Which cells run no method at all: the forward variance or a sampler without one, every factor 1, no caching."""
    untouched = (frame["rho_bottom"] == 1) & (frame["rho_top"] == 1) & ~cached(frame)
    return untouched & ((frame["variance"] == "small") | frame["variance"].isna())


def same(frame: pd.DataFrame, line: pd.Series, names: list[str]) -> pd.Series:
    """Which rows equal the line in all those columns; having none equals having none."""
    there, wanted = frame[names], line[names]  # as arrays: column by column it would be most of a table's time
    equal = (there.to_numpy(object) == wanted.to_numpy(object)).astype(bool)
    return pd.Series((equal | (there.isna().to_numpy() & wanted.isna().to_numpy())).all(axis=1), index=frame.index)


def quality_columns(frame: pd.DataFrame, metric: str = "fid") -> list[str]:
    """Columns with values of a metric, one per protocol: numbers of different protocols never share a column."""
    return [name for name in frame if name.startswith(f"{metric}[") and name.endswith("]")]


def more_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of all other quality values that any row has: of the set of images, then image by image."""
    found = [name for metric in MORE for name in quality_columns(frame, metric)]
    return [name for name in found if frame[name].notna().any()]


def main_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of the values that cells are judged by: of generated images, and bounds."""
    return [*image_columns(frame), *quality_columns(frame, "nll")]


def image_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of the values that generated images are judged by."""
    return [*quality_columns(frame), *quality_columns(frame, "clip_score")]
