"""Encoder and decoder against words written by hand (machine reference, section 3) and against each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalla_mlir.errors import BadInputError, LimitError
from atalla_mlir.mc.decode import UndefinedOpcode, decode, decode_packets
from atalla_mlir.mc.encode import encode, encode_packet
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.mc.parse import assemble
from atalla_mlir.mc.print import print_instruction
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import PACKET_BYTES, unpack_packets

GOLDEN = {
    "add.s $3, $1, $2": "0001008181",
    "addi.s $5, $1, -3": "07FE808296",
    "lui.s $9, 0x1ABCDE": "0D5E6F04B0",
    "jal $1, -40": "FFFFEC00AD",
    "jalr $0, $1, 0": "000000802E",
    "beq.s $7, $8, -40, 5": "FB0403C2A3",
    "blt.s $1, $2, 2040, 0": "FF01008025",
    "bne.s $4, $0, -2040, 127": "0100027FA4",
    "lw.s $6, 12($2)": "0006010329",
    "sw.s $6, -4($2)": "07FE01032A",
    "lhw.s $6, 2($2)": "000101032B",
    "shw.s $6, 2($2)": "000101032C",
    "nop.s": "0000000031",
    "halt.s": "0000000032",
    "rcp.bf $4, $5, $0": "0000028212",
    "tpus.vi v8": "000004004F",
    "add.vv $20, $8, $9, 3": "0184840A33",
    "gemm.vv $32, $30, $0, 0": "00000F1036",
    "mul.vs $23, $14, $5, 1": "0082870BCD",
    "expi.vi $27, $9, 0, 0": "0000048DB7",
    "lw.vi $0, $10, 0, 0": "0000050038",
    "rsum.vi $28, $10, 0x40, 0": "0020050E39",
    "mgt.mvv 1, $8, $9, 0": "00048400BC",
    "mlt.mvs 2, $10, $5, 0": "0002850141",
    "vreg.ld $10, $71, $27, 31, 2": "2F8DA38544",
    "vreg.st $32, $72, $25, 15, 1": "178CA41045",
    "scpad.ld $70, $63, $48": "00181FA346",
    "scpad.st $72, $65, $57": "001CA0A447",
    "vmov.vts $10, $21, 5": "00028A8548",
    "mv.mts $11, 1": "00000085C9",
    "mv.stm 4, $20": "00000A024A",
    "tpop.vi v64": "000020004E",
}


@pytest.mark.parametrize(("text", "word"), GOLDEN.items())
def test_golden_encodings(text: str, word: str) -> None:
    code = assemble(text).code
    assert next(iter(unpack_packets(code)))[0] == int(word, 16)


@st.composite
def instructions(draw: st.DrawFn) -> MachineInstruction:
    op = draw(st.sampled_from([row for row in isa.INSTRUCTIONS if not row.is_pseudo]))
    values = [
        draw(st.integers(operand.field.minimum // operand.field.scale, operand.field.maximum // operand.field.scale))
        * operand.field.scale
        for operand in op.operands
    ]
    return MachineInstruction(op, tuple(values))


@given(instructions())
def test_decoding_is_the_inverse_of_encoding(instruction: MachineInstruction) -> None:
    assert decode(encode(instruction)) == instruction


@given(instructions())
def test_printed_instructions_assemble_to_the_same_word(instruction: MachineInstruction) -> None:
    distance = next(
        (v for o, v in zip(instruction.op.operands, instruction.operands, strict=True) if o.name == "offset"), 0
    )
    if instruction.op.mnemonic == "jal":
        distance = instruction.operands[1]
    if distance % PACKET_BYTES:
        return  # the assembler refuses destinations inside packets
    code = assemble(print_instruction(instruction), check=False).code
    assert next(iter(unpack_packets(code)))[0] == encode(instruction)


def test_every_table_row_has_an_opcode_of_its_own() -> None:
    assert [row.opcode for row in isa.INSTRUCTIONS] == list(range(1, 80))


def test_an_all_zero_word_is_an_empty_slot() -> None:
    assert decode(0) is None


@pytest.mark.parametrize("word", [47, 80, 127, 1 << 8])
def test_undefined_opcodes(word: int) -> None:
    with pytest.raises(UndefinedOpcode, match="undefined opcode"):
        decode(word)


def test_values_that_do_not_fit() -> None:
    op = isa.BY_MNEMONIC["addi.s"]
    with pytest.raises(LimitError, match=r"^addi\.s: imm 2048 does not fit in -2048\.\.2047$"):
        encode(MachineInstruction(op, (1, 2, 2048)))
    branch = isa.BY_MNEMONIC["beq.s"]
    with pytest.raises(LimitError, match=r"^beq\.s: offset 6 does not fit in -2048\.\.2044 in steps of 4$"):
        encode(MachineInstruction(branch, (1, 2, 6, 0)))


def test_pseudo_instructions_have_no_encoding() -> None:
    with pytest.raises(LimitError, match=r"li\.s is a pseudo-instruction"):
        encode(MachineInstruction(isa.BY_MNEMONIC["li.s"], (1, 2)))


def test_a_packet_holds_four_instructions() -> None:
    nop = MachineInstruction(isa.NOP, ())
    assert len(encode_packet([nop])) == PACKET_BYTES
    assert encode_packet([nop])[0] == isa.NOP.opcode
    with pytest.raises(LimitError, match="5 instructions in a packet of 4 slots"):
        encode_packet([nop] * 5)


def test_code_is_whole_packets() -> None:
    with pytest.raises(BadInputError, match="code size 21 is not a multiple of 20 bytes"):
        decode_packets(bytes(21))
