"""The assembler: its syntax, its messages, and its round trip with the disassembler."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalla_mlir.errors import BadInputError
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


def test_the_example_of_the_documentation() -> None:
    page = Path(__file__).parents[3] / "docs" / "assembly.md"
    assembly = assemble(page.read_text(encoding="utf-8").split("```\n")[1])
    assert assembly.labels == {"main": 0, "loop": 40, "done": 140}
    assert {start: len(data) for start, data in assembly.data.items()} == {0x1000: 76}


def test_leading_zeros_are_decimal() -> None:
    assert assemble("addi.s x1, x0, 010").code == assemble("addi.s x1, x0, 10").code


def test_names_of_data_are_numbers() -> None:
    text = ".data 0x12340\n.word 1\ntable: .word 2\n.text\nli.s x5, table\n.data 0\nsmall: .byte 1\n.text\n"
    named = assemble(f"{text}addi.s x6, x0, small")
    assert named.code == assemble("li.s x5, 0x12344\naddi.s x6, x0, 0").code
    assert named.labels == {}


def test_data_without_an_address_ends_the_program() -> None:
    for end in (".data", "data mem", "DATA MEM  # dump"):
        ended = assemble(f"global main\nmain: halt\n{end}\n")
        assert (ended.code, ended.labels, ended.data) == (assemble("halt").code, {"main": 0}, {})


@pytest.mark.parametrize("value", [0x7FFFFFFF, -(1 << 31), 0xFFFFFFFF, 0xFFFFF000, -2049, 4096, 127 << 7])
def test_load_immediate_gives_the_value(value: int) -> None:
    result = 0
    for packet in decode_packets(assemble(f"li.s x8, {value}").code):
        assert packet[0] is not None
        *_, last = packet[0].operands
        result = last << 7 if packet[0].op.mnemonic == "lui.s" else result + last
    assert result & 0xFFFFFFFF == value & 0xFFFFFFFF


def test_data() -> None:
    assembly = assemble("nop\n.data 0x1000\n.word 1, -1\n.half 0x3F80\n.byte 7\n.space 1\n.text\nhalt")
    assert assembly.data == {0x1000: b"\1\0\0\0\xff\xff\xff\xff\x80\x3f\x07\x00"}
    assert len(assembly.code) == 40


MESSAGES = {
    "frob x1, x2": "1:1: error: unknown instruction 'frob'",
    "rsun.vi v1, v2, 0": "1:1: error: unknown instruction 'rsun.vi'; did you mean 'rsum.vi'?",
    "  addi.s x1, x2": "1:3: error: addi.s takes 3 operands (rd, rs1, imm), got 2",
    "nop ; nop": "1:1: error: ';' separates instructions only inside a packet, '{ a ; b }'",
    "addi.s x1, x2, 5000": "1:16: error: addi.s: imm 5000 does not fit in -2048..2047",
    "add.s x1, x2, x256": "1:15: error: rs2 x256 does not exist; there are x0..x255",
    "mv.stm m16, x1": "1:8: error: vmd m16 does not exist; there are m0..m15",
    "add.s x1, x2, 5k": "1:15: error: rs2 must be a register such as x5, got '5k'",
    "add.s x1,, x2": "1:10: error: rs1 must be a register such as x5, got ''",
    "vreg.ld v1, x2, x3, 31, 4": "1:25: error: vreg.ld: sid 4 does not fit in 0..3",
    "vreg.ld v1, x2, x3, 31, 0, 1, 2": "1:1: error: seven-operand vreg.ld is obsolete; write 'vd, rs1, rs2, num_cols, "
    "sid'",
    "scpad.ld x1, x2, 31, 31, 0": "1:1: error: five-operand scpad.ld is obsolete; build the metadata word and pass its "
    "register",
    "vmov.vts x1, v2, 32": "1:18: error: vmov.vts: imm 32 does not fit in 0..31",
    "addi.s x1, x2, five": "1:16: error: undefined symbol 'five'",
    "addi.s x1, x2, 5.0": "1:16: error: expected a number, got '5.0'",
    "jal x1, nowhere": "1:9: error: undefined label 'nowhere'",
    "loop1: jal x1, loop2": "1:16: error: undefined label 'loop2'; did you mean 'loop1'?",
    "beq.s x1, x2, 40": "1:1: error: beq.s with a numeric third operand needs the increment too: "
    "'rs1, rs2, offset, incr'",
    "beq.s x1, x2, 4, 0": "1:15: error: beq.s to 4: 4 bytes is not a multiple of 20",
    "beq.s x1, x2, 2060, 0": "1:15: error: beq.s to 2060: 2060 bytes is out of reach (102 packets either way); branch "
    "the other way around a jal",
    "jal 16777220": "1:5: error: jal to 16777220: 16777220 bytes is out of reach (838860 packets either way)",
    "beq.s x1, x2, 40, 128": "1:19: error: beq.s: incr 128 does not fit in 0..127",
    "lw.s x1, x2": "1:10: error: lw.s takes an address as imm(register), got 'x2'",
    "lw.s x1, 4000(x2)": "1:10: error: lw.s: imm 4000 does not fit in -2048..2047",
    "lw.s x1, 4( v 2)": "1:13: error: rs1 must be a register such as x5, got 'v 2'",
    "a: nop\na: nop": "2:1: error: label 'a' is defined twice",
    "{ nop": "1:1: error: packet is not closed; '}' expected",
    "x: { nop ;\n  nop ; add.s x1, x2 }": "2:9: error: add.s takes 3 operands (rd, rs1, rs2), got 2",
    "{ nop ; nop ; nop ; nop ; nop }": "1:1: error: 5 instructions in a packet of 4 slots",
    "{ addi.s x1, x0, 5 ; addi.s x2, x1, 1 }": "1:3: error: illegal packet: slot 1 (addi.s) reads x1, which "
    "slot 0 writes; 2 instructions for unit EX1, which takes 1",
    "{ li.s x1, 0x12345 }": "1:3: error: 'li.s x1, 0x12345' needs two instructions that depend on each other; "
    "write them apart",
    "li.s x1": "1:1: error: li.s takes 2 operands (rd, imm), got 1",
    "li.s x300, 5": "1:6: error: rd x300 does not exist; there are x0..x255",
    "li.s x1, 0x100000000": "1:10: error: immediate 4294967296 does not fit in 32 bits",
    ".insn 0x10000000000": "1:7: error: .insn 0x10000000000 does not fit in 40 bits",
    ".word 1": "1:1: error: '.word' outside data; '.data ADDRESS' starts data",
    ".data\n.word 1": "2:1: error: '.word' outside data; '.data ADDRESS' starts data",
    ".data -4": "1:7: error: data address -4 does not fit in 32 bits",
    ".data 0\n.byte 1, 256": "2:10: error: .byte 256 does not fit in -128..255",
    ".data 0\n.word": "2:6: error: expected a number, got ''",
    ".data 0\n.space -1": "2:8: error: .space -1 does not fit in 0..4294967296",
    ".data 0xFFFFFFFC\n.word 1, 2": "2:1: error: data at 0xfffffffc of 8 bytes does not fit in 32-bit addresses",
    ".data 8\n.word 1\n.data 6\n.word 2": "4:1: error: data at 0x6..0x9 overlaps the data from 0x8 on",
    ".data 0\nnop": "2:1: error: instruction 'nop' in data; '.text' goes back to code",
    ".data 0\n{ nop }": "2:1: error: packet in data; '.text' goes back to code",
    ".data\nx: .word 1": "2:1: error: label 'x' in data without an address; '.data ADDRESS' gives one",
    ".data 0\nx: .word 1\n.text\njal x": "4:5: error: jal to 'x', which is a name of data",
    ".frob": "1:1: error: unknown directive '.frob'",
    ".words 1": "1:1: error: unknown directive '.words'; did you mean '.word'?",
}


@pytest.mark.parametrize(("text", "message"), MESSAGES.items())
def test_messages(text: str, message: str) -> None:
    with pytest.raises(AssemblyError) as caught:
        assemble(text, "a.s")
    assert str(caught.value) == f"a.s:{message}"


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


def test_given_labels_do_not_meet_made_ones() -> None:
    code = assemble("nop\na: nop\nbne x1, x2, a, 1").code
    text = disassemble(code, labels={"L_00014": 0})
    assert "L_00014:" in text
    assert "bne.s x1, x2, L_00014_, 1" in text
    assert assemble(text).code == code
    with pytest.raises(BadInputError, match=r"^'a b' cannot be a label; letters, digits, '_', '\.' and '\$' make one$"):
        disassemble(code, labels={"a b": 0})


def test_illegal_words_are_shown_as_such() -> None:
    text = disassemble(pack_packet([47, 0, 0x7F, 0x31]))
    assert ".insn 0x000000002F ; .insn 0x0000000000 ; .insn 0x000000007F" in text
    assert "li.s (illegal); empty slot; undefined opcode" in text
