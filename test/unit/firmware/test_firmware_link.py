"""Linking: where functions lie, what jumps resolve to, what cannot be linked."""

from __future__ import annotations

import re

import pytest

from atalla_mlir.errors import InternalError, LimitError
from atalla_mlir.firmware.link import CodeBlock, Relocation, firmware, link
from atalla_mlir.firmware.symbols import ROUTINES
from atalla_mlir.mc.decode import decode_packets
from atalla_mlir.mc.instruction import NOP, MachineInstruction
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.isa import BY_MNEMONIC

JUMP = MachineInstruction(BY_MNEMONIC["jal"], (1, 0))
BRANCH = MachineInstruction(BY_MNEMONIC["bne.s"], (4, 0, 0, 1))
BASE = len(firmware().code)


def block(name: str, size: int, **fields: object) -> CodeBlock:
    return CodeBlock(name, ((NOP,),) * size, **fields)  # pyright: ignore[reportArgumentType]


def destination(code: bytes, packet: int, slot: int = 0) -> int:
    instruction = decode_packets(code)[packet][slot]
    assert instruction is not None
    distance = instruction.operands[instruction.op.operands.index(instruction.op.immediates[0])]
    return packet * PACKET_BYTES + distance


def test_functions_follow_the_firmware_in_order() -> None:
    image = link([block("a", 2), block("b", 3)])
    assert image.code.startswith(firmware().code)
    assert image.functions["a"] == (BASE, BASE + 40)
    assert image.functions["b"] == (BASE + 40, BASE + 100)
    assert image.pc("spad_alloc") == firmware().labels["spad_alloc"]
    spans = sorted(image.functions.values())
    assert [start for start, _ in spans] == [0] + [end for _, end in spans[:-1]]
    assert set(ROUTINES) <= set(image.functions)


def test_jumps_reach_labels_functions_and_services() -> None:
    packets = ((JUMP,), (NOP, JUMP), (BRANCH,), (NOP,))
    targets = (Relocation(0, 0, "spad_free"), Relocation(1, 1, "later"), Relocation(2, 0, "here"))
    image = link([CodeBlock("f", packets, targets, {"here": 3}), block("later", 1)])
    first = BASE // PACKET_BYTES
    assert destination(image.code, first) == image.pc("spad_free")
    assert destination(image.code, first + 1, 1) == image.pc("later")
    assert destination(image.code, first + 2) == BASE + 3 * PACKET_BYTES


def test_a_label_hides_a_function_of_the_same_name() -> None:
    image = link([CodeBlock("f", ((NOP,), (JUMP,)), (Relocation(1, 0, "panic"),), {"panic": 0})])
    assert destination(image.code, BASE // PACKET_BYTES + 1) == BASE


def test_sources_are_ranges() -> None:
    image = link([block("f", 5, sources=("a.py:1", "a.py:1", None, "a.py:2", "a.py:1"))])
    pcs = [BASE + 20 * at for at in range(6)]
    assert image.sources == ((pcs[0], pcs[2], "a.py:1"), (pcs[3], pcs[4], "a.py:2"), (pcs[4], pcs[5], "a.py:1"))


def test_branch_out_of_reach() -> None:
    far = CodeBlock("f", ((BRANCH,), *((NOP,),) * 103), (Relocation(0, 0, "end"),), {"end": 103})
    message = "bne.s in packet 0 of function 'f' cannot reach 'end': 2060 bytes away, it reaches -2048..2044 bytes"
    with pytest.raises(LimitError, match=f"^{re.escape(message)}$"):
        link([far])


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([block("f", 1), block("f", 1)], "two functions are called 'f'"),
        ([block("panic", 1)], "two functions are called 'panic'"),
        ([block("f", 0)], "function 'f' has no packets"),
        (
            [CodeBlock("f", ((JUMP,),), (Relocation(0, 0, "g"),))],
            "function 'f' jumps to 'g', which is neither label nor function",
        ),
        ([CodeBlock("f", ((NOP,),), (Relocation(0, 0, "f"),))], "nop.s in packet 0 of 'f' has no destination"),
        (
            [CodeBlock("f", ((JUMP,),), (Relocation(0, 4, "f"),))],
            "function 'f' has no instruction in packet 0 slot 4",
        ),
    ],
)
def test_what_cannot_be_linked(blocks: list[CodeBlock], message: str) -> None:
    with pytest.raises(InternalError, match=f"^{re.escape(message)}$"):
        link(blocks)
