"""Kernels written by hand: assembly with what is known of the operation that it computes.

The text is assembled for the sizes of each call, which it may use by name. `kernel_description` reads the description;
docs/kernels.md is for those who write one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

from atalla_mlir.errors import BadInputError, LimitError
from atalla_mlir.firmware.expressions import Expression, Number
from atalla_mlir.firmware.link import ObjectCode, Relocation
from atalla_mlir.firmware.symbols import DMA_SERVICES
from atalla_mlir.loadable import abi
from atalla_mlir.mc.decode import decode_packets
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.mc.parse import Assembly, assemble
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.registers import ALL_ONES_MASK, FIRMWARE_TABLE, HARD_WIRED, RegisterFile

SERVICES = (*abi.SERVICES, *DMA_SERVICES)
"""What a kernel may call by name."""
STANDARD_SYMBOLS = {"PAGE_BYTES": abi.PAGE_BYTES, "ROW_BYTES": 64, "LANES": 32}


@dataclass(frozen=True)
class TensorParameter:
    """An input: `extents` are numbers or names that stand for the sizes of a call."""

    name: str
    extents: tuple[int | str, ...]

    @property
    def kind(self) -> str:
        """The parameter's type as PyTorch writes it."""
        return "Tensor"


@dataclass(frozen=True)
class ScalarParameter:
    """A number of the call that is known when the model is compiled; `kind` is float or int."""

    name: str
    kind: str


@dataclass(frozen=True)
class StatedError:
    """What a result may be off by beside its rounding to BF16: `relative` * |result| + `absolute`."""

    relative: float
    absolute: float


@dataclass(frozen=True)
class AssemblyKernel:
    """A description and the text that it stands in."""

    filename: str
    text: str
    namespace: str
    name: str
    parameters: tuple[TensorParameter | ScalarParameter, ...]
    result: tuple[Expression, ...]
    requirements: tuple[Expression, ...]
    constants: tuple[tuple[str, Expression], ...]
    error: StatedError | None
    flops: Expression
    macs: Expression

    @property
    def tensors(self) -> tuple[TensorParameter, ...]:
        return tuple(item for item in self.parameters if isinstance(item, TensorParameter))

    @property
    def scalars(self) -> tuple[ScalarParameter, ...]:
        return tuple(item for item in self.parameters if isinstance(item, ScalarParameter))

    @cached_property
    def schema(self) -> str:
        """The operation's arguments as PyTorch writes them."""
        parts = [
            f"Tensor {p.name}" if isinstance(p, TensorParameter) else f"{p.kind} {p.name}" for p in self.parameters
        ]
        return f"({', '.join(parts)}) -> Tensor"

    @property
    def qualified_name(self) -> str:
        return f"{self.namespace}::{self.name}"

    def sizes(self, shapes: Sequence[Sequence[int]]) -> dict[str, int]:
        """What the names of extents stand for when the inputs have `shapes`."""
        found: dict[str, int] = {}
        for parameter, shape in zip(self.tensors, shapes, strict=True):
            written = f"{parameter.name}[{', '.join(map(str, parameter.extents))}]"
            if len(shape) != len(parameter.extents):
                raise BadInputError(f"{self.qualified_name} takes {written}, got shape {list(shape)}")
            for extent, size in zip(parameter.extents, shape, strict=True):
                wanted = extent if isinstance(extent, int) else found.setdefault(extent, size)
                if wanted != size:
                    has = f", where {extent} is {wanted}" if isinstance(extent, str) else ""
                    raise BadInputError(f"{self.qualified_name} takes {written}{has}, got shape {list(shape)}")
        return found

    def result_shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(_whole(extent, extent.value(sizes), "an extent of the result") for extent in self.result)

    def refusal(self, values: Mapping[str, Number]) -> str | None:
        """Why the kernel does not do a call with these sizes and scalars; None when it does."""
        for requirement in self.requirements:
            if not requirement.value(values):
                named = ", ".join(f"{name} is {values[name]}" for name in sorted(requirement.names))
                return f"{Path(self.filename).name} requires {requirement.text}; {named}"
        return None

    def object_code(self, name: str, values: Mapping[str, Number]) -> ObjectCode:
        """The kernel as function `name` for a call with these sizes and scalars."""
        assembly = assemble(self.text, self.filename, symbols=self._symbols(values), externals=SERVICES)
        _Checker(self.filename, assembly).check()
        base = Path(self.filename).name
        num_packets = len(assembly.code) // PACKET_BYTES
        return ObjectCode(
            name,
            assembly.code,
            tuple(Relocation(item.pc // PACKET_BYTES, item.slot, item.name) for item in assembly.references),
            {},
            tuple(f"{base}:{assembly.lines[at * PACKET_BYTES]}" for at in range(num_packets)),
        )

    def _symbols(self, values: Mapping[str, Number]) -> dict[str, int]:
        known: dict[str, Number] = {**STANDARD_SYMBOLS, **values}
        symbols = dict(STANDARD_SYMBOLS)
        floats = {item.name for item in self.scalars if item.kind == "float"}
        for name, value in values.items():
            symbols[name] = float_word(value) if name in floats else int(value)
        for name, expression in self.constants:
            value = expression.value(known)
            known[name] = value
            symbols[name] = float_word(value) if isinstance(value, float) else int(value)
        return symbols


def float_word(value: float) -> int:
    """What a scalar register holds for `value`: BF16 in the upper half."""
    return int(np.asarray(value, np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)) << 16


def _whole(expression: Expression, value: Any, what: str) -> int:
    if not isinstance(value, (int, float)):  # a symbol that stands for one, while PyTorch exports open shapes
        return value
    if isinstance(value, bool) or value != int(value) or value < 0:
        raise BadInputError(f"'{expression.text}', {what}, is {value} and not a whole number")
    return int(value)


class _Checker:
    """What is certainly wrong about a kernel among compiled ones."""

    def __init__(self, filename: str, assembly: Assembly) -> None:
        self._filename = filename
        self._assembly = assembly

    def fail(self, pc: int, message: str) -> NoReturn:
        raise BadInputError(f"{self._filename}:{self._assembly.lines[pc]}: error: {message}")

    def check(self) -> None:
        if not self._assembly.code:
            raise BadInputError(f"{self._filename}: error: the kernel has no instructions")
        if self._assembly.data:
            raise LimitError(
                f"{self._filename}: error: a kernel has no data of its own, as its place in memory is not known; "
                "make tables a tensor parameter"
            )
        packets = decode_packets(self._assembly.code)
        for number, packet in enumerate(packets):
            for instruction in packet:
                if instruction is not None:
                    self._check_instruction(number * PACKET_BYTES, instruction)
        last = (len(packets) - 1) * PACKET_BYTES
        if not any(item is not None and _leaves(item) for item in packets[-1]):
            self.fail(last, "control runs off the end of the kernel; 'jalr x0, x1, 0' returns")

    def _check_instruction(self, pc: int, instruction: MachineInstruction) -> None:
        if instruction.op.mnemonic == "halt.s":
            self.fail(pc, "halt.s ends the whole program; a kernel returns with 'jalr x0, x1, 0'")
        for operand, value in zip(instruction.op.operands, instruction.operands, strict=True):
            kept = {(RegisterFile.SCALAR, FIRMWARE_TABLE), (RegisterFile.MASK, ALL_ONES_MASK)}
            if operand.is_written and operand.file is not None and (operand.file, value) in kept:
                self.fail(pc, f"{instruction.op.mnemonic} writes {operand.file.value}{value}, which kernels must keep")


def _leaves(instruction: MachineInstruction) -> bool:
    """Whether the instruction jumps without coming back."""
    return instruction.op.mnemonic in ("jal", "jalr") and instruction.operands[0] == HARD_WIRED
