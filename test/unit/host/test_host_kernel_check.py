"""The judge follows values by name from store to read; comparisons name the first wrong element."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.errors import InternalError
from atalla_mlir.frontend.capture import capture
from atalla_mlir.host import error_bound as eb
from atalla_mlir.host.kernel_check import Judge, compare
from atalla_mlir.host.oracle import NO_PLANS
from atalla_mlir.testing import emulation


class Layer(nn.Module):
    """A product with a transposed view, a bias and an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 40))
        self.bias = nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x.transpose(0, 1) @ self.weight.transpose(0, 1) + self.bias)


X = torch.randn(40, 5)


class Machine:
    """A captured layer and what a right device would store for its values."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        model = Layer()
        self.captured = capture(model, (X,))
        self.names = {str(node.target): node.name for node in self.captured.graph.nodes if node.op == "call_function"}
        self.mm, self.add, self.relu = (self.names[f"aten.{op}"] for op in ("mm.default", "add.Tensor", "relu.default"))
        self.weight, self.bias = (emulation.bf16(p.detach().numpy()) for p in (model.weight, model.bias))
        self.x = emulation.bf16(X.numpy())
        self.judge = Judge(self.captured)
        self.judge.supply(self.captured.inputs[0], X)

    def product(self) -> np.ndarray:
        return emulation.gemm(self.x.T, self.weight.T, block=32).astype(np.float64)

    def result(self, product: np.ndarray) -> np.ndarray:
        return np.maximum(emulation.bf16(product.astype(np.float32) + self.bias), 0).astype(np.float64)


def test_a_right_run_is_accepted_kernel_by_kernel() -> None:
    machine = Machine()
    judge, product = machine.judge, machine.product()
    (read,) = judge.check_reads({machine.captured.inputs[0]: machine.x.astype(np.float64)})
    assert read.ok
    (stored,) = judge.check_stores(machine.captured.inputs, {machine.mm: product}, [], NO_PLANS)
    assert stored.ok
    assert 0 < stored.worst_ratio <= 1
    assert 0 < stored.max_error <= stored.error_bound
    assert all(check.ok for check in judge.check_reads({machine.mm: product}))
    (stored,) = judge.check_stores([machine.mm], {machine.relu: machine.result(product)}, [], NO_PLANS)
    assert stored.ok
    np.testing.assert_array_equal(judge.value(machine.relu), machine.result(product))


def test_a_kernel_is_judged_on_what_it_read() -> None:
    machine = Machine()
    wrong = machine.product() + 1
    (stored,) = machine.judge.check_stores(machine.captured.inputs, {machine.mm: wrong}, [], NO_PLANS)
    assert not stored.ok
    (stored,) = machine.judge.check_stores([machine.mm], {machine.relu: machine.result(wrong)}, [], NO_PLANS)
    assert stored.ok


def test_a_value_that_changed_between_two_kernels_is_found() -> None:
    machine = Machine()
    product = machine.product()
    machine.judge.check_stores(machine.captured.inputs, {machine.mm: product}, [], NO_PLANS)
    changed = product.copy()
    changed[2, 3] = np.nextafter(changed[2, 3], 9)
    (read,) = machine.judge.check_reads({machine.mm: changed})
    assert read.wrong is not None
    assert read.wrong.indices == (2, 3)


def test_a_view_that_no_kernel_stored_is_derived_from_what_one_stored() -> None:
    machine = Machine()
    view = next(
        n.name for n in machine.captured.graph.nodes if n.op == "call_function" and n.meta["val"].shape == (5, 40)
    )
    assert machine.judge.check_reads({view: machine.x.T.astype(np.float64)})[0].ok
    assert not machine.judge.check_reads({view: np.roll(machine.x.T, 1, 0).astype(np.float64)})[0].ok


def test_a_wrongly_packed_parameter_makes_its_kernel_wrong() -> None:
    machine = Machine()
    machine.weight = machine.weight[[1, 0, 2, 3, 4, 5]]
    (stored,) = machine.judge.check_stores(machine.captured.inputs, {machine.mm: machine.product()}, [], NO_PLANS)
    assert stored.wrong is not None
    assert stored.wrong.indices[1] in (0, 1)


def test_a_dropped_bias_is_found_behind_the_activation() -> None:
    machine = Machine()
    machine.bias = np.zeros_like(machine.bias)
    result = machine.result(machine.product())
    (stored,) = machine.judge.check_stores(machine.captured.inputs, {machine.relu: result}, [], NO_PLANS)
    assert not stored.ok


def test_values_that_nothing_stored_are_an_error() -> None:
    machine = Machine()
    with pytest.raises(InternalError, match=f"^no kernel has stored '{machine.mm}'$"):
        machine.judge.value(machine.mm)


def test_comparisons_name_the_first_wrong_element() -> None:
    reference = eb.Bounded(np.arange(6.0).reshape(2, 3), np.full((2, 3), 0.5))
    stored = np.array([[0.0, 1.25, 2.0], [3.0, 5.0, np.nan]])
    found = compare("y", stored, reference)
    assert str(found.wrong) == "y[1, 1] is 5, expected 4 within 0.5 (2 of 6 elements are wrong)"
    assert found.max_error == np.inf
    assert not found.ok


def test_elements_without_a_bound_are_counted_and_not_compared() -> None:
    reference = eb.Bounded(np.zeros(3), np.array([np.inf, 1.0, 1.0]))
    found = compare("y", np.array([100.0, 0.5, 0.25]), reference)
    assert found.ok
    assert (found.num_unbounded, found.max_error, found.error_bound, found.worst_ratio) == (1, 0.5, 1.0, 0.5)


def test_scalars_and_empty_tensors_compare() -> None:
    assert compare("s", np.array(2.0), eb.exact(2.0)).ok
    assert str(compare("s", np.array(3.0), eb.exact(2.0)).wrong).startswith("s is 3, expected 2 within 0 (1 of 1")
    assert compare("e", np.zeros((0, 3)), eb.exact(np.zeros((0, 3)))).ok


def test_shapes_must_agree() -> None:
    with pytest.raises(InternalError, match=r"^'y' has shape \(2,\) on the device and \(3,\) in the graph$"):
        compare("y", np.zeros(2), eb.exact(np.zeros(3)))
