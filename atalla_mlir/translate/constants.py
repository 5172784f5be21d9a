"""Values of constants as they lie in DRAM, and the segments that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from atalla_mlir._mlir import dense_to_numpy
from atalla_mlir.errors import BadInputError
from atalla_mlir.loadable.format import Segment, SegmentKind
from atalla_mlir.translate.attributes import Tensor

Array = npt.NDArray[Any]

_DTYPES: dict[str, np.dtype[Any]] = {
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "i1": np.dtype(np.bool_),
    "i16": np.dtype("<i2"),
    "i32": np.dtype("<i4"),
}
# Neighbours up to these sizes share a segment: thousands of biases would make as many sections.
_SMALL_BYTES = 1 << 16
_MAX_GAP_BYTES = 4096


def constant_bytes(constant: Tensor, parameters: Mapping[str, Array | bytes]) -> memoryview:
    """The constant's bytes: floating values are rounded to nearest even."""
    value = _value(constant, parameters)
    if isinstance(value, bytes):
        return memoryview(value)
    if constant.dtype not in _DTYPES:
        raise BadInputError(f"constant '{constant.name}' has the element type {constant.dtype}, which the device lacks")
    if constant.permutation:
        value = value.transpose(constant.permutation)
    if value.size != int(np.prod(constant.shape)):
        raise BadInputError(f"constant '{constant.name}': expected shape {constant.shape}, got {value.shape}")
    if constant.dtype == "i32" and value.size and not -(2**31) <= value.min() <= value.max() < 2**31:
        raise BadInputError(f"constant '{constant.name}' has numbers of more than 32 bits, which the device lacks")
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(value, dtype=_DTYPES[constant.dtype])
    return stored.reshape(-1).view(np.uint8).data


def _value(constant: Tensor, parameters: Mapping[str, Array | bytes]) -> Array | bytes:
    if constant.value is not None:
        return dense_to_numpy(constant.value)
    if constant.name not in parameters:
        raise BadInputError(
            f"no value is given for the parameter '{constant.name}'; atalla-translate takes values with --parameters"
        )
    return parameters[constant.name]


def constant_segments(parts: Sequence[tuple[int, memoryview]]) -> list[Segment]:
    """Segments for (address, bytes) pairs; equal pairs may repeat, small neighbours are put together."""
    segments: list[Segment] = []
    group: list[tuple[int, memoryview]] = []

    def close() -> None:
        if group:
            segments.append(_joined(group))
            group.clear()

    for address, data in sorted(dict(parts).items()):
        if not data:
            continue
        end = group[-1][0] + len(group[-1][1]) if group else 0
        if group and not (len(data) <= _SMALL_BYTES and 0 <= address - end <= _MAX_GAP_BYTES):
            close()
        group.append((address, data))
        if len(data) > _SMALL_BYTES:
            close()
    close()
    return segments


def _joined(group: Sequence[tuple[int, memoryview]]) -> Segment:
    start = group[0][0]
    if len(group) == 1:
        return Segment(SegmentKind.DATA, start, group[0][1])
    data = bytearray(group[-1][0] + len(group[-1][1]) - start)
    for address, part in group:
        data[address - start : address - start + len(part)] = part
    return Segment(SegmentKind.DATA, start, memoryview(bytes(data)))
