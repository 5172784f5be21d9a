"""Torch tensors as NumPy arrays and back, bfloat16 included, without a copy where the memory allows it."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from atalla_mlir.errors import BadInputError, UnsupportedError

DTYPE_NAMES = {
    torch.float64: "f64",
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.bool: "i1",
}
_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """The short name by which loadables call a dtype ("f32")."""
    if dtype not in DTYPE_NAMES:
        raise UnsupportedError(f"tensors of {str(dtype).removeprefix('torch.')} cannot be stored in a loadable")
    return DTYPE_NAMES[dtype]


def dtype_named(name: str) -> torch.dtype:
    """The dtype that `dtype_name` calls `name`."""
    if name not in _DTYPES:
        raise BadInputError(f"unknown dtype '{name}'; there are {', '.join(_DTYPES)}")
    return _DTYPES[name]


def to_numpy(tensor: Tensor) -> np.ndarray:
    """An array over the tensor's own memory; strides are kept."""
    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.resolve_conj().resolve_neg().numpy()


def to_torch(array: np.ndarray) -> Tensor:
    """A tensor over the array's memory, or over a copy of an array that may not be written."""
    array = np.asarray(array)
    if not array.flags.writeable or not array.flags.c_contiguous:
        array = array.copy()
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
