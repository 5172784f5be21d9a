"""`ax01.func` operations that hold packets, or object code, become object code for the linker."""

from __future__ import annotations

import base64

from atalla_mlir._mlir import Sources, ir, operations, string_attr, string_value
from atalla_mlir.dialects.ax01 import instruction_of, pinned_operands
from atalla_mlir.dialects.encoded_packets import PACKETS, EncodedPackets
from atalla_mlir.dialects.module_attributes import OBJECT
from atalla_mlir.errors import BadInputError
from atalla_mlir.firmware.link import CodeBlock, ObjectCode, Relocation, encode_block
from atalla_mlir.firmware.objects import object_from_bytes, object_to_bytes
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.target.isa import Role

IN_OBJECT = ("sym_name", PACKETS)
"""Attributes of a function that its object code says too."""


class _FunctionReader:
    def __init__(self, function: ir.Operation, sources: Sources) -> None:
        self._function = function
        self._name = string_value(function.attributes["sym_name"])
        self._sources = sources
        self._packets: list[tuple[MachineInstruction, ...]] = []
        self._relocations: list[Relocation] = []
        self._labels: dict[str, int] = {}
        self._positions: list[str | None] = []

    def read(self) -> CodeBlock:
        for view in self._function.regions[0].blocks[0].operations:
            op = view.operation
            match op.name:
                case "ax01.packet":
                    self._read_packet(op)
                case "ax01.label":
                    self._labels[string_value(op.attributes["label"])] = len(self._packets)
                case "ax01.get_register" | "ax01.end":
                    pass
                case _:
                    raise BadInputError(
                        f"function '{self._name}' holds '{op.name}' outside a packet; run atalla-emit-packets first"
                    )
        return CodeBlock(
            self._name, tuple(self._packets), tuple(self._relocations), self._labels, tuple(self._positions)
        )

    def _read_packet(self, packet: ir.Operation) -> None:
        slots: list[MachineInstruction] = []
        position: str | None = None
        for block in packet.regions[0].blocks:
            for view in block.operations:
                op = view.operation
                position = position or self._sources.text(op.location)
                slots.append(self._read_instruction(op, len(slots)))
        self._packets.append(tuple(slots))
        self._positions.append(position)

    def _read_instruction(self, op: ir.Operation, slot: int) -> MachineInstruction:
        instruction = instruction_of(op)
        if instruction is None:
            raise BadInputError(f"a packet of function '{self._name}' holds '{op.name}', which is not an instruction")
        operands: list[int] = []
        for operand, value in zip(instruction.operands, pinned_operands(op), strict=True):
            if isinstance(value, str):
                assert operand.role is Role.IMMEDIATE
                self._relocations.append(Relocation(len(self._packets), slot, value))
                value = 0
            operands.append(value)
        return MachineInstruction(instruction, tuple(operands))


def object_code(module: ir.Operation) -> list[ObjectCode]:
    """The functions of a module in its order; BadInputError when one is not in packets yet."""
    for function in operations(module, "func.func"):
        if any(region.blocks for region in function.regions):
            raise BadInputError(
                f"function '{string_value(function.attributes['sym_name'])}' is a func.func and not in packets; "
                "atalla-opt with the passes of the stage 'schedule' or atalla-compile --stop-after=schedule makes them"
            )
    sources = Sources()
    return [function_object(function, sources) for function in operations(module, "ax01.func")]


def has_object_code(function: ir.Operation) -> bool:
    """Whether the function is finished: it has object code in place of packets."""
    return OBJECT in function.attributes


def function_object(function: ir.Operation, sources: Sources) -> ObjectCode:
    """The object code of one `ax01.func`."""
    if has_object_code(function):
        name = string_value(function.attributes["sym_name"])
        return object_from_bytes(name, base64.b64decode(string_value(function.attributes[OBJECT])))
    if PACKETS in function.attributes:
        return _encoded_object(function)
    return encode_block(_FunctionReader(function, sources).read())


def _encoded_object(function: ir.Operation) -> ObjectCode:
    packets = EncodedPackets.read(function.attributes[PACKETS])
    return ObjectCode(
        string_value(function.attributes["sym_name"]),
        packets.code,
        tuple(Relocation(*jump) for jump in packets.jumps),
        packets.labels,
        tuple(packets.sources),
    )


def make_object_function(code: ObjectCode, ip: ir.InsertionPoint, location: ir.Location) -> ir.Operation:
    """An `ax01.func` that has object code in place of packets."""
    text = base64.b64encode(object_to_bytes(code)).decode("ascii")
    attributes = {"sym_name": string_attr(code.name), OBJECT: string_attr(text)}
    function = ir.Operation.create("ax01.func", attributes=attributes, regions=1, loc=location, ip=ip)
    ir.Operation.create("ax01.end", loc=location, ip=ir.InsertionPoint(ir.Block.create_at_start(function.regions[0])))
    return function
