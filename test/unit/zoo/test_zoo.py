"""The zoo: models are reproducible, arguments are checked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from atalla_mlir import zoo
from atalla_mlir.errors import BadInputError

_SMALL = {
    "alexnet": {"wide": 8},
    "vgg11": {"wide": 4},
    "resnet50": {"size": 32},
    "vit_b16": {"depth": 1, "dim": 64, "heads": 2, "hidden": 128, "size": 64},
    "bert_base": {"depth": 1, "dim": 64, "heads": 2, "hidden": 128, "vocabulary": 300},
    "gpt2_small": {"depth": 1, "dim": 64, "heads": 2, "vocabulary": 300},
}


@pytest.mark.parametrize("name", zoo.names())
def test_same_seed_same_values(name: str) -> None:
    (first, inputs), (second, again) = (zoo.build(name, **_SMALL.get(name, {})) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(inputs, again, strict=True))
    with torch.no_grad():
        results = (pytree.tree_leaves(model(*inputs)) for model in (first, second))
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert not first.training


def test_building_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    zoo.build("mlp")
    assert torch.equal(torch.rand(1), expected)


def test_basic_is_matmul_bias_relu_with_a_residual_on_odd_layers() -> None:
    model, (x,) = zoo.build("basic", dim=8, depth=2)
    state = model.state_dict()
    first = torch.relu(x @ state["weights.0"] + state["biases.0"])
    second = torch.relu(first @ state["weights.1"] + state["biases.1"]) + 0.5 * first
    expected = second @ state["head.weight"].t() + state["head.bias"]
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected)


def test_trace_gives_probabilities() -> None:
    model, inputs = zoo.build("trace")
    result = model(*inputs)
    assert result.shape == (32, 64)
    torch.testing.assert_close(result.sum(-1), torch.ones(32))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("atention", {}, "no model 'atention' in the zoo; did you mean 'attention'"),
        ("zzz", {}, f"no model 'zzz' in the zoo; models: {', '.join(zoo.names())}"),
        ("basic", {"size": 3}, "model 'basic' has no argument 'size'; arguments: dim, depth, batch"),
        ("basic", {"depth": 0}, "depth=0: expected an integer of at least 1"),
        ("basic", {"depth": "two"}, "depth='two': expected an integer of at least 1"),
        ("llama", {"shape": "huge"}, "no llama shape 'huge'; there are micro, tiny, 1b"),
        (
            "llama",
            {"heads": 3},
            "3 heads of 2 key heads do not divide width 64; expected heads of even width, and whole groups of them",
        ),
        ("attention", {"length": 0}, "length=0: expected an integer of at least 1"),
    ],
)
def test_wrong_requests(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        zoo.build(name, **arguments)
    assert str(caught.value) == message


def test_description_lists_arguments() -> None:
    assert zoo.describe("basic").startswith("basic(dim=32, depth=2, batch=4): matmul + bias + relu blocks")
