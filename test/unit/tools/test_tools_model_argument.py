"""Models on the command line: the three forms and the message of every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atalla_mlir.errors import BadInputError
from atalla_mlir.tools.model_argument import load_model, parse_factory_arguments

FACTORY = """
import torch
from torch import nn

def build(width=4):
    return nn.Linear(width, 2), (torch.randn(3, width),)

def bare(): return nn.Linear(4, 2), torch.ones(3, 4)
def nothing(): return None
def swapped(): return (torch.ones(1),), nn.Linear(1, 1)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "factory_under_test.py"
    path.write_text(FACTORY)
    return path


def test_zoo_model_with_arguments() -> None:
    loaded = load_model("zoo:mlp", {"hidden": 7})
    assert loaded.name == "mlp"
    assert loaded.model.layers[0].out_features == 7


def test_factory_of_a_file(file: Path) -> None:
    loaded = load_model(f"{file}:build", {"width": 5})
    again = load_model(f"{file}:build", {"width": 5})
    assert loaded.name == "build"
    assert loaded.args[0].shape == (3, 5)
    assert torch.equal(loaded.args[0], again.args[0])
    assert torch.equal(loaded.model.weight, again.model.weight)


def test_factory_may_return_one_tensor(file: Path) -> None:
    assert load_model(f"{file}:bare", {}).args[0].shape == (3, 4)


def test_exported_program(tmp_path: Path) -> None:
    path = tmp_path / "linear.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(4, 2), (torch.ones(3, 4),)), path)
    loaded = load_model(str(path), {})
    assert loaded.name == "linear"
    assert loaded.args[0].shape == (3, 4)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "resnet",
            "cannot tell what model 'resnet' is; expected zoo:NAME, FILE.py:FACTORY (returns module and example "
            "inputs), FILE.pt2 or FILE.onnx",
        ),
        ("absent.pt2", "absent.pt2: no such file"),
        ("absent.py:build", "absent.py: no such file"),
        ("{file}:create", "{file}: has no function 'create'"),
        ("{file}:nothing", "{file}: nothing must return (module, example inputs), got NoneType"),
        ("{file}:swapped", "{file}: swapped must return a module first, got tuple"),
    ],
)
def test_mistakes(file: Path, argument: str, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        load_model(argument.format(file=file), {})
    assert str(caught.value) == message.format(file=file)


def test_arguments_that_the_factory_does_not_take(file: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        load_model(f"{file}:build", {"height": 1})
    assert str(caught.value) == f"{file}: build: got an unexpected keyword argument 'height'"


def test_file_that_fails_when_read(tmp_path: Path) -> None:
    path = tmp_path / "broken_under_test.py"
    path.write_text("import nowhere_to_be_found")
    with pytest.raises(BadInputError) as caught:
        load_model(f"{path}:build", {})
    assert str(caught.value) == f"{path}: ModuleNotFoundError: No module named 'nowhere_to_be_found'"


def test_damaged_exported_program(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt2"
    path.write_bytes(b"nothing like it")
    with pytest.raises(BadInputError, match=r"damaged\.pt2: not an exported program: "):
        load_model(str(path), {})


def test_factory_arguments_are_python_literals_or_strings() -> None:
    texts = ["dim=64", "scale=0.5", "name=small", "sizes=(1, 2)", "flag=True", "path=a=b"]
    assert parse_factory_arguments(texts) == {
        "dim": 64,
        "scale": 0.5,
        "name": "small",
        "sizes": (1, 2),
        "flag": True,
        "path": "a=b",
    }


@pytest.mark.parametrize("text", ["dim", "=3", "3=4", ""])
def test_malformed_factory_arguments(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_factory_arguments([text])
    assert str(caught.value) == f"--arg {text}: expected NAME=VALUE"
