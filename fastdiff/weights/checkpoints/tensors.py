"""Tensors of the numbers that a file has, never beyond them."""

import math

DIMENSIONS, LARGEST = 8, 2**40  # of a tensor; numbers along one of them
# bytes of one number and torch's name of its type, by storage class
STORAGES = {
    "torch.BoolStorage": (1, "bool"),
    "torch.ByteStorage": (1, "uint8"),
    "torch.CharStorage": (1, "int8"),
    "torch.ShortStorage": (2, "int16"),
    "torch.HalfStorage": (2, "float16"),
    "torch.BFloat16Storage": (2, "bfloat16"),
    "torch.IntStorage": (4, "int32"),
    "torch.FloatStorage": (4, "float32"),
    "torch.LongStorage": (8, "int64"),
    "torch.DoubleStorage": (8, "float64"),
    "torch.ComplexFloatStorage": (8, "complex64"),
    "torch.ComplexDoubleStorage": (16, "complex128"),
}


class Numbers:
    """The storages of one file. fill(key, memoryview) puts the bytes of one of them where they belong; each is read
    once, when a tensor first needs it, so that tensors that shared their numbers still do."""

    def __init__(self, fill):
        self.fill, self.read = fill, {}

    def flat(self, key: str, kind: str, nbytes: int):
        """All numbers of a storage, as a tensor on the CPU."""
        import torch

        if key not in self.read:
            raw = self.read[key] = torch.empty(nbytes, dtype=torch.uint8, device="cpu")
            if nbytes:
                self.fill(key, memoryview(raw.numpy()))
        if self.read[key].numel() != nbytes:
            raise ValueError("it has a storage of two sizes")
        return self.read[key].view(getattr(torch, STORAGES[kind][1]))


def view(flat, offset, size, stride):
    """Of a one-dimensional tensor, the numbers that a pickle's offset, size and stride tell of. Nothing is copied."""
    fits = type(size) is type(stride) is tuple and len(size) == len(stride) <= DIMENSIONS
    if not fits or not all(type(number) is int and 0 <= number < LARGEST for number in (offset, *size, *stride)):
        raise ValueError("it has a tensor of no shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride)) if 0 not in size else -1
    if last >= flat.numel() or math.prod(size) >= LARGEST:
        raise ValueError("it has a tensor larger than its numbers")
    return flat.as_strided(size, stride, offset if last >= 0 else 0)
