from __future__ import annotations

from collections.abc import Iterator

import pytest

from atalla_mlir import _mlir
from atalla_mlir._mlir import ir
from atalla_mlir.dialects import ax01
from atalla_mlir.dialects.ax01_builder import Builder
from atalla_mlir.dialects.ax01_instructions import is_pure
from atalla_mlir.errors import InternalError
from atalla_mlir.target import isa
from atalla_mlir.target.isa import Role
from atalla_mlir.target.registers import RegisterFile

X, V, M = RegisterFile.SCALAR, RegisterFile.VECTOR, RegisterFile.MASK


@pytest.fixture(scope="module")
def context() -> Iterator[ir.Context]:
    with _mlir.context() as context, ir.Location.unknown():
        yield context


@pytest.fixture
def module(context: ir.Context) -> ir.Module:
    return ir.Module.create()


@pytest.fixture
def builder(module: ir.Module) -> Builder:
    return Builder(ip=ir.InsertionPoint(module.body))


def _arguments(builder: Builder, instruction: isa.Instruction) -> list[object]:
    """One argument per place that the instruction's builder method takes: registers numbered 1, 2, ..."""
    arguments: list[object] = []
    for place, operand in enumerate(instruction.operands, start=1):
        if operand.takes_port and operand.file is not None:
            arguments.append(builder.get_register(operand.file, place))
        elif operand.role is Role.IMMEDIATE:
            is_target = operand.name == "offset" or instruction.mnemonic == "jal"
            arguments.append("label" if is_target else operand.field.maximum)
    return arguments


@pytest.mark.parametrize("instruction", isa.INSTRUCTIONS, ids=lambda instruction: instruction.mnemonic)
def test_every_instruction_is_an_operation(builder: Builder, module: ir.Module, instruction: isa.Instruction) -> None:
    arguments = _arguments(builder, instruction)
    result = builder.build(instruction.mnemonic, *arguments)
    assert module.operation.verify()
    op = list(module.body.operations)[-1].operation
    assert op.name == f"ax01.{instruction.op_name}"
    assert type(op.opview) is ax01.INSTRUCTION_OPS[instruction.op_name]
    assert ax01.instruction_of(op) is instruction
    assert len(op.results) == len(instruction.writes) == (0 if result is None else 1)

    text = str(module)
    assert str(ir.Module.parse(text)) == text
    assert str(ir.Module.parse(_mlir.bytecode(module))) == text


@pytest.mark.parametrize("instruction", isa.INSTRUCTIONS, ids=lambda instruction: instruction.mnemonic)
def test_assembly_operands_come_back(builder: Builder, module: ir.Module, instruction: isa.Instruction) -> None:
    arguments = _arguments(builder, instruction)
    result = builder.build(instruction.op_name, *arguments)
    op = list(module.body.operations)[-1].operation
    expected: list[object] = []
    given = iter(arguments)
    for operand in instruction.operands:
        if operand.takes_port or operand.role is Role.IMMEDIATE:
            expected.append(next(given))
        else:
            expected.append(result if operand.is_written else 0)
    assert list(ax01.assembly_operands(op)) == expected


def test_merging_instructions_take_an_old_value(builder: Builder, module: ir.Module) -> None:
    row, ones = builder.get_register(V, 1), builder.get_register(M, 1)
    for instruction in isa.INSTRUCTIONS:
        if instruction.merges and instruction.writes[0].file is V:
            arguments = _arguments(builder, instruction)
            merged = builder.build(instruction.op_name, *arguments, old=row)
            assert merged is not None
            assert merged.owner.operands[len(merged.owner.operands) - 1] == row
            assert merged.owner.opview.old == row
    assert module.operation.verify()
    assert builder.add_vv(row, row, ones).owner.opview.old is None


def test_results_can_be_pinned(builder: Builder) -> None:
    base = builder.get_register(X, 12)
    value = builder.addi_s(base, 4, into=builder.pinned(X, 13))
    assert ax01.pinned_number(value.type) == 13
    assert ax01.register_file(value.type) is X
    assert ax01.pinned_operands(value.owner) == (13, 12, 4)
    assert ax01.pinned_number(builder.addi_s(base, 4).type) is None


def test_virtual_registers_have_no_number(builder: Builder) -> None:
    value = builder.addi_s(builder.get_register(X, 12), 4)
    with pytest.raises(ValueError, match=r"^a register of type !ax01\.sreg has no number$"):
        ax01.pinned_operands(value.owner)


def test_load_immediate_takes_any_word(builder: Builder, module: ir.Module) -> None:
    for word in (0, -1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, -(1 << 31)):
        assert builder.li_s(word).owner.attributes["imm"].value & 0xFFFFFFFF == word & 0xFFFFFFFF
    assert module.operation.verify()


def test_loop_keeps_the_order_of_what_it_carries(builder: Builder, module: ir.Module) -> None:
    with builder.function("f"):
        count = builder.li_s(4)
        ones = builder.mv_stm(builder.li_s(-1))
        row = builder.add_vs(builder.get_register(V, 0), count, builder.get_register(M, 1))
        with builder.loop(count, [ones, row, count]) as loop:
            mask, vector, scalar = loop.carried
            assert [value.type for value in loop.carried] == [ones.type, row.type, count.type]
            loop.next = [mask, builder.add_vs(vector, scalar, mask), builder.addi_s(scalar, 1)]
        mask, vector, scalar = loop.results
        builder.sw_s(builder.mv_mts(mask), 0, builder.vmov_vts(vector, 0))
        assert scalar.type == count.type
        assert [value.type for value in loop.op.results] == [count.type, row.type, ones.type]
    assert module.operation.verify()


def test_loop_needs_its_next_values(builder: Builder) -> None:
    count = builder.li_s(4)
    with pytest.raises(InternalError, match=r"^ax01\.loop carries 1 values, next has 0$"), builder.loop(count, [count]):
        pass


def test_loop_carries_only_virtual_registers(builder: Builder) -> None:
    count, base = builder.li_s(4), builder.get_register(X, 12)
    message = r"^a loop carries virtual registers only, got !ax01\.x<12 : i32>; copy it first$"
    with pytest.raises(InternalError, match=message), builder.loop(count, [base]):
        pass


def test_wrong_number_of_arguments(builder: Builder) -> None:
    with pytest.raises(InternalError, match=r"^ax01\.addi_s takes \(rs1, imm\), got 1 arguments$"):
        builder.addi_s(builder.li_s(1))


def test_old_value_needs_an_instruction_that_merges(builder: Builder) -> None:
    value = builder.li_s(1)
    with pytest.raises(InternalError, match=r"^ax01\.add_s does not merge, so it has no old value$"):
        builder.add_s(value, value, old=value)


def test_effects() -> None:
    impure = {instruction.mnemonic for instruction in isa.INSTRUCTIONS if not is_pure(instruction)}
    branches = {"beq.s", "bne.s", "blt.s", "bge.s", "bgt.s", "ble.s", "jal", "jalr", "halt.s", "nop.s"}
    memory = {"lw.s", "sw.s", "lhw.s", "shw.s", "vreg.ld", "vreg.st", "scpad.ld", "scpad.st"}
    assert impure == branches | memory | {"gemm.vv", "lw.vi", "tpus.vi", "tpop.vi"}


def test_loading_twice_and_many_contexts() -> None:
    for _ in range(3):
        with _mlir.context() as context:
            ax01.load()
            assert context.is_dialect_loaded("ax01")
            assert context.is_dialect_loaded("atalla")
