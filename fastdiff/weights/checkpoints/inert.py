"""Pickles as data: a machine that knows containers, numbers and strings, and neither imports nor calls anything.

Python's own Unpickler with an allow list is not enough: whatever the list says, a tuple nested a million deep as a
dictionary's key ends the process, one made of 60 shared halves never ends, and a memo index of 2**31 asks for 16 GB
(all seen; the first two also in torch.load(weights_only=True)). Here a global is a name in a table, calling it makes
what the table says, keys are plain, and work and memory grow with the pickle's length and its number of instructions,
which is limited. What a caller then makes of the value has to be bounded by the caller: a small pickle may say one
thing many times.
"""

import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any

from .records import Record, Symbol

STEPS = 2_000_000  # instructions of one pickle; the largest official checkpoints have about a tenth
NAMES = {getattr(pickle, name): name for name in pickle.__all__ if isinstance(getattr(pickle, name), bytes)}


def read(data, makers: Mapping[str, Callable], persistent: Callable | None = None, start: int = 0) -> tuple[Any, int]:
    """The value of the pickle that begins at `start` of data (bytes or the like), and where it ends.

    makers: full name of a global -> what a call of it becomes (its arguments -> a value). persistent: what a persistent
    id becomes; without it they are refused. Raises ValueError with half a sentence about the file ("it ..."): which
    global is not in makers, which instruction weights never need, or that it is damaged, and where.
    """
    machine = Machine(data, makers, persistent, start)
    try:
        return machine.run(), machine.at
    except (IndexError, KeyError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"it is damaged near byte {machine.at}") from error


class Machine:
    """A pickle is a program for a stack; this runs the instructions of `STEP` and no other."""

    def __init__(self, data, makers: Mapping[str, Callable], persistent: Callable | None, at: int):
        self.data, self.makers, self.persistent, self.at = data, makers, persistent, at
        self.stack, self.marks, self.memo = [], [], {}

    def run(self) -> Any:
        for _ in range(STEPS):
            code = self.take(1)
            if code == pickle.STOP:
                self.check(len(self.stack) == 1 and not self.marks)
                return self.stack[0]
            if code not in STEP:
                self.check(code in NAMES)
                raise ValueError(f"it uses the pickle instruction {NAMES[code]}, which weights never need")
            STEP[code](self)
        raise ValueError(f"it has more than {STEPS:,} pickle instructions")

    def check(self, sound: bool):
        if not sound:
            raise ValueError(f"it is damaged near byte {self.at}")

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError("it ends too early")
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def number(self, code: str):
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def line(self) -> str:
        length = bytes(self.data[self.at : self.at + 1000]).find(b"\n")
        self.check(length >= 0)
        return self.take(length + 1)[:-1].decode()

    def push(self, value):
        self.stack.append(value)

    def pop(self):
        self.check(len(self.stack) > (self.marks[-1] if self.marks else 0))
        return self.stack.pop()

    def pops(self, count: int) -> list:
        return [self.pop() for _ in range(count)][::-1]

    def above_mark(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def into(self, kind: type, items: list):
        """Put items into the container on top of the stack."""
        target = self.pop()
        self.check(type(target) is kind)
        if kind is list:
            target.extend(items)
        elif kind is set:
            target.update(map(plain, items))
        else:
            self.check(len(items) % 2 == 0)
            target.update(zip(map(plain, items[::2]), items[1::2]))
        self.push(target)

    def remember(self, index: int):
        value = self.memo[index] = self.pop()
        self.push(value)

    def symbol(self, module: str, name: str):
        self.check(isinstance(module, str) and isinstance(name, str))
        full = f"{module}.{name}"
        if full not in self.makers:
            raise ValueError(f"it asks for {full[:200]!r}, which weights never need")
        self.push(Symbol(full, self.makers[full]))

    def inst(self):
        self.symbol(self.line(), self.line())  # says which one, as for any other global
        raise ValueError("it uses the pickle instruction INST, which weights never need")

    def call(self):
        symbol, args = self.pops(2)
        self.check(type(symbol) is Symbol and type(args) is tuple)
        try:
            self.push(symbol.make(*args))
        except TypeError as error:
            raise ValueError(f"it calls {symbol.name} as weights never do") from error

    def build(self):
        target, state = self.pops(2)
        if type(target) is Record and target.state is None:
            target.state = state
        else:
            self.check(type(target) is dict and type(state) is dict)  # the own attributes of an OrderedDict: dropped
        self.push(target)

    def identify(self):
        if self.persistent is None:
            raise ValueError("it points outside itself, which weights of this kind never do")
        self.push(self.persistent(self.pop()))


def plain(key):
    """A dictionary key or set member, if hashing it is a matter of course: of numbers only those that are their own
    hash, since as many multiples of 2**61 - 1 as one likes have the hash 0."""
    kind = type(key)
    if key is None or kind in (str, bytes, bool, Symbol) or (kind is int and abs(key) < 2**61 - 1):
        return key
    raise ValueError("it has a dictionary key or set member that is no plain value")


def _fixed(code: str) -> Callable:
    return lambda m: m.push(m.number(code))


def _sized(code: str, value: Callable) -> Callable:
    return lambda m: m.push(value(m.take(m.number(code))))


def _new(value: Callable) -> Callable:
    return lambda m: m.push(value())


def _tuple(count: int) -> Callable:
    return lambda m: m.push(tuple(m.pops(count)))


STEP: dict[bytes, Callable[[Machine], Any]] = {
    pickle.PROTO: lambda m: m.check(m.number("<B") in (2, 3, 4, 5)),
    pickle.FRAME: lambda m: m.take(8),  # only a hint for reading ahead
    pickle.NONE: _new(lambda: None),
    pickle.NEWTRUE: _new(lambda: True),
    pickle.NEWFALSE: _new(lambda: False),
    pickle.BININT: _fixed("<i"),
    pickle.BININT1: _fixed("<B"),
    pickle.BININT2: _fixed("<H"),
    pickle.BINFLOAT: _fixed(">d"),
    pickle.LONG1: _sized("<B", lambda raw: int.from_bytes(raw, "little", signed=True)),
    pickle.SHORT_BINUNICODE: _sized("<B", bytes.decode),
    pickle.BINUNICODE: _sized("<I", bytes.decode),
    pickle.BINUNICODE8: _sized("<Q", bytes.decode),
    pickle.SHORT_BINBYTES: _sized("<B", bytes),
    pickle.BINBYTES: _sized("<I", bytes),
    pickle.BINBYTES8: _sized("<Q", bytes),
    pickle.MARK: lambda m: m.marks.append(len(m.stack)),
    pickle.EMPTY_TUPLE: _new(tuple),
    pickle.TUPLE1: _tuple(1),
    pickle.TUPLE2: _tuple(2),
    pickle.TUPLE3: _tuple(3),
    pickle.TUPLE: lambda m: m.push(tuple(m.above_mark())),
    pickle.EMPTY_LIST: _new(list),
    pickle.APPEND: lambda m: m.into(list, m.pops(1)),
    pickle.APPENDS: lambda m: m.into(list, m.above_mark()),
    pickle.EMPTY_DICT: _new(dict),
    pickle.SETITEM: lambda m: m.into(dict, m.pops(2)),
    pickle.SETITEMS: lambda m: m.into(dict, m.above_mark()),
    pickle.EMPTY_SET: _new(set),
    pickle.ADDITEMS: lambda m: m.into(set, m.above_mark()),
    pickle.POP: Machine.pop,
    pickle.POP_MARK: Machine.above_mark,
    pickle.BINGET: lambda m: m.push(m.memo[m.number("<B")]),
    pickle.LONG_BINGET: lambda m: m.push(m.memo[m.number("<I")]),
    pickle.BINPUT: lambda m: m.remember(m.number("<B")),
    pickle.LONG_BINPUT: lambda m: m.remember(m.number("<I")),
    pickle.MEMOIZE: lambda m: m.remember(len(m.memo)),
    pickle.GLOBAL: lambda m: m.symbol(m.line(), m.line()),
    pickle.STACK_GLOBAL: lambda m: m.symbol(*m.pops(2)),
    pickle.INST: Machine.inst,
    pickle.REDUCE: Machine.call,
    pickle.NEWOBJ: Machine.call,
    pickle.BUILD: Machine.build,
    pickle.BINPERSID: Machine.identify,
}
