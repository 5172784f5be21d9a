"""Loops in parts: which may be cut, and what becomes of long epilogues of products."""

from __future__ import annotations

import pytest
import torch

from atalla_mlir.codegen.contest import Contest
from atalla_mlir.codegen.loops import CountedLoop, LoopContext
from atalla_mlir.codegen.machine_ir import M0, M1, X0, Block, Inst, Register, parse_memory
from atalla_mlir.codegen.staggering import StaggeredLoop, stagger_loop
from atalla_mlir.host.verify import verify
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile

POINTERS = [Register(RegisterFile.SCALAR, index) for index in range(2)]
LENGTH = 10


def chain(stored: str, *, step: int = 64) -> CountedLoop:
    """y = x + x + .. in place of a chain of additions, row by row."""
    source, target = POINTERS
    row = Register(RegisterFile.VECTOR, 10)
    insts = [Inst(BY_MNEMONIC["vreg.ld"], (row, source, X0, 31, 0), False, parse_memory("read pad0:x~[?:?]"))]
    for index in range(11, 11 + LENGTH):
        following = Register(RegisterFile.VECTOR, index)
        insts.append(Inst(BY_MNEMONIC["mul.vv"], (following, row, row, M1)))
        row = following
    refs = parse_memory(f"write pad0:{stored}[?:?]")
    insts.append(Inst(BY_MNEMONIC["vreg.st"], (row, target, X0, 31, 0), False, refs))
    insts += [Inst(BY_MNEMONIC["addi.s"], (pointer, pointer, step)) for pointer in POINTERS]
    return CountedLoop(Block(".loop", insts, 1), tuple(insts), 20)


def staggered(loop: CountedLoop) -> StaggeredLoop | None:
    live_through = dict.fromkeys(RegisterFile, 0)
    context = LoopContext(100, 20, None, live_through, frozenset({POINTERS[0]}), pushes_weights_first=True)
    contest = Contest(loop, context, AX01)
    stagger_loop(loop, AX01, {}, 100, context, contest)
    assert contest.best is None or isinstance(contest.best, StaggeredLoop)
    return contest.best


def test_later_stages_follow_rows_behind() -> None:
    found = staggered(chain("y~"))
    assert found is not None
    enter, kernel, leave = found.build().blocks
    starts = {inst.operands[0]: inst.operands[1:] for inst in enter.insts if inst.operands[1] in POINTERS}
    stages = found.num_stages
    assert stages > 1
    for inst in kernel.insts:
        if inst.op.mnemonic not in ("vreg.ld", "vreg.st"):
            continue
        # the last stage begins as many rows before the first as passes go by until it works on that
        pointer = POINTERS[inst.op.mnemonic == "vreg.st"]
        behind = 64 * (stages - 1) if inst.op.mnemonic == "vreg.st" else 0
        assert starts[inst.operands[1]] == (pointer, -behind)
    # the loop runs more often, so a pointer that is needed later went too far
    ((result, pointer, distance),) = (inst.operands for inst in leave.insts)
    assert (result, starts[pointer], distance) == (POINTERS[0], (POINTERS[0], 0), -64 * (stages - 1))
    assert sum(inst.op.mnemonic == "mul.vv" for inst in kernel.insts) == LENGTH


def test_rows_without_spare_ones_are_left_alone() -> None:
    assert staggered(chain("y")) is None


def test_sums_are_left_alone() -> None:
    loop = chain("y~")
    total = Register(RegisterFile.VECTOR, 50)
    body = (*loop.body, Inst(BY_MNEMONIC["add.vv"], (total, total, Register(RegisterFile.VECTOR, 11), M0)))
    assert staggered(CountedLoop(loop.block, body, 20)) is None


@pytest.mark.parametrize("rows", [37, 64])
def test_long_epilogues_of_products_keep_their_bounds(rows: int) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 40), torch.nn.GELU())
    report = verify(model, (torch.randn(rows, 64),), strict=True)
    assert report.ok, report.summary()


def test_a_row_is_loaded_again_for_a_late_use() -> None:
    loop = chain("y~")
    row, last = loop.body[0].defs[0], next(inst for inst in loop.body if inst.op.mnemonic == "vreg.st")
    result = Register(RegisterFile.VECTOR, 60)
    value = last.operands[0]
    final = Inst(BY_MNEMONIC["mul.vv"], (result, value, row, M1))
    stored = Inst(last.op, (result, *last.operands[1:]), False, last.memory)
    at = loop.body.index(last)
    found = staggered(CountedLoop(loop.block, (*loop.body[:at], final, stored, *loop.body[at + 1 :]), 20))
    assert found is not None
    (_, kernel, _) = found.build().blocks
    loads = [inst for inst in kernel.insts if inst.op.mnemonic == "vreg.ld"]
    assert len({inst.defs[0] for inst in loads}) == 2
    assert len({inst.operands[1] for inst in loads}) == 2
