"""The layout of the package: who imports whom, and what files are called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "atalla_mlir"

ANYTHING = {"any public part, and torch"}

# Part of the package -> the parts that it may import besides itself and errors. The simulator shares nothing with the
# compiler but target, mc and loadable, so that it can contradict it; sim and runtime need neither MLIR nor torch.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "target": set(),
    "mc": {"target"},
    "loadable": {"target"},
    "codegen": {"target"},
    "firmware": {"mc", "loadable", "target"},
    "sim": {"mc", "loadable", "target"},
    "runtime": {"sim", "loadable", "target"},
    "_mlir": set(),
    "dialects": {"_mlir", "target"},
    "kernels": {"dialects", "codegen", "_mlir", "target"},
    "passes": {"kernels", "dialects", "codegen", "_mlir", "target"},
    # its options name a Machine, its functions take a module
    "pipeline": {"passes", "_mlir", "target"},
    "translate": {"dialects", "mc", "loadable", "firmware", "_mlir", "target"},
    "cache": {"pipeline", "translate", "firmware", "_mlir"},
    "frontend": {"_mlir"},
    # hands the values of loadable and target (a Loadable, a Machine) on to the runtime
    "compiler": {"frontend", "pipeline", "translate", "cache", "runtime", "loadable", "target"},
    # verifies what was compiled by running it: the client of everything, MLIR left out
    "host": {"compiler", "frontend", "runtime", "firmware", "sim", "mc", "loadable", "target"},
    # `import atalla_mlir.torch_device`: the name by which users know host.eager
    "torch_device": {"host"},
    # the delegate of ExecuTorch: compiles, and finds the library and the directory that its own library goes to
    "executorch": {"compiler", "cache", "frontend", "loadable", "sim", "target"},
    "zoo": set(),
    "tools": ANYTHING,
    "testing": ANYTHING,
    "__init__": ANYTHING,
}
USES_TORCH = {"executorch", "frontend", "host", "torch_device", "zoo"}
BANNED_NAMES = {"utils", "util", "common", "helpers", "misc"}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, at any depth, whether or not it is executed."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            if node.module == "atalla_mlir":
                yield from ((node.lineno, f"atalla_mlir.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


def _wrong_imports(path: Path) -> Iterator[str]:
    part = _part(path)
    allowed = MAY_IMPORT[part]
    for line, name in _imports(path):
        top, _, rest = name.partition(".")
        place = f"{path.relative_to(PACKAGE.parent)}:{line}"
        if top == "torch" and part not in USES_TORCH and allowed is not ANYTHING:
            yield f"{place}: {part} imports torch"
        elif top == "torch_mlir" and part not in ("_mlir", "frontend"):
            yield f"{place}: MLIR comes only through atalla_mlir._mlir"
        elif top == "atalla_mlir" and allowed is not ANYTHING:
            imported = rest.split(".")[0]
            if imported not in allowed | {part, "errors", "version"}:
                yield f"{place}: {part} imports {imported or 'atalla_mlir'}, it may import {sorted(allowed)}"


def test_every_part_is_known() -> None:
    assert {_part(path) for path in SOURCES} <= set(MAY_IMPORT)


def test_import_directions() -> None:
    wrong = [message for path in SOURCES for message in _wrong_imports(path)]
    assert not wrong, "\n".join(wrong)


def test_dialects_evaluate_their_annotations() -> None:
    """ext.Operation reads annotations as objects: as strings every operand silently becomes an attribute."""
    for path in (PACKAGE / "dialects").rglob("*.py"):
        assert (0, "__future__") not in {(0, name) for _, name in _imports(path)}, path


def test_everything_else_postpones_annotations() -> None:
    for path in SOURCES:
        if _part(path) != "dialects" and _has_code(path):
            assert "__future__" in {name for _, name in _imports(path)}, path


def test_module_names_say_something() -> None:
    assert not [path for path in SOURCES if path.stem in BANNED_NAMES or path.parent.name in BANNED_NAMES]


@pytest.mark.parametrize("folder", ["unit"])
def test_test_files_have_unique_names(folder: str) -> None:
    """Test folders are no packages, so two files of one name would be one module."""
    names = [path.name for path in (PACKAGE.parent / "test" / folder).rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def _has_code(path: Path) -> bool:
    """Whether a file holds more than a docstring."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)
