"""The records of a ledger as types: what a cell is, what was measured, and what became of it.

`to_json` and `from_json` turn any of them into JSON and back. A field that this version does not know is ignored, and
a field that a file does not have takes its default.
"""

import types
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

SCHEMA = 2  # raised when the meaning of a field changes
Scalar = str | int | float | bool | None
T = TypeVar("T")


@dataclass(frozen=True)
class Value:
    """A quality value with its 95 % interval `low` .. `high` and standard error `se`.

    no_interval: why there is no interval. parts: shares of the value by name, where it is a sum.
    """

    metric: str
    value: float
    se: float | None = None
    low: float | None = None
    high: float | None = None
    no_interval: str | None = None
    parts: dict[str, float] | None = None


@dataclass(frozen=True)
class Cost:
    """Cost of one image over the whole trajectory.

    nfe: network calls. full_calls: calls that ran every rung. macs: multiply-accumulates. conv_macs, layer_macs: the
    part in convolutions, and in all layers with weights. full_call_macs, shallow_call_macs: of one call.
    """

    nfe: int
    full_calls: int
    macs: int
    conv_macs: int
    full_call_macs: int
    shallow_call_macs: int
    layer_macs: int = 0


@dataclass(frozen=True)
class Applied:
    """A sampler or an accelerator at work. text: what people read. knobs: the fields that have an effect."""

    name: str
    text: str
    knobs: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Quality:
    """The quality of a cell.

    key, identity: the cell's name, and the settings that it is the hash of. settings: the conf of the command.
    sampler, accelerators: what is at work. solver: the sampler's class. baseline: whether others are compared with
    this cell. baseline_knobs: sampler knobs that have another value in the baseline of this cell. score_norms: the
    score norms that the sampler reads. values: by protocol, as fid[inception,n=1000]. seconds: by phase.
    norms_note: how the score norms were estimated. scored: version of the metrics. rescored: when they were computed
    again. compiled: number of graphs and seconds. uint8: how images were rounded. images: folder of kept images.
    """

    kind: ClassVar[str] = "quality"

    key: str
    identity: dict[str, Any]
    settings: dict[str, Any]
    sampler: Applied
    solver: str
    baseline: bool
    n: int
    values: dict[str, Value]
    cost: Cost
    speed_key: str
    accelerators: tuple[Applied, ...] = ()
    baseline_knobs: dict[str, Scalar] = field(default_factory=dict)
    score_norms: Applied | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    device: str = "unknown"
    precision: str = "float32"
    made: dict[str, Any] = field(default_factory=dict)
    norms_note: dict[str, Any] | None = None
    scored: int = 1
    rescored: dict[str, Any] | None = None
    compiled: dict[str, Any] | None = None
    uint8: str | None = None
    images: str | None = None

    @property
    def generation(self) -> dict[str, Any]:
        """The settings that the images depend on."""
        return self.identity["generation"]


@dataclass(frozen=True)
class Speed:
    """The speed of a computation on a machine. latency_ms: of a batch. peak_mb: memory of a batch, None where it
    cannot be measured. trunk_mb: what is kept between its calls. batches: how many were timed."""

    kind: ClassVar[str] = "speed"

    key: str
    images_per_s: float
    latency_ms: float
    identity: dict[str, Any] = field(default_factory=dict)
    protocol: str = "quick"
    batches: int = 0
    peak_mb: float | None = None
    trunk_mb: float | None = None
    device: str = "unknown"
    precision: str = "float32"
    made: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A cell that could not be measured. reason: one sentence. error: the exception's class."""

    kind: ClassVar[str] = "failed"

    key: str
    reason: str
    settings: dict[str, Any]
    error: str = ""
    traceback: str = ""
    made: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PairedValue:
    """The mean of a measure over n pairs of images. worst, worst_values: the images that differ most."""

    metric: str
    value: float
    n: int
    se: float | None = None
    low: float | None = None
    high: float | None = None
    quantiles: dict[str, float] = field(default_factory=dict)
    worst: tuple[int, ...] = ()
    worst_values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Paired:
    """The images of cell `key` beside those of cell `baseline`. values: by protocol, as psnr[baseline,n=250]."""

    kind: ClassVar[str] = "paired"

    key: str
    baseline: str
    values: dict[str, PairedValue]

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.key}-{self.baseline}"


TYPES = {cls.kind: cls for cls in (Quality, Speed, Failed, Paired)}


def to_json(value: Any) -> Any:
    """A record, or a part of one, as JSON. A field that is None is left out."""
    if is_dataclass(value):
        pairs = ((f.name, getattr(value, f.name)) for f in fields(value))
        return {name: to_json(each) for name, each in pairs if each is not None}
    if isinstance(value, dict):
        return {name: to_json(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(each) for each in value]
    return value


def from_json(cls: type[T], data: dict[str, Any]) -> T:
    """JSON -> a record of that class. Raises TypeError where a field without default is missing."""
    hints = get_type_hints(cls)
    return cls(**{f.name: _read(hints[f.name], data[f.name]) for f in fields(cls) if f.name in data})


def _read(hint, value):
    """A JSON value as the type of its field."""
    if isinstance(hint, types.UnionType):
        hint = next((each for each in get_args(hint) if is_dataclass(each) or get_origin(each)), None)
    if value is None or hint is None:
        return value
    if is_dataclass(hint):
        return from_json(hint, value)
    if get_origin(hint) is tuple:
        return tuple(_read(get_args(hint)[0], each) for each in value)
    if get_origin(hint) is dict:
        return {name: _read(get_args(hint)[1], each) for name, each in value.items()}
    return value
