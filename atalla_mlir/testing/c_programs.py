"""C and C++ programs of tests and examples, compiled against the native library under test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest

from atalla_mlir.sim import native_library

INCLUDE = Path(native_library.__file__).parent / "native" / "include"

_COMPILERS = {".c": ("cc", "-std=c99"), ".cpp": ("c++", "-std=c++17")}
_STRICT = ("-pedantic", "-Wall", "-Wextra", "-Werror")


def compile_program(source: Path, folder: Path, *options: str) -> Path:
    """The program made from `source` in `folder`; skips the test where there is no compiler or no native library."""
    return _compile(source, folder / source.stem, ("-pthread", *options))


def compile_plugin(source: Path, folder: Path) -> Path:
    """The plug-in made from `source` in `folder`; skips like `compile_program`."""
    return _compile(source, folder / f"{source.stem}.so", ("-shared", "-fPIC"))


def _compile(source: Path, target: Path, options: tuple[str, ...]) -> Path:
    compiler, standard = _COMPILERS[source.suffix]
    library = native_library.library_path()
    if library is None:
        raise SkipTest("the native engine was not built")
    if shutil.which(compiler) is None:
        raise SkipTest(f"there is no compiler '{compiler}'")
    linked = [library, f"-Wl,-rpath,{library.parent.resolve()}"]
    command = [compiler, standard, *_STRICT, f"-I{INCLUDE}", source, *linked, *options, "-o", target]
    subprocess.run(command, check=True)
    return target
