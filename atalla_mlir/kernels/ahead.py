"""What a kernel is told that fetches for the next one (`codegen/fetch_ahead`): arguments behind its buffers."""

from __future__ import annotations

from collections.abc import Mapping

from atalla_mlir._mlir import i64_attr, integer_value, ir
from atalla_mlir.codegen.fetch_ahead import FirstColumns
from atalla_mlir.kernels.builder import Builder

AHEAD = "atalla.ahead"
"""On a kernel's function: unit where it shall fetch for the next one; on the declaration that is left of it
{operand, offset, pitch, pads, rows, part_slices, num_slices} if it does, so that its calls pass what `Ahead` holds."""
_FIELDS = ("operand", "offset", "pitch", "pads", "rows", "part_slices", "num_slices")
_NUM_ARGUMENTS = 7


class AheadArguments:
    """The arguments of a kernel's `block`, in the order of `Ahead.arguments`."""

    def __init__(self, builder: Builder, block: ir.Block) -> None:
        kind = ir.Type.parse("!atalla.dram")
        self.builder = builder
        self.area, *self._numbers = [block.add_argument(kind, ir.Location.current) for _ in range(_NUM_ARGUMENTS)]

    def tile(self, rows: int, pad: int, first: int) -> ir.Value:
        """Rows of the area that the caller keeps."""
        return self.builder.image_tile(rows, pad, first, self.area)

    @property
    def half(self) -> ir.Value:
        """Bytes to the half in which the first slice lies, or shall lie."""
        return self._number(0)

    @property
    def is_there(self) -> ir.Value:
        """Bits: whether the launch before has fetched the first columns."""
        return self._number(1)

    @property
    def address(self) -> ir.Value:
        """Of the next matrix."""
        return self._number(2)

    @property
    def pitch(self) -> ir.Value:
        """Bytes from what is fetched for a column of it to what is for the next one."""
        return self._number(3)

    @property
    def slice_shape(self) -> ir.Value:
        """Metadata for its first slice, without the pad."""
        return self._number(4)

    @property
    def column_shape(self) -> ir.Value:
        """The same for each column that comes whole."""
        return self._number(5)

    def _number(self, at: int) -> ir.Value:
        return self.builder.address(self._numbers[at])


def ahead_attribute(columns: FirstColumns) -> ir.Attribute:
    return ir.DictAttr.get({name: i64_attr(getattr(columns, name)) for name in _FIELDS})


def first_columns_of(fields: Mapping[str, ir.Attribute] | ir.DictAttr) -> FirstColumns:
    """What `ahead_attribute` wrote."""
    return FirstColumns(**{name: integer_value(fields[name]) for name in _FIELDS})
