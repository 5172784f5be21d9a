"""NumPy arrays to the bytes of device tensors and back.

Floating values become BF16 by rounding to nearest, ties to even; results come back in the type that the model uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from atalla_mlir.errors import BadInputError, InternalError
from atalla_mlir.loadable.format import TensorSpec
from atalla_mlir.sim.engine import Engine

Array = npt.NDArray[Any]

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f16": np.dtype("<f2"),
    "f32": np.dtype("<f4"),
    "f64": np.dtype("<f8"),
    "i1": np.dtype(np.bool_),
    "i8": np.dtype("i1"),
    "u8": np.dtype("u1"),
    "i16": np.dtype("<i2"),
    "i32": np.dtype("<i4"),
    "i64": np.dtype("<i8"),
}
"""The NumPy type of each element type of a loadable."""

_FLOATS = frozenset({"bf16", "f16", "f32", "f64"})
_NAMES = {dtype: name for name, dtype in NUMPY_DTYPES.items()}


def describe(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _described(array: Array) -> str:
    return describe(_NAMES.get(array.dtype, str(array.dtype)), array.shape)


def _kind(dtype: str) -> str:
    return "float" if dtype in _FLOATS else "bool" if dtype == "i1" else "integer"


def check_input(spec: TensorSpec, value: object) -> Array:
    """`value` as an array when it is what `spec` takes; BadInputError says what was expected and what came.

    Any floating type is taken for a floating input and any integer type for an integer one.
    """
    array: Array = np.asarray(value)
    expected = describe(spec.model_dtype, spec.shape)
    name = _NAMES.get(array.dtype.newbyteorder("="))
    if name is None or array.shape != spec.shape:
        raise BadInputError(f"input '{spec.name}': expected {expected}, got {_described(array)}")
    if _kind(name) != _kind(spec.model_dtype):
        way_out = f"convert it with .astype({NUMPY_DTYPES[spec.model_dtype].name!r})"
        raise BadInputError(f"input '{spec.name}': expected {expected}, got {_described(array)}; {way_out}")
    return array


def _converted(spec: TensorSpec, array: Array) -> Array:
    """`array` in the type that the tensor has in DRAM."""
    dtype = NUMPY_DTYPES[spec.dtype]
    if array.dtype == dtype:
        return array
    if np.issubdtype(array.dtype, np.integer) and np.issubdtype(dtype, np.integer) and array.size:
        limits = np.iinfo(dtype)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            wrong = low if low < limits.min else high
            raise BadInputError(
                f"input '{spec.name}': value {wrong} does not fit in the device's {spec.dtype} "
                f"({limits.min}..{limits.max})"
            )
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(dtype)


def _is_contiguous(spec: TensorSpec) -> bool:
    expected = 1
    for size, stride in zip(reversed(spec.shape), reversed(spec.strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _strided(spec: TensorSpec, elements: Array) -> Array:
    strides = tuple(stride * spec.item_bytes for stride in spec.strides)
    return np.lib.stride_tricks.as_strided(elements, spec.shape, strides)


def write_tensor(engine: Engine, spec: TensorSpec, array: Array) -> None:
    """Put `array`, which `check_input` accepted, into DRAM; bytes between its elements keep their content."""
    if not spec.extent_bytes:
        return
    values = _converted(spec, array)
    if _is_contiguous(spec):
        engine.write_dram(spec.address, np.ascontiguousarray(values).reshape(-1).view(np.uint8))
        return
    data = np.frombuffer(engine.read_dram(spec.address, spec.extent_bytes), NUMPY_DTYPES[spec.dtype]).copy()
    _strided(spec, data)[...] = values
    engine.write_dram(spec.address, data.view(np.uint8))


def read_stored(engine: Engine, spec: TensorSpec) -> Array:
    """The tensor as it is in DRAM, in the device's element type."""
    dtype = NUMPY_DTYPES[spec.dtype]
    if not spec.extent_bytes:
        return np.zeros(spec.shape, dtype)
    elements = np.frombuffer(engine.read_dram(spec.address, spec.extent_bytes), dtype)
    return _strided(spec, elements).copy()


def read_image(engine: Engine, spec: TensorSpec, image: Mapping[str, Any]) -> Array:
    """A tensor that stays in the pads as an image (a row of `meta.kernels` says where), as `read_stored` gives it.

    InternalError when its halves hold different copies of a line.
    """
    if "line_rows" in image:
        return _strided(spec, _read_dealt(engine, image).view(NUMPY_DTYPES[spec.dtype])).copy()
    slices, held, pixels = image["slices"], image["held"], image["pixels"]
    pictures = image["pictures"] if "of_each" in image else 1
    distance = image["lines"] // pictures
    whole: dict[int, Array] = {}
    for half, start in enumerate(image["starts"]):
        rows = engine.read_pad(image["pad"] + half, image["base"], slices * pictures * held * pixels)
        lines = rows.reshape(slices, pictures * held, pixels, -1).transpose(1, 2, 0, 3).reshape(pictures * held, -1)
        for number, content in enumerate(lines):
            line = number // held * distance + start + number % held
            if line in whole and not np.array_equal(whole[line], content):
                raise InternalError(f"the halves of {spec.name} in the pads hold different lines {line}")
            whole[line] = content
    elements = np.concatenate([whole[line] for line in range(image["lines"])])
    return _strided(spec, elements.view(NUMPY_DTYPES[spec.dtype])).copy()


def _read_dealt(engine: Engine, image: Mapping[str, Any]) -> Array:
    """The elements of an image whose pixels are dealt out over the pads, pixel by pixel."""
    slices, lines, pixels, low = (image[key] for key in ("slices", "lines", "pixels", "low"))
    rows = slices * lines * image["line_rows"]
    pads = [engine.read_pad(pad, image["base"], rows) for pad in range(engine.machine.pads)]
    dealt = np.stack([found.reshape(slices, lines, image["line_rows"], -1) for found in pads], axis=3)
    whole = dealt.reshape(slices, lines, image["line_rows"] * len(pads), -1)[:, :, low : low + pixels]
    return np.ascontiguousarray(whole.transpose(1, 2, 0, 3)).reshape(-1)


def read_tensor(engine: Engine, spec: TensorSpec) -> Array:
    """The tensor in the model's element type."""
    stored = read_stored(engine, spec)
    if spec.model_dtype == "i1":
        return stored != 0
    with np.errstate(over="ignore", invalid="ignore"):
        return stored.astype(NUMPY_DTYPES[spec.model_dtype], copy=False)
