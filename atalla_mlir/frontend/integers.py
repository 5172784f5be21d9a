"""Which operations the device runs on whole numbers and booleans, and which it addresses memory by."""

from __future__ import annotations

import torch

aten = torch.ops.aten

INTEGERS = frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8})
"""Types of tensors that lie in DRAM as whole numbers of 32 bits."""

COMPARISONS = tuple(
    getattr(getattr(aten, name), overload)
    for name in ("eq", "ne", "lt", "le", "gt", "ge")
    for overload in ("Tensor", "Scalar")
)

LOGICAL = (
    aten.bitwise_and.Tensor,
    aten.bitwise_or.Tensor,
    aten.bitwise_xor.Tensor,
    aten.bitwise_not.default,
    aten.logical_and.default,
    aten.logical_or.default,
    aten.logical_xor.default,
    aten.logical_not.default,
)
"""On booleans; the bitwise ones also on whole numbers."""

SHIFTS = (aten.bitwise_left_shift.Tensor, aten.bitwise_right_shift.Tensor)

ARITHMETIC = frozenset(
    {
        aten.add.Tensor,
        aten.add.Scalar,
        aten.sub.Tensor,
        aten.sub.Scalar,
        aten.rsub.Scalar,
        aten.mul.Tensor,
        aten.mul.Scalar,
        aten.maximum.default,
        aten.minimum.default,
        aten.where.self,
        aten.sum.dim_IntList,
        aten.bitwise_and.Tensor,
        aten.bitwise_or.Tensor,
        aten.bitwise_xor.Tensor,
        aten._to_copy.default,
        aten.amax.default,
        aten.amin.default,
        aten.clamp.default,
        aten.clamp_min.default,
        aten.clamp_max.default,
        aten.relu.default,
        aten.div.Tensor_mode,
        *SHIFTS,
    }
)
"""Operations with a whole number as result, beside moves and views."""

GATHERS = (aten.embedding.default, aten.index_select.default, aten.gather.default, aten.index.Tensor)
"""Operations that read elements at places which a tensor of whole numbers says."""

ARG_EXTREMES = (aten.argmax.default, aten.argmin.default)
