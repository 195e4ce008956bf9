"""Pickles read without running anything they contain.

This is Python's own unpickler with a closed `find_class`: a class or function must be in a table of names, and becomes
what the table says. It is the version of the `pickle` module written in Python. The C version can be made to crash, to
hang or to ask for all memory by a small file: with a tuple nested a million deep as a dictionary key, with a key of 60
shared halves, or with a memo index of 2**31. Here keys must be plain values, and the number of instructions is limited.
"""

import math
import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

STEPS = 2_000_000  # instructions of one pickle; the largest official checkpoints have about a tenth
DIMENSIONS, LARGEST = 8, 2**40  # of a tensor or array; numbers along one dimension
UNCHANGED = (  # instructions that do what they do in Python's unpickler
    "PROTO", "FRAME", "STOP", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "MARK",
    "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT",
    "EMPTY_SET", "POP", "POP_MARK", "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL",
    "STACK_GLOBAL", "BINPERSID",
)  # fmt: skip


class Record:
    """An object of the file that is not made: the name of its class or function, the arguments, and the state."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple = ()):
        self.name, self.args, self.state = name, args, None


@dataclass(frozen=True, eq=False)
class Global:
    """A name that the file may use. make(*args) replaces a call of it."""

    name: str
    make: Callable


def records(*names: str) -> dict[str, Callable]:
    """Entries of a table: calls of these names become a `Record`."""
    return {name: lambda *args, name=name: Record(name, args) for name in names}


def mapping() -> dict:
    """The entry of dictionary classes: the file adds the items afterwards."""
    return {}


class Unpickler(pickle._Unpickler):
    """file: BytesIO or mmap, at the beginning of a pickle. table: full name -> replacement of a call. persistent:
    persistent id -> value; None refuses them."""

    def __init__(self, file: Any, table: Mapping[str, Callable], persistent: Callable[[Any], Any] | None = None):
        super().__init__(file)
        self.file, self.table, self.persistent = file, table, persistent
        self.dispatch = _Instructions(INSTRUCTIONS)

    def load(self) -> Any:
        """The value of the pickle. Raises ValueError with half a sentence about the file: "it ..."."""
        try:
            return super().load()
        except EOFError as error:
            raise ValueError("it ends too early") from error
        except DAMAGE as error:
            raise ValueError(f"it is damaged near byte {self.file.tell()}") from error

    def find_class(self, module: str, name: str) -> Global:
        full = f"{module}.{name}"
        if full not in self.table:
            raise ValueError(f"it asks for {full[:200]!r}, which weights never need")
        return Global(full, self.table[full])

    def persistent_load(self, pid: Any) -> Any:
        if self.persistent is None:
            raise ValueError("it points outside itself, which weights of this kind never do")
        return self.persistent(pid)

    def load_call(self):
        args, target = self.stack.pop(), self.stack.pop()
        if type(target) is not Global or type(args) is not tuple:
            raise pickle.UnpicklingError
        try:
            self.append(target.make(*args))
        except TypeError as error:
            raise ValueError(f"it calls {target.name} as weights never do") from error

    def load_build(self):
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is Record and target.state is None:
            target.state = state
        elif type(target) is not dict or type(state) is not dict:  # attributes of an OrderedDict are dropped
            raise pickle.UnpicklingError

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._update(dict, {_plain(key): value})

    def load_setitems(self):
        items = self.pop_mark()
        if len(items) % 2:
            raise pickle.UnpicklingError
        self._update(dict, dict(zip(map(_plain, items[::2]), items[1::2])))

    def load_additems(self):
        self._update(set, list(map(_plain, self.pop_mark())))

    def _update(self, kind: type, items):
        if type(self.stack[-1]) is not kind:
            raise pickle.UnpicklingError
        self.stack[-1].update(items)


DAMAGE = (pickle.UnpicklingError, struct.error, IndexError, KeyError, TypeError, AttributeError, UnicodeDecodeError)
INSTRUCTIONS = {code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in UNCHANGED)} | {
    pickle.REDUCE[0]: Unpickler.load_call,
    pickle.NEWOBJ[0]: Unpickler.load_call,
    pickle.BUILD[0]: Unpickler.load_build,
    pickle.SETITEM[0]: Unpickler.load_setitem,
    pickle.SETITEMS[0]: Unpickler.load_setitems,
    pickle.ADDITEMS[0]: Unpickler.load_additems,
}


class _Instructions(dict):
    """The instructions that weights need; every use is counted."""

    used = 0

    def __getitem__(self, code: int) -> Callable:
        self.used += 1
        if self.used > STEPS:
            raise ValueError(f"it has more than {STEPS:,} pickle instructions")
        return super().__getitem__(code)

    def __missing__(self, code: int):
        raise ValueError(
            f"it uses the pickle instruction {pickletools.code2op[chr(code)].name}, which weights never need"
        )


def _plain(key):
    """A dictionary key or set member. Of integers only those that are their own hash are accepted: any number of
    multiples of 2**61 - 1 share the hash 0."""
    kind = type(key)
    if key is None or kind in (str, bytes, bool, Global) or (kind is int and abs(key) < 2**61 - 1):
        return key
    raise ValueError("it has a dictionary key or set member that is no plain value")


# numpy's scalars and arrays. Their pickles name numpy.core in numpy 1 and numpy._core in numpy 2.

SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray")
CODES = ("f8", "f4", "f2", "i8", "i4", "b1")


def _encoded(text=None, encoding=None) -> bytes:
    """Pickles of protocol 2 write bytes as _codecs.encode(text, 'latin1')."""
    if type(text) is not str or encoding != "latin1" or (text and max(text) > "\xff"):
        raise ValueError("it has bytes of an unknown kind")
    return text.encode("latin1")


NUMPY = records(*SCALARS, *ARRAYS, "numpy.dtype") | {"_codecs.encode": _encoded}


def numpy_scalar(dtype: Any = None, raw: bytes = None):
    """The arguments of a scalar's record -> a number of Python. Raises ValueError."""
    kind = _dtype(dtype)
    if kind is None or type(raw) is not bytes or len(raw) != kind.itemsize:
        raise ValueError("it has a numpy scalar of an unknown kind")
    return np.frombuffer(raw, kind)[0].item()


def numpy_array(record: Record) -> np.ndarray:
    """An array's record, with state (version, shape, dtype, Fortran order, bytes) -> the array. Raises ValueError."""
    state = record.state
    _, shape, dtype, fortran, raw = state if type(state) is tuple and len(state) == 5 else [None] * 5
    kind = _dtype(dtype)
    if kind is None or type(raw) is not bytes or not is_shape(shape):
        raise ValueError("it has a numpy array of an unknown kind")
    if math.prod(shape) * kind.itemsize != len(raw):
        raise ValueError("it has a numpy array whose shape does not fit its size")
    return np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C")


def is_shape(value: Any) -> bool:
    """Whether value is a tuple of at most 8 integers in [0, 2**40): the size or the strides of a tensor."""
    return type(value) is tuple and len(value) <= DIMENSIONS and all(type(n) is int and 0 <= n < LARGEST for n in value)


def _dtype(record) -> np.dtype | None:
    """The state of a dtype is (version, byte order, ...)."""
    code = record.args[0] if type(record) is Record and record.name == "numpy.dtype" and record.args else None
    if type(code) is not str or code not in CODES:
        return None
    order = record.state[1] if type(record.state) is tuple and len(record.state) > 1 else "<"
    return np.dtype((order if order in ("<", ">") else "<" if code != "b1" else "|") + code)
