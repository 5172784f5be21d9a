"""Bodies of linalg operations on integers, and elements that are addressed by them, as expression nodes.

Node operations on whole numbers are called `int_...`, comparisons of them `cmp_int_...`; `to_float` and `to_int`
convert. Booleans are BF16 values 0 and 1; `truth` is a condition as a whole number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from atalla_mlir._mlir import ir, scalar_constant
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node
from atalla_mlir.errors import UnsupportedError

if TYPE_CHECKING:
    from atalla_mlir.kernels.views import View

INTEGER_COMBINES = {
    "arith.addi": "add",
    "arith.maxsi": "max",
    "arith.minsi": "min",
    "arith.maxui": "max",
    "arith.minui": "min",
}
_OPERATIONS = {
    "arith.addi": "int_add",
    "arith.subi": "int_sub",
    "arith.muli": "int_mul",
    "arith.divsi": "int_div",
    "arith.remsi": "int_rem",
    "arith.andi": "int_and",
    "arith.ori": "int_or",
    "arith.xori": "int_xor",
    "arith.shli": "int_shl",
    "arith.shrsi": "int_shr",
    "arith.maxsi": "int_max",
    "arith.minsi": "int_min",
    # of types of 8 bits, whose numbers are not negative in 32
    "arith.divui": "int_div",
    "arith.shrui": "int_shr",
    "arith.maxui": "int_max",
    "arith.minui": "int_min",
}
_SAME = ("arith.index_cast", "arith.extsi", "arith.trunci")
# in the order of the attribute of arith.cmpf
FLOAT_PREDICATES = tuple("false oeq ogt oge olt ole one ord ueq ugt uge ult ule une uno true".split())  # noqa: SIM905
# in the order of the attribute of arith.cmpi
_PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
FLAG_PREDICATES = ("oeq", "une", "ogt", "oge", "olt", "ole", "olt", "ole", "ogt", "oge")
"""The same of booleans as the numbers 0 and 1; with a sign, true is -1."""
_LARGEST, _SMALLEST = ("ogt", "oge", "ugt", "uge"), ("olt", "ole", "ult", "ule")


def is_integer_operation(op: ir.Operation) -> bool:
    """Whether `integer_node` knows an operation of a body."""
    return op.name in (
        *_OPERATIONS,
        *_SAME,
        "arith.cmpi",
        "arith.extui",
        "arith.sitofp",
        "arith.uitofp",
        "arith.fptosi",
    )


def integer_node(op: ir.Operation, node: Callable[[ir.Value], Node]) -> Node:
    """The node of an operation that takes or gives integers; `node` gives those of its operands."""
    arguments = tuple(node(operand) for operand in op.operands)
    from_boolean = _is_boolean(op.operands[0])
    if op.name in _OPERATIONS:
        return Node(_OPERATIONS[op.name], arguments)
    if op.name in _SAME and not (op.name == "arith.trunci" and _is_boolean(op.results[0])):
        return arguments[0]
    if op.name == "arith.cmpi" and not from_boolean:
        return Node("cmp_int_" + _PREDICATES[ir.IntegerAttr(op.attributes["predicate"]).value], arguments)
    if op.name == "arith.extui":  # of 8 bits, the number is not negative in 32 either
        return Node("truth", arguments) if from_boolean else arguments[0]
    if op.name in ("arith.sitofp", "arith.uitofp"):
        return _number(arguments[0]) if from_boolean else Node("to_float", arguments)
    if op.name == "arith.fptosi":
        return Node("to_int", arguments)
    raise UnsupportedError(f"operation {op.name} on {op.operands[0].type} inside a linalg body")


def _number(boolean: Node) -> Node:
    """A condition as the BF16 number that stands for it."""
    if not boolean.op.startswith("cmp_"):
        return boolean
    return Node("select", (boolean, Node("constant", value=1.0), Node("constant", value=0.0)))


def _is_boolean(value: ir.Value) -> bool:
    return isinstance(value.type, ir.IntegerType) and ir.IntegerType(value.type).width == 1


class Addressing:
    """Reads the operations of a body that depend on where it is evaluated: loop counters and gathered elements."""

    def __init__(self, loops: Sequence[Loop], reads: list[Access], view: Callable[[ir.Value], View]) -> None:
        self._loops = loops
        self._reads = reads
        self._view = view

    def node(self, value: ir.Value, node: Callable[[ir.Value], Node]) -> Node | None:
        """The node of a counter or of a gathered element, whose accesses become reads of the stage; None for others."""
        if isinstance(value, ir.BlockArgument):
            return None
        op = value.owner.operation
        if op.name == "linalg.index":
            loop = self._loop(op)
            return self._read(Access(Buffer(f"counter {loop.name}", loop.extent, is_counter=True), 0, {loop: 1}))
        if op.name == "tensor.extract":
            return self._gathered(op, node)
        return None

    def _loop(self, op: ir.Operation) -> Loop:
        return self._loops[ir.IntegerAttr(op.attributes["dim"]).value]

    def _read(self, access: Access) -> Node:
        self._reads.append(access)
        return Node("load", read=len(self._reads) - 1)

    def _gathered(self, op: ir.Operation, node: Callable[[ir.Value], Node]) -> Node:
        view = self._view(op.operands[0])
        access = Access(view.buffer, view.offset, {})
        indirect: list[tuple[Node, int]] = []
        for index, stride in zip(list(op.operands)[1:], view.strides, strict=True):
            source = without_casts(index)
            constant = scalar_constant(source)
            if constant is not None:
                access.offset += int(constant) * stride
            elif isinstance(source, ir.OpResult) and source.owner.operation.name == "linalg.index":
                loop = self._loop(source.owner.operation)
                access.strides[loop] = access.stride(loop) + stride
            else:
                indirect.append((node(source), stride))
        access.indirect = tuple(indirect)
        return self._read(access)


def without_casts(value: ir.Value) -> ir.Value:
    while isinstance(value, ir.OpResult) and value.owner.operation.name == "arith.index_cast":
        value = value.owner.operation.operands[0]
    return value


def read_arg_extreme(op: ir.Operation) -> tuple[Combine, int] | None:
    """How the second result of `op` finds the index of an extreme, and along which loop; None when it does not."""
    block = op.regions[0].blocks[0]
    yielded = block.operations[len(block.operations) - 1].operands
    choice = _owner(yielded[1])
    if choice is None or choice.name != "arith.select":
        return None
    comparison, index = _owner(choice.operands[0]), _owner(without_casts(choice.operands[1]))
    if comparison is None or index is None or comparison.name != "arith.cmpf" or index.name != "linalg.index":
        return None
    if comparison.operands[0] != block.arguments[0]:
        return None
    predicate = FLOAT_PREDICATES[ir.IntegerAttr(comparison.attributes["predicate"]).value]
    combine = Combine.ARGMAX if predicate in _LARGEST else Combine.ARGMIN if predicate in _SMALLEST else None
    return None if combine is None else (combine, ir.IntegerAttr(index.attributes["dim"]).value)


def _owner(value: ir.Value) -> ir.Operation | None:
    return value.owner.operation if isinstance(value, ir.OpResult) else None
