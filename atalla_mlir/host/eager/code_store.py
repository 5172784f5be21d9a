"""Kernels of many loadables in one instruction space.

Jumps are relative, so the code of a kernel can lie anywhere if its calls of firmware are adjusted; firmware lies at the
same place in every loadable of a machine. A kernel is started by a stub that loads its arguments, which are addresses
of buffers, from the argument table in DRAM.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from typing import Any

from atalla_mlir.errors import InternalError, LimitError
from atalla_mlir.loadable import abi
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind
from atalla_mlir.mc.decode import decode
from atalla_mlir.mc.encode import encode, encode_packet
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.runtime.devices import Device
from atalla_mlir.sim.engine import Counters, Engine
from atalla_mlir.target.encoding import INSTRUCTION_BYTES, PACKET_BYTES
from atalla_mlir.target.isa import BY_MNEMONIC, HALT
from atalla_mlir.target.registers import ARGUMENT_BASE, HARD_WIRED, LINK

_MAX_ARGUMENTS = (abi.ARGUMENTS_END - abi.ARGUMENTS_ADDRESS) // 4


class CodeStore:
    """The kernels on an engine, each once, and how they are started."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._device: Device | None = None
        self._end = 0
        self._kernels: dict[tuple[Any, ...], int] = {}
        self._stubs: dict[tuple[int, int], Entry] = {}

    @property
    def code_bytes(self) -> int:
        """Instruction space in use, firmware included."""
        return self._end

    @property
    def num_kernels(self) -> int:
        return len(self._kernels)

    def add(self, loadable: Loadable, function: str) -> int:
        """The PC of kernel `function` of `loadable`, which is put on the device if it is not there yet."""
        if self._device is None:
            self._start(loadable)
        start, end = loadable.meta["functions"][function]
        code = bytearray(_code(loadable, start, end))
        calls = list(_calls(code, start))
        for at, _, _ in calls:
            code[at : at + INSTRUCTION_BYTES] = bytes(INSTRUCTION_BYTES)
        key = (bytes(code), tuple(calls))
        if key not in self._kernels:
            for at, target, call in calls:
                code[at : at + INSTRUCTION_BYTES] = _encoded(call, target - (self._end + at - at % PACKET_BYTES))
            self._kernels[key] = self._load(bytes(code), function)
        return self._kernels[key]

    def run(self, kernel: int, name: str, arguments: Sequence[int], *, timing: bool = False) -> Counters:
        """Run the kernel at PC `kernel` on the buffers at the addresses `arguments`; `name` is for messages."""
        assert self._device is not None
        key = (kernel, len(arguments))
        if key not in self._stubs:
            self._stubs[key] = Entry(name, self._load(_stub(self._end, kernel, len(arguments)), name), (), ())
        self._engine.write_dram(abi.ARGUMENTS_ADDRESS, struct.pack(f"<{len(arguments)}I", *arguments))
        return self._device.run(self._stubs[key], timing=timing)

    def _start(self, loadable: Loadable) -> None:
        """Firmware and what it has in DRAM, taken from the first loadable."""
        launched = {row["function"] for row in loadable.meta["kernels"]} | {entry.name for entry in loadable.entries}
        functions = {name: span for name, span in loadable.meta["functions"].items() if name not in launched}
        self._end = max(end for _, end in functions.values())
        system = next(segment for segment in loadable.data_segments if segment.address == 0)
        firmware = dataclasses.replace(
            loadable,
            entries=(),
            segments=(
                Segment(SegmentKind.CODE, 0, memoryview(_code(loadable, 0, self._end))),
                Segment(SegmentKind.DATA, 0, system.data[: abi.TENSORS_ADDRESS]),
            ),
            meta={"functions": functions},
            dram_size=abi.TENSORS_ADDRESS,
        )
        self._device = Device(firmware, self._engine, self._engine.machine)

    def _load(self, code: bytes, name: str) -> int:
        pc, self._end = self._end, self._end + len(code)
        self._engine.load_code(pc, code)
        assert self._device is not None
        self._device.places.add_function(name, pc, self._end)
        return pc


def _code(loadable: Loadable, start: int, end: int) -> bytes:
    segment = loadable.code_segment_of(start)
    if segment is None or end > segment.end:
        raise InternalError(f"code {start:#x}..{end:#x} is not in one segment")
    return bytes(segment.data[start - segment.address : end - segment.address])


def _calls(code: bytes | bytearray, start: int) -> list[tuple[int, int, MachineInstruction]]:
    """Where a function that lies at `start` jumps outside itself: byte of the word, PC that it jumps to, the jump."""
    found: list[tuple[int, int, MachineInstruction]] = []
    for at in range(0, len(code), INSTRUCTION_BYTES):
        instruction = decode(int.from_bytes(code[at : at + INSTRUCTION_BYTES], "little"))
        if instruction is None or not instruction.op.is_control or not instruction.op.immediates:
            continue
        if instruction.op.mnemonic == "jalr":
            continue
        distance = instruction.operands[instruction.op.operands.index(instruction.op.immediates[0])]
        target = start + at - at % PACKET_BYTES + distance
        if not start <= target < start + len(code):
            found.append((at, target, instruction))
    return found


def _encoded(call: MachineInstruction, distance: int) -> bytes:
    operand = call.op.immediates[0]
    if not operand.field.fits(distance):
        raise LimitError(f"the kernels on the device fill the {operand.field.maximum} bytes that a call can reach")
    operands = list(call.operands)
    operands[call.op.operands.index(operand)] = distance
    return encode(MachineInstruction(call.op, tuple(operands))).to_bytes(INSTRUCTION_BYTES, "little")


def _stub(pc: int, kernel: int, num_arguments: int) -> bytes:
    """Packets at `pc` that load the arguments from the table, call `kernel` and halt."""
    if num_arguments > _MAX_ARGUMENTS:
        raise LimitError(f"a kernel of {num_arguments} buffers; the argument table holds {_MAX_ARGUMENTS}")
    load, jump = BY_MNEMONIC["lw.s"], BY_MNEMONIC["jal"]
    packets = [
        encode_packet([MachineInstruction(load, (ARGUMENT_BASE + at, abi.ARGUMENTS_ADDRESS + 4 * at, HARD_WIRED))])
        for at in range(num_arguments)
    ]
    distance = kernel - (pc + len(packets) * PACKET_BYTES)
    call = MachineInstruction(jump, (LINK, distance))
    _encoded(call, distance)
    return b"".join([*packets, encode_packet([call]), encode_packet([MachineInstruction(HALT, ())])])
