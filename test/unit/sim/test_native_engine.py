"""The native engine around the instructions: loading the library, traps, breakpoints, trace, snapshots."""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.sim import TrapKind, create_engine, native, native_library
from atalla_mlir.sim.engine import StallCause
from atalla_mlir.sim.native import NativeEngine
from atalla_mlir.sim.native_header import HEADER, header, main, parameters
from atalla_mlir.sim.native_library import library_path
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import AX01, MACHINES
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.programs import Slot, program

X, V, M = RegisterFile.SCALAR, RegisterFile.VECTOR, RegisterFile.MASK
HALT: list[Slot] = [("halt.s",)]
COUNT_TO_TEN: list[list[Slot]] = [[("addi.s", 2, 0, 10)], [("blt.s", 1, 2, 0, 1)], HALT]

needs_library = pytest.mark.skipif(library_path() is None, reason="the native engine was not built: no C++ compiler")


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def engine_for(*packets: list[Slot]) -> NativeEngine:
    engine = NativeEngine()
    engine.load_code(0, program(*packets))
    return engine


def test_header_is_up_to_date():
    assert HEADER.read_text(encoding="utf-8") == header(), "run `python -m atalla_mlir.sim.native_header`"
    assert main(["--check"]) == 0


def test_interface_header_and_bindings_have_the_same_sizes():
    text = (Path(HEADER).parent / "include" / "atalla_engine.h").read_text(encoding="utf-8")
    defined = dict(
        line.split()[1:3] for line in text.splitlines() if line.startswith("#define ATALLA_") and len(line.split()) == 3
    )
    assert defined["ATALLA_ENGINE_ABI"] == f"{native_library.ABI}u"
    assert int(defined["ATALLA_UNITS"]) == len(Unit)
    assert int(defined["ATALLA_CAUSES"]) == len(StallCause)
    assert int(defined["ATALLA_MESSAGE_BYTES"]) == native_library.MESSAGE_BYTES


@needs_library
def test_an_unknown_variant_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATALLA_ENGINE_VARIANT", "avx1024")
    with pytest.raises(
        ConfigurationError, match="ATALLA_ENGINE_VARIANT is 'avx1024'; there are avx512, avx2, baseline"
    ):
        NativeEngine()


@pytest.mark.parametrize("name", MACHINES)
def test_parameters_are_integers(name: str):
    values = parameters(MACHINES[name])
    assert all(isinstance(value, int) for value in values.values())
    assert values["dram_bursts_denominator"] >= 1


def test_without_a_library_the_reference_engine_runs_with_one_notice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    import atalla_mlir.sim as sim

    monkeypatch.setenv("ATALLA_ENGINE_LIBRARY", str(tmp_path / "absent.so"))
    native_library.library.cache_clear()
    sim._notice.cache_clear()
    try:
        assert create_engine("auto").name == "reference"
        assert create_engine("auto").name == "reference"
        notice = capsys.readouterr().err
        assert notice.count("\n") == 1
        assert "running on the reference engine" in notice
        with pytest.raises(ConfigurationError, match="does not load"):
            create_engine("native")
    finally:
        native_library.library.cache_clear()


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch):
    class Other:
        def __getattr__(self, name: str) -> object:
            def function() -> int:
                return native_library.ABI + 1

            return function

    monkeypatch.setattr(ctypes, "CDLL", lambda _path: Other())
    monkeypatch.setenv("ATALLA_ENGINE_LIBRARY", "other.so")
    native_library.library.cache_clear()
    try:
        with pytest.raises(ConfigurationError, match="has interface version 2, expected 1"):
            native_library.library()
    finally:
        native_library.library.cache_clear()


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_interface_header_is_plain_c(tmp_path: Path):
    source = tmp_path / "includes.c"
    source.write_text(
        '#include "atalla_engine.h"\nint main(void) { return atalla_engine_abi() == 0; }\n', encoding="utf-8"
    )
    include = HEADER.parent / "include"
    command = [
        "cc",
        "-std=c99",
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsyntax-only",
        f"-I{include}",
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_library
def test_a_run_without_end_is_stopped_by_a_signal():
    engine = engine_for([("jal", 0, 0)])
    before = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert engine.counters.packets > 0


@needs_library
def test_slices_do_not_show(monkeypatch: pytest.MonkeyPatch):
    whole, sliced = engine_for(*COUNT_TO_TEN), engine_for(*COUNT_TO_TEN)
    expected = [whole.run(max_packets=5, timing=True), whole.run(timing=True)]
    monkeypatch.setattr(native, "_SLICE", 2)
    assert [sliced.run(max_packets=5, timing=True), sliced.run(timing=True)] == expected
    assert sliced.counters == whole.counters


@needs_library
def test_auto_is_native():
    assert create_engine("auto").name == "native"


@needs_library
def test_the_engine_refuses_parameters_that_it_cannot_run():
    with pytest.raises(ConfigurationError, match="icache_beat_bytes must not exceed icache_line_bytes"):
        NativeEngine(AX01.with_options(icache_beat_bytes=128))


@needs_library
def test_single_steps_and_breakpoints():
    engine = engine_for(*COUNT_TO_TEN)
    step = engine.run(max_packets=1)
    assert (step.reason, step.pc) == ("limit", PACKET_BYTES)
    assert step.trap is not None
    assert step.trap.kind is TrapKind.STEP_LIMIT
    places = frozenset({PACKET_BYTES})
    seen: list[int] = []
    while engine.run(breakpoints=places).reason == "breakpoint":
        seen.append(engine.read_scalar(1))
    assert seen == list(range(11))


@needs_library
def test_traps_carry_the_instruction_and_its_source():
    engine = engine_for([("nop.s",), ("lw.s", 1, 2, 0)], HALT)
    engine.set_source_map({0: "model.py:7"})
    trap = engine.run().trap
    assert trap is not None
    assert (trap.kind, trap.slot, trap.source) == (TrapKind.MISALIGNED_ACCESS, 1, "model.py:7")
    assert trap.text == "lw.s x1, 2(x0)"
    assert trap.message == "dram address 0x2 is not a multiple of 4 bytes"


@needs_library
def test_trace_keeps_the_last_packets():
    engine = engine_for(*COUNT_TO_TEN)
    engine.set_trace(4)
    assert engine.run(timing=True).reason == "halt"
    trace = engine.take_trace()
    assert list(trace["pc"]) == [20, 20, 20, 40]
    assert list(np.diff(trace["cycle"])[:2]) == list(trace["waited"][1:3] + 1)
    assert len(engine.take_trace()) == 0


@needs_library
def test_snapshots_continue_with_the_same_values_and_cycles():
    engine = engine_for(*COUNT_TO_TEN)
    engine.write_dram(100, b"before")
    engine.run(max_packets=5, timing=True)
    saved = engine.snapshot()
    engine.run(timing=True)
    expected = engine.counters
    engine.write_dram(100, b"after!")
    engine.restore(saved)
    assert engine.read_dram(100, 6) == b"before"
    assert engine.run(timing=True).reason == "halt"
    assert engine.counters == expected
    other = NativeEngine(AX01.with_options(pad_rows=64))
    with pytest.raises(BadInputError, match="other parameters"):
        other.restore(saved)
    with pytest.raises(BadInputError, match="expected a snapshot of the native engine, got int"):
        other.restore(1)


@needs_library
def test_bad_arguments_are_refused():
    engine = NativeEngine(AX01.with_options(dram_bytes=100))
    with pytest.raises(BadInputError, match="outside the 100 bytes"):
        engine.read_dram(99, 2)
    with pytest.raises(BadInputError, match="v256 does not exist"):
        engine.read_register(V, 256)
    with pytest.raises(BadInputError, match="the machine has 4 pads of 8192 rows"):
        engine.read_pad(4, 0, 1)
    with pytest.raises(BadInputError, match="multiple of 20"):
        engine.load_code(4, bytes(20))
    engine.write_register(X, 0, 5)
    engine.write_register(M, 0, 5)
    assert engine.read_scalar(0) == 0
    assert engine.read_register(M, 0) == 0xFFFFFFFF


@needs_library
def test_engines_run_in_threads():
    engines = [engine_for(*COUNT_TO_TEN) for _ in range(4)]
    threads = [threading.Thread(target=engine.run, kwargs={"timing": True}) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({engine.counters.cycles for engine in engines}) == 1
    assert engines[0].read_scalar(1) == 11
