"""Error bounds of sums: contractions in 32-deep slices and reductions, in the order in which the kernel adds.

A plan says how a kernel sums. What it says about the order is used: the partial sums that really occur are computed in
float64 and each rounding is charged on one of them. Machine reference 4.7 is the default of contractions. A sum whose
order is not recorded gets the bound that holds for every order of the same depth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atalla_mlir.errors import InternalError
from atalla_mlir.host.error_bound import (
    TINY,
    TREE_TINY,
    TREE_UNIT,
    UNIT,
    Array,
    Bounded,
    add,
    multiply,
    rounded,
    settled,
)

LANES = 32
MAX_SEQUENTIAL = 32
"""Terms in a row before a second level of sums starts (machine reference 4.7)."""


@dataclass(frozen=True)
class SumPlan:
    """How a kernel sums one axis."""

    kind: str
    """slices: `gemm.vv` on 32 consecutive terms, slice results added; lanes: term i in lane i mod 32, then `rsum`;
    rows: one term after the other; any: unknown order; initial: an addition whose exact operand a sum started from."""
    block: int
    """Terms (rows), chunks (lanes) or slices added in sequence; the sums of blocks are then added in sequence."""
    depth: int = 0
    """any, initial: the largest number of roundings that one term goes through."""
    is_started: bool = False
    """slices: the sum starts from a row that a later operation adds, so the first slice is added too."""
    is_turned: bool = False
    """slices: the array turned the second operand; in it an infinity or a NaN spreads over 32 elements of a row."""
    is_scaled: bool = False
    """slices: the sums of blocks are multiplied by factors before they are added, one rounding more for each."""

    def __post_init__(self) -> None:
        if self.kind not in ("slices", "lanes", "rows", "any", "initial"):
            raise InternalError(f"unknown kind of sum '{self.kind}'")
        if self.block < 1:
            raise InternalError(f"a sum in blocks of {self.block}; at least 1 is expected")

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> SumPlan:
        """A plan as `meta.kernels[i].sums` records it."""
        flags = (bool(row.get(name, 0)) for name in ("is_started", "is_turned", "is_scaled"))
        return cls(row["kind"], int(row.get("block", MAX_SEQUENTIAL)), int(row.get("depth", 0)), *flags)


def default_block(num_terms: int) -> int:
    """All terms in sequence up to 32 of them, beyond that blocks of about the square root."""
    return max(num_terms, 1) if num_terms <= MAX_SEQUENTIAL else math.isqrt(num_terms - 1) + 1


def contraction_plan(depth: int) -> SumPlan:
    """The plan of a contraction over `depth` terms that machine reference 4.7 asks for."""
    return SumPlan("slices", default_block(-(-depth // LANES)))


def contraction(left: Bounded, right: Bounded, plan: SumPlan | None = None) -> Bounded:
    """[..., M, K] x [..., K, N] on the systolic array."""
    depth = left.shape[-1]
    plan = plan or contraction_plan(depth)
    if plan.kind == "any":
        return _contraction_in_any_order(left, right, plan)
    if plan.kind != "slices":
        return reduction(_rounded_products(left, right), plan)
    starts = range(0, depth, LANES)
    slices = (_slice(left, right, slice(start, start + LANES)) for start in starts)
    terms = _started(slices, plan.block) if plan.is_started else slices
    total = _in_blocks(terms, plan.block, is_scaled=plan.is_scaled)
    return _spread(total, right) if plan.is_turned else total


def _spread(total: Bounded, right: Bounded) -> Bounded:
    """Nothing is known of results beside which the turned operand has an infinity or a NaN, but what is NaN anyway."""
    width = right.shape[-1]
    flaws = np.any(~np.isfinite(right.value), axis=-2, keepdims=True)
    blocks = [np.any(flaws[..., at : at + LANES], axis=-1, keepdims=True) for at in range(0, width, LANES)]
    reached = np.repeat(np.concatenate(blocks, axis=-1), LANES, axis=-1)[..., :width]
    return Bounded(total.value, np.where(reached & ~np.isnan(total.value), np.inf, total.error))


def _started(terms: Iterable[Bounded], block: int) -> Iterator[Bounded]:
    """The first terms of the first block are rounded once more, when they are added to the row and their sum to it."""
    for count, term in enumerate(terms):
        yield rounded(term.value, term.error) if count < block else term


def with_initial(left: Bounded, right: Bounded, depth: int) -> Bounded:
    """A product plus a row that its sums started from: `depth` additions round sums which the row is part of.

    The roundings of the product's partial sums are in its own bound. A rounding of such a sum plus the row commits at
    most u of the row more, and what was committed before grows by u, as in any sum. The row is the operand that a
    kernel found in memory, which is exact; in bounds over several kernels it may be either.
    """
    exact = [np.abs(operand.value) for operand in (left, right) if operand.is_exact]
    largest = np.maximum(np.abs(left.value) + left.error, np.abs(right.value) + right.error)
    initial = exact[0] if exact else largest
    growth = (1 + UNIT) ** depth - 1
    with np.errstate(all="ignore"):
        value = left.value + right.value
        rounding = growth * initial + depth * TINY
        return settled(value, left.error + right.error, np.where(np.isfinite(value), rounding, 0.0))


def _rounded_products(left: Bounded, right: Bounded) -> Bounded:
    """[..., M, N, K]: each product rounded, as the vector unit gives it."""
    a = left.moved(lambda array: array[..., :, None, :])
    b = right.moved(lambda array: np.moveaxis(array, -2, -1)[..., None, :, :])
    return multiply(a, b)


def grouped_contraction(windows: Bounded, weight: Bounded, groups: int, plan: SumPlan | None) -> Bounded:
    """[N, G*C, *P, *K] with weights [G*O, C, *K]: for each group a contraction over the channels and the taps."""
    rank = weight.value.ndim - 2
    batch, _, *rest = windows.shape
    positions, kernel = rest[:rank], rest[rank:]
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]

    def rows(array: Array) -> Array:
        split = array.reshape([batch, groups, inputs, *positions, *kernel])
        places = range(3, 3 + rank)
        moved = split.transpose(1, 0, *places, *range(3 + rank, 3 + 2 * rank), 2)
        return moved.reshape([groups, batch * math.prod(positions), -1])

    def columns(array: Array) -> Array:
        split = array.reshape([groups, outputs, inputs, *kernel])
        return split.transpose(0, *range(3, 3 + rank), 2, 1).reshape([groups, -1, outputs])

    product = contraction(windows.moved(rows), weight.moved(columns), plan)

    def result(array: Array) -> Array:
        split = array.reshape([groups, batch, *positions, outputs])
        return split.transpose(1, 0, rank + 2, *range(2, 2 + rank)).reshape([batch, groups * outputs, *positions])

    return product.moved(result)


def reduction(terms: Bounded, plan: SumPlan | None = None, extents: Sequence[int] = ()) -> Bounded:
    """Sum over the last axis, which may be several dimensions of the given `extents` in one."""
    if plan is None or plan.kind == "any":
        depth = plan.depth if plan else 0
        return _reduction_in_any_order(terms, depth or unknown_depth(extents or terms.shape[-1:]))
    if plan.kind == "lanes":
        return lane_sum(_in_blocks(_chunks(terms), plan.block))
    if plan.kind == "rows":
        return _in_blocks((_term(terms, index) for index in range(terms.shape[-1])), plan.block)
    raise InternalError(f"a reduction summed as '{plan.kind}'; 'lanes' or 'rows' is expected")


def lane_sum(lanes: Bounded) -> Bounded:
    """`rsum.vi` over the last axis: a tree of float32 additions over 32 lanes, rounded once."""
    with np.errstate(all="ignore"):
        magnitude = np.abs(lanes.value).sum(-1)
        propagated = lanes.error.sum(-1)
        tree = TREE_UNIT * (magnitude + propagated)
        return rounded(lanes.value.sum(-1), propagated + np.where(np.isfinite(tree), tree, 0.0))


def _in_blocks(terms: Iterable[Bounded], block: int, *, is_scaled: bool = False) -> Bounded:
    """Terms added in sequence by BF16 additions in blocks of `block`; the sums of blocks added likewise.

    With `is_scaled` each sum of a block is rounded once more, when it is multiplied by its factor.
    """
    total: Bounded | None = None
    partial: Bounded | None = None

    def with_block(total: Bounded | None, partial: Bounded) -> Bounded:
        partial = rounded(partial.value, partial.error) if is_scaled else partial
        return partial if total is None else add(total, partial)

    for count, term in enumerate(terms):
        if partial is not None and count % block == 0:
            total, partial = with_block(total, partial), None
        partial = term if partial is None else add(partial, term)
    if partial is None:
        raise InternalError("a sum without terms")
    return with_block(total, partial)


def _slice(left: Bounded, right: Bounded, depth: slice) -> Bounded:
    """`gemm.vv` on one slice of the depth: exact products, a float32 tree, one rounding."""
    a, b = left.value[..., depth], right.value[..., depth, :]
    with np.errstate(all="ignore"):
        value = a @ b
        propagated = _product_error(a, left.error[..., depth], b, right.error[..., depth, :])
        # |a| @ |b| is at most the product of the norms, which costs no second matrix product
        norms = np.linalg.norm(a, axis=-1)[..., :, None] * np.linalg.norm(b, axis=-2)[..., None, :]
        tree = TREE_UNIT * (norms + propagated) + TREE_TINY
        return rounded(value, propagated + np.where(np.isfinite(tree), tree, 0.0))


def _product_error(a: Array, a_error: Array, b: Array, b_error: Array) -> Array:
    """Bound on |(a + da) @ (b + db) - a @ b|."""
    shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    total = np.zeros((*shape, a.shape[-2], b.shape[-1]))
    if a_error.any():
        total = total + a_error @ (np.abs(b) + b_error)
    if b_error.any():
        total = total + np.abs(a) @ b_error
    return np.where(np.isnan(total), np.inf, total)


def _chunks(terms: Bounded) -> Any:
    """The last axis in chunks of 32 lanes; lanes without a term hold zero."""
    length = terms.shape[-1]
    padding = [(0, 0)] * (len(terms.shape) - 1) + [(0, -length % LANES)]
    padded = terms.moved(lambda array: np.pad(array, padding))
    for start in range(0, length, LANES):
        yield padded.moved(lambda array, start=start: array[..., start : start + LANES])


def _term(terms: Bounded, index: int) -> Bounded:
    return terms.moved(lambda array: array[..., index])


def _contraction_in_any_order(left: Bounded, right: Bounded, plan: SumPlan) -> Bounded:
    with np.errstate(all="ignore"):
        value = left.value @ right.value
        propagated = _product_error(left.value, left.error, right.value, right.error)
        magnitude = np.abs(left.value) @ np.abs(right.value) + propagated
        return _any_order(value, propagated, magnitude, plan.depth or unknown_depth([-(-left.shape[-1] // LANES)]))


def _reduction_in_any_order(terms: Bounded, depth: int) -> Bounded:
    with np.errstate(all="ignore"):
        propagated = terms.error.sum(-1)
        magnitude = np.abs(terms.value).sum(-1) + propagated
        return _any_order(terms.value.sum(-1), propagated, magnitude, depth)


def unknown_depth(extents: Sequence[int]) -> int:
    """Roundings that one term goes through when the loops over `extents`, in any order, nested or as one, follow 4.7.

    A loop adds at most a block and the blocks' sums in sequence; the reduction of the lanes is one rounding more.
    """

    def of_loop(num_terms: int) -> int:
        block = default_block(num_terms)
        return block + -(-num_terms // block)

    return max(sum(map(of_loop, extents)), of_loop(math.prod(extents))) + 1


def _any_order(value: Array, propagated: Array, magnitude: Array, depth: int) -> Bounded:
    """Each term takes part in at most `depth` rounded sums, none larger than the sum of magnitudes."""
    growth = (1 + UNIT + TREE_UNIT) ** depth - 1
    rounding = growth * magnitude + depth * (TINY + TREE_TINY)
    return settled(value, propagated, np.where(np.isfinite(value), rounding, 0.0))
