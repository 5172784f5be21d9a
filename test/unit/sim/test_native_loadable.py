"""Loadables in C: the reader refuses what the Python reader refuses, and a C program runs what Python runs."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from atalla_mlir.loadable.format import Damage, Entry, Loadable, LoadableError, Segment, SegmentKind, TensorSpec
from atalla_mlir.loadable.machine_record import describe_machine
from atalla_mlir.loadable.metadata import dump_meta
from atalla_mlir.loadable.reader import read_loadable
from atalla_mlir.loadable.writer import write_loadable
from atalla_mlir.runtime.program import Program
from atalla_mlir.sim.native_library import library_path
from atalla_mlir.sim.native_loadable_header import HEADER, header
from atalla_mlir.target.machine import AX01, Machine
from atalla_mlir.testing.damaged_loadables import damaged
from atalla_mlir.testing.programs import program

ROOT = Path(__file__).parents[3]
DAMAGES = tuple(Damage)
SLOW = AX01.with_options(dram_latency_cycles=77, dram_bursts_per_cycle=0.3, name='not known by "name"')

needs_compiler = pytest.mark.skipif(
    library_path() is None or shutil.which("cc") is None, reason="the native engine was not built: no compiler"
)

# Scales the bf16 matrix x (whose rows are 8 elements apart) by 1.5, and adds 5 to the integer n.
CODE = program(
    [("lui.s", 4, 0x1000 >> 7)],
    [("lui.s", 5, 0x3FC0 << 9)],
    [("addi.s", 6, 0, 4)],
    [("lhw.s", 7, 0, 4)],
    [("mul.bf", 7, 7, 5)],
    [("shw.s", 7, 256, 4)],
    [("lhw.s", 8, 2, 4)],
    [("mul.bf", 8, 8, 5)],
    [("shw.s", 8, 258, 4)],
    [("addi.s", 4, 4, 16)],
    [("addi.s", 9, 9, 1)],
    [("blt.s", 9, 6, -160, 0)],
    [("lui.s", 4, 0x2000 >> 7)],
    [("lw.s", 10, 0, 4)],
    [("addi.s", 10, 10, 5)],
    [("sw.s", 10, 4, 4)],
    [("halt.s",)],
)


def example(machine: Machine = AX01, **changes: Any) -> Loadable:
    inputs = (
        TensorSpec("x", "bf16", (4, 2), (8, 1), 0x1000, "f32"),
        TensorSpec("n", "i32", (), (), 0x2000, "i64"),
    )
    outputs = (
        TensorSpec("y", "bf16", (4, 2), (8, 1), 0x1100, "f32"),
        TensorSpec("n plus 5", "i32", (), (), 0x2004, "i64"),
    )
    fields: dict[str, Any] = {
        "machine_name": machine.name,
        "machine_digest": machine.digest(),
        "entries": (Entry("main", 0, inputs, outputs),),
        "segments": (
            Segment(SegmentKind.CODE, 0, memoryview(CODE)),
            Segment(SegmentKind.DATA, 0x1000, size=0x1000),
            Segment(SegmentKind.DATA, 0x2000, memoryview(b"\1\2\3\4\5\6\7\x08")),
        ),
        "meta": {
            "machine": describe_machine(machine),
            "functions": {"main": [0, len(CODE)], "mäin \U0001f600": [20, 60]},
            "constants": [{"name": "w", "address": 0x2000, "bytes": 8}],
            "source_map": {"sources": ["m.py:3", 'm.py:"4"'], "ranges": [[0, 20, 0], [40, 60, 1]]},
            "steps": [{"kind": "device", "entry": "main", "inputs": ["x", "n"], "outputs": ["y", "z"]}],
            "entry_points": [
                {
                    "name": name,
                    "steps": [{"kind": "device", "entry": "main", "inputs": ["x", "n"], "outputs": ["y", "z"]}],
                    "inputs": ["x", "n"],
                    "outputs": ["y"],
                }
                for name in ("one", "many")
            ],
            "kernels": [{"name": "k", "entry": "main", "function": "main", "launch_pc": 20, "return_pc": 40}],
            "numbers": [0.1, 1e16, 1e-05, 123456.0, -0.0, 2**70, -3],
        },
        "dram_size": 0x3000,
    }
    return Loadable(**{**fields, **changes})


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The C programs by name, linked with the library under test."""
    folder, library = tmp_path_factory.mktemp("c"), library_path()
    assert library is not None
    found: dict[str, Path] = {}
    for source in (ROOT / "test" / "native" / "read_loadables.c", ROOT / "examples" / "c" / "run_loadable.c"):
        found[source.stem] = folder / source.stem
        include = ROOT / "atalla_mlir" / "sim" / "native" / "include"
        options = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{include}"]
        command = ["cc", *options, source, library, f"-Wl,-rpath,{library.parent}", "-o", found[source.stem]]
        subprocess.run(command, check=True)
    return found


def damages(reader: Path, files: Iterable[bytes]) -> list[tuple[int, str]]:
    stream = b"".join(len(data).to_bytes(4, "little") + data for data in files)
    lines = subprocess.run([reader], input=stream, capture_output=True, check=True).stdout.decode().splitlines()
    return [(int(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in lines]


def python_damage(data: bytes) -> int:
    try:
        read_loadable(data)
    except LoadableError as error:
        return DAMAGES.index(error.damage) + 1
    return 0


def test_header_is_up_to_date() -> None:
    assert HEADER.read_text(encoding="utf-8") == header(), "run `python -m atalla_mlir.sim.native_loadable_header`"


@needs_compiler
def test_damaged_files_are_refused_as_in_python(compiled: dict[str, Path]) -> None:
    blob = write_loadable(example())
    files = [blob, b"", b"\x7fELF", *damaged(blob, seed=1, count=600)]
    found = damages(compiled["read_loadables"], files)
    assert [kind for kind, _ in found] == [python_damage(data) for data in files]
    assert {kind for kind, _ in found} >= {0, *(DAMAGES.index(kind) + 1 for kind in (Damage.TRUNCATED, Damage.INVALID))}
    assert all(message and message[-1] != "." for kind, message in found if kind)


def changed_metadata(path: tuple[str | int, ...], value: object) -> bytes | None:
    """The example with one value of its metadata replaced or (`...`) removed, written without the writer's checks.

    None where such a file cannot be laid out.
    """
    meta = json.loads(dump_meta(example().meta))
    target = meta
    for key in path[:-1]:
        target = target[key]
    if value is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atalla_mlir.loadable.writer.check_meta", lambda _loadable: None)
        try:
            return write_loadable(example(meta=meta))
        except (AttributeError, LookupError, TypeError, ValueError, struct.error):
            return None


WRONG: tuple[tuple[tuple[str | int, ...], object], ...] = (
    (("functions", "main"), [0, 10]),
    (("functions", "main"), [0, len(CODE) + 20]),
    (("functions", "main"), [20, 20]),
    (("functions", "main"), [0]),
    (("functions", "main"), "x"),
    (("constants", 0, "address"), 0x3000),
    (("constants", 0, "bytes"), -1),
    (("constants", 0, "name"), "a\0b"),
    (("constants", 0, "name"), ...),
    (("source_map", "ranges"), [[20, 40, 0], [0, 20, 0]]),
    (("source_map", "ranges"), [[0, 20, 2]]),
    (("source_map", "sources"), [1]),
    (("source_map",), []),
    (("steps", 0, "kind"), "other"),
    (("steps", 0, "entry"), "absent"),
    (("steps", 0, "inputs"), ["x"]),
    (("steps", 0, "outputs"), [None, "z"]),
    (("steps",), {}),
    (("entry_points",), {}),
    (("entry_points", 0), "one"),
    (("entry_points", 1, "name"), "one"),
    (("entry_points", 1, "name"), ...),
    (("entry_points", 1, "steps"), ...),
    (("entry_points", 1, "steps", 0, "entry"), "absent"),
    (("entry_points", 1, "inputs"), "x"),
    (("entry_points", 1, "outputs"), ...),
    (("kernels", 0, "launch_pc"), 10**30),
    (("kernels", 0, "return_pc"), True),
    (("machine",), []),
    (("inputs",), "x"),
)


@needs_compiler
def test_wrong_metadata_is_refused_as_in_python(compiled: dict[str, Path]) -> None:
    files = [data for path, value in WRONG if (data := changed_metadata(path, value)) is not None]
    assert len(files) >= 15
    found = damages(compiled["read_loadables"], files)
    assert [kind for kind, _ in found] == [python_damage(data) for data in files]
    assert {kind for kind, _ in found} == {DAMAGES.index(Damage.INVALID) + 1}


def run_in_c(run: Path, loadable: Loadable, arrays: list[npt.NDArray[Any]], folder: Path) -> tuple[list[bytes], str]:
    path = folder / "example.atalla"
    path.write_bytes(write_loadable(loadable))
    files: list[Path] = []
    for number, array in enumerate(arrays):
        files.append(folder / f"in{number}.bin")
        array.tofile(files[-1])
    command = [run, "-o", folder / "out", path, *files]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [(folder / f"out{number}.bin").read_bytes() for number in range(len(loadable.entries[0].outputs))], text


@needs_compiler
@pytest.mark.parametrize("machine", [AX01, SLOW], ids=["ax01", "described"])
def test_a_c_program_runs_it(compiled: dict[str, Path], tmp_path: Path, machine: Machine) -> None:
    x = np.array([[1, 2], [-3, 0.1], [1e30, 3e38], [np.nan, np.inf]], np.float32)
    arrays: list[npt.NDArray[Any]] = [x, np.array(7, np.int64)]
    loadable = example(machine)
    python = Program(loadable, timing=True)
    expected = python.run_entry("main", arrays)
    outputs, text = run_in_c(compiled["run_loadable"], loadable, arrays, tmp_path)
    for data, array in zip(outputs, expected, strict=True):
        assert np.array_equal(np.frombuffer(data, array.dtype).reshape(array.shape), array, equal_nan=True)
    assert expected[1] == 12
    assert text.splitlines()[-1].endswith(f"{python.counters.packets} packets, {python.counters.cycles} cycles")


@needs_compiler
def test_a_c_program_says_what_is_wrong(compiled: dict[str, Path], tmp_path: Path) -> None:
    def message(*arguments: object) -> str:
        found = subprocess.run([compiled["run_loadable"], *map(str, arguments)], capture_output=True, text=True)
        assert found.returncode == 1
        return found.stderr

    path, number = tmp_path / "example.atalla", tmp_path / "n.bin"
    blob = write_loadable(example())
    path.write_bytes(blob[:-1])
    number.write_bytes((1 << 40).to_bytes(8, "little"))
    truncated = f"the loadable is truncated: it has {len(blob) - 1} of {len(blob)} bytes"
    assert message(path) == f"run_loadable: {path}: {truncated}\n"
    assert message(tmp_path / "none").startswith(f"run_loadable: {tmp_path / 'none'}: cannot read ")
    path.write_bytes(blob)
    assert message(path, number) == f"run_loadable: {number}: expected 32 bytes, the file has fewer\n"
    x = tmp_path / "x.bin"
    np.zeros((4, 2), np.float32).tofile(x)
    assert message(path, x, number) == "run_loadable: input does not fit: n\n"
