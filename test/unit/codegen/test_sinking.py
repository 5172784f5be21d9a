"""Constants move to the loop that reads them; pressure counts values, not registers."""

from __future__ import annotations

from atalla_mlir.codegen.liveness import BlockLiveness
from atalla_mlir.codegen.machine_ir import M0, V0, X0, Block, Function, Inst, Register
from atalla_mlir.codegen.pressure import NO_LIMITS, BlockRegisters, PressureTracker, exceeds
from atalla_mlir.codegen.sinking import sink_constants
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.registers import FILES, RegisterFile


def inst(mnemonic: str, *operands: Register | int | str) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands)


def _two_loops(num_masks: int) -> tuple[Function, list[Inst]]:
    """A function that makes masks at its top, which only its second loop reads; and what makes them."""
    bits, counter, limit = (Register(RegisterFile.SCALAR, index) for index in range(3))
    masks = [Register(RegisterFile.MASK, index) for index in range(num_masks)]
    makers = [inst("mv.stm", mask, bits) for mask in masks]
    row = Register(RegisterFile.VECTOR, 0)

    def loop(label: str, *body: Inst) -> Block:
        return Block(label, [*body, inst("blt.s", counter, limit, label, 1)], 1)

    entry = Block("entry", [inst("addi.s", bits, X0, 7), inst("addi.s", limit, X0, 9), *makers])
    first = loop("first", inst("add.vv", row, V0, V0, M0))
    between = Block("between", [inst("addi.s", counter, X0, 1)])
    second = loop("second", *(inst("add.vv", row, V0, V0, mask) for mask in masks))
    return Function("f", [entry, first, between, second, Block("end", [inst("halt.s")])]), makers


def test_masks_are_made_between_the_loops():
    function, makers = _two_loops(6)
    found = {block.label: block.insts for block in sink_constants(function).blocks}
    assert all(maker in found["between"] and maker not in found["entry"] for maker in makers)
    # the scalar that they are made from stays: there are few of these
    assert found["entry"][0].op.mnemonic == "addi.s"


def test_few_masks_stay():
    function, _ = _two_loops(4)
    assert sink_constants(function) is function


def test_a_constant_that_the_first_loop_reads_too_stays_before_it():
    function, makers = _two_loops(6)
    row = Register(RegisterFile.VECTOR, 0)
    function.blocks[1].insts.insert(0, inst("add.vv", row, V0, V0, makers[0].defs[0]))
    found = {block.label: block.insts for block in sink_constants(function).blocks}
    assert makers[0] in found["entry"]
    assert makers[1] in found["between"]


def test_many_scalars_are_made_anew_where_a_loop_around_others_reads_them():
    """A register that is set once for all of them is taken in the inner loop, which does not read it."""
    counter, limit, row = (
        Register(file, index) for index, file in enumerate([RegisterFile.SCALAR] * 2 + [RegisterFile.VECTOR])
    )
    constants = [Register(RegisterFile.SCALAR, 10 + index) for index in range(170)]
    makers = [inst("addi.s", constant, X0, index) for index, constant in enumerate(constants)]
    sums = [Register(RegisterFile.SCALAR, 200 + index) for index in range(170)]
    readers = [inst("add.s", total, constant, constant) for total, constant in zip(sums, constants, strict=True)]

    def nest(count: int) -> dict[str, list[Inst]]:
        blocks = [
            Block("entry", [inst("addi.s", counter, X0, 1), inst("addi.s", limit, X0, 9), *makers[:count]]),
            Block("outer", [inst("addi.s", Register(RegisterFile.SCALAR, 5), X0, 1)], 1),
            Block(
                "inner",
                [inst("add.vv", row, V0, V0, M0), inst("blt.s", Register(RegisterFile.SCALAR, 5), limit, "inner", 1)],
                2,
            ),
            Block("last", [*readers[:count], inst("blt.s", counter, limit, "outer", 1)], 1),
            Block("end", [inst("halt.s")]),
        ]
        return {block.label: block.insts for block in sink_constants(Function("f", blocks)).blocks}

    assert all(maker in nest(100)["entry"] for maker in makers[:100])
    assert all(maker in nest(170)["last"] for maker in makers)


def test_a_register_that_is_written_again_is_free_in_between():
    first, second = (Register(RegisterFile.VECTOR, index) for index in range(2))
    insts = [
        inst("add.vv", first, V0, V0, M0),
        inst("add.vv", second, first, V0, M0),
        inst("add.vv", first, second, V0, M0),
    ]
    liveness = BlockLiveness(frozenset(), frozenset({first}))
    tracker = PressureTracker(BlockRegisters(insts, liveness), NO_LIMITS)
    for index in range(3):
        tracker.place(index)
    counts = dict.fromkeys(RegisterFile, FILES[RegisterFile.VECTOR].count)
    assert not exceeds(tracker.peaks, {**counts, RegisterFile.VECTOR: 1})
    assert exceeds(tracker.peaks, {**counts, RegisterFile.VECTOR: 0})
