"""Settings as people write them -> frozen dataclasses: every knob known, none missing, each of its type."""

import math
import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any


def build(cls, settings: dict, where: str):
    """Settings of a conf group -> frozen dataclass. Unknown, missing and ill-typed knobs are refused with the menu.

    `where` is the group's dotted name, for the message. Numbers are coerced to the field's type, so that 1 and 1.0
    are one value and one key.
    """
    if not isinstance(settings, dict):
        raise ValueError(f"{where} is {settings!r}; a group of knobs is needed")
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}
    for name in settings:
        if name not in known:
            raise ValueError(f"{where} has no knob '{name}'; it has: {', '.join(sorted(known))}")
    missing = [
        n for n, f in known.items() if n not in settings and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"{where} needs a value for: {', '.join(missing)}")
    return cls(**{name: coerced(value, hints[name], f"{where}.{name}") for name, value in settings.items()})


def coerced(value: Any, hint: Any, where: str):
    """A value as the type that a field asks for. Raises ValueError, naming the knob `where`, for any other."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    if is_dataclass(kinds[0]):
        return build(kinds[0], value, where)
    kind = typing.get_origin(kinds[0]) or kinds[0]
    if kind is tuple and isinstance(value, (list, tuple)):
        return tuple(value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise ValueError(f"{where} is {value!r}; {kind.__name__} is needed")
