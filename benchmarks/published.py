"""Published tables as data (benchmarks/anchors/*.csv), and our measurements beside them.

A line of a table has knobs, under their dotted names in conf/ (empty: any; ? where the paper does not say), metric,
value, source, protocol (`name=value; ...`) and note. A line without knobs has no cell of ours; it is printed only.
"""

import csv
from dataclasses import dataclass, field
from importlib.resources import files

import fastdiff_conf

from fastdiff.bench.records import Cost, Quality, Speed, Value

WORDS = ("metric", "value", "source", "protocol", "note")


@dataclass(frozen=True)
class Published:
    """A number of a paper."""

    knobs: dict[str, str]
    metric: str
    value: float
    source: str
    protocol: str
    note: str

    def of(self, settings: dict) -> bool:
        """Whether a cell with these settings is the published one."""
        return bool(self.knobs) and all(_same(wanted, _at(settings, knob)) for knob, wanted in self.knobs.items())


@dataclass(frozen=True)
class Arm:
    """A cell of the grid and what is known about it: the cost, and the rest once it is measured."""

    settings: dict
    cost: Cost | None
    record: Quality | None = None
    speed: Speed | None = None
    failure: str | None = field(default=None, compare=False)

    @property
    def uncached(self) -> bool:
        """Whether every call is full."""
        return self.cost is not None and self.cost.full_calls == self.cost.nfe

    def found(self, metric: str, arms: list["Arm"]) -> Value | None:
        """The value, with its interval if it has one. Costs are means over the network's calls."""
        name = metric.removesuffix("_per_call")
        if name != metric:
            return self.cost and Value(metric, getattr(self.cost, name) / self.cost.nfe)
        if metric in ("images_per_s", "speedup"):
            whole = 1.0 if metric == "images_per_s" else _uncached(self, arms)
            return Value(metric, self.speed.images_per_s / whole) if self.speed and whole else None
        values = self.record.values.values() if self.record else ()
        return next((value for value in values if value.metric == metric), None)


def _uncached(arm: Arm, arms: list[Arm]) -> float | None:
    """images_per_s of the same sampler with every call full."""
    sampler = arm.settings["sampler"]
    plain = (a for a in arms if a.settings["sampler"] == sampler and a.uncached)
    return next((a.speed.images_per_s for a in plain if a.speed), None)


def published(table: str) -> list[Published]:
    """The lines of a table, in its order; [] when there is no file of that name."""
    path = files("fastdiff_benchmarks") / "anchors" / f"{table}.csv"
    if not path.is_file():
        return []
    lines = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    knobs = [{name: value for name, value in line.items() if name not in WORDS and value} for line in lines]
    rest = [[line[word] for word in WORDS] for line in lines]
    return [Published(k, metric, float(value), *words) for k, (metric, value, *words) in zip(knobs, rest)]


def tables() -> list[str]:
    """Names of the grids of papers, conf/grid/paper/*.yaml."""
    return [name.removeprefix("paper/") for name in fastdiff_conf.members("grid") if name.startswith("paper/")]


def _at(settings: dict, knob: str):
    for name in knob.split("."):
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings


def _same(wanted: str, found) -> bool:
    try:
        return float(wanted) == float(found)
    except (TypeError, ValueError):
        return wanted == str(found)


def compared(lines: list[Published], arms: list[Arm]) -> list[dict]:
    """Rows to print: published, ours with its interval, the difference."""
    rows = []
    for line in lines:
        arm = next((arm for arm in arms if line.of(arm.settings)), None)
        ours = arm.found(line.metric, arms) if arm else None
        note = f"failed: {arm.failure}" if arm and arm.failure else line.note
        row = {"published": line.source, "metric": line.metric, "value": shown(line.value, line.metric)}
        row |= {"ours": interval(ours, line.metric) if ours else "-"}
        row |= {"difference": shown(ours.value - line.value, line.metric, "+") if ours else "-"}
        rows.append(row | {"note": note})
    return rows


def aligned(rows: list[dict]) -> str:
    """Rows as a table: words left-aligned, numbers right-aligned, each source named once."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    frame.loc[frame["published"].eq(frame["published"].shift()), "published"] = ""
    for name in ("published", "metric", "note"):
        frame[name] = frame[name].str.ljust(frame[name].str.len().max())
    text = frame.rename(columns={"published": "source", "value": "published"}).to_string(index=False, justify="left")
    return "\n".join(line.rstrip() for line in text.splitlines())


def shown(value: float, metric: str, sign: str = "") -> str:
    return f"{value / 1e9:{sign}.2f} G" if metric.endswith("macs_per_call") else f"{value:{sign}.2f}"


def interval(value: Value, metric: str) -> str:
    ends = "" if value.low is None else f" [{value.low:.2f}, {value.high:.2f}]"
    return shown(value.value, metric) + ends


def protocols(lines: list[Published], ours: dict[str, str]) -> list[str]:
    """The protocol of the published numbers that have cells, and ours: an entry for each protocol.

    Our precision is always stated, because papers seldom state theirs. Counts do not depend on it."""
    found = []
    for protocol in dict.fromkeys(line.protocol for line in lines if line.knobs and line.protocol):
        metrics = ", ".join(dict.fromkeys(line.metric for line in lines if line.knobs and line.protocol == protocol))
        names = [part.partition("=")[0].strip() for part in protocol.split(";")]
        names += ["precision"] if not {"counted", "precision"} & set(names) else []
        mine = "; ".join(f"{name}={ours[name]}" for name in names if name in ours)
        found.append(f"protocol of {metrics}\n  published: {protocol}\n  ours:      {mine or 'the same rule'}")
    return found


def absence(lines: list[Published], arms: list[Arm], extractor: str) -> list[str]:
    """A sentence for each published metric that no measured cell of ours has; [] if all cells failed."""
    if not any(arm.record for arm in arms):
        return []
    wanted = dict.fromkeys(line.metric for line in lines if line.knobs)
    return [
        f"no cell has {metric}: {_reason(metric, arms, extractor)}"
        for metric in wanted
        if not any(arm.found(metric, arms) for arm in arms)
    ]


def _reason(metric: str, arms: list[Arm], extractor: str) -> str:
    if metric.endswith("_per_call"):
        return "the network's operations cannot be counted here"
    if metric in ("images_per_s", "speedup") and not any(arm.speed for arm in arms):
        return "no cell was timed"
    if metric == "speedup":
        plain = any(arm.uncached for arm in arms)
        return "the uncached cell was not timed" if plain else "no cell of this grid is uncached"
    return f"fastdiff does not measure it with extractor {extractor}"
