"""Quality records as rows of a table: every knob in a column of its own, every value under the name of its protocol.

No method is known by name here. Knobs come from the records (`bench.records.Applied`), and so do the texts that
people read.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from ..bench.ledger import Ledger
from ..bench.records import Applied, Quality, Scalar, Speed

SAMPLER, NORMS = "sampler", "score_norms"  # owners of knobs that are no accelerators
ENVIRONMENT = ["model", "data", "metrics", "seed", "part", "precision", "compile", "memory_format", "batch", "device"]
MEMORY = ["peak_mb", "trunk_mb"]
_SPEED = ["images_per_s", "latency_ms", *MEMORY]
_COST = ["nfe", "full_calls", "macs", "conv_macs"]
_DERIVED = ["skip_rate", "promised", "speedup"]
_WORDS = ["cell", "accelerators", "baseline"]
COMPARED = ["change", "verdict", "equal_cost_baseline", "against_equal_cost", "equal_cost_verdict"]
FIXED = ["key", "sampler", "steps", "guidance", *ENVIRONMENT, "n", *_WORDS, *_SPEED, *_COST, *_DERIVED, *COMPARED]

# Quality values that cells are not compared by, in the order people read them.
_MORE = ("is", "kid", "precision", "recall", "density", "coverage", "psnr", "ssim", "largest_difference")
_MORE += ("feature_distance",)


def knob_columns(records: Iterable[Quality]) -> dict[tuple[str, str], str]:
    """(owner, field) -> column, for every knob of any accelerator, sampler and score norm in the records.

    A column has the bare name of the field where no fixed column, no knob of a sampler and no accelerator before it has
    that name. Otherwise it is `<accelerator>.<field>`. Score norms always have their prefix. Accelerators are in the
    order of their names. The columns are in the order people read them: accelerators, samplers, score norms.
    """
    fields: dict[str, dict[str, None]] = {}
    for record in records:
        for owner, each in _owned(record):
            fields.setdefault(owner, {}).update(dict.fromkeys(each.knobs))
    taken = set(FIXED)
    found = {(SAMPLER, name): _free(SAMPLER, name, taken) for name in fields.pop(SAMPLER, {})}
    taken |= set(found.values())
    norms = {(NORMS, name): f"{NORMS}.{name}" for name in fields.pop(NORMS, {})}
    accelerators = {}
    for owner in sorted(fields):
        own = {(owner, name): _free(owner, name, taken) for name in fields[owner]}
        accelerators |= own
        taken |= set(own.values())
    return accelerators | found | norms


def _free(owner: str, name: str, taken: set[str]) -> str:
    return f"{owner}.{name}" if name in taken else name


def _owned(record: Quality) -> list[tuple[str, Applied]]:
    """(owner, what is at work) of a record."""
    norms = [] if record.score_norms is None else [(NORMS, record.score_norms)]
    return [(SAMPLER, record.sampler), *((each.name, each) for each in record.accelerators), *norms]


def describe(record: Quality) -> str:
    """A cell in words: its sampler, its steps, and the text of every accelerator at work."""
    steps = record.settings["sampler"]["steps"]
    return ", ".join([record.sampler.text, f"{steps} steps", *(each.text for each in record.accelerators)])


@dataclass
class Cells:
    """All measured cells of a ledger, and which of them belong together.

    records, speeds: by key. columns: `knob_columns`. rows: a line a cell, with every column but the comparisons.
    """

    ledger: Ledger
    records: dict[str, Quality] = field(init=False)
    columns: dict[tuple[str, str], str] = field(init=False)
    rows: pd.DataFrame = field(init=False)

    def __post_init__(self):
        self.records = {record.key: record for record in self.ledger.all("quality")}
        self.columns = knob_columns(self.records.values())
        self._baselines: dict[tuple, list[str]] = {}
        self._bare: dict[tuple, list[str]] = {}  # without accelerators
        for key, record in self.records.items():
            if record.baseline:
                self._baselines.setdefault(_setting(record), []).append(key)
            if not record.accelerators:
                self._bare.setdefault(_setting(record, own=True), []).append(key)
        speeds = {key: self.ledger.read("speed", record.speed_key) for key, record in self.records.items()}
        lines = [self._row(record, speeds) for record in self.records.values()]
        self.rows = pd.DataFrame(lines, columns=None if lines else ["key", *self.knobs, "n"])
        if lines:  # a bound has no speed
            self.rows = self.rows.astype(dict.fromkeys([*_SPEED, "speedup"], float))

    @property
    def knobs(self) -> list[str]:
        """Columns that say what a cell is, in the order people read them."""
        accelerators = [name for (owner, _), name in self.columns.items() if owner not in (SAMPLER, NORMS)]
        return ["sampler", "steps", *accelerators, *self.of(SAMPLER), "guidance", *self.of(NORMS), *ENVIRONMENT]

    def of(self, owner: str) -> list[str]:
        """The columns of the knobs of an owner: `sampler`, `score_norms`, or an accelerator."""
        return [name for (each, _), name in self.columns.items() if each == owner]

    @property
    def accelerators(self) -> list[str]:
        """Names of the accelerators at work in any cell."""
        return [owner for owner in dict.fromkeys(owner for owner, _ in self.columns) if owner not in (SAMPLER, NORMS)]

    def baseline_of(self, key: str) -> str | None:
        """The baseline of a cell: same sampler, steps and noise, every accelerator off. None where not measured."""
        record = self.records[key]
        return key if record.baseline else self._nearest(self._baselines.get(_setting(record), []), record)

    def unaccelerated(self, key: str) -> str | None:
        """The same cell with every accelerator off. None where it is not measured."""
        record = self.records[key]
        return self._nearest(self._bare.get(_setting(record, own=True), []), record)

    def fewer_steps(self, key: str) -> list[str]:
        """The baselines of the setting of a cell that have fewer steps."""
        record = self.records[key]
        (*setting, steps), found = _setting(record), []
        for (*other, fewer), keys in self._baselines.items():
            if other == setting and fewer < steps:
                found.append(self._nearest(keys, record))
        return found

    def accelerated(self, key: str) -> bool:
        """Whether accelerators make a cell need fewer MACs."""
        return bool(self.records[key].accelerators) and self._promised(self.records[key]) > 1

    def _nearest(self, keys: list[str], record: Quality) -> str | None:
        """Of cells of one setting, the first whose score norms are those of a record; else the first."""
        alike = [key for key in keys if self.records[key].score_norms == record.score_norms]
        return next(iter(alike or keys), None)

    def _promised(self, record: Quality) -> float:
        """Speed-up over the unaccelerated cell that the MACs promise."""
        bare = self.unaccelerated(record.key)
        whole = record.cost.nfe * record.cost.full_call_macs if bare is None else self.records[bare].cost.macs
        return whole / record.cost.macs

    def _row(self, record: Quality, speeds: dict[str, Speed | None]) -> dict[str, Scalar]:
        """A record as a flat line. A knob is None where its owner is not at work or has no use for it."""
        settings, cost, speed = record.settings, record.cost, speeds[record.key]
        line = {"key": record.key} | dict.fromkeys(self.knobs)
        line |= {"sampler": record.sampler.name, "steps": settings["sampler"]["steps"]}
        for owner, each in _owned(record):
            line |= {self.columns[owner, name]: value for name, value in each.knobs.items()}
        line |= {"guidance": float(settings["guidance"])} | _environment(record) | {"n": record.n}
        line |= {"cell": describe(record), "baseline": record.baseline}
        line["accelerators"] = " + ".join(each.name for each in record.accelerators)
        for protocol, value in record.values.items():
            line[protocol] = value.value
            if value.low is not None:
                line |= {f"{protocol}.low": value.low, f"{protocol}.high": value.high}
        line |= {name: getattr(speed, name, None) for name in _SPEED}
        line |= {name: getattr(cost, name) for name in _COST} | {"skip_rate": 1 - cost.full_calls / cost.nfe}
        bare = speeds.get(self.unaccelerated(record.key))
        line["promised"] = self._promised(record)
        return line | {"speedup": speed.images_per_s / bare.images_per_s if speed and bare else None}


def knobs_of(frame: pd.DataFrame) -> list[str]:
    """The columns of a table that say what a cell is: those between `key` and `n`."""
    columns = list(frame)
    return columns[1 : columns.index("n")]


def _environment(record: Quality) -> dict[str, Scalar]:
    """The columns of ENVIRONMENT; None for what is usual."""
    settings, device = record.settings, record.settings["device"]
    part = settings["budget"].get("part", "all")
    line = {name: settings[name]["name"] for name in ("model", "data", "metrics")}
    line |= {"seed": settings["budget"]["seed"], "part": None if part == "all" else part}
    for knob, usual in (("compile", "none"), ("memory_format", "contiguous")):
        line[knob] = None if device.get(knob, usual) == usual else device[knob]
    return line | {"precision": record.precision, "batch": device["batch"], "device": record.device}


def _setting(record: Quality, own: bool = False) -> tuple:
    """What two cells must share for one to be the other's baseline: all but accelerators and score norms; steps last.

    own: the sampler's own knobs count, not those of its baseline.
    """
    knobs = record.sampler.knobs | ({} if own else record.baseline_knobs)
    environment = tuple(_environment(record).values())
    around = record.n, float(record.settings["guidance"]), record.solver, tuple(sorted(knobs.items()))
    return (environment, *around, record.settings["sampler"]["steps"])


def same(frame: pd.DataFrame, line: pd.Series, names: list[str]) -> pd.Series:
    """Which rows equal the line in all those columns; having none equals having none."""
    there, wanted = frame[names], line[names]  # as arrays: column by column it would be most of a table's time
    equal = (there.to_numpy(object) == wanted.to_numpy(object)).astype(bool)
    return pd.Series((equal | (there.isna().to_numpy() & wanted.isna().to_numpy())).all(axis=1), index=frame.index)


def quality_columns(frame: pd.DataFrame, metric: str = "fid") -> list[str]:
    """Columns with values of a metric, one per protocol: numbers of different protocols never share a column."""
    return [name for name in map(str, frame) if name.startswith(f"{metric}[") and name.endswith("]")]


def more_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of the values that cells are not compared by, where any row has them."""
    found = [name for metric in _MORE for name in quality_columns(frame, metric)]
    return [name for name in found if frame[name].notna().any()]


def main_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of the values that cells are judged by: of generated images, and bounds."""
    return [*image_columns(frame), *quality_columns(frame, "nll")]


def image_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of the values that generated images are judged by."""
    return [*quality_columns(frame), *quality_columns(frame, "clip_score")]
