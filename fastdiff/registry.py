"""Registries: the four places where third parties add to the suite, and how their modules are found.

Accelerators, samplers, network families and feature extractors are looked up by name in a `Registry`. A module that is
named in `plugins: [my_module]`, or in the entry-point group `fastdiff.accelerators`, registers its own when it is
imported.
"""

import importlib
import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")
ENTRY_POINTS = "fastdiff.accelerators"


class Registry(Generic[T]):
    """Names and what they stand for. `kind` is the noun that error messages use: "accelerator"."""

    def __init__(self, kind: str):
        self.kind = kind
        self._known: dict[str, T] = {}

    def add(self, name: str, value: T) -> None:
        """Add a name. The same module may add its names again (a reload); another module may not take them."""
        known = self._known.get(name)
        if known is not None and _origin(known) != _origin(value):
            raise ValueError(f"{self.kind} '{name}' exists already, in {_origin(known)}; choose another name")
        self._known[name] = value

    def get(self, name: str) -> T:
        """Raises ValueError, with the menu, for a name that nobody registered."""
        if name not in self._known:
            raise ValueError(
                f"{self.kind} '{name}' is not one of: {', '.join(self.names())}"
                " (a module of your own is loaded with plugins=[my_module])"
            )
        return self._known[name]

    def names(self) -> list[str]:
        return sorted(self._known)

    def __contains__(self, name: object) -> bool:
        return name in self._known


def _origin(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"


def load_plugins(modules: Iterable[str]) -> None:
    """Import modules that register accelerators, samplers, network families or feature extractors.

    The working directory is searched too, as `python -m` does. Installed packages are found through the entry-point
    group `fastdiff.accelerators`. Raises ValueError, naming the module, where one cannot be imported.
    """
    names = [str(name) for name in modules]
    if names and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    names += [entry.module for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)]
    for name in dict.fromkeys(names):
        try:
            importlib.import_module(name)
        except Exception as error:  # a plugin may fail in any way
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"plugin '{name}' cannot be imported ({reason}); plugins lists importable modules, and the working"
                " directory and PYTHONPATH are searched"
            ) from error
