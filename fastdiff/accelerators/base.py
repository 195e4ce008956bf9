"""What an accelerator is: a frozen dataclass that answers pure questions about a trajectory before it is sampled.

Subclass `Accelerator`, decorate with `@register` and `@dataclass(frozen=True)`, and name the module in
`plugins: [my_module]`. Every answer defaults to "no effect". An accelerator may act in three ways:

* `factors` and `join` change what the decoder joins at some rungs (Skip-Tuning scales the skips);
* `sources` lets kept tensors stand for the network, or for its deep part, on some calls (DeepCache);
* `guidance` sets the weight of classifier-free guidance, call by call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

Sources = tuple[tuple[int, float], ...]  # (earlier call, weight), ...
RUN: Sources = ()  # nothing earlier is read: the call runs every rung


@dataclass(frozen=True)
class Trajectory:
    """All that is known of a trajectory before it is sampled.

    sigmas: the noise level of every network call, in order; not monotone under churn and PLMS. levels: the same in
    [0, 1], linear in log sigma. asked: the calls that the user's number of steps asks for. rungs: K of the network; 0
    if it is not cut into rungs. guidance: the cell's. ran: which calls run every rung; () while `sources` is asked.
    branch: where the kept tensor sits; None without a cache.
    """

    sigmas: tuple[float, ...]
    levels: tuple[float, ...]
    asked: int
    rungs: int
    guidance: float = 1.0
    ran: tuple[bool, ...] = ()
    branch: int | None = None


@dataclass(frozen=True)
class Accelerator:
    """The base of all accelerators. Subclasses are frozen dataclasses, and their fields are the knobs.

    name: the node in conf (accelerator.<name>), the prefix of columns where two knobs would collide, and the name in
    W&B. knobs: numbers per rung that `join` takes; 0 for an accelerator without a join. neutral: the row with which
    `join` has no effect; a compiled network takes it where `factors` is None. branch, of a member with `sources`: 0
    keeps the network's output, b = 1 .. K the state that enters up(b - 1) (the trunk).
    """

    name: ClassVar[str] = ""
    knobs: ClassVar[int] = 0
    neutral: ClassVar[tuple[float, ...] | None] = None
    branch = None  # type: int | None  # no annotation: as a pseudo-field it would take the first place among the knobs

    @property
    def off(self) -> bool:
        """Whether the accelerator is at identity. Such members are dropped from a cell."""
        return not self.identity()

    def identity(self) -> dict[str, Any]:
        """What goes into the key of a cell: the fields that differ from their defaults."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    def describe(self) -> str:
        """The accelerator as tables, legends and the page name it."""
        return " ".join([self.name, *(f"{knob} {_text(value)}" for knob, value in self.identity().items())])

    def shown(self) -> dict[str, Any]:
        """The knobs that a table shows of an accelerator that is on: every field that is read."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def check(self, trajectory: Trajectory) -> None:
        """Raises ValueError, with the menu of valid values, for a trajectory that the knobs do not fit."""

    def sources(self, trajectory: Trajectory) -> Sequence[Sources] | None:
        """For each call RUN, or the earlier calls whose kept tensors stand for it, with their weights."""
        return None

    def joined(self, rungs: int) -> Sequence[int]:
        """The rungs at which `join` acts. They are the same on every call, because a graph is made once."""
        return range(rungs) if self.knobs else ()

    def factors(self, trajectory: Trajectory, call: int) -> Sequence[Sequence[float]] | None:
        """K rows of `knobs` numbers, rung 0 first; None where the call is left as it is."""
        return None

    @staticmethod
    def join(h: Tensor, skip: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """The pair that the decoder joins at a rung. A pure function, which may be compiled.

        h (B C H W): main operand. skip (B C' H W). factor (knobs): the rung's row of `factors`.
        """
        return h, skip

    def guidance(self, trajectory: Trajectory, call: int) -> float | None:
        """The weight of guidance on that call; None leaves it to the cell or to another member."""
        return None

    def uncached(self) -> Accelerator:
        """What is left of the accelerator where nothing is kept between calls. Most do not ask about a cache."""
        return self

    @property
    def caches(self) -> bool:
        return type(self).sources is not Accelerator.sources

    @property
    def joins(self) -> bool:
        return self.knobs > 0

    @property
    def guides(self) -> bool:
        return type(self).guidance is not Accelerator.guidance


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


ACCELERATORS: Registry[type[Accelerator]] = Registry("accelerator")

A = TypeVar("A", bound=type[Accelerator])


def register(cls: A) -> A:
    """Class decorator: make an accelerator known under its `name`. Raises ValueError for a class that is not one."""
    if not (isinstance(cls, type) and issubclass(cls, Accelerator) and cls.name):
        raise ValueError(f"{cls!r} is no accelerator: subclass fastdiff.accelerators.Accelerator and set `name`")
    ACCELERATORS.add(cls.name, cls)
    return cls


def knob_defaults(cls: type[Accelerator]) -> dict[str, Any]:
    """Knob -> its default, in the order of the fields."""
    return {f.name: None if f.default is MISSING else f.default for f in fields(cls)}
