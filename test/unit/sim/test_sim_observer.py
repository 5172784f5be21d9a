"""Observers of both engines: spans add up to the counters and nothing changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from atalla_mlir.errors import ConfigurationError
from atalla_mlir.mc.parse import assemble
from atalla_mlir.sim import create_engine
from atalla_mlir.sim.engine import Counters, StallCause
from atalla_mlir.sim.native_library import library_path
from atalla_mlir.sim.observer import Observer
from atalla_mlir.target.encoding import DmaShape

SHAPE = DmaShape(1, 8, 32, 32).encode()
PROGRAM = f"""
    li.s x6, {SHAPE - (1 << 32) if SHAPE >> 31 else SHAPE}
    lui.s x5, 0x60
    {{ addi.s x2, x0, 20 }}
    {{ addi.s x4, x0, 0 }}
    {{ scpad.ld x4, x5, x6 }}
    {{ addi.s x7, x4, 0 }}
again:
    {{ vreg.ld v1, x4, x0, 31, 1 ; add.vv v3, v2, v2, m0 }}
    {{ gemm.vv v4, v1, v0, m0 ; mul.vv v5, v3, v2, m0 }}
    {{ lw.vi v0, v1, 0, m0 ; rsum.vi v6, v3, 0, m0 }}
    {{ vreg.st v5, x4, x0, 31, 1 }}
    {{ lw.s x8, 0(x5) ; addi.s x2, x2, -1 }}
    {{ sw.s x8, 0(x5) }}
    {{ bne.s x2, x0, again }}
    {{ scpad.st x4, x5, x6 }}
    halt.s
"""


NATIVE = pytest.param(
    "native",
    marks=pytest.mark.skipif(library_path() is None, reason="the native engine was not built: no C++ compiler"),
)


@pytest.fixture(params=["reference", NATIVE])
def engine_name(request: pytest.FixtureRequest) -> str:
    return request.param


class Recorder(Observer):
    def __init__(self, window: tuple[int, int | None] = (0, None)) -> None:
        self._window = window
        self.packets: list[int] = []
        self.stalls: Counter[str] = Counter()
        self.charged: list[tuple[int, int]] = []
        self.units: dict[str, list[tuple[int, int]]] = {}
        self.transfers: list[tuple[int, int, int, Mapping[str, Any]]] = []

    def window(self) -> tuple[int, int | None]:
        return self._window

    def packet(self, pc: int, issue: int, mnemonics: tuple[str, ...]) -> None:
        self.packets.append(issue)
        self.charged.append((issue, issue + 1))

    def stall(self, cause: StallCause, pc: int, start: int, end: int) -> None:
        self.stalls[cause.value] += end - start
        self.charged.append((start, end))

    def busy(self, unit: str, name: str, pc: int, start: int, end: int) -> None:
        self.units.setdefault(unit, []).append((start, end))

    def transfer(self, pad: int, pc: int, start: int, end: int, details: Mapping[str, Any]) -> None:
        self.transfers.append((pad, start, end, details))


def run(engine_name: str, observer: Observer | None) -> Counters:
    engine = create_engine(engine_name)
    engine.observe(observer)
    engine.load_code(0, assemble(PROGRAM).code)
    result = engine.run(timing=True)
    assert result.reason == "halt", result.trap
    return engine.counters


def test_spans_add_up_to_the_counters(engine_name: str) -> None:
    seen = Recorder()
    counters = run(engine_name, seen)
    assert counters == run(engine_name, None)
    assert len(seen.packets) == counters.packets
    assert {**seen.stalls, "issue": len(seen.packets)} == {k: n for k, n in counters.stalls.items() if n}


def test_every_cycle_is_told_once(engine_name: str) -> None:
    seen = Recorder()
    counters = run(engine_name, seen)
    ends = [end for _, end in seen.charged]
    assert [start for start, _ in seen.charged] == [0, *ends[:-1]]
    assert ends[-1] == counters.cycles


def test_spans_of_a_unit_do_not_overlap(engine_name: str) -> None:
    seen = Recorder()
    counters = run(engine_name, seen)
    assert {"gsau", "lane alu", "lane mul", "pad 1 read", "pad 1 write", "ex1", "ex4", "ex5"} >= seen.units.keys()
    for unit, spans in seen.units.items():
        assert all(first[1] <= second[0] for first, second in pairwise(spans)), unit
        assert all(0 < start < end <= counters.cycles for start, end in spans), unit
    assert len(seen.units["gsau"]) == 2 * counters.gemm_rows == 40


def test_transfers_are_told_with_their_end(engine_name: str) -> None:
    seen = Recorder()
    run(engine_name, seen)
    load, store = seen.transfers
    assert (load[0], load[3]["direction"], load[3]["bytes"]) == (1, "load", 8 * 64)
    # eight rows of two bursts, each row after the data of the one before
    assert load[2] - load[1] >= 8 * 7
    assert store[3]["direction"] == "store"
    assert store[1] > load[2]


def test_snapshots_keep_the_observer(engine_name: str) -> None:
    seen = Recorder()
    engine = create_engine(engine_name)
    engine.observe(seen)
    engine.load_code(0, assemble(PROGRAM).code)
    engine.run(timing=True, max_packets=5)
    engine.restore(engine.snapshot())
    engine.run(timing=True)
    assert len(seen.packets) == engine.counters.packets


def test_an_engine_without_observers_says_so() -> None:
    with pytest.raises(
        ConfigurationError, match="'legacy-fs' cannot be observed; the engines reference and native can"
    ):
        create_engine("legacy-fs").observe(Recorder())


@pytest.mark.parametrize("name", [NATIVE])
def test_a_window_leaves_out_what_lies_outside(name: str) -> None:
    everything, some = Recorder(), Recorder((100, 200))
    assert run(name, everything) == run(name, some)
    assert some.packets == [issue for issue in everything.packets if 100 <= issue < 200]
    assert some.charged == [(start, end) for start, end in everything.charged if start < 200 and end > 100]


class Full(Recorder):
    """Raises as a file on a full disk does."""

    def stall(self, cause: StallCause, pc: int, start: int, end: int) -> None:
        raise OSError("no space left")


def test_what_an_observer_raises_ends_the_run(engine_name: str) -> None:
    with pytest.raises(OSError, match="no space left"):
        run(engine_name, Full())


def test_an_observer_can_be_taken_away(engine_name: str) -> None:
    seen = Recorder()
    engine = create_engine(engine_name)
    engine.observe(seen)
    engine.observe(None)
    engine.load_code(0, assemble(PROGRAM).code)
    assert engine.run(timing=True).reason == "halt"
    assert not seen.charged
