"""Semantics of lane, reduction, compare, array, transpose and lane-move instructions (machine reference 2.7 to 2.13).

The common case runs on preallocated buffers; as soon as a result is not finite the binder falls back on the plain
definitions in `numerics`, which also settle the NaN signs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from atalla_mlir.sim import numerics
from atalla_mlir.sim.engine import TrapKind
from atalla_mlir.sim.numerics import Bits, Floats
from atalla_mlir.sim.semantics_scalar import UPPER, Action, Binder
from atalla_mlir.sim.state import ALL_ONES, MASKS, SCALARS, VECTORS, State
from atalla_mlir.sim.traps import TrapError

Arithmetic = Callable[[Floats, Floats], Floats]
Ufunc = Callable[..., Any]

REDUCE_LANE_FIELD = 0x1F
REDUCE_ONE_HOT = 0x20
REDUCE_BROADCAST = 0x40


@lru_cache(maxsize=4096)
def lane_mask(mask: int, lanes: int) -> npt.NDArray[np.bool_]:
    """The mask register as one truth value per lane."""
    return (mask >> np.arange(lanes, dtype=np.uint64) & np.uint64(1)).astype(bool)


class _Rounder:
    """Rounds a float32 buffer into a register row, without allocating while the values are finite."""

    def __init__(self, lanes: int) -> None:
        self.values: Floats = np.zeros(lanes, np.float32)
        self._bits: Bits = self.values.view(np.uint32)
        self._scratch: Bits = np.zeros(lanes, np.uint32)
        self._zeros: Floats = np.zeros(lanes, np.float32)
        self._sixteen = np.full(lanes, 16, np.uint32)
        self._one = np.full(lanes, 1, np.uint32)
        self._half = np.full(lanes, 0x7FFF, np.uint32)
        self._upper = np.full(lanes, UPPER, np.uint32)

    @property
    def finite(self) -> bool:
        return bool(self.values.dot(self._zeros) == 0.0)

    def round_into(self, target: Bits) -> None:
        """`numerics.round_bits` of the finite buffer."""
        scratch = self._scratch
        np.right_shift(self._bits, self._sixteen, scratch)
        np.bitwise_and(scratch, self._one, scratch)
        np.add(scratch, self._half, scratch)
        np.add(scratch, self._bits, scratch)
        np.bitwise_and(scratch, self._upper, target)


def _lane_vv(fast: Ufunc, exact: Arithmetic) -> Binder:
    def bind(state: State, vd: int, vs1: int, vs2: int, mask: int) -> Action:
        left, right = state.floats[vs1], state.floats[vs2]
        return _lane_action(state, vd, mask, lambda out: fast(left, right, out), lambda: exact(left, right))

    return bind


def _lane_vs(fast: Ufunc, exact: Arithmetic) -> Binder:
    def bind(state: State, vd: int, vs1: int, rs1: int, mask: int) -> Action:
        x, left = state.x, state.floats[vs1]
        bits = np.zeros(1, np.uint32)
        right = bits.view(np.float32)

        def compute(out: Floats) -> None:
            bits[0] = x[rs1] & UPPER
            fast(left, right, out)

        return _lane_action(state, vd, mask, compute, lambda: exact(left, right))

    return bind


def _lane_action(
    state: State, vd: int, mask: int, compute: Callable[[Floats], object], exact: Callable[[], Floats]
) -> Action:
    lanes, masks, target = state.machine.vector_lanes, state.m, state.vectors[vd or VECTORS]
    rounder, rounded = _Rounder(lanes), np.zeros(lanes, np.uint32)

    def execute() -> None:
        compute(rounder.values)
        active = masks[mask]
        if rounder.finite:
            if active == ALL_ONES:
                rounder.round_into(target)
                return
            rounder.round_into(rounded)
        else:
            rounded[:] = numerics.round_bits(exact().view(np.uint32))
        np.copyto(target, rounded, where=lane_mask(active, lanes))

    return execute


def _exp(state: State, vd: int, vs1: int, _imm: int, mask: int) -> Action:
    lanes, masks, table = state.machine.vector_lanes, state.m, numerics.exp_table()
    source, target = state.vectors[vs1], state.vectors[vd or VECTORS]
    sixteen = np.uint32(16)

    def execute() -> None:
        np.copyto(target, table[source >> sixteen], where=lane_mask(masks[mask], lanes))

    return execute


def _reduction(reduce: Callable[[State, Bits, npt.NDArray[np.bool_]], int]) -> Binder:
    """The mask selects what is reduced; all lanes of vd are written."""

    def bind(state: State, vd: int, vs1: int, imm: int, mask: int) -> Action:
        lanes, masks = state.machine.vector_lanes, state.m
        source, target = state.vectors[vs1], state.vectors[vd or VECTORS]
        lane = imm & REDUCE_LANE_FIELD & (lanes - 1)

        def execute() -> None:
            result = reduce(state, source, lane_mask(masks[mask], lanes))
            if imm & REDUCE_BROADCAST:
                target[:] = result
                return
            target[:] = 0 if imm & REDUCE_ONE_HOT else source
            target[lane] = result

        return execute

    return bind


def _sum(state: State, source: Bits, active: npt.NDArray[np.bool_]) -> int:
    terms = np.where(active, source, np.uint32(0)).view(np.float32)
    return numerics.reduce_sum(terms, state.machine.reduce)


def _minimum(_state: State, source: Bits, active: npt.NDArray[np.bool_]) -> int:
    return numerics.reduce_extreme(source, active, largest=False)


def _maximum(_state: State, source: Bits, active: npt.NDArray[np.bool_]) -> int:
    return numerics.reduce_extreme(source, active, largest=True)


def _compare_vv(compare: Ufunc) -> Binder:
    def bind(state: State, vmd: int, vs1: int, vs2: int, mask: int) -> Action:
        left, right = state.floats[vs1], state.floats[vs2]
        return _compare_action(state, vmd, mask, lambda: compare(left, right))

    return bind


def _compare_vs(compare: Ufunc) -> Binder:
    def bind(state: State, vmd: int, vs1: int, rs1: int, mask: int) -> Action:
        x, left = state.x, state.floats[vs1]
        bits = np.zeros(1, np.uint32)
        right = bits.view(np.float32)

        def outcome() -> npt.NDArray[np.bool_]:
            bits[0] = x[rs1] & UPPER
            return compare(left, right)

        return _compare_action(state, vmd, mask, outcome)

    return bind


def _compare_action(state: State, vmd: int, mask: int, outcome: Callable[[], npt.NDArray[np.bool_]]) -> Action:
    masks, target = state.m, vmd or MASKS

    def execute() -> None:
        packed = int.from_bytes(np.packbits(outcome(), bitorder="little").tobytes(), "little")
        active = masks[mask]
        masks[target] = (masks[vmd] & ~active | packed & active) & ALL_ONES

    return execute


def _gemm(state: State, vd: int, vs1: int, _vs2: int, _mask: int) -> Action:
    """The halves of `Array.window` hold the left and right neighbours of each level of the tree."""
    lanes, array = state.machine.vector_lanes, state.array
    source, target = state.floats[vs1], state.vectors[vd or VECTORS]
    rounder = _Rounder(lanes)
    activation = np.zeros(lanes, np.float32)
    column = activation[:, None]
    products = np.zeros((lanes, lanes), np.float32)
    levels: list[tuple[Floats, Floats, Floats]] = []
    terms = products
    while len(terms) > 1:
        half = len(terms) // 2
        total = np.zeros((half, lanes), np.float32) if half > 1 else rounder.values[None, :]
        levels.append((terms[:half], terms[half:], total))
        terms = total
    if not levels:
        products = rounder.values[None, :]

    def execute() -> None:
        source.take(array.order, out=activation, mode="clip")
        np.multiply(array.window, column, products)
        for left, right, total in levels:
            np.add(left, right, total)
        if rounder.finite:
            rounder.round_into(target)
        else:
            target[:] = numerics.gemm(source, array.weights)

    return execute


def _push_weights(state: State, _vd: int, vs1: int, _imm: int, _mask: int) -> Action:
    array, source = state.array, state.floats[vs1]
    return lambda: array.push(source)


def _lane_to_scalar(state: State, rd: int, vs1: int, imm: int) -> Action:
    x, source, target = state.x, state.vectors[vs1], rd or SCALARS
    lane = imm & (state.machine.vector_lanes - 1)

    def execute() -> None:
        x[target] = int(source[lane])

    return execute


def _push_row(state: State, vs1: int) -> Action:
    unit, source = state.transposer, state.vectors[vs1]

    def execute() -> None:
        if unit.draining:
            raise TrapError(
                TrapKind.TRANSPOSE_ORDER,
                f"push into the transpose unit after {unit.column} of {len(unit.tile)} columns were popped "
                "would wait for ever; pop all columns first",
            )
        unit.push(source)

    return execute


def _pop_column(state: State, vd: int) -> Action:
    unit, target = state.transposer, state.vectors[vd or VECTORS]

    def execute() -> None:
        target[:] = unit.pop()

    return execute


BINDERS: dict[str, Binder] = {
    "add.vv": _lane_vv(np.add, numerics.add),
    "sub.vv": _lane_vv(np.subtract, numerics.subtract),
    "mul.vv": _lane_vv(np.multiply, numerics.multiply),
    "add.vs": _lane_vs(np.add, numerics.add),
    "sub.vs": _lane_vs(np.subtract, numerics.subtract),
    "mul.vs": _lane_vs(np.multiply, numerics.multiply),
    "expi.vi": _exp,
    "rsum.vi": _reduction(_sum),
    "rmin.vi": _reduction(_minimum),
    "rmax.vi": _reduction(_maximum),
    "mgt.mvv": _compare_vv(np.greater),
    "mlt.mvv": _compare_vv(np.less),
    "meq.mvv": _compare_vv(np.equal),
    "mneq.mvv": _compare_vv(np.not_equal),
    "mgt.mvs": _compare_vs(np.greater),
    "mlt.mvs": _compare_vs(np.less),
    "meq.mvs": _compare_vs(np.equal),
    "mneq.mvs": _compare_vs(np.not_equal),
    "gemm.vv": _gemm,
    "lw.vi": _push_weights,
    "vmov.vts": _lane_to_scalar,
    "tpus.vi": _push_row,
    "tpop.vi": _pop_column,
}
