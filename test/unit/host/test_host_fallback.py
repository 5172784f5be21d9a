"""Host operations: their JSON form and their execution."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import fx

from atalla_mlir.errors import BadInputError, ConfigurationError, UnsupportedError
from atalla_mlir.frontend.arguments import decode_argument, encode_argument
from atalla_mlir.host.fallback import operation, run_operation


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        "mean",
        1.5,
        float("inf"),
        [1, [2, None]],
        torch.float32,
        torch.strided,
        torch.preserve_format,
        torch.device("cpu"),
    ],
)
def test_arguments_survive_json(value: Any) -> None:
    assert decode_argument(json.loads(json.dumps(encode_argument(value), allow_nan=False)), {}) == value


def test_a_node_becomes_its_value() -> None:
    node = fx.Graph().placeholder("x")
    tensor = torch.ones(2)
    assert decode_argument(encode_argument([node, 1]), {"x": tensor})[0] is tensor


def test_arguments_that_cannot_be_stored() -> None:
    with pytest.raises(UnsupportedError) as caught:
        encode_argument(1j)
    assert str(caught.value) == "an argument of type complex cannot be stored for the host: 1j"


@pytest.mark.parametrize(
    "value", [{"value": "y"}, {"dtype": "load"}, {"layout": "float32"}, {"a": 1, "b": 2}, {}, {"device": 3}]
)
def test_malformed_arguments(value: Any) -> None:
    with pytest.raises(BadInputError, match=r"^malformed argument of a host operation: "):
        decode_argument(value, {})


def test_run_an_operation_with_several_results() -> None:
    step = {"target": "aten.topk.default", "args": [{"value": "x"}, 2], "kwargs": {}, "outputs": ["topk.0", "indices"]}
    results = run_operation(step, {"x": torch.tensor([1.0, 3.0, 2.0])})
    assert list(results) == ["topk.0", "indices"]
    assert results["indices"].tolist() == [1, 2]


def test_an_operation_that_fails() -> None:
    step = {"target": "aten.mm.default", "args": [{"value": "x"}, {"value": "x"}], "kwargs": {}, "outputs": ["y"]}
    with pytest.raises(BadInputError, match=r"^host operation aten\.mm\.default failed: "):
        run_operation(step, {"x": torch.ones(2, 3)})


def test_an_unknown_operation() -> None:
    with pytest.raises(ConfigurationError) as caught:
        operation("nowhere.nothing.default")
    assert str(caught.value) == (
        "PyTorch has no operation 'nowhere.nothing.default'; "
        "import the module that defines it before running the program"
    )


@pytest.mark.parametrize("name", ["aten.lgamma", "os.system.default.x", "", "aten.__class__.default"])
def test_malformed_operation_names(name: str) -> None:
    with pytest.raises((BadInputError, ConfigurationError)):
        operation(name)
