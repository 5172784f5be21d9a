"""Capture: names, constants, sources, and the errors of models that cannot be captured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.errors import BadInputError, UnsupportedError
from atalla_mlir.frontend.capture import OutputConstant, capture


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("offsets", torch.arange(3.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x)) + self.offsets


def test_names_of_inputs_parameters_and_outputs() -> None:
    captured = capture(Model(), (torch.ones(2, 4),))
    assert captured.inputs == ("x",)
    assert captured.targets == {"p_linear_bias": "linear.bias", "b_offsets": "offsets"}
    assert captured.outputs == (captured.graph.output_node().args[0][0].name,)  # pyright: ignore


def test_what_depends_on_parameters_only_is_computed_once() -> None:
    model = Model()
    model.norm.running_var = torch.tensor([1.0, 2.0, 3.0])
    captured = capture(model, (torch.ones(2, 4),))
    computed = {name: captured.parameters[name] for name in captured.constants}
    scale = (model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()).detach()
    assert any(value.shape == (4, 3) and torch.equal(value, model.linear.weight.t()) for value in computed.values())
    assert any(value.shape == (3,) and torch.allclose(value, scale) for value in computed.values())
    targets = [str(node.target) for node in captured.graph.nodes if node.op == "call_function"]
    assert targets == ["aten.mm.default", "aten.add.Tensor", "aten.mul.Tensor", "aten.add.Tensor", "aten.add.Tensor"]


def test_folded_views_share_the_weights_memory() -> None:
    model = nn.Linear(4, 3)
    captured = capture(model, (torch.ones(2, 4),))
    (weight,) = (captured.parameters[name] for name in captured.constants)
    assert weight.data_ptr() == model.weight.data_ptr()


def test_constants_that_are_larger_than_their_making_stay_operations() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.full((64, 64), 2.0) * torch.arange(64.0)

    captured = capture(Masked(), (torch.ones(64, 64),))
    assert {tuple(value.shape) for value in captured.parameters.values()} == {(64, 64)}

    class Filled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.full((64, 64), 2.0)

    assert not capture(Filled(), (torch.ones(64, 64),)).parameters


def test_operations_remember_the_models_operation_and_line() -> None:
    captured = capture(Model(), (torch.ones(2, 4),))
    line = next(i for i, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "self.norm(self.lin" in text)
    assert captured.originals["mm"] == "aten.linear.default"
    assert captured.sources["mm"] == f"{Path(__file__).name}:{line}"


def test_capture_is_in_eval_mode_and_restores_the_mode() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    model[0].eval()
    model[1].train()
    captured = capture(model, (torch.ones(2, 4),))
    assert not any("dropout" in str(node.target) or "rand" in str(node.target) for node in captured.graph.nodes)
    assert not model[0].training
    assert model[1].training


def test_python_values_in_arguments_and_results() -> None:
    class Flagged(nn.Module):
        def forward(self, x: Tensor, double: bool) -> tuple[Tensor, int]:
            return (x * 2 if double else x), 3

    captured = capture(Flagged(), (torch.ones(2), True))
    assert captured.inputs == ("x",)
    assert dict(captured.flat_constants) == {1: True}
    assert captured.outputs[1] == OutputConstant(3)


def test_model_that_decides_on_data(capsys: pytest.CaptureFixture[str]) -> None:
    class Decides(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError) as caught:
        capture(Decides(), (torch.ones(2),))
    assert str(caught.value).startswith("Decides decides on values of its tensors, which are not known when compiling")
    assert str(caught.value).endswith("use torch.where or move the decision out of the model")
    assert capsys.readouterr() == ("", "")


def test_a_function_is_not_a_model() -> None:
    with pytest.raises(BadInputError, match=r"^expected a torch.nn.Module or an ExportedProgram, got function$"):
        capture(lambda x: x, (torch.ones(2),))  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInputError, match=r"^expected a torch.nn.Module .* got the class Linear$"):
        capture(nn.Linear, (torch.ones(2),))  # pyright: ignore[reportArgumentType]


def test_what_a_model_prints_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    class Talks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sys.stderr.write("tracing\n")
            return x + 1

    capture(Talks(), (torch.ones(2),))
    assert capsys.readouterr().err == "tracing\n"


def test_example_inputs_that_do_not_fit() -> None:
    with pytest.raises(BadInputError, match=r"^the example inputs do not fit Linear: "):
        capture(nn.Linear(2, 2), ())


def test_example_inputs_of_a_wrong_shape() -> None:
    with pytest.raises(UnsupportedError, match=r"^torch\.export cannot capture Linear: "):
        capture(nn.Linear(2, 2), (torch.ones(3),))


def test_control_flow() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))

    with pytest.raises(
        UnsupportedError, match=r"^cond at test_frontend_capture\.py:\d+: regions and control flow inside"
    ):
        capture(Branches(), (torch.ones(2),))


def test_sizes_that_depend_on_data() -> None:
    class Chosen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            chosen = x[x > 0]
            return chosen.new_ones(chosen.shape[0] * 2)

    with pytest.raises(UnsupportedError, match=r"^aten\.index\.Tensor at .*: how many elements its result has"):
        capture(Chosen(), (torch.ones(2),))


def test_model_that_changes_its_state() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            count = self.get_buffer("count")
            count.add_(1)
            return x + count

    captured = capture(Counter(), (torch.zeros(1),))
    (state,) = captured.state.values()
    assert (list(captured.state), state.target, state.updated) == (["b_count"], "count", "add")
    assert "b_count" not in captured.parameters
    assert captured.inputs == ("x",)


def test_operations_in_place_beside_views() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = (x + 1).view(2, 6)
            y[:, :3].relu_()
            return y.view(3, 4)

    captured = capture(InPlace(), (torch.randn(3, 4),))
    targets = {str(node.target) for node in captured.graph.nodes if node.op == "call_function"}
    assert "aten.relu.default" in targets and not any("_." in target for target in targets), targets


def test_dynamic_shapes() -> None:
    exported = torch.export.export(
        nn.Linear(2, 2), (torch.ones(3, 2),), dynamic_shapes={"input": {0: torch.export.Dim("batch")}}
    )
    with pytest.raises(
        UnsupportedError, match=r"^input 'input' has the dynamic shape \[s\d+, 2\]; give example inputs"
    ):
        capture(exported, ())


@pytest.mark.parametrize("nested", [{"a": torch.ones(2), "b": [torch.ones(2)]}])
def test_nested_arguments(nested: Any) -> None:
    class Nested(nn.Module):
        def forward(self, values: Any) -> Any:
            return {"sum": values["a"] + values["b"][0]}

    captured = capture(Nested(), (nested,))
    assert captured.inputs == ("values_a", "values_b_0")
