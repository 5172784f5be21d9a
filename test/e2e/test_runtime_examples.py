"""Models in C and C++ without Python: the values, counters and cycles that Python sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atalla_mlir.compiler import compile_model
from atalla_mlir.frontend.arrays import to_numpy
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.program import compile as program_of
from atalla_mlir.loadable.writer import save_loadable
from atalla_mlir.testing.c_programs import compile_plugin, compile_program
from atalla_mlir.tools import atalla_run
from atalla_mlir.zoo import registry

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def run_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(EXAMPLES / "c" / "run_model.c", tmp_path_factory.mktemp("c"))


@pytest.mark.parametrize("name", ["mlp", "attention"])
def test_a_model_runs_as_in_python(
    run_model: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, args = registry.build(name)
    loadable = compile_model(model, args)
    save_loadable(loadable, path := tmp_path / f"{name}.atalla")
    program = TorchProgram(loadable)
    program.device.timing = True
    values = program.initial_values(args, {})
    results = program.run(values)
    arrays = [to_numpy(values[spec.name]) for spec in program.inputs]
    files = [tmp_path / f"in{number}" for number in range(len(arrays))]
    for array, file in zip(arrays, files, strict=True):
        array.tofile(file.with_suffix(".bin"))
        np.save(file.with_suffix(".npy"), array)
    command = [run_model, "-o", tmp_path / "out", path, *(file.with_suffix(".bin") for file in files)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for number, output in enumerate(program.outputs):
        assert (tmp_path / f"out{number}.bin").read_bytes() == to_numpy(results[output]).tobytes()
    capsys.readouterr()
    inputs = [argument for file in files for argument in ("--input", str(file.with_suffix(".npy")))]
    assert atalla_run.main([str(path), "--timing", *inputs]) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("on ax01")]
    assert lines == printed
    (counters,) = program.counters.values()
    stalls = "".join(f" {cause} {cycles}" for cause, cycles in counters.stalls.items() if cycles)
    assert lines[-1] == f"{counters.cycles} cycles:{stalls}"


def test_one_of_several_entry_points(run_model: Path, tmp_path: Path) -> None:
    model, (x,) = registry.build("mlp")
    program = program_of(model, entries={"one": (x[:1],), "many": (x,)})
    program.save(path := tmp_path / "mlp.atalla")
    x.numpy().tofile(tmp_path / "x.bin")
    command = [run_model, "-o", tmp_path / "out", path, tmp_path / "x.bin"]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "the program has several entry points; choose one of one, many (ATALLA_NO_PLAN)" in refused.stderr
    subprocess.run([run_model, "-e", "many", *command[1:]], check=True, capture_output=True)
    assert (tmp_path / "out0.bin").read_bytes() == program(x).numpy().tobytes()


def test_programs_run_at_the_same_time(tmp_path: Path) -> None:
    run = compile_program(EXAMPLES / "cpp" / "concurrent.cpp", tmp_path)
    model, args = registry.build("mlp")
    save_loadable(compile_model(model, args), path := tmp_path / "mlp.atalla")
    printed = subprocess.run([run, path, "4"], check=True, capture_output=True, text=True).stdout
    assert printed.startswith("4 programs on native: ")
    assert printed.endswith("outputs equal, 4 lines of log\n")


def test_many_threads_use_everything(tmp_path: Path) -> None:
    run = compile_program(EXAMPLES.parent / "test" / "native" / "stress_runtime.cpp", tmp_path)
    model, args = registry.build("mlp")
    save_loadable(compile_model(model, args), path := tmp_path / "mlp.atalla")
    finished = subprocess.run([run, path, "4", "20"], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "17 threads agree\n", "")


def test_a_plugin_is_a_device(run_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = compile_plugin(EXAMPLES / "c" / "counting_device.c", tmp_path)
    model, (x,) = registry.build("basic")
    save_loadable(compile_model(model, (x,)), path := tmp_path / "basic.atalla")
    x.numpy().tofile(tmp_path / "x.bin")
    command = [run_model, path, tmp_path / "x.bin"]
    on_simulator = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    monkeypatch.setenv("ATALLA_PLUGINS", str(plugin))
    monkeypatch.setenv("ATALLA_DEVICE", "counting")
    on_plugin = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert on_plugin[:2] == [on_simulator[0], "the device does not count"]
    assert on_plugin[2].startswith("link: ") and on_plugin[2].endswith(" 1 starts")
    script = "from atalla_mlir.runtime.program import Program; import sys; print(Program.load(sys.argv[1]).engine.name)"
    assert (
        "counting\n"
        in subprocess.run([sys.executable, "-c", script, path], check=True, capture_output=True, text=True).stdout
    )
    np.save(tmp_path / "x.npy", x.numpy())
    tool = [sys.executable, "-m", "atalla_mlir.tools.atalla_run", str(path), "--input", str(tmp_path / "x.npy")]
    shown = subprocess.run(tool, check=True, capture_output=True, text=True).stdout
    assert "the device does not count\n" in shown and "executed" not in shown
    monkeypatch.setenv("ATALLA_PLUGINS", "/nowhere.so")
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "ATALLA_PLUGINS: plug-in does not load: /nowhere.so" in refused.stderr
    assert "no device 'counting'" in refused.stderr
    assert "; there are native, testbench" in refused.stderr


def test_pages_from_c(tmp_path: Path) -> None:
    run = compile_program(EXAMPLES / "c" / "use_pages.c", tmp_path)
    model, (x,) = registry.build("basic")
    save_loadable(compile_model(model, (x,)), path := tmp_path / "basic.atalla")
    lines = subprocess.run([run, path], check=True, capture_output=True, text=True).stdout.splitlines()
    assert lines[:2] == [
        "256 pages of pad 0; 128 of them from address 0 on are ours, 128 are left",
        "the model runs with half of the pages and leaves 128",
    ]
    assert lines[2].startswith("without pages: entry 'main' panicked with code 0x1, called from pc ")
    assert lines[2].endswith("no free scratchpad pages in pad 0")
    assert lines[3:] == [
        "after a panic all 256 pages are free",
        "freed again: ATALLA_BAD_ARGUMENT",
        "too many: ATALLA_NO_PAGES",
    ]
