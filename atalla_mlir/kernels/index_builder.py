"""Builds the loops of kernels and their arithmetic on indices: bytes, bits and positions."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import create_op, i64_attr, ir
from atalla_mlir.dialects.ax01_builder import MAY_BE_EMPTY
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.affine_index import Index, affine_map, constant_index, signed_word
from atalla_mlir.kernels.attributes import OVERLAP

QUOTIENT_BITS = 16
"""Of a reciprocal, at least."""


def reciprocal(divisor: int, limit: int) -> tuple[int, int]:
    """(factor, bits) with value // divisor == value * factor >> bits for 0 <= value < limit, in 32 bits."""
    bits = max(QUOTIENT_BITS, (limit * divisor - 1).bit_length())
    factor = -(-(1 << bits) // divisor)
    if (limit - 1) * factor >= 1 << 32:
        raise InternalError(f"quotients of numbers below {limit} by {divisor} are not exact")
    return factor, bits


@dataclass(frozen=True)
class _Arithmetic:
    """A commutative operation on 32-bit integers."""

    evaluate: Callable[[int, int], int]
    neutral: int
    absorbing: int | None = None


_INDEX_ARITHMETIC = {
    "arith.addi": _Arithmetic(operator.add, 0),
    "arith.muli": _Arithmetic(operator.mul, 1, 0),
    "arith.andi": _Arithmetic(operator.and_, -1, 0),
    "arith.xori": _Arithmetic(operator.xor, 0),
}


class IndexBuilder:
    """Creates loops and operations on indices at the current insertion point and location."""

    def __init__(self) -> None:
        self.index_type = ir.IndexType.get()
        self._maps: dict[Hashable, ir.AffineMapAttr] = {}
        self._integers: dict[int, ir.IntegerAttr] = {}

    # Attributes, of which equal ones are made once

    def mapping(self, *indices: Index) -> tuple[ir.AffineMapAttr, list[ir.Value]]:
        """The map (variables) -> indices, and the variables in the order of its dims."""
        variables = list(dict.fromkeys(variable for index in indices for variable, _ in index.terms))
        dims = {variable: dim for dim, variable in enumerate(variables)}
        forms = tuple(
            (index.constant, tuple((dims[value], factor) for value, factor in index.terms)) for index in indices
        )
        if forms not in self._maps:
            self._maps[forms] = affine_map(len(variables), forms)
        return self._maps[forms], variables

    def i64(self, value: int) -> ir.IntegerAttr:
        if value not in self._integers:
            self._integers[value] = i64_attr(value)
        return self._integers[value]

    # Loops

    def loop(
        self,
        extent: int,
        initial: Sequence[ir.Value],
        body: Callable[[Index, list[ir.Value]], Sequence[ir.Value]],
        *,
        overlap: bool = False,
    ) -> list[ir.Value]:
        """`for i in 0..extent`: `body(i, carried)` gives what the next iteration carries; the last is returned.

        A single iteration is emitted without a loop; none returns `initial`.
        """
        if extent <= 0:
            return list(initial)
        if extent == 1:
            return list(body(Index(), list(initial)))
        return self._for(self.index_constant(extent), initial, body, *([OVERLAP] if overlap else []))

    def counted_loop(
        self,
        trips: ir.Value,
        initial: Sequence[ir.Value],
        body: Callable[[Index, list[ir.Value]], Sequence[ir.Value]],
    ) -> list[ir.Value]:
        """`loop` over a number of iterations, which may be none, that is computed where the kernel runs."""
        return self._for(trips, initial, body, MAY_BE_EMPTY)

    def _for(
        self,
        trips: ir.Value,
        initial: Sequence[ir.Value],
        body: Callable[[Index, list[ir.Value]], Sequence[ir.Value]],
        *attributes: str,
    ) -> list[ir.Value]:
        bounds = [self.index_constant(0), trips, self.index_constant(1)]
        op = create_op("scf.for", [value.type for value in initial], [*bounds, *initial], regions=1)
        for attribute in attributes:
            op.attributes[attribute] = ir.UnitAttr.get()
        types = [self.index_type, *(value.type for value in initial)]
        location = ir.Location.current
        block = ir.Block.create_at_start(op.regions[0], types, [location] * len(types))
        with ir.InsertionPoint(block):
            carried = list(block.arguments)
            results = body(Index(0, ((carried[0], 1),)), carried[1:])
            create_op("scf.yield", [], list(results))
        return list(op.results)

    def repeat(self, extent: int, body: Callable[[Index], None], *, overlap: bool = False) -> None:
        """`loop` without carried values."""

        def step(index: Index, _: list[ir.Value]) -> list[ir.Value]:
            body(index)
            return []

        self.loop(extent, [], step, overlap=overlap)

    def at(self, position: int) -> Index:
        """A position that no loop moves."""
        return Index(position)

    def zero_index(self) -> ir.Value:
        """A zero that nothing is computed from in advance, to stand for an index that is not known yet."""
        return create_op(
            "atalla.next_index", [self.index_type], [self.index_constant(-1)], {"last": i64_attr(0)}
        ).results[0]

    def index_constant(self, value: int) -> ir.Value:
        attribute = ir.IntegerAttr.get(self.index_type, value)
        return create_op("arith.constant", [self.index_type], [], {"value": attribute}).results[0]

    # Index arithmetic, on bytes and bits

    def plus(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        return self._index_op("arith.addi", left, right)

    def minus(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        known = right if isinstance(right, int) else constant_index(right)
        if known is not None:
            return self.plus(left, -known)
        assert not isinstance(right, int)
        return create_op("arith.subi", [self.index_type], [left, right]).results[0]

    def times(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        return self._index_op("arith.muli", left, right)

    def both(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        """Bitwise and."""
        return self._index_op("arith.andi", left, right)

    def differ(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        """Bitwise exclusive or."""
        return self._index_op("arith.xori", left, right)

    def equal_bits(self, left: ir.Value, right: int) -> ir.Value:
        """-1 if the index has this value, else 0."""
        known = constant_index(left)
        if known is not None:
            return self.index_constant(-1 if known == right else 0)
        return create_op("atalla.equal_bits", [self.index_type], [left, self.index_constant(right)]).results[0]

    def select_bits(self, bits: ir.Value, on_true: ir.Value, on_false: ir.Value) -> ir.Value:
        """`on_true` where `bits` is -1, `on_false` where it is 0."""
        known = constant_index(bits)
        if known is not None:
            return on_true if known else on_false
        return self.differ(on_false, self.both(bits, self.differ(on_true, on_false)))

    def quotient(self, value: ir.Value, divisor: int, limit: int) -> ir.Value:
        """value // divisor for 0 <= value < limit, by a multiplication."""
        factor, bits = reciprocal(divisor, limit)
        product = self.times(value, factor)
        return create_op("arith.shrui", [self.index_type], [product, self.index_constant(bits)]).results[0]

    def is_negative(self, index: ir.Value) -> ir.Value:
        """-1 if the index is negative, else 0."""
        return create_op("arith.shrsi", [self.index_type], [index, self.index_constant(31)]).results[0]

    def at_most(self, index: ir.Value, limit: int) -> ir.Value:
        """min(index, limit)."""
        return create_op("arith.minsi", [self.index_type], [index, self.index_constant(limit)]).results[0]

    def at_least(self, index: ir.Value, limit: int) -> ir.Value:
        """max(index, limit)."""
        return create_op("arith.maxsi", [self.index_type], [index, self.index_constant(limit)]).results[0]

    def address(self, buffer: ir.Value) -> ir.Value:
        """The DRAM byte address of a buffer."""
        return create_op("atalla.buffer_address", [self.index_type], [buffer]).results[0]

    def index_value(self, index: Index) -> ir.Value:
        """An affine expression as one value."""
        total: ir.Value | None = None
        for variable, coefficient in index.terms:
            term = variable if coefficient == 1 else self.times(variable, coefficient)
            total = term if total is None else self.plus(total, term)
        if total is None:
            return self.index_constant(index.constant)
        return self.plus(total, index.constant) if index.constant else total

    def _index_op(self, name: str, left: ir.Value, right: ir.Value | int) -> ir.Value:
        """An operation on integers; what is known here is not computed there."""
        arithmetic = _INDEX_ARITHMETIC[name]
        known, other = constant_index(left), right if isinstance(right, int) else constant_index(right)
        if other is not None:
            if known is not None:
                return self.index_constant(signed_word(arithmetic.evaluate(known, other)))
            if other == arithmetic.neutral:
                return left
            if other == arithmetic.absorbing:
                return self.index_constant(other)
        elif known is not None and not isinstance(right, int):
            return self._index_op(name, right, known)
        value = self.index_constant(right) if isinstance(right, int) else right
        return create_op(name, [self.index_type], [left, value]).results[0]
