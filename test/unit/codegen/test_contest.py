"""The intervals that are worth trying: no way is passed over that would have been the fastest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest

from atalla_mlir.codegen.contest import Contest
from atalla_mlir.codegen.loop_graph import build_loop_graph
from atalla_mlir.codegen.loops import CountedLoop, LoopContext, LoopPart, PipelinedLoop
from atalla_mlir.codegen.machine_ir import M1, Block, Inst, Register
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01, Machine
from atalla_mlir.target.registers import RegisterFile

LENGTH = 12
ROWS = [Register(RegisterFile.VECTOR, 10 + at) for at in range(LENGTH + 1)]
GRAPH = build_loop_graph([Inst(BY_MNEMONIC["mul.vv"], (after, row, row, M1)) for row, after in pairwise(ROWS)], AX01)
CHAIN = max(GRAPH.depths)


@dataclass
class Passes:
    """A way that runs a kernel of so many packets so often, after code that runs once."""

    interval: int
    passes: int
    packets: int
    setup: int = 0

    def cycles(self, context: LoopContext, machine: Machine) -> float:
        kernel = LoopPart(self.packets, self.interval, self.passes)
        return context.entered_cycles([LoopPart(self.setup, self.setup, 1), kernel], machine)

    def build(self) -> PipelinedLoop:
        raise NotImplementedError


def contest(trips: int, cycles: int = 100) -> Contest:
    context = LoopContext(cycles, 20, None, dict.fromkeys(RegisterFile, 0), frozenset(), pushes_weights_first=True)
    return Contest(CountedLoop(Block(".loop", [], 1), GRAPH.insts, trips), context, AX01)


@pytest.mark.parametrize("trips", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("setup", [0, 9])
def test_nothing_above_the_largest_interval_is_faster(trips: int, setup: int) -> None:
    largest = contest(trips).largest_interval(GRAPH, setup=setup)
    for interval in range(1, 100):
        stages = CHAIN // interval + 1
        entered = contest(trips)
        entered.enter(Passes(interval, trips + stages - 1, LENGTH // 4, setup))
        if interval > largest:
            assert entered.best is None, interval
        elif interval == largest:
            assert entered.best is not None


def test_a_faster_way_leaves_fewer_intervals() -> None:
    entered = contest(50)
    before = entered.largest_interval(GRAPH)
    way = Passes(60, 52, LENGTH // 4)
    entered.enter(way)
    assert entered.best is way
    assert entered.largest_interval(GRAPH) < min(before, 63)
    entered.enter(Passes(60, 52, LENGTH // 4))
    assert entered.best is way  # the first of equals
