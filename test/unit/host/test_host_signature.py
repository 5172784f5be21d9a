"""The calling convention survives JSON; wrong arguments are named."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.metadata import metadata
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.host.signature import Signature


class Model(nn.Module):
    def forward(self, x: Tensor, pair: dict[str, Tensor], scale: float, *, negate: bool = False) -> Any:
        y = x * scale + pair["left"] + pair["right"]
        return {"y": -y if negate else y, "extra": (x, 7, None)}


ARGS = (torch.ones(2, 3), {"left": torch.ones(3), "right": torch.zeros(3)}, 2.0)


@pytest.fixture(scope="module")
def signature() -> Signature:
    described = metadata(plan_model(Model(), ARGS, {"negate": True}))
    return Signature.from_json(json.loads(json.dumps(described["signature"])))


def test_arguments_flatten_to_named_inputs(signature: Signature) -> None:
    values = signature.flatten(ARGS, {"negate": True})
    assert list(values) == ["x", "pair_left", "pair_right"]
    assert values["pair_right"].sum() == 0


def test_results_nest_as_in_the_model(signature: Signature) -> None:
    values = {name: torch.ones(1) for row in signature.outputs if (name := row.get("value"))}
    result = signature.unflatten(values)
    assert set(result) == {"y", "extra"}
    assert result["extra"][1:] == (7, None)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (
            (torch.ones(2, 4), *ARGS[1:]),
            {"negate": True},
            "input 'x': expected float32[2, 3], got float32[2, 4]",
        ),
        (
            (torch.ones(2, 3, dtype=torch.bfloat16), *ARGS[1:]),
            {"negate": True},
            "input 'x': expected float32[2, 3], got bfloat16[2, 3]",
        ),
        ((1, *ARGS[1:]), {"negate": True}, "input 'x': expected a tensor, got int"),
        (
            (torch.ones(2, 3).to_sparse(), *ARGS[1:]),
            {"negate": True},
            "input 'x': expected a dense tensor, got one of torch.sparse_coo; use to_dense()",
        ),
        (
            (torch.ones(2, 3, device="meta"), *ARGS[1:]),
            {"negate": True},
            "input 'x': a tensor on the device 'meta' has no values",
        ),
        (ARGS, {"negate": False}, "argument 4 was compiled as True, got False; compile again for it"),
        (
            ARGS,
            {},
            "expected 5 arguments (x: float32[2, 3], pair_left: float32[3], pair_right: float32[3]), got 4 arguments",
        ),
    ],
)
def test_wrong_arguments(signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        signature.flatten(args, kwargs)
    assert str(caught.value) == message
