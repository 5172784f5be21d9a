"""One pass, one file, one class, one lit test, one name."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from atalla_mlir.passes import PASSES, find_pass
from atalla_mlir.passes.base import documented_options, summary

ROOT = Path(__file__).parents[3]
LIT_TESTS = ROOT / "test" / "passes"


def _file_stem(name: str) -> str:
    """`atalla-plan-memory` is in plan_memory.py, `convert-atalla-to-ax01` in convert_atalla_to_ax01.py."""
    return name.removeprefix("atalla-").replace("-", "_")


@pytest.mark.parametrize("name", PASSES)
def test_names_agree(name: str) -> None:
    pass_class = find_pass(name)
    stem = _file_stem(name)
    assert pass_class.name == name
    assert pass_class.__module__ == f"atalla_mlir.passes.{stem}"
    assert pass_class.__name__ == f"{''.join(word.capitalize() for word in stem.split('_'))}Pass"


@pytest.mark.parametrize("name", PASSES)
def test_documented(name: str) -> None:
    pass_class = find_pass(name)
    assert summary(pass_class)
    assert not [option.name for option in documented_options(pass_class) if not option.help]


@pytest.mark.parametrize("name", PASSES)
def test_lit_tests(name: str) -> None:
    stem = _file_stem(name).replace("_", "-")
    file = LIT_TESTS / f"{stem}.mlir"
    assert file.exists(), f"{name} has no lit test {file.relative_to(ROOT)}"
    assert name in file.read_text()
    if "PassFailure(" in inspect.getsource(inspect.getmodule(find_pass(name)) or find_pass(name)):
        invalid = LIT_TESTS / f"{stem}-invalid.mlir"
        assert invalid.exists(), f"{name} can fail, but there is no {invalid.relative_to(ROOT)}"


def test_every_pass_is_registered_and_alone_in_its_file() -> None:
    """Files without a pass hold what several passes share."""
    defined = {path.stem: _pass_classes(path) for path in (ROOT / "atalla_mlir" / "passes").glob("*.py")}
    found = {stem: classes for stem, classes in defined.items() if classes}
    assert found == {_file_stem(name): [find_pass(name).__name__] for name in PASSES}


def _pass_classes(path: Path) -> list[str]:
    """The classes of a file that derive from Pass."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = (node for node in body if isinstance(node, ast.ClassDef))
    return [node.name for node in classes if "Pass" in {ast.unparse(base) for base in node.bases}]
