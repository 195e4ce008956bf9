"""The words of an arch: unknown ones are refused with the menu, missing ones are asked for by name."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TypeVar

Words = TypeVar("Words")


def read(words: type[Words], arch: Mapping, whose: str) -> Words:
    """arch as an instance of the dataclass `words`; `whose` begins the sentence of a refusal.

    Raises ValueError for a word that is no field of it, and for a field without default that is no word of arch.
    """
    menu = {field.name: field.default for field in fields(words)}
    for word in arch:
        if word not in menu:
            raise ValueError(f"{whose}: '{word}' is not one of: {', '.join(sorted(menu))}")
    missing = [word for word, default in menu.items() if default is MISSING and word not in arch]
    if missing:
        raise ValueError(f"{whose}: missing {', '.join(missing)}; the words are: {', '.join(sorted(menu))}")
    return words(**arch)
