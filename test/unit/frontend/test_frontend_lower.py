"""Import: one function per device segment, named values, named locations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from atalla_mlir import zoo
from atalla_mlir.frontend.lower import import_plan
from atalla_mlir.frontend.partition import plan_model


class Split(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.second = nn.Linear(3, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.lgamma(self.first(x)))


def test_arguments_and_results_carry_names_and_kinds() -> None:
    module = import_plan(plan_model(Split(), (torch.ones(5, 4),)))
    functions = [op.operation for op in module.body.operations]
    names = [str(op.attributes["sym_name"]) for op in functions]
    assert names == ['"main"', '"main_1"']
    assert str(functions[0].attributes["arg_attrs"]) == (
        '[{atalla.kind = "input", atalla.name = "x"}, {atalla.kind = "constant", atalla.name = "permute"}, '
        '{atalla.kind = "parameter", atalla.name = "p_first_bias"}]'
    )
    assert str(functions[1].attributes["res_attrs"]) == '[{atalla.name = "mm_1"}]'


def test_locations_are_node_names_around_relative_lines() -> None:
    module, inputs = zoo.build("trace")
    text = import_plan(plan_model(module, inputs)).operation.get_asm(enable_debug_info=True)
    assert 'loc("relu"(' in text
    assert 'loc("attention.py":' in text
    assert 'loc("/' not in text


def test_import_is_deterministic() -> None:
    def text() -> str:
        module, inputs = zoo.build("attention")
        return import_plan(plan_model(module, inputs)).operation.get_asm(enable_debug_info=True)

    assert text() == text()
