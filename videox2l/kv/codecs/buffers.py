"""Between tensors and little-endian bytes, without a copy where the machine is little endian itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch

DTYPES = (torch.bfloat16, torch.float16, torch.float32)

# Elements travel as unsigned integers of their size: numpy has no bfloat16, and integers keep every NaN's bits.
_INTEGERS = {2: torch.uint16, 4: torch.uint32}


class CodecError(ValueError):
    """Encoded buffers do not fit their shape and dtype: of the wrong length, or not decodable."""


def integers(tensor: torch.Tensor) -> np.ndarray:
    """The bits of ``tensor`` (any device, any strides) as native unsigned integers of its shape.

    :raises ValueError: the dtype is none of ``DTYPES``.
    """
    if tensor.dtype not in DTYPES:
        raise ValueError(f"KVs are stored as {', '.join(map(str, DTYPES))}, got {tensor.dtype}: convert them first")
    return tensor.detach().cpu().contiguous().view(_INTEGERS[tensor.dtype.itemsize]).numpy()


def to_bytes(tensor: torch.Tensor) -> np.ndarray:
    """``tensor`` in C order as little-endian bytes, ``uint8[tensor.nbytes]``; errors as in :func:`integers`."""
    native = integers(tensor).reshape(-1)
    return native.astype(f"<u{native.itemsize}", copy=False).view(np.uint8)


def to_tensor(data: np.ndarray, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """The reverse of :func:`to_bytes`: views ``data`` (which may be read-only) where machine and alignment allow.

    ``data`` must have the right length; see :func:`field`.
    """
    stored = data.view(f"<u{dtype.itemsize}")
    return adopt(np.require(stored, stored.dtype.newbyteorder("="), "A")).view(dtype).reshape(tuple(shape))


def adopt(array: np.ndarray) -> torch.Tensor:
    """A flat native ``array`` as a tensor that shares its memory."""
    # By Arrow and DLPack, because torch.from_numpy and torch.frombuffer warn about read-only memory.
    kind = pa.from_numpy_dtype(array.dtype)
    return torch.from_dlpack(pa.Array.from_buffers(kind, array.size, [None, pa.py_buffer(array)]))


def field(fields: Mapping[str, memoryview], name: str, length: int | None = None) -> np.ndarray:
    """The buffer ``name`` as ``uint8``, which must be of ``length`` bytes where that is given.

    :raises CodecError: it is missing or of another length.
    """
    if name not in fields:
        raise CodecError(f"the buffer {name!r} is missing, there are {sorted(fields)}")
    data = np.frombuffer(fields[name], np.uint8)
    if length is not None and data.size != length:
        raise CodecError(f"{name} has {data.size} bytes where its shape and dtype make {length}")
    return data


def tensor_field(fields: Mapping[str, memoryview], name: str, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """The buffer ``name``, which :func:`to_bytes` made, as a tensor; errors as in :func:`field`."""
    return to_tensor(field(fields, name, math.prod(shape) * dtype.itemsize), shape, dtype)
