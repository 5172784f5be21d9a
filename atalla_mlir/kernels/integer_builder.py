"""Builds the operations of the `atalla` dialect on whole numbers."""

from __future__ import annotations

from atalla_mlir._mlir import create_op, i64_attr, ir, string_attr
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder


class IntegerBuilder(Builder):
    """`Builder` with numbers of 32 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.integer_type = ir.Type.parse("!atalla.integer")

    # Memory

    def word_load(self, buffer: ir.Value, element: Index) -> ir.Value:
        mapping, variables = self.mapping(element)
        return self._integer("word_load", buffer, *variables, map=mapping)

    def word_store(self, value: ir.Value, buffer: ir.Value, element: Index) -> None:
        mapping, variables = self.mapping(element)
        create_op("atalla.word_store", [], [value, buffer, *variables], {"map": mapping})

    # Numbers

    def number(self, value: int) -> ir.Value:
        return self._integer("integer_constant", value=i64_attr(value))

    def counter(self, index: Index) -> ir.Value:
        mapping, variables = self.mapping(index)
        return self._integer("integer_index", *variables, map=mapping)

    def integer(self, kind: str, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        """`kind` is one of the kinds of `atalla.integer_op`."""
        return self._integer("integer_op", lhs, rhs, kind=string_attr(kind))

    def negated(self, condition: ir.Value) -> ir.Value:
        """1 - a number that is 0 or 1."""
        return self.integer("xor", condition, self.number(1))

    def is_nonzero(self, value: ir.Value) -> ir.Value:
        return self.integer("ltu", self.number(0), value)

    def choose(self, condition: ir.Value, yes: ir.Value, no: ir.Value) -> ir.Value:
        """`yes` where `condition` is 1, `no` where it is 0."""
        mask = self.integer("sub", self.number(0), condition)
        return self.integer("xor", no, self.integer("and", self.integer("xor", no, yes), mask))

    def lowest_bit(self, bits: ir.Value) -> ir.Value:
        """The place of the lowest bit of `bits` that is set, from the exponent of that bit as a BF16 number."""
        lowest = self.integer("and", bits, self.integer("sub", self.number(0), bits))
        pattern = self.integer("shr", self.scalar_bits(self.to_scalar(lowest)), self.number(23))
        return self.integer("sub", self.integer("and", pattern, self.number(0xFF)), self.number(127))

    # Conversions

    def as_index(self, value: ir.Value) -> Index:
        op = create_op("atalla.as_index", [self.index_type], [value])
        return Index(0, ((op.results[0], 1),))

    def to_scalar(self, value: ir.Value) -> ir.Value:
        return create_op("atalla.to_scalar", [self.scalar_type], [value]).results[0]

    def from_scalar(self, value: ir.Value) -> ir.Value:
        return self._integer("from_scalar", value)

    def scalar_bits(self, value: ir.Value) -> ir.Value:
        return self._integer("scalar_bits", value)

    def from_bits(self, value: ir.Value) -> ir.Value:
        return create_op("atalla.from_bits", [self.scalar_type], [value]).results[0]

    def mask_bits(self, mask: ir.Value) -> ir.Value:
        return self._integer("mask_bits", mask)

    def insert(self, scalar: ir.Value, row: ir.Value, lane: Index) -> ir.Value:
        mapping, variables = self.mapping(lane)
        return create_op("atalla.insert", [self.row_type], [scalar, row, *variables], {"map": mapping}).results[0]

    def _integer(self, name: str, *operands: ir.Value, **attributes: ir.Attribute) -> ir.Value:
        return create_op(f"atalla.{name}", [self.integer_type], list(operands), attributes).results[0]
