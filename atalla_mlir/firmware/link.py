"""Firmware and functions become one image of instruction space with all jumps resolved.

The image starts at PC 0 with the reset code, then come the firmware table, the services, and the functions in the
order given. Jumps are relative to their packet, so a function's packets do not depend on where it lies.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from atalla_mlir.errors import InternalError, LimitError
from atalla_mlir.firmware.symbols import DMA_ROUTINES, DMA_SERVICES, ROUTINES, symbols
from atalla_mlir.loadable import abi
from atalla_mlir.mc.decode import decode
from atalla_mlir.mc.encode import encode, encode_packet
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.mc.parse import assemble
from atalla_mlir.target.encoding import INSTRUCTION_BYTES, PACKET_BYTES, SLOTS
from atalla_mlir.target.machine import AX01, Machine


@dataclass(frozen=True)
class Relocation:
    """The jump or branch in slot `slot` of packet `packet` goes to label, function or service `target`."""

    packet: int
    slot: int
    target: str


@dataclass(frozen=True)
class CodeBlock:
    """A function before linking: packets, whose unresolved distances are 0, and what resolves them.

    `labels` give packet indices; they hide functions of the same name. `sources` has one entry per packet, or none.
    """

    name: str
    packets: tuple[tuple[MachineInstruction, ...], ...]
    relocations: tuple[Relocation, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict[str, int])
    sources: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class ObjectCode:
    """A function before linking whose packets are encoded, with distances of 0 where relocations are."""

    name: str
    code: bytes
    relocations: tuple[Relocation, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict[str, int])
    sources: tuple[str | None, ...] = ()

    @property
    def num_packets(self) -> int:
        return len(self.code) // PACKET_BYTES

    def instruction(self, packet: int, slot: int) -> MachineInstruction:
        """The instruction in a slot; InternalError when the function has no such slot, or nothing is in it."""
        start = packet * PACKET_BYTES + slot * INSTRUCTION_BYTES
        found = None
        if packet < self.num_packets and slot < SLOTS:
            found = decode(int.from_bytes(self.code[start : start + INSTRUCTION_BYTES], "little"))
        if found is None:
            raise InternalError(f"function '{self.name}' has no instruction in packet {packet} slot {slot}")
        return found


def encode_block(block: CodeBlock) -> ObjectCode:
    """The function with its packets encoded."""
    code = b"".join(encode_packet(packet) for packet in block.packets)
    return ObjectCode(block.name, code, block.relocations, block.labels, block.sources)


@dataclass(frozen=True)
class Firmware:
    """The assembled services; `labels` are PCs, and the code starts at PC 0."""

    code: bytes
    labels: Mapping[str, int]


@dataclass(frozen=True)
class LinkedImage:
    """Code from PC 0 on, where everything in it lies, and the DRAM below the tensors as the device expects it."""

    code: bytes
    functions: Mapping[str, tuple[int, int]]
    """Name -> (first PC, PC after the last packet), firmware included."""
    sources: tuple[tuple[int, int, str], ...]
    """(first PC, PC after the last packet, source position), ascending."""
    system_data: bytes
    """DRAM from address 0 to the first tensor: header, argument table, firmware state."""

    def pc(self, name: str) -> int:
        """The first PC of function or service `name`."""
        if name not in self.functions:
            raise InternalError(f"the image has no function '{name}'")
        return self.functions[name][0]


@cache
def firmware(machine: Machine = AX01) -> Firmware:
    """The services for the pads of `machine`."""
    return _assembled("services.s", machine)


@cache
def dma_services(machine: Machine = AX01) -> Firmware:
    """The services that move regions; their code runs at any PC, `labels` count from its start."""
    return _assembled("dma.s", machine)


def _assembled(name: str, machine: Machine) -> Firmware:
    text = resources.files("atalla_mlir.firmware").joinpath(name).read_text("utf-8")
    assembly = assemble(text, name, symbols=symbols(machine))
    return Firmware(assembly.code, assembly.labels)


def system_data() -> bytes:
    """DRAM below the tensors before the first start: the header is filled in, everything else is zero."""
    data = bytearray(abi.TENSORS_ADDRESS)
    for address, word in (
        (abi.HEADER_MAGIC_ADDRESS, abi.HEADER_MAGIC),
        (abi.HEADER_ABI_ADDRESS, abi.ABI_VERSION),
        (abi.HEADER_STATE_ADDRESS, abi.STATE_ADDRESS),
    ):
        struct.pack_into("<I", data, address, word)
    return bytes(data)


def routine_ranges(image: Firmware, routines: Sequence[str], base: int = 0) -> dict[str, tuple[int, int]]:
    """First PC and PC after the last packet of each routine, with the image at `base`."""
    starts = sorted((image.labels[name], name) for name in routines)
    ends = [start for start, _ in starts[1:]] + [len(image.code)]
    return {name: (base + start, base + end) for (start, name), end in zip(starts, ends, strict=True)}


def _needs_dma(blocks: Sequence[ObjectCode]) -> bool:
    names = {block.name for block in blocks}
    return any(item.target in DMA_SERVICES and item.target not in names for b in blocks for item in b.relocations)


def _place(blocks: Sequence[ObjectCode], functions: dict[str, tuple[int, int]], start: int) -> None:
    for block in blocks:
        if block.name in functions:
            raise InternalError(f"two functions are called '{block.name}'")
        if not block.code:
            raise InternalError(f"function '{block.name}' has no packets")
        end = start + len(block.code)
        functions[block.name] = (start, end)
        start = end


class _BlockLinker:
    """Resolves the jumps of one function."""

    def __init__(self, block: ObjectCode, functions: Mapping[str, tuple[int, int]]) -> None:
        self._block = block
        self._functions = functions
        self._base = functions[block.name][0]

    def encode(self) -> bytes:
        """The packets with all distances filled in."""
        code = bytearray(self._block.code)
        for item in self._block.relocations:
            start = item.packet * PACKET_BYTES + item.slot * INSTRUCTION_BYTES
            code[start : start + INSTRUCTION_BYTES] = encode(self._resolve(item)).to_bytes(INSTRUCTION_BYTES, "little")
        return bytes(code)

    def _target_pc(self, target: str) -> int:
        if target in self._block.labels:
            return self._base + self._block.labels[target] * PACKET_BYTES
        if target in self._functions:
            return self._functions[target][0]
        raise InternalError(f"function '{self._block.name}' jumps to '{target}', which is neither label nor function")

    def _resolve(self, item: Relocation) -> MachineInstruction:
        instruction = self._block.instruction(item.packet, item.slot)
        op = instruction.op
        if not op.is_control or not op.immediates:
            raise InternalError(f"{op.mnemonic} in packet {item.packet} of '{self._block.name}' has no destination")
        distance_operand = op.immediates[0]
        distance = self._target_pc(item.target) - (self._base + item.packet * PACKET_BYTES)
        if not distance_operand.field.fits(distance):
            reach = f"{distance_operand.field.minimum}..{distance_operand.field.maximum} bytes"
            raise LimitError(
                f"{op.mnemonic} in packet {item.packet} of function '{self._block.name}' cannot reach '{item.target}': "
                f"{distance} bytes away, it reaches {reach}"
            )
        operands = list(instruction.operands)
        operands[op.operands.index(distance_operand)] = distance
        return MachineInstruction(op, tuple(operands))


def _source_ranges(
    blocks: Sequence[ObjectCode], functions: Mapping[str, tuple[int, int]]
) -> tuple[tuple[int, int, str], ...]:
    ranges: list[tuple[int, int, str]] = []
    for block in blocks:
        start = functions[block.name][0]
        for index, source in enumerate(block.sources):
            pc = start + index * PACKET_BYTES
            if source is None:
                continue
            if ranges and ranges[-1][1:] == (pc, source):
                ranges[-1] = (ranges[-1][0], pc + PACKET_BYTES, source)
            else:
                ranges.append((pc, pc + PACKET_BYTES, source))
    return tuple(ranges)


def link(blocks: Sequence[CodeBlock | ObjectCode], machine: Machine = AX01) -> LinkedImage:
    """The image of firmware and `blocks`; LimitError names a jump that cannot reach its destination."""
    objects = [encode_block(block) if isinstance(block, CodeBlock) else block for block in blocks]
    services = firmware(machine)
    functions = routine_ranges(services, ROUTINES)
    below = services.code
    if _needs_dma(objects):
        dma = dma_services(machine)
        functions.update(routine_ranges(dma, DMA_ROUTINES, len(below)))
        below += dma.code
    _place(objects, functions, len(below))
    code = below + b"".join(_BlockLinker(block, functions).encode() for block in objects)
    return LinkedImage(code, functions, _source_ranges(objects, functions), system_data())
