"""The words of an arch: unknown ones are refused with the menu, missing ones are asked for by name."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from numbers import Integral, Real
from typing import TypeVar

Words = TypeVar("Words")
MULTIPLIERS = ("ch_mult", "channel_mult", "multipliers", "resample_filter")  # of these there is at least one
TUPLES = (*MULTIPLIERS, "attention", "attention_resolutions", "attn_resolutions")


def read(words: type[Words], arch: Mapping, whose: str) -> Words:
    """arch as an instance of the dataclass `words`; `whose` begins the sentence of a refusal.

    Raises ValueError for a word that is no field of it, for a field without default that is no word of arch, and as
    `normal`.
    """
    arch, menu = normal(arch, whose), {field.name: field.default for field in fields(words)}
    for word in arch:
        if word not in menu:
            raise ValueError(f"{whose}: '{word}' is not one of: {', '.join(sorted(menu))}")
    missing = [word for word, default in menu.items() if default is MISSING and word not in arch]
    if missing:
        raise ValueError(f"{whose}: missing {', '.join(missing)}; the words are: {', '.join(sorted(menu))}")
    return words(**arch)


def normal(arch: Mapping, whose: str) -> dict:
    """arch in one spelling, whatever file or flag it comes from: what is None is not given, as are multipliers that are
    "" (guided-diffusion's flag); whole floats are ints; the words of TUPLES are tuples of numbers, given as "1,2",
    "(1, 2)", any sequence or one number; elsewhere [512] is 512.

    Raises ValueError where a tuple is meant and its value is none, and for multipliers of which there are none.
    """
    found = {}
    for word, value in arch.items():
        if value is None or (word in MULTIPLIERS and isinstance(value, str) and not value):
            continue
        if word in TUPLES:
            value = _numbers(word, value, whose)
        elif isinstance(value, (list, tuple)) and len(value) == 1:
            value = _number(value[0])
        found[word] = _number(value)
    return found


def _numbers(word: str, value, whose: str) -> tuple:
    """'(1, 2)', '1,2', [1, 2] or 1 -> a tuple."""
    try:
        if isinstance(value, str):
            parts = [float(part) for part in value.strip().strip("()[]").split(",") if part.strip()]
        else:
            parts = list(value) if isinstance(value, Iterable) else [value]
        numbers = tuple(_number(part if isinstance(part, Real) else float(part)) for part in parts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{whose}: {word} is {value!r}; it must be numbers, as in [1, 2] or '1,2'") from error
    if word in MULTIPLIERS and not numbers:
        raise ValueError(f"{whose}: {word} is empty; it must be numbers, as in [1, 2] or '1,2'")
    return numbers


def _number(value):
    """Whole numbers as int; anything else as it is."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer()):
        return int(value)
    return value
