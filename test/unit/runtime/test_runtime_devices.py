"""Devices by name: the environment's choice, devices of Python for Python and C, test benches."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind, TensorSpec
from atalla_mlir.runtime import device_registry
from atalla_mlir.runtime.device_core import DeviceCore, DeviceEngine, DeviceRequest, EngineCore
from atalla_mlir.runtime.device_registry import device_names, open_engine, register_device, unregister_device
from atalla_mlir.runtime.faults import DeviceError
from atalla_mlir.runtime.program import Program
from atalla_mlir.sim import create_engine, native_library
from atalla_mlir.sim.engine import Counters, RunResult
from atalla_mlir.sim.native_header import parameters
from atalla_mlir.target.machine import AX01, MACHINES
from atalla_mlir.testing.programs import program

needs_library = pytest.mark.skipif(native_library.library_path() is None, reason="the native engine was not built")

# y = x + 5
CODE = program(
    [("lui.s", 4, 0x1000 >> 7)], [("lw.s", 5, 0, 4)], [("addi.s", 5, 5, 5)], [("sw.s", 5, 4, 4)], [("halt.s",)]
)


def loadable(code: bytes = CODE) -> Loadable:
    return Loadable(
        machine_name=AX01.name,
        machine_digest=AX01.digest(),
        entries=(
            Entry(
                "main",
                0,
                (TensorSpec("x", "i32", (), (), 0x1000, "i32"),),
                (TensorSpec("y", "i32", (), (), 0x1004, "i32"),),
            ),
        ),
        segments=(Segment(SegmentKind.CODE, 0, memoryview(code)),),
        meta={"functions": {"main": [0, len(code)]}},
        dram_size=0x1008,
    )


class Uncounted(EngineCore):
    """The reference engine as a device without counters; says what it was asked for."""

    requests: list[DeviceRequest] = []  # noqa: RUF012 - looked at by the tests
    closed = 0

    def __init__(self, request: DeviceRequest) -> None:
        super().__init__(create_engine("reference", request.machine))
        self.requests.append(request)

    @property
    def counters(self) -> Counters | None:
        return None

    def close(self) -> None:
        type(self).closed += 1


class Plain(DeviceCore):
    """What `Uncounted` does, without being an engine in disguise."""

    def __init__(self, request: DeviceRequest) -> None:
        self._core = Uncounted(request)

    def load_code(self, pc: int, code: bytes) -> None:
        self._core.load_code(pc, code)

    def write_dram(self, address: int, data: bytes) -> None:
        self._core.write_dram(address, data)

    def read_dram(self, address: int, size: int) -> bytes:
        return self._core.read_dram(address, size)

    def start(self, pc: int) -> None:
        self._core.start(pc)

    def run(self, *, max_packets: int | None, timing: bool) -> RunResult:
        return self._core.run(max_packets=max_packets, timing=timing)

    def close(self) -> None:
        self._core.close()


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ATALLA_DEVICE", "ATALLA_SIM", "ATALLA_PLUGINS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def plain() -> Iterator[str]:
    Uncounted.requests.clear()
    register_device("plain", Plain)
    yield "plain"
    unregister_device("plain")


def test_the_environment_chooses_for_auto_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATALLA_DEVICE", "reference")
    assert open_engine("auto").name == "reference"
    assert open_engine("legacy-fs").name == "legacy-fs"
    monkeypatch.setenv("ATALLA_DEVICE", "absent")
    with pytest.raises(BadInputError, match="no device 'absent', which ATALLA_DEVICE names; there are auto, "):
        Program(loadable())
    monkeypatch.setenv("ATALLA_SIM", "1")
    assert open_engine("auto").name in ("native", "reference")
    monkeypatch.setenv("ATALLA_SIM", "0")
    with pytest.raises(BadInputError, match="no device 'absent'"):
        open_engine("auto")


def test_simulators_take_no_argument() -> None:
    with pytest.raises(BadInputError, match="simulator 'reference' takes no argument, got 'fast'"):
        open_engine("reference:fast")


def test_a_device_of_python(plain: str) -> None:
    device = Program(loadable(), engine=f"{plain}:slot 3")
    assert device.run_entry("main", [np.int32(37)])[0] == 42
    (request,) = Uncounted.requests
    assert (request.argument, request.dram_bytes, request.machine) == ("slot 3", 0x1008, AX01)
    assert device.counters == Counters()
    assert isinstance(device.engine, DeviceEngine)
    with pytest.raises(ConfigurationError, match="device 'plain' cannot stop at breakpoints"):
        device.run_entry("main", [np.int32(1)], stops=frozenset({20}))
    with pytest.raises(ConfigurationError, match="device 'plain' cannot read pads; run on a simulator"):
        device.engine.read_pad(0, 0, 1)
    assert device.run_entry("main", [np.int32(-5)])[0] == 0


def test_names_are_unique(plain: str) -> None:
    assert plain in device_names()
    for name in (plain, "native", "reference"):
        with pytest.raises(BadInputError, match=f"there is a device '{name}' already"):
            register_device(name, Plain)
    for name in ("", "auto", "a:b", "a b"):
        with pytest.raises(BadInputError, match="a device's name has no colon"):
            register_device(name, Plain)
    with pytest.raises(BadInputError, match="no device 'other' was registered here"):
        unregister_device("other")


@needs_library
def test_a_device_of_python_from_c(plain: str) -> None:
    from atalla_mlir.runtime.native_devices import NativeCore

    engine = DeviceEngine(plain, NativeCore(plain, DeviceRequest(AX01, "slot 4", 0x1008)), AX01)
    assert Program(loadable(), engine=engine).run_entry("main", [np.int32(37)])[0] == 42
    assert (Uncounted.requests[0].argument, Uncounted.requests[0].machine) == ("slot 4", AX01)
    assert engine.core.counters is None
    with pytest.raises(DeviceError, match=r"device 'plain' or programs on it are open"):
        unregister_device(plain)
    closed = Uncounted.closed
    engine.core.close()
    assert Uncounted.closed == closed + 1


@pytest.mark.parametrize("device", ["auto", "reference", "plain", "testbench"])
def test_programs_run_in_threads(device: str, plain: str, tmp_path: Path) -> None:
    """Each in a core of its own; a device of Python too, and names may be registered meanwhile."""
    if device == "testbench" and native_library.library_path() is None:
        pytest.skip("the native engine was not built")

    def work(number: int) -> list[int]:
        engine = f"testbench:{tmp_path / str(number)}" if device == "testbench" else device
        register_device(f"passing{number}", Plain)
        own = Program(loadable(), engine=engine)
        results = [int(own.run_entry("main", [np.int32(number * 100 + at)])[0]) for at in range(10)]
        unregister_device(f"passing{number}")
        return results

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [[n * 100 + at + 5 for at in range(10)] for n in range(8)]


@needs_library
def test_failures_of_a_device_of_python_reach_c() -> None:
    from atalla_mlir.runtime.native_devices import NativeCore

    def broken(request: DeviceRequest) -> DeviceCore:
        raise ConfigurationError("no board in slot 4")

    register_device("broken", broken)
    try:
        with pytest.raises(DeviceError, match=r"device 'broken' does not open: no board in slot 4 \(ATALLA_DEVICE_FAI"):
            NativeCore("broken", DeviceRequest(AX01))
    finally:
        unregister_device("broken")


@needs_library
def test_traps_and_counters_of_c_devices() -> None:
    from atalla_mlir.runtime.native_devices import NativeCore

    bad = program([("addi.s", 4, 0, 2)], [("lw.s", 5, 0, 4)], [("halt.s",)])
    engine = DeviceEngine("native", NativeCore("native", DeviceRequest(AX01)), AX01)
    engine.load_code(0, CODE)
    assert engine.run(timing=True).reason == "halt"
    reference = create_engine("reference")
    reference.load_code(0, CODE)
    reference.run(timing=True)
    assert engine.counters == reference.counters
    engine.load_code(0, bad)
    engine.reset()
    result = engine.run()
    assert result.reason == "trap" and result.trap is not None and "4" in result.trap.message


@needs_library
@pytest.mark.parametrize("machine", [*MACHINES.values(), AX01.with_options(name="x", dram_bursts_per_cycle=0.25)])
def test_machines_survive_the_way_through_c(machine: object) -> None:
    from atalla_mlir.runtime.exported_devices import machine_of

    assert machine_of(machine.name, parameters(machine)) == machine  # pyright: ignore


@needs_library
def test_a_test_bench(tmp_path: Path) -> None:
    first = Program(loadable(), engine=f"testbench:{tmp_path},trace")
    first.timing = True
    assert first.run_entry("main", [np.int32(37)])[0] == 42
    run = tmp_path / "run0"
    assert (run / "dram.hex").read_text().splitlines()[1:] == ["@400", "00000025"]
    assert (run / "expected.hex").read_text().splitlines()[1:] == ["@401", "0000002a"]
    trace = (run / "trace.txt").read_text().splitlines()
    assert trace[1:4] == ["00000000 x4=00001000", "00000014 x5=00000025", "00000028 x5=0000002a"]
    assert len(trace) == 6
    reference = Program(loadable(), engine="reference", timing=True)
    reference.run_entry("main", [np.int32(37)])
    assert f"cycles {reference.counters.cycles}\n" in (run / "run.txt").read_text()
    code = [line for line in (run / "code.hex").read_text().splitlines() if line[0] not in "/@"]
    assert b"".join(bytes.fromhex(line)[::-1] for line in code) == CODE


RESULTS = (
    ("@401 0000_002A", None),
    ("// bench\n/* two\nlines */ @401\n2a @3F0 0", None),
    ("@401 2b", "1 of 1 words differ, the first at address 0x1004: expected 0000002a, got 0000002b"),
    ("@400 25", "1 of 2 words differ, the first at address 0x1004: expected 0000002a, it is not there"),
    ("@401 2a\n@10 1", "1 of 2 words differ, the first at address 0x40: expected 00000000, got 00000001"),
    ("@401 xxxxxxxx", "'xxxxxxxx': the test bench left it undefined"),
    ("@401 2g", "'2g' is no number"),
    ("@401 123456789", "has more than 32 bits"),
    ("@", "has no digits"),
    (None, "No such file or directory"),
)


@needs_library
@pytest.mark.parametrize(("results", "problem"), RESULTS)
def test_results_of_a_test_bench(tmp_path: Path, results: str | None, problem: str | None) -> None:
    (tmp_path / "run0").mkdir()
    if results is not None:
        (tmp_path / "run0" / "results.hex").write_text(results)
    device = Program(loadable(), engine=f"testbench:{tmp_path},compare")
    if problem is None:
        assert device.run_entry("main", [np.int32(37)])[0] == 42
        return
    with pytest.raises(DeviceError) as error:
        device.run_entry("main", [np.int32(37)])
    assert problem in str(error.value)


@needs_library
@pytest.mark.parametrize("argument", ["", ",trace", "/tmp,other"])
def test_arguments_of_a_test_bench(argument: str) -> None:
    with pytest.raises(DeviceError, match="testbench.*expected"):
        open_engine(f"testbench:{argument}" if argument else "testbench")


def test_without_the_native_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_registry, "_has_native_runtime", lambda: False)
    register_device("plain", Plain)
    try:
        assert Program(loadable(), engine="plain").run_entry("main", [np.int32(1)])[0] == 6
        assert "testbench" not in device_names()
    finally:
        unregister_device("plain")
