"""Programs on the reference engine: arrays in and out, state between runs, panics, traps, the plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.firmware.link import firmware, system_data
from atalla_mlir.loadable import abi
from atalla_mlir.loadable.format import Damage, Entry, Loadable, LoadableError, Segment, SegmentKind, TensorSpec
from atalla_mlir.loadable.machine_record import describe_machine, machine_of
from atalla_mlir.mc.parse import assemble
from atalla_mlir.runtime.buffers import check_input, read_tensor, write_tensor
from atalla_mlir.runtime.devices import Device
from atalla_mlir.runtime.faults import DevicePanicError, DeviceTrapError
from atalla_mlir.runtime.launches import counters_between
from atalla_mlir.runtime.program import Program
from atalla_mlir.sim import create_engine
from atalla_mlir.sim.engine import Counters
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import AX01, MACHINES, Machine

BASE = len(firmware().code)
# y = x + x for one row of 32 elements: fetched to pad 0, doubled, stored; a counter in DRAM counts the calls.
DOUBLE = """
main:
    { addi.s x20, x1, 0 }
launch:
    { jal x1, kernel }
returned:
    { lui.s x4, 0x60 }
    { lw.s x5, 0(x4) }
    { addi.s x5, x5, 1 }
    { sw.s x5, 0(x4) ; jalr x0, x20, 0 }
kernel:
    { lui.s x4, 0x40 }
    { lui.s x5, 0x50 }
    { lui.s x6, 0x3E000 }
    { scpad.ld x7, x4, x6 }
    { vreg.ld v1, x7, x0, 31, 0 }
    { add.vv v2, v1, v1, m1 }
    { vreg.st v2, x7, x0, 31, 0 }
    { scpad.st x7, x5, x6 }
    { jalr x0, x1, 0 }
panics:
    { addi.s x12, x0, 0x301 }
    { jal x1, panic }
traps:
    { addi.s x4, x0, 2 }
    { lw.s x5, 0(x4) }
spins:
    { jal x0, spins }
"""
X = TensorSpec("x", "bf16", (32,), (1,), 0x2000, "f32")
Y = TensorSpec("y", "bf16", (32,), (1,), 0x2800, "f32")
CALLS = TensorSpec("calls", "i32", (), (), 0x3000, "i64")


def program_text() -> tuple[bytes, dict[str, int]]:
    labels = firmware().labels
    assembly = assemble(DOUBLE, base=BASE, symbols={"panic": labels["panic"]})
    return firmware().code + assembly.code, assembly.labels


CODE, LABELS = program_text()


def make(**changes: Any) -> Loadable:
    launch = LABELS["launch"]
    fields: dict[str, Any] = {
        "machine_name": "ax01",
        "machine_digest": AX01.digest(),
        "entries": (
            Entry("main", LABELS["main"], (X,), (Y, CALLS)),
            *(Entry(name, LABELS[name], (), ()) for name in ("panics", "traps", "spins")),
        ),
        "segments": (
            Segment(SegmentKind.CODE, 0, memoryview(CODE)),
            Segment(SegmentKind.DATA, 0, memoryview(system_data())),
        ),
        "meta": {
            "functions": {"panics": [LABELS["panics"], LABELS["traps"]], "traps": [LABELS["traps"], LABELS["spins"]]},
            "source_map": {"sources": ["model.py:7"], "ranges": [[LABELS["traps"], LABELS["spins"], 0]]},
            "kernels": [
                {
                    "name": "double",
                    "entry": "main",
                    "function": "kernel",
                    "launch_pc": launch,
                    "return_pc": launch + PACKET_BYTES,
                }
            ],
            "steps": [
                {"kind": "device", "entry": "main", "inputs": ["a"], "outputs": ["b", "n"]},
                {
                    "kind": "host",
                    "target": "aten.sin.default",
                    "args": [],
                    "kwargs": {},
                    "outputs": ["c"],
                    "reason": "",
                },
            ],
            "outputs": ["c", "n"],
        },
        "dram_size": 0x4000,
    }
    return Loadable(**{**fields, **changes})


def open_program(**options: Any) -> Program:
    return Program(make(), engine="reference", **options)


def test_values_state_and_counters() -> None:
    program = open_program()
    x = np.linspace(-3, 3, 32, dtype=np.float32)
    expected = x.astype(ml_dtypes.bfloat16).astype(np.float32) * 2
    for calls in (1, 2, 3):
        y, count = program.run_entry("main", [x])
        assert y.dtype == np.float32
        assert count.dtype == np.int64
        np.testing.assert_array_equal(y, expected)
        assert count == calls
        assert program.counters.dram_bytes_loaded >= 64
    before = program.counters
    program.run_entry("main", [x])
    assert program.counters == before


def test_launches_are_counted_apart() -> None:
    program = open_program()
    results, records = program.profile_entry("main", [np.zeros(32)])
    assert len(results) == 2
    assert [record.kernel["name"] for record in records] == ["double"]
    assert records[0].counters.packets == 10
    assert records[0].counters.units[Unit.SDMA] == 2
    program.profile_entry("main", [np.zeros(32)])
    stopped = program.counters
    program.run_entry("main", [np.zeros(32)])
    assert program.counters == stopped


def test_counters_between() -> None:
    before = Counters(packets=2, slot_histogram=[0, 1, 1, 0, 0], units={Unit.EX1: 2}, stalls={"issue": 1})
    after = Counters(packets=5, slot_histogram=[1, 1, 3, 0, 0], units={Unit.EX1: 2, Unit.MTS: 1}, stalls={"issue": 4})
    assert counters_between(before, after) == Counters(
        packets=3, slot_histogram=[1, 0, 2, 0, 0], units={Unit.MTS: 1}, stalls={"issue": 3}
    )


def test_stops_see_the_engine() -> None:
    program = open_program()
    seen: list[int] = []
    program.run_entry("main", [np.ones(32)], stops=frozenset({LABELS["kernel"]}), on_stop=lambda e: seen.append(e.pc))
    assert seen == [LABELS["kernel"]]


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "p.atalla"
    open_program().save(path)
    y, _ = Program.load(path, engine="reference").run_entry("main", [np.ones(32)])
    np.testing.assert_array_equal(y, np.full(32, 2))


def test_panic_names_code_and_caller_and_the_next_run_works() -> None:
    program = open_program()
    with pytest.raises(DevicePanicError) as error:
        program.run_entry("panics", [])
    assert error.value.code == abi.panic_code(abi.PanicCode.PAGES_EXHAUSTED, 3)
    assert str(error.value) == (
        f"entry 'panics' panicked with code 0x301, called from pc {LABELS['panics'] + 20:#x} in panics: "
        "no free scratchpad pages in pad 3"
    )
    y, _ = program.run_entry("main", [np.ones(32)])
    assert y[0] == 2


def test_trap_names_function_source_and_instruction() -> None:
    program = open_program()
    with pytest.raises(DeviceTrapError) as error:
        program.run_entry("traps", [])
    place = f"pc {LABELS['traps'] + 20:#x} in traps (model.py:7)"
    assert str(error.value).startswith(f"entry 'traps' stopped at {place}, instruction 'lw.s x5, 0(x4)': ")
    assert program.engine.pc == LABELS["traps"] + 20
    program.run_entry("main", [np.ones(32)])


def test_packet_limit() -> None:
    program = open_program()
    program.max_packets = 500
    message = f"entry 'spins' was not done after 500 packets, at pc {LABELS['spins']:#x}"
    with pytest.raises(DeviceTrapError, match=f"^{re.escape(message)}$"):
        program.run_entry("spins", [])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([], "entry 'main': expected 1 inputs (x), got 0"),
        ([np.zeros((32, 1), np.float32)], "input 'x': expected f32[32], got f32[32, 1]"),
        (
            [np.zeros(32, np.int32)],
            "input 'x': expected f32[32], got i32[32]; convert it with .astype('float32')",
        ),
        ([np.zeros(32, np.complex64)], "input 'x': expected f32[32], got complex64[32]"),
        ([["a"] * 32], "input 'x': expected f32[32], got <U1[32]"),
    ],
)
def test_wrong_inputs(arrays: Sequence[object], message: str) -> None:
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        open_program().run_entry("main", arrays)


def test_plan_with_a_host_step() -> None:
    program = open_program()
    x = np.full(32, 0.25, np.float32)
    with pytest.raises(
        ConfigurationError, match="^the program runs aten.sin.default on the host, which needs PyTorch; "
    ):
        program.run({"a": x})
    results = program.run({"a": x}, host=lambda step, values: {step["outputs"][0]: np.sin(values["b"])})
    np.testing.assert_array_equal(results["c"], np.sin(np.full(32, 0.5, np.float32)))
    assert results["n"] == 2
    with pytest.raises(BadInputError, match="^the program needs a value 'a'; given or computed are b$"):
        program.run({"b": x})


def test_an_image_without_firmware_starts_at_its_entry() -> None:
    code = assemble("{ nop.s }\n{ addi.s x5, x0, 7 }\n{ sw.s x5, 0x104(x0) }\n{ halt.s }").code
    loadable = make(
        entries=(Entry("e", 20, (), (TensorSpec("r", "i32", (), (), 0x104, "i32"),)),),
        segments=(Segment(SegmentKind.CODE, 0, memoryview(code)),),
        meta={},
    )
    assert Program(loadable, engine="reference").run_entry("e", []) == [7]


# Machines


def test_a_loadable_runs_on_machines_of_its_sizes_only() -> None:
    assert Device(make(), "reference", MACHINES["ax01-slow"]).machine.name == "ax01-slow"
    with pytest.raises(LoadableError) as error:
        Device(make(), "reference", AX01.with_options(pads=2))
    assert error.value.damage is Damage.WRONG_MACHINE
    assert str(error.value) == (
        "the loadable was compiled for pads = 4, machine 'ax01+pads=2' has 2; compile the model for it"
    )


def test_machines_that_are_not_known_by_name_are_described() -> None:
    changed = AX01.with_options(dram_latency_cycles=20, array_interlock=type(AX01.array_interlock)("error"))
    meta = {"machine": describe_machine(changed)}
    assert meta == {"machine": {"array_interlock": "error", "dram_latency_cycles": 20, "name": changed.name}}
    assert machine_of(make(machine_name=changed.name, machine_digest=changed.digest(), meta=meta)) == changed
    for name, what in (("ax02", "is not known here"), ("ax01", "has other values here")):
        with pytest.raises(LoadableError) as error:
            machine_of(make(machine_name=name, machine_digest="0" * 64, meta={"machine": {"pads": []}}))
        assert error.value.damage is Damage.WRONG_MACHINE
        expected = f"the loadable was compiled for machine '{name}', which {what}; compile the model again"
        assert str(error.value) == expected


# Buffers


@pytest.mark.parametrize(
    ("dtype", "model_dtype", "values"),
    [
        ("bf16", "f64", [0.0, -0.0, 1.5, np.inf]),
        ("bf16", "f16", [1.0, 2.0, -3.0, 0.5]),
        ("bf16", "bf16", [1.0, 2.0, -3.0, 0.5]),
        ("bf16", "i1", [True, False, True, True]),
        ("bf16", "i64", [1, -2, 3, 0]),
        ("i32", "i64", [1, -(2**31), 2**31 - 1, 0]),
        ("i16", "i8", [1, -128, 127, 0]),
        ("i1", "i1", [True, False, True, True]),
    ],
)
def test_types_come_back(dtype: str, model_dtype: str, values: list[Any]) -> None:
    spec = TensorSpec("t", dtype, (2, 2), (8, 2), 0x1000, model_dtype)
    numpy_dtype = {"f64": "f8", "f16": "f2", "bf16": ml_dtypes.bfloat16, "i1": "?", "i64": "i8", "i8": "i1"}[
        model_dtype
    ]
    array = np.array(values, numpy_dtype).reshape(2, 2)
    engine = create_engine("reference", Machine())
    engine.write_dram(0x1000, b"\x55" * 64)
    write_tensor(engine, spec, check_input(spec, array))
    back = read_tensor(engine, spec)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    first_gap = engine.read_dram(0x1000 + spec.item_bytes, spec.item_bytes)
    assert first_gap == b"\x55" * spec.item_bytes


def test_floats_are_rounded_to_nearest_even() -> None:
    spec = TensorSpec("t", "bf16", (4,), (1,), 0x1000, "f32")
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF], np.uint32)
    engine = create_engine("reference", Machine())
    write_tensor(engine, spec, check_input(spec, bits.view(np.float32)))
    assert np.frombuffer(engine.read_dram(0x1000, 8), np.uint16).tolist() == [0x3F80, 0x3F82, 0x3F81, 0x7F80]


def test_integers_that_do_not_fit() -> None:
    spec = TensorSpec("t", "i32", (1,), (1,), 0x1000, "i64")
    message = r"^input 't': value 2147483648 does not fit in the device's i32 \(-2147483648..2147483647\)$"
    with pytest.raises(BadInputError, match=message):
        write_tensor(create_engine("reference", Machine()), spec, check_input(spec, np.array([2**31])))


def test_tensors_without_elements() -> None:
    spec = TensorSpec("t", "bf16", (0, 3), (3, 1), 0x1000, "f32")
    engine = create_engine("reference", Machine())
    write_tensor(engine, spec, check_input(spec, np.zeros((0, 3))))
    assert read_tensor(engine, spec).shape == (0, 3)
