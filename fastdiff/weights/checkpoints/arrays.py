"""numpy's numbers and arrays, out of records. Their pickles say numpy.core in numpy 1 and numpy._core in 2."""

import math

import numpy as np

from .records import Record, records
from .tensors import DIMENSIONS, LARGEST

SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray")
CODES = ("f8", "f4", "f2", "i8", "i4", "b1")


def _encoded(text=None, encoding=None) -> bytes:
    """What bytes are in pickles of protocol 2: _codecs.encode(text, 'latin1')."""
    if type(text) is not str or encoding != "latin1" or (text and max(text) > "\xff"):
        raise ValueError("it has bytes of an unknown kind")
    return text.encode("latin1")


MAKERS = records(*SCALARS, *ARRAYS, "numpy.dtype") | {"_codecs.encode": _encoded}


def scalar(dtype=None, raw=None):
    """A number of Python."""
    kind = _dtype(dtype)
    if kind is None or type(raw) is not bytes or len(raw) != kind.itemsize:
        raise ValueError("it has a numpy scalar of an unknown kind")
    return np.frombuffer(raw, kind)[0].item()


def array(record: Record) -> np.ndarray:
    """The state of an array is (version, shape, dtype, whether in Fortran's order, bytes)."""
    state = record.state
    _, shape, dtype, fortran, raw = state if type(state) is tuple and len(state) == 5 else [None] * 5
    kind = _dtype(dtype)
    fits = type(shape) is tuple and len(shape) <= DIMENSIONS and type(raw) is bytes and kind is not None
    if not fits or not all(type(n) is int and 0 <= n < LARGEST for n in shape):
        raise ValueError("it has a numpy array of an unknown kind")
    if math.prod(shape) * kind.itemsize != len(raw):
        raise ValueError("it has a numpy array of another size than its numbers")
    return np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C")


def _dtype(record) -> np.dtype | None:
    """The state of a dtype is (version, order of bytes, ...)."""
    code = record.args[0] if type(record) is Record and record.name == "numpy.dtype" and record.args else None
    if type(code) is not str or code not in CODES:
        return None
    order = record.state[1] if type(record.state) is tuple and len(record.state) > 1 else "<"
    return np.dtype((order if order in ("<", ">") else "<" if code != "b1" else "|") + code) if code else None
