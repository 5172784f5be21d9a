"""Building `ax01` code: one method per instruction, made from the table.

    b = Builder(location)
    with b.function("kernel"):
        base = b.get_register(RegisterFile.SCALAR, 12)
        row = b.vreg_ld(base, zero, 31, 0)      # operands and immediates in assembly order, without destinations
        total = b.rsum_vi(row, 64, ones)
        ...

A method takes everything that the instruction reads and its immediates (the label of a branch or `jal` instead of the
distance), and returns its result, or None if there is none. Keywords: `old` (what inactive lanes keep), `into` (the
type of the result when it is not the virtual one), `memory` (attribute `atalla.memory`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Optional

from atalla_mlir._mlir import ir
from atalla_mlir.dialects.ax01_instructions import attribute_fields, operand_fields, target_operand
from atalla_mlir.dialects.ax01_registers import PINNED_TYPES, VIRTUAL_TYPES
from atalla_mlir.errors import InternalError
from atalla_mlir.target import isa
from atalla_mlir.target.registers import RegisterFile

MEMORY_ATTRIBUTE = "atalla.memory"
MAY_BE_EMPTY = "atalla.may_be_empty"
"""On a loop whose trip count may be 0, which then is skipped."""

_FILES = (RegisterFile.SCALAR, RegisterFile.VECTOR, RegisterFile.MASK)

_create = ir.Operation.create


class Builder:
    """Creates operations in the current context at `ip`, with location `loc`; both may be set at any time."""

    def __init__(self, loc: Optional[ir.Location] = None, ip: Optional[ir.InsertionPoint] = None) -> None:
        self.loc = loc if loc is not None else ir.Location.current
        self.ip = ip if ip is not None else ir.InsertionPoint.current
        self.types: dict[RegisterFile, ir.Type] = {file: kind.get() for file, kind in VIRTUAL_TYPES.items()}
        self._files = {virtual: file for file, virtual in self.types.items()}
        self._integer_type = ir.IntegerType.get_signless(32)
        self._integers: dict[int, ir.IntegerAttr] = {}
        self._result_types: dict[str, list[ir.Type]] = {}
        """By the name of an instruction: what it makes where nothing else is asked for."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...

    def build(self, name: str, *args: Any, **keywords: Any) -> Optional[ir.Value]:
        """The instruction called `name`, by mnemonic (`add.vv`) or operation (`add_vv`)."""
        return getattr(self, name.replace(".", "_"))(*args, **keywords)

    def pinned(self, file: RegisterFile, number: int) -> ir.Type:
        """The type of register `number` of `file`."""
        return PINNED_TYPES[file].get(self.integer(number))

    def integer(self, value: int) -> ir.IntegerAttr:
        """An i32 attribute; each value is made once. Values from 2^31 on mean the negative ones of the same bits."""
        attribute = self._integers.get(value)
        if attribute is None:
            signed = value - (1 << 32) if value >= 1 << 31 else value
            attribute = self._integers[value] = ir.IntegerAttr.get(self._integer_type, signed)
        return attribute

    # structure

    @contextmanager
    def function(self, name: str) -> Iterator[ir.Operation]:
        """An `ax01.func`; inside, the insertion point is in its body, which ends by itself."""
        op = self._op("ax01.func", attributes={"sym_name": ir.StringAttr.get(name)}, regions=1)
        with self._inside(op.regions[0].blocks.append()):
            yield op
            self._op("ax01.end")

    @contextmanager
    def loop(self, trip_count: ir.Value, inits: Sequence[ir.Value], *, may_be_empty: bool = False) -> "Iterator[Loop]":
        """An `ax01.loop`; inside, `carried` are the values of this iteration, and `next` must be set to those of the
        next one; after it, `results` are the final values. All three are in the order of `inits`."""
        files = [self._virtual_file(value) for value in inits]
        # the operation groups what it carries by file; `places` is where each init goes
        order = [position for file in _FILES for position, own in enumerate(files) if own is file]
        places = [0] * len(order)
        for place, position in enumerate(order):
            places[position] = place
        sizes = [files.count(file) for file in _FILES]
        types = [inits[position].type for position in order]
        attributes = {"operandSegmentSizes": _segments([1, *sizes]), "resultSegmentSizes": _segments(sizes)}
        op = self._op("ax01.loop", types, [trip_count, *(inits[position] for position in order)], attributes, regions=1)
        if may_be_empty:
            op.attributes[MAY_BE_EMPTY] = ir.UnitAttr.get(op.context)
        block = op.regions[0].blocks.append(*types, arg_locs=[self.loc] * len(types))
        loop = Loop(op, block, places)
        with self._inside(block):
            yield loop
            if len(loop.next) != len(types):
                raise InternalError(f"ax01.loop carries {len(types)} values, next has {len(loop.next)}")
            values = [loop.next[position] for position in order]
            self._op("ax01.yield", operands=values, attributes={"operandSegmentSizes": _segments(sizes)})

    @contextmanager
    def packet(self) -> Iterator[ir.Operation]:
        op = self._op("ax01.packet", regions=1)
        with self._inside(op.regions[0].blocks.append()):
            yield op

    def label(self, name: str) -> None:
        self._op("ax01.label", attributes={"label": ir.StringAttr.get(name)})

    def call(self, callee: str) -> None:
        self._op("ax01.call", attributes={"callee": ir.FlatSymbolRefAttr.get(callee)})

    def copy(self, source: ir.Value, into: ir.Type) -> ir.Value:
        return self._op("ax01.copy", [into], [source]).result

    def get_register(self, file: RegisterFile, number: int) -> ir.Value:
        return self._op("ax01.get_register", [self.pinned(file, number)]).result

    def _virtual_file(self, value: ir.Value) -> RegisterFile:
        file = self._files.get(value.type)
        if file is None:
            raise InternalError(f"a loop carries virtual registers only, got {value.type}; copy it first")
        return file

    @contextmanager
    def _inside(self, block: ir.Block) -> Iterator[None]:
        outer, self.ip = self.ip, ir.InsertionPoint(block)
        try:
            yield
        finally:
            self.ip = outer

    def _op(
        self,
        name: str,
        results: Sequence[ir.Type] = (),
        operands: Sequence[ir.Value] = (),
        attributes: Optional[dict[str, ir.Attribute]] = None,
        regions: int = 0,
    ) -> ir.Operation:
        return _create(name, results, operands, attributes, None, regions, self.loc, self.ip)


class Loop:
    """A loop under construction; values are in the order of its inits."""

    def __init__(self, op: ir.Operation, block: ir.Block, places: Sequence[int]) -> None:
        self.op = op
        self._places = tuple(places)
        self.carried = tuple(block.arguments[place] for place in places)
        self.next: Sequence[ir.Value] = ()

    @property
    def results(self) -> tuple[ir.Value, ...]:
        return tuple(self.op.results[place] for place in self._places)


def _segments(sizes: Sequence[int]) -> ir.DenseI32ArrayAttr:
    return ir.DenseI32ArrayAttr.get(list(sizes))


def _instruction_method(instruction: isa.Instruction) -> Callable[..., Optional[ir.Value]]:
    """The builder method of `instruction`; everything that the table says is looked up here, once."""
    name, target = f"ax01.{instruction.op_name}", target_operand(instruction)
    taken = [operand for operand in instruction.operands if operand.takes_port or operand.role is isa.Role.IMMEDIATE]
    fields, immediates = operand_fields(instruction), attribute_fields(instruction)
    value_places = tuple(place for place, operand in enumerate(taken) if operand in fields)
    integers = tuple((operand.name, place) for place, operand in enumerate(taken) if operand in immediates)
    target_place = taken.index(target) if target is not None else None
    result_files = tuple(operand.file for operand in instruction.writes if operand.file is not None)
    num_taken, merges = len(taken), instruction.merges

    def method(
        self: Builder,
        *args: Any,
        old: Optional[ir.Value] = None,
        into: Optional[ir.Type] = None,
        memory: Optional[ir.Attribute] = None,
    ) -> Optional[ir.Value]:
        if len(args) != num_taken:
            expected = ", ".join(operand.name for operand in taken)
            raise InternalError(f"{name} takes ({expected}), got {len(args)} arguments")
        values = [args[place] for place in value_places]
        if old is not None:
            if not merges:
                raise InternalError(f"{name} does not merge, so it has no old value")
            values.append(old)
        attributes: dict[str, ir.Attribute] = {key: self.integer(args[place]) for key, place in integers}
        if target_place is not None:
            attributes["target"] = ir.StringAttr.get(args[target_place])
        if memory is not None:
            attributes[MEMORY_ATTRIBUTE] = memory
        types = [into] if into is not None else self._result_types.get(name)
        if types is None:
            types = self._result_types[name] = [self.types[file] for file in result_files]
        op = _create(name, types, values, attributes, None, 0, self.loc, self.ip)
        return op.result if result_files else None

    method.__name__ = instruction.op_name
    method.__doc__ = f"`{instruction.mnemonic}`: {instruction.semantics}."
    return method


for _instruction in isa.INSTRUCTIONS:
    setattr(Builder, _instruction.op_name, _instruction_method(_instruction))
