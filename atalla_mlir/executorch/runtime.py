"""The delegate in ExecuTorch's runtime: building the backend's library, loading it, running programs.

The library is C++ (`atalla_backend.cpp`) and is compiled when it is first needed, against the headers and libraries of
the installed `executorch` and the native engine; it is kept beside the compiler's cache.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from executorch.runtime import Runtime
from torch import Tensor

from atalla_mlir.cache.store import default_directory
from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.sim import native_library

_SOURCE = "atalla_backend.cpp"
_NAME = "libatalla_executorch.so"
_TOTALS = ("launches", "packets", "instructions", "cycles")


@dataclass(frozen=True)
class Totals:
    """What the delegates of this process did so far."""

    launches: int
    packets: int
    instructions: int
    cycles: int
    """Of launches with timing."""


def run(program: bytes | str | Path, inputs: Sequence[Tensor], method: str = "forward") -> list[Tensor]:
    """The outputs of `method` of a `.pte` file, or of its bytes, from ExecuTorch's runtime."""
    load_backend()
    data = program if isinstance(program, bytes) else Path(program).read_bytes()
    loaded = Runtime.get().load_program(data)
    if method not in loaded.method_names:
        raise BadInputError(f"the program has no method '{method}'; it has {', '.join(sorted(loaded.method_names))}")
    found = loaded.load_method(method)
    assert found is not None
    # outputs are views of the method's memory
    return [value.clone() if isinstance(value, Tensor) else value for value in found.execute(list(inputs))]


def set_timing(enabled: bool) -> None:
    """Let delegates count cycles, which takes longer."""
    load_backend().atalla_executorch_set_timing(int(enabled))


def totals() -> Totals:
    """Counters of all delegates since the backend was loaded."""
    values = (ctypes.c_uint64 * len(_TOTALS))()
    load_backend().atalla_executorch_totals(values)
    return Totals(*values)


@cache
def load_backend() -> ctypes.CDLL:
    """Register the backend with ExecuTorch's runtime in this process, once."""
    Runtime.get()
    library = ctypes.CDLL(str(backend_library()))
    code = library.atalla_executorch_registered()
    if code:
        raise ConfigurationError(f"ExecuTorch's runtime refused the backend with error {code}")
    return library


def backend_library() -> Path:
    """The backend's library for the installed `executorch`, compiled if it is not there yet."""
    command = ["-O2", "-fPIC", "-shared", "-fvisibility=hidden", *compile_options()]
    key = hashlib.sha256("\n".join([*command, version("executorch"), _source().read_text()]).encode()).hexdigest()
    folder = default_directory() if os.environ.get("ATALLA_CACHE_DIR") != "" else Path(tempfile.mkdtemp())
    library = folder / "executorch" / key / _NAME
    if not library.is_file():
        library.parent.mkdir(parents=True, exist_ok=True)
        _compile(command, library)
    return library


def program_options() -> list[str]:
    """Options with which a C++ program that runs programs with delegates is compiled and linked; for a compiler."""
    backend = backend_library()
    kernels = sorted((_package_folder() / "lib").glob("libexecutorch_kernels_optimized.*"))
    threads = sorted((_package_folder() / "lib").glob("libexecutorch_threadpool.*"))
    # kernels and the backend register themselves when they are loaded, and nothing else refers to them
    return [
        *compile_options(),
        "-Wl,--no-as-needed",
        *map(str, (*kernels, *threads, backend)),
        f"-Wl,-rpath,{backend.parent}",
    ]


def compile_options() -> list[str]:
    """Options with which C++ that uses ExecuTorch's runtime and the native engine is compiled and linked."""
    engine = native_library.library_path()
    if engine is None:
        raise ConfigurationError("the backend for ExecuTorch runs on the native engine, which was not built")
    root = _package_folder()
    libraries = root / "lib"
    headers = [root / "include", root / "include/executorch/runtime/core/portable_type/c10", _headers()]
    return [
        "-std=c++17",
        # those of executorch-config.cmake; without the second, classes have another layout than in the library
        "-DC10_USING_CUSTOM_GENERATED_MACROS",
        "-DET_EVENT_TRACER_ENABLED",
        *(f"-isystem{folder}" for folder in headers),
        *(str(path) for path in (libraries / "libexecutorch.so", engine.resolve())),
        *(f"-Wl,-rpath,{folder}" for folder in (libraries, engine.resolve().parent)),
    ]


def _source() -> Path:
    return Path(str(files("atalla_mlir.executorch") / _SOURCE))


def _package_folder() -> Path:
    """Of `executorch`, a namespace package, where its wheel put libraries."""
    spec = importlib.util.find_spec("executorch")
    assert spec is not None
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    found = next((place for place in places if (place / "lib").is_dir()), None)
    if found is None:
        raise ConfigurationError("the installed 'executorch' has no runtime libraries; install its wheel")
    return found


def _headers() -> Path:
    """Where atalla_runtime.h is: beside the library of a wheel, in the sources otherwise."""
    package = Path(native_library.__file__).parent
    places = (package / "native" / "include", package.parent / "_lib")
    return next(place for place in places if (place / "atalla_runtime.h").is_file())


def _compile(options: Sequence[str], library: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("c++")
    if not compiler:
        raise ConfigurationError(
            "there is no C++ compiler 'c++', which the backend for ExecuTorch is built with; set CXX"
        )
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / _NAME
        done = subprocess.run([compiler, str(_source()), *options, "-o", str(made)], capture_output=True, text=True)
        if done.returncode:
            raise ConfigurationError(f"the backend for ExecuTorch does not compile:\n{done.stderr.strip()}")
        os.replace(made, library)
