"""Running a loadable that describes no PyTorch model: one made from assembly, from an image, or from IR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from atalla_mlir.errors import BadInputError
from atalla_mlir.loadable.reader import load_loadable, read_loadable
from atalla_mlir.runtime.buffers import describe
from atalla_mlir.runtime.program import Program
from atalla_mlir.tools.array_files import input_paths, read_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atalla_mlir.loadable.format import Loadable
    from atalla_mlir.sim.engine import Counters
    from atalla_mlir.target.machine import Machine


def read(path: str, stdin: TextIO) -> Loadable:
    """The loadable in a file, or on `stdin` for `-`."""
    return read_loadable(stdin.buffer.read()) if path == "-" else load_loadable(path)


def describes_model(loadable: Loadable) -> bool:
    """Whether the loadable can be called like the model that it was compiled from."""
    return "signature" in loadable.meta or "entry_points" in loadable.meta


def run_only_entry(
    loadable: Loadable, files: Sequence[str], *, engine: str, machine: Machine | None, timing: bool = False
) -> tuple[dict[str, NDArray[Any]], Counters]:
    """Outputs by name of the one entry, and what it executed, with `timing` in cycles too.

    `files` are `x.npy` in order, or `NAME=x.npy`.
    """
    if len(loadable.entries) != 1:
        names = ", ".join(entry.name for entry in loadable.entries) or "none"
        raise BadInputError(f"a loadable without a plan runs when it has one entry; this one has {names}")
    entry = loadable.entries[0]
    expected = {spec.name: f"{spec.name}: {describe(spec.model_dtype, spec.shape)}" for spec in entry.inputs}
    paths = input_paths(files, expected)
    arrays = [read_array(paths[spec.name]) for spec in entry.inputs]
    program = Program(loadable, engine=engine, machine=machine)
    program.timing = timing
    results = program.run_entry(entry.name, arrays)
    return {spec.name: result for spec, result in zip(entry.outputs, results, strict=True)}, program.counters
