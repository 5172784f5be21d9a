"""What each instruction of the table does: `bind` turns a decoded instruction into the action a packet runs.

A legal packet has one meaning whether its slots run one after the other or all read first and write afterwards (5.1):
no slot reads what a lower slot writes. So the actions of a packet run in slot order. A slot that traps leaves no effect
of its own; the slots below it have taken effect.
"""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir.sim import semantics_memory, semantics_scalar, semantics_vector
from atalla_mlir.sim.semantics_scalar import Action, Binder
from atalla_mlir.sim.state import State
from atalla_mlir.target import isa

__all__ = ["BINDERS", "Action", "bind"]

BINDERS: dict[str, Binder] = semantics_scalar.BINDERS | semantics_vector.BINDERS | semantics_memory.BINDERS


def bind(state: State, instruction: isa.Instruction, operands: Sequence[int]) -> Action:
    """The action of `instruction` with `operands` in assembly order on `state`."""
    return BINDERS[instruction.mnemonic](state, *operands)
