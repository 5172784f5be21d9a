"""The assembler: its syntax, its messages, and its round trip with the disassembler."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalla_mlir.mc.decode import decode_packets
from atalla_mlir.mc.parse import AssemblyError, assemble
from atalla_mlir.mc.print import disassemble
from atalla_mlir.target.encoding import INSTRUCTION_BITS, pack_packet


def mnemonics(text: str) -> list[list[str]]:
    packets = decode_packets(assemble(text).code)
    return [
        [item.op.mnemonic for item in packet if item is not None and item.op.mnemonic != "nop.s"] for packet in packets
    ]


def test_each_line_is_a_packet_and_braces_make_one() -> None:
    text = """
    start:  addi.s x5, x0, 60        # sixty
            { lw.s x6, 4(x5) ; add.s x7, x5, x5 }
            { add.vv v1, v2, v3, m0 ;
              mul.vv v4, v5, v6, m1 }
    """
    assert mnemonics(text) == [["addi.s"], ["lw.s", "add.s"], ["add.vv", "mul.vv"]]
    assert assemble(text).labels == {"start": 0}
    assert assemble(text).lines == {0: 2, 20: 3, 40: 4}


def test_spellings_of_the_existing_tools() -> None:
    assert assemble("ADDI_S $x5, $1, 0x10").code == assemble("addi.s x5, x1, 16").code
    assert assemble("beq $1, $2, 40, 0").code == assemble("beq.s x1, x2, 40, 0").code
    assert assemble("jal 40").code == assemble("jal x0, 40").code
    assert assemble("rsum.vi v1, v2, -1").code == assemble("rsum.vi v1, v2, 255, 0").code
    assert assemble("nop\nhalt").code == assemble("nop.s\nhalt.s").code


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, ["addi.s"]),
        (-2048, ["addi.s"]),
        (2048, ["lui.s"]),
        (2049, ["lui.s", "addi.s"]),
        (-2049, ["lui.s", "addi.s"]),
    ],
)
def test_load_immediate(value: int, expected: list[str]) -> None:
    packets = mnemonics(f"li.s x8, {value}")
    assert [packet[0] for packet in packets] == expected


def test_labels_become_distances() -> None:
    packets = decode_packets(assemble("jal x1, end\nnop\nloop: nop\nend: bne.s x1, x2, loop, 3").code)
    assert packets[0][0] is not None and packets[0][0].operands == (1, 60)
    assert packets[3][0] is not None and packets[3][0].operands == (1, 2, -20, 3)


def test_data() -> None:
    assembly = assemble("nop\n.data 0x1000\n.word 1, -1\n.half 0x3F80\n.byte 7\n.space 1\n.text\nhalt")
    assert assembly.data == {0x1000: b"\1\0\0\0\xff\xff\xff\xff\x80\x3f\x07\x00"}
    assert len(assembly.code) == 40


MESSAGES = {
    "frob x1, x2": "<string>:1:1: error: unknown instruction 'frob'",
    "  addi.s x1, x2": "<string>:1:3: error: addi.s takes 3 operands (rd, rs1, imm), got 2",
    "addi.s x1, x2, 5000": "<string>:1:1: error: addi.s: imm 5000 does not fit in -2048..2047",
    "add.s x1, x2, x256": "<string>:1:1: error: rs2 x256 does not exist; there are x0..x255",
    "mv.stm m16, x1": "<string>:1:1: error: vmd m16 does not exist; there are m0..m15",
    "add.s x1, x2, 5k": "<string>:1:1: error: rs2 must be a register such as x5, got '5k'",
    "vreg.ld v1, x2, x3, 31, 4": "<string>:1:1: error: vreg.ld: sid 4 does not fit in 0..3",
    "vmov.vts x1, v2, 32": "<string>:1:1: error: vmov.vts: imm 32 does not fit in 0..31",
    "jal x1, nowhere": "<string>:1:1: error: undefined label 'nowhere'",
    "beq.s x1, x2, 40": "<string>:1:1: error: beq.s with a numeric third operand needs the increment too: "
    "'rs1, rs2, offset, incr'",
    "beq.s x1, x2, 4, 0": "<string>:1:1: error: beq.s to 4: 4 bytes is not a multiple of 20",
    "beq.s x1, x2, 2060, 0": "<string>:1:1: error: beq.s to 2060: 2060 bytes is out of reach (102 packets either way)",
    "beq.s x1, x2, 40, 128": "<string>:1:1: error: beq.s: incr 128 does not fit in 0..127",
    "lw.s x1, x2": "<string>:1:1: error: lw.s takes an address as imm(register), got 'x2'",
    "a: nop\na: nop": "<string>:2:1: error: label 'a' is defined twice",
    "{ nop": "<string>:1:1: error: packet is not closed; '}' expected",
    "{ nop ; nop ; nop ; nop ; nop }": "<string>:1:1: error: 5 instructions in a packet of 4 slots",
    "{ addi.s x1, x0, 5 ; addi.s x2, x1, 1 }": "<string>:1:3: error: illegal packet: slot 1 (addi.s) reads x1, which "
    "slot 0 writes; 2 instructions for unit EX1, which takes 1",
    "{ li.s x1, 0x12345 }": "<string>:1:3: error: 'li.s x1, 0x12345' needs two instructions that depend on each other; "
    "write them apart",
    ".word 1": "<string>:1:1: error: '.word' outside data; '.data ADDRESS' starts data",
    ".data 0\n.byte 256": "<string>:2:1: error: .byte 256 does not fit in 1 bytes",
    ".data 0\nnop": "<string>:2:1: error: instruction 'nop' in data; '.text' goes back to code",
    ".frob": "<string>:1:1: error: unknown directive '.frob'",
}


@pytest.mark.parametrize(("text", "message"), MESSAGES.items())
def test_messages(text: str, message: str) -> None:
    with pytest.raises(AssemblyError) as caught:
        assemble(text)
    assert str(caught.value) == message


@given(st.lists(st.lists(st.integers(0, (1 << INSTRUCTION_BITS) - 1), min_size=4, max_size=4), min_size=1, max_size=8))
def test_any_code_survives_disassembly(packets: list[list[int]]) -> None:
    code = b"".join(pack_packet(words) for words in packets)
    assert assemble(disassemble(code), check=False).code == code


def test_disassembly_names_destinations() -> None:
    code = assemble("top: nop\n{ add.s x1, x2, x3 ; nop }\nbne.s x1, x2, top, 1\nhalt").code
    text = disassemble(code)
    assert "L_00000:" in text
    assert "bne.s x1, x2, L_00000, 1" in text
    assert "named:" in disassemble(code, labels={"named": 0})


def test_illegal_words_are_shown_as_such() -> None:
    text = disassemble(pack_packet([47, 0, 0x7F, 0x31]))
    assert ".insn 0x000000002F ; .insn 0x0000000000 ; .insn 0x000000007F" in text
    assert "li.s (illegal); empty slot; undefined opcode" in text
