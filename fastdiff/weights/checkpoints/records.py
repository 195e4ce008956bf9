"""What stands where objects would be when a pickle is read as data (`inert`)."""

from collections.abc import Callable


class Record:
    """What stands where an object would be: the full name of its class or function, what that was called with, and the
    object's state. Nothing of it has run."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple = ()):
        self.name, self.args, self.state = name, args, None


class Symbol:
    """A global that the file names and the table allows; make(*args) is what calling it becomes."""

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable):
        self.name, self.make = name, make


def records(*names: str) -> dict[str, Callable]:
    """Table entries whose calls are kept as records."""
    return {name: lambda *args, name=name: Record(name, args) for name in names}


def mapping() -> dict:
    """The table entry of dictionary classes; a pickle gives their items afterwards, one by one."""
    return {}
