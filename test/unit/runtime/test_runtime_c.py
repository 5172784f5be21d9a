"""The C runtime: what each error code is for, what it says, and that right use after wrong use works."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from atalla_mlir.firmware.link import CodeBlock, Relocation, link
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind, TensorSpec
from atalla_mlir.loadable.writer import save_loadable
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.testing.c_programs import compile_program
from atalla_mlir.testing.programs import program

ROOT = Path(__file__).parents[3]

# y = 1.5 x for two bf16 numbers far apart from each other; m = n + 5.
SCALE = program(
    [("lui.s", 4, 0x1000 >> 7)],
    [("lui.s", 5, 0x3FC0 << 9)],
    *[
        [instruction]
        for at in range(8)
        for instruction in (("lhw.s", 7, 4 * at, 4), ("mul.bf", 7, 7, 5), ("shw.s", 7, 256 + 4 * at, 4))
    ],
    [("lui.s", 4, 0x2000 >> 7)],
    [("lw.s", 10, 0, 4)],
    [("addi.s", 10, 10, 5)],
    [("sw.s", 10, 4, 4)],
    [("halt.s",)],
)
TRAP = program([("addi.s", 4, 0, 2)], [("lw.s", 5, 0, 4)], [("halt.s",)])
ENDLESS = program([("beq.s", 0, 0, 0, 0)], [("halt.s",)])


def loadable(code: bytes, **changes: object) -> Loadable:
    inputs = (
        TensorSpec("x", "bf16", (8,), (2,), 0x1000, "f32"),
        TensorSpec("n", "i32", (), (), 0x2000, "i64"),
    )
    outputs = (
        TensorSpec("y", "bf16", (8,), (2,), 0x1100, "f32"),
        TensorSpec("m", "i32", (), (), 0x2004, "i64"),
    )
    fields: dict[str, object] = {
        "machine_name": AX01.name,
        "machine_digest": AX01.digest(),
        "entries": (Entry("main", 0, inputs, outputs),),
        "segments": (Segment(SegmentKind.CODE, 0, memoryview(code)),),
        "meta": {"functions": {"main": [0, len(code)]}},
        "dram_size": 0x3000,
    }
    return Loadable(**{**fields, **changes})  # pyright: ignore[reportArgumentType]


def without_tensors(code: bytes) -> Loadable:
    source_map = {"sources": ["model.py:7"], "ranges": [[0, len(code), 0]]}
    meta = {"functions": {"main": [0, len(code)]}, "source_map": source_map}
    return loadable(code, entries=(Entry("main", 0, (), ()),), meta=meta)


def panicking() -> Loadable:
    def packet(name: str, *operands: int) -> tuple[MachineInstruction, ...]:
        return (MachineInstruction(BY_MNEMONIC[name], operands),)

    packets = (packet("addi.s", 12, 0, 0x201), packet("jal", 1, 0))
    image = link([CodeBlock("main", packets, (Relocation(1, 0, "panic"),))], AX01)
    segments = (
        Segment(SegmentKind.CODE, 0, memoryview(image.code)),
        Segment(SegmentKind.DATA, 0, memoryview(image.system_data)),
    )
    meta = {"functions": {name: list(span) for name, span in image.functions.items()}}
    return loadable(TRAP, entries=(Entry("main", image.pc("main"), (), ()),), segments=segments, meta=meta)


HOST = {
    "steps": [{"kind": "host", "target": "aten.sort.default", "args": [], "kwargs": {}, "outputs": ["a"]}],
    "inputs": [],
    "outputs": ["a"],
}

EXPECTED = """\
version 1.0
no such device: ATALLA_NO_SUCH_DEVICE no device 'absent'; there are native, testbench
no place: ATALLA_BAD_ARGUMENT expected a place for the device
device: ATALLA_OK
no such file: ATALLA_BAD_FILE cannot read /nowhere.atalla: No such file or directory
read damaged: ATALLA_BAD_LOADABLE *
read: ATALLA_OK
no such entry: ATALLA_NO_SUCH_ENTRY the program has no entry 'absent'
entry: ATALLA_OK
tensors of an absent entry: ATALLA_NO_SUCH_ENTRY no entry 5; the program has 1
wait for nothing: ATALLA_BAD_ARGUMENT nothing was launched
not bound: ATALLA_NOT_BOUND input 'x' has no buffer
wrong size: ATALLA_BAD_ARGUMENT tensor 'x' takes a buffer of 32 bytes, got 4 bytes
wrong index: ATALLA_BAD_ARGUMENT there is no tensor of that index
bind x: ATALLA_OK
bind n: ATALLA_OK
bind y: ATALLA_OK
bind m: ATALLA_OK
launch: ATALLA_OK
value too large: ATALLA_OUT_OF_RANGE input 'n' has a value that does not fit in the device's i32
launch: ATALLA_OK
wait: ATALLA_OK
wait again: ATALLA_OK
y 1.5 12, m 42
launch: ATALLA_OK
too long: ATALLA_TOO_LONG entry 'main' was not done after 3 packets, at pc 0x3c in main
unregister a device in use: ATALLA_DEVICE_BUSY device 'native' or programs on it are open; close them first
needs the host: ATALLA_NEEDS_HOST the program runs aten.sort.default on the host, which needs PyTorch; *
tensors of no whole run: ATALLA_NEEDS_HOST *
tensors of an entry: ATALLA_OK
launch: ATALLA_OK
trap: ATALLA_TRAPPED entry 'main' stopped at pc 0x14 in main (model.py:7): *
log entry 'main' stopped at *
launch: ATALLA_OK
panic: ATALLA_PANICKED entry 'main' panicked with code 0x201, called from pc *: no free scratchpad pages in pad 2
log entry 'main' panicked *
launch: ATALLA_OK
launch during a launch: ATALLA_RUNNING a launch of the program is under way; wait for it first
timeout: ATALLA_TIMEOUT the launch is under way after 1 ms
endless: ATALLA_TOO_LONG entry 'main' was not done after 50000000 packets, at *
"""


def test_every_code_and_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATALLA_PLUGINS", raising=False)
    run = compile_program(ROOT / "test" / "native" / "use_runtime.c", tmp_path)
    with_host = loadable(SCALE, meta={**HOST, "functions": {}})
    loadables = [loadable(SCALE), with_host, without_tensors(TRAP), panicking(), without_tensors(ENDLESS)]
    paths = [tmp_path / f"{number}.atalla" for number in range(len(loadables))]
    for path, made in zip(paths, loadables, strict=True):
        save_loadable(made, path)
    printed = subprocess.run([run, *paths], check=True, capture_output=True, text=True, timeout=120)
    assert printed.stderr == ""
    lines, expected = printed.stdout.splitlines(), EXPECTED.splitlines()
    assert len(lines) == len(expected), printed.stdout
    for line, wanted in zip(lines, expected, strict=True):
        start, star, end = wanted.partition("*")
        assert line.startswith(start) and line.rstrip().endswith(end if star else wanted), (line, wanted)
