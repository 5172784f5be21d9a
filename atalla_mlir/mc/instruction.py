"""A concrete instruction: a row of the table with numbers for its operands."""

from __future__ import annotations

from dataclasses import dataclass

from atalla_mlir.target import isa


@dataclass(frozen=True)
class MachineInstruction:
    """`operands` are in assembly order: register numbers and immediate values; branch distances are bytes."""

    op: isa.Instruction
    operands: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.operands) != len(self.op.operands):
            raise ValueError(f"{self.op.mnemonic} has {len(self.op.operands)} operands, got {len(self.operands)}")


NOP = MachineInstruction(isa.NOP, ())
