"""Products. Weights stay matrices: leading dimensions of the other operand fold into the rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.registry import aten, rule


@rule(aten.linear.default)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = aten.matmul(x, aten.permute(weight, [1, 0]))
    return product if bias is None else product + bias


@rule(aten.addmm.default)
def addmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(aten.mm(a, b), alpha) + _scaled(c, beta)


@rule(aten.baddbmm.default)
def baddbmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(aten.bmm(a, b), alpha) + _scaled(c, beta)


@rule(aten.addbmm.default)
def addbmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(aten.bmm(a, b).sum(0), alpha) + _scaled(c, beta)


@rule(aten.addmv.default)
def addmv(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(aten.mv(a, b), alpha) + _scaled(c, beta)


@rule(aten.mv.default)
def mv(a: Tensor, b: Tensor) -> Tensor:
    return aten.mm(a, b.unsqueeze(1)).squeeze(1)


@rule(aten.dot.default, aten.vdot.default)
def dot(a: Tensor, b: Tensor) -> Tensor:
    return aten.mm(a.unsqueeze(0), b.unsqueeze(1)).view([])


@rule(aten.matmul.default)
def matmul(a: Tensor, b: Tensor) -> Tensor:
    if a.dim() == 1:
        product = matmul(a.unsqueeze(0), b)
        return product.squeeze(-2) if b.dim() > 1 else product.squeeze(0)
    if b.dim() == 1:
        return matmul(a, b.unsqueeze(1)).squeeze(-1)
    if b.dim() == 2:
        rows = aten.mm(a if a.dim() == 2 else a.reshape(-1, a.shape[-1]), b)
        return rows if a.dim() == 2 else rows.view([*a.shape[:-1], b.shape[-1]])
    return _batched_matmul(a, b)


def _batched_matmul(a: Tensor, b: Tensor) -> Tensor:
    """Product of operands of which the second has batch dimensions: one bmm between reshapes."""
    batch = list(torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    left = _batch_as_one(a, batch)
    right = _batch_as_one(b, batch)
    product = aten.bmm(left, right)
    return product if len(batch) == 1 else product.view([*batch, a.shape[-2], b.shape[-1]])


def _batch_as_one(x: Tensor, batch: list[int]) -> Tensor:
    matrix = list(x.shape[-2:])
    full = x if list(x.shape[:-2]) == batch else x.expand([*batch, *matrix])
    return full if len(batch) == 1 else full.reshape([math.prod(batch), *matrix])


@rule(aten.bilinear.default)
def bilinear(a: Tensor, b: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """For each output a form a^T W b: one product with all W beside one another, then sums of products with b."""
    outputs, depth, width = weight.shape
    beside = weight.permute([1, 0, 2]).reshape([depth, outputs * width])
    halfway = matmul(a, beside).view([*a.shape[:-1], outputs, width])
    form = aten.sum.dim_IntList(halfway * b.unsqueeze(-2), [-1])
    return form if bias is None else form + bias


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor
