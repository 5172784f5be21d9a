"""Entry points: plans for several shapes and methods whose equal parameters have equal names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from atalla_mlir.compiler import compile_model
from atalla_mlir.errors import BadInputError, UnsupportedError
from atalla_mlir.frontend.capture import capture
from atalla_mlir.frontend.entry_points import EntryPoint, plan_entries, requested_entries, share_parameters
from atalla_mlir.frontend.exported import load_exported, specialised


class Two(nn.Module):
    """Two methods over one weight; each has a constant of the same name and other contents."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])

    def other(self, x: Tensor) -> Tensor:
        return self.layer(x) * torch.tensor([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])


def test_equal_contents_have_one_name_and_others_do_not() -> None:
    model, x = Two(), torch.randn(2, 6)
    first, second = share_parameters([capture(model, (x,)), capture(model, (x,), method="other")])
    shared = set(first.parameters) & set(second.parameters)
    assert all(torch.equal(first.parameters[name], second.parameters[name]) for name in shared)
    assert {"p_layer_bias"} < shared
    own = [set(c.parameters) - shared for c in (first, second)]
    assert [c.parameters[name].tolist() for c, (name,) in zip((first, second), own, strict=True)] == [
        [1, 2, 3, 4, 5, 6],
        [6, 5, 4, 3, 2, 1],
    ]
    for captured in (first, second):
        placeholders = {node.name for node in captured.graph.nodes if node.op == "placeholder"}
        assert placeholders == {*captured.inputs, *captured.parameters}
        assert set(captured.targets) <= set(captured.parameters)


def test_a_parameter_is_not_called_like_an_operation_of_another_entry_point() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.t()

        def other(self, x: Tensor) -> Tensor:
            return x.t() @ x

    model = Named()
    plans = plan_entries(model, {"a": (torch.randn(2, 4),), "b": EntryPoint((torch.randn(2, 4),), method="other")})
    parameters = {name for named in plans for name in named.plan.captured.parameters}
    computed = {n.name for named in plans for n in named.plan.captured.graph.nodes if n.op == "call_function"}
    assert parameters
    assert not parameters & computed


def test_parameters_and_kernels_are_stored_once() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
    alone = compile_model(model, (torch.randn(4, 64),))
    both = compile_model(model, entries={"a": (torch.randn(4, 64),), "b": (torch.randn(4, 64),)})
    size = [sum(len(s.data) for s in loadable.data_segments if s.address >= 0x1000) for loadable in (alone, both)]
    assert size[0] == size[1] > 2 * 64 * 64
    assert [entry.name for entry in both.entries] == ["a", "b"]
    assert len({row["function"] for row in both.meta["kernels"]}) == 1


def test_forward_is_what_it_was_after_a_method_was_captured() -> None:
    model = Two()
    plan_entries(model, {"b": EntryPoint((torch.randn(2, 6),), method="other")})
    assert "forward" not in model.__dict__
    model.forward = model.other
    plan_entries(model, {"b": EntryPoint((torch.randn(2, 6),), method="other")})
    assert model.__dict__["forward"] == model.other


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "there are no entry points to compile"),
        ({"a b": ()}, "'a b' cannot be the name of an entry point; use letters, digits and underscores"),
        ({"k0_mm": ()}, "'k0_mm' cannot be the name of an entry point; use letters, digits and underscores"),
        (
            {"a": torch.ones(2)},
            "entry point 'a': example inputs must be a tuple or an EntryPoint, got Tensor; write (x,) for one input",
        ),
        ({"a": EntryPoint(method="missing")}, "Two has no method 'missing'"),
    ],
)
def test_wrong_entries(entries: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError) as error:
        plan_entries(Two(), entries)  # pyright: ignore[reportArgumentType]
    assert str(error.value) == message


def test_segments_of_two_entry_points_must_not_share_a_name() -> None:
    class Split(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sort(x * 2, dim=-1).values + 1

    x = (torch.randn(2, 3),)
    with pytest.raises(BadInputError) as error:
        plan_entries(Split(), {"a": x, "a_1": x})
    assert str(error.value) == "entry points 'a' and 'a_1' both make 'a_1'; rename one"


def test_strict_holds_for_every_entry_point() -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1

        def other(self, x: Tensor) -> Tensor:
            return torch.sort(x, dim=-1).values

    x = (torch.randn(2, 3),)
    with pytest.raises(UnsupportedError, match="1 operation would run on the host"):
        plan_entries(Sorted(), {"a": x, "b": EntryPoint(x, method="other")}, strict=True)


def test_arguments_come_in_one_way() -> None:
    with pytest.raises(BadInputError, match="either as args and kwargs or within entries"):
        requested_entries((torch.ones(1),), None, {"a": ()})


def dynamic() -> torch.export.ExportedProgram:
    return torch.export.export(nn.Linear(2, 2), (torch.ones(3, 2),), dynamic_shapes={"input": {0: Dim("batch")}})


def test_dynamic_programs_are_specialised() -> None:
    for rows in (1, 5):
        captured = capture(dynamic(), (torch.ones(rows, 2),))
        shapes = [tuple(n.meta["val"].shape) for n in captured.graph.nodes if n.name in captured.inputs]
        assert shapes == [(rows, 2)]


def test_inputs_that_the_exported_program_does_not_take() -> None:
    fixed = torch.export.export(nn.Linear(2, 2), (torch.ones(3, 2),))
    assert specialised(fixed, (torch.zeros(3, 2),), {}) is fixed
    with pytest.raises(BadInputError, match=r"^input 'input' was exported as float32\[3, 2\], got float32\[4, 2\]; "):
        specialised(fixed, (torch.ones(4, 2),), {})
    with pytest.raises(BadInputError, match=r"^the exported program takes 1 tensors, got 2$"):
        specialised(fixed, (torch.ones(3, 2), torch.ones(3, 2)), {})
    with pytest.raises(BadInputError, match=r"^the exported program does not take these inputs: "):
        specialised(dynamic(), (torch.ones(4, 3),), {})
    with pytest.raises(BadInputError, match=r"^an exported program has no method 'other'; "):
        capture(fixed, (), method="other")


def test_files_that_are_no_exported_programs(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    with pytest.raises(BadInputError) as missing:
        load_exported(path)
    assert str(missing.value) == f"{path}: no such file"
    path.write_bytes(b"something")
    with pytest.raises(BadInputError, match="m.pt2: not an exported program: "):
        load_exported(path)
