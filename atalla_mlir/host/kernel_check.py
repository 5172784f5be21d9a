"""Judging kernels: what a kernel read must be what was stored before, what it stores must lie within its bound.

Together the two make a proof by induction over the run: every value that a name stands for was checked where it was
stored, and every kernel read it as it was stored. A kernel is judged on what it really read, so one wrong kernel does
not make those after it look wrong.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, fx

from atalla_mlir.errors import InternalError
from atalla_mlir.frontend.arrays import to_numpy
from atalla_mlir.frontend.capture import Captured
from atalla_mlir.host import error_bound as eb
from atalla_mlir.host.equal_operations import first_of_equal, shared
from atalla_mlir.host.error_bound import Array, Bounded
from atalla_mlir.host.oracle import NO_PLANS, Plans, cone, evaluate


@dataclass(frozen=True)
class Wrong:
    """The first element, in row-major order, that breaks its bound."""

    value: str
    """Name of the tensor in the captured graph."""
    indices: tuple[int, ...]
    stored: float
    expected: float
    error_bound: float
    num_wrong: int
    num_elements: int

    def __str__(self) -> str:
        where = f"{self.value}[{', '.join(map(str, self.indices))}]" if self.indices else self.value
        return (
            f"{where} is {self.stored:.8g}, expected {self.expected:.8g} within {self.error_bound:.3g} "
            f"({self.num_wrong} of {self.num_elements} elements are wrong)"
        )


@dataclass(frozen=True)
class Comparison:
    """A tensor of the device beside its reference."""

    value: str
    max_error: float
    """Largest difference, over elements that have a bound."""
    error_bound: float
    """Largest bound, over elements that have one."""
    worst_ratio: float
    """Largest difference in units of its element's bound; above 1 is wrong."""
    num_unbounded: int
    """Elements about which the analysis knows nothing; they are not compared."""
    wrong: Wrong | None

    @property
    def ok(self) -> bool:
        return self.wrong is None


def compare(name: str, stored: Array, reference: Bounded) -> Comparison:
    """Compare `stored` with `reference` element by element."""
    if stored.shape != reference.shape:
        raise InternalError(f"'{name}' has shape {stored.shape} on the device and {reference.shape} in the graph")
    wrong = eb.outside(stored, reference)
    bounded = np.isfinite(reference.error)
    difference = _differences(stored, reference)[bounded]
    error = reference.error[bounded]
    with np.errstate(all="ignore"):
        ratio = np.where(difference == 0, 0.0, difference / error)
    return Comparison(
        value=name,
        max_error=float(difference.max(initial=0.0)),
        error_bound=float(error.max(initial=0.0)),
        worst_ratio=float(ratio.max(initial=0.0)),
        num_unbounded=int(bounded.size - np.count_nonzero(bounded)),
        wrong=_first_wrong(name, stored, reference, wrong) if wrong.any() else None,
    )


def _differences(stored: Array, reference: Bounded) -> Array:
    """Magnitudes of the differences; equal infinities, and NaN beside NaN, differ by nothing."""
    with np.errstate(all="ignore"):
        difference = np.abs(stored - reference.value)
    same = (stored == reference.value) | (np.isnan(stored) & np.isnan(reference.value))
    return np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))


def _first_wrong(name: str, stored: Array, reference: Bounded, wrong: Any) -> Wrong:
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
    return Wrong(
        value=name,
        indices=at,
        stored=float(stored[at]),
        expected=float(reference.value[at]),
        error_bound=float(reference.error[at]),
        num_wrong=int(np.count_nonzero(wrong)),
        num_elements=int(wrong.size),
    )


class Judge:
    """What is known about the values of one run, by name, and the oracle for what comes next."""

    def __init__(self, captured: Captured) -> None:
        self._captured = captured
        self._nodes = {node.name: node for node in captured.graph.nodes if node.op != "output"}
        self._known: dict[str, Array] = {}
        self._first = first_of_equal(captured.graph)
        self._equal: dict[str, list[str]] = defaultdict(list)
        for name, first in self._first.items():
            self._equal[first].append(name)
        self._plans = NO_PLANS
        """What all kernels so far recorded."""

    def __contains__(self, name: str) -> bool:
        """Whether `name` is a value of the captured graph."""
        return name in self._nodes

    def has_shape(self, name: str, shape: Sequence[int]) -> bool:
        """Whether a tensor of `shape` holds the value called `name`; extents of 1 are written or left out.

        What a kernel stored may be in memory in the shape between the two steps of a reshape (`as_in_graph`).
        """
        if name in self and name not in self._captured.parameters:
            return math.prod(self._shape(name)) == math.prod(shape)
        return name in self and _without_ones(self._shape(name)) == _without_ones(shape)

    def as_in_graph(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Tensors from the device in the shapes that their values have in the graph, element by element in order.

        A reshape is lowered in two steps of one name, and a kernel may store what lies between them.
        """
        for name, array in tensors.items():
            if name not in self or array.size != math.prod(self._shape(name)):
                wanted = self._shape(name) if name in self else "no such value"
                raise InternalError(f"'{name}' has shape {array.shape} on the device, in the graph {wanted}")
        return {name: array.reshape(self._shape(name)) for name, array in tensors.items()}

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._nodes[name].meta["val"].shape)

    def supply(self, name: str, tensor: Tensor) -> None:
        """A value that the host has: an input of the model or the result of a host operation."""
        self._known[name] = held(tensor)

    def value(self, name: str) -> Array:
        """The value called `name`, as the device last stored it or as it was supplied."""
        if name not in self._known and name in self._captured.parameters:
            self._known[name] = held(self._captured.parameters[name])
        if name not in self._known:
            raise InternalError(f"no kernel has stored '{name}'")
        return self._known[name]

    def check_reads(self, inputs: Mapping[str, Array]) -> list[Comparison]:
        """Compare what a kernel finds in memory with what the values called so are known to be.

        The kernel is then judged on what it found, except for parameters, for which the model's values count.
        """
        found: list[Comparison] = []
        for name, stored in inputs.items():
            found.append(compare(name, stored, self.expected(name)))
            if name not in self._captured.parameters:
                self._learn(name, stored)
        return found

    def check_stores(
        self, inputs: Iterable[str], outputs: Mapping[str, Array], outside: Iterable[str], plans: Plans
    ) -> list[Comparison]:
        """Compare what a kernel stored with its operations on what it read.

        `outside` are values from before the kernel's entry point, which it may read without saying so.
        """
        nodes = [self._nodes[name] for name in outputs]
        self._plans = plans.after(self._plans)
        references = self._evaluate(nodes, {*inputs, *outside}, shared(self._plans, self._first))
        found = [compare(name, stored, references[name]) for name, stored in outputs.items()]
        for name, stored in outputs.items():
            self._learn(name, stored)
        return found

    def _learn(self, name: str, stored: Array) -> None:
        """Note a value, and what it is a padded copy of when that has not been stored by itself."""
        self._known.update(dict.fromkeys(self._equal[self._first.get(name, name)], stored))
        self._known[name] = stored
        node = self._nodes[name]
        if node.target is not torch.ops.aten.constant_pad_nd.default:
            return
        source, amounts = node.args[:2]
        assert isinstance(source, fx.Node)
        interior = _interior(stored, amounts)  # pyright: ignore[reportArgumentType]
        if interior.shape == self._shape(source.name) and source.op == "call_function":
            self._learn(source.name, interior)

    def expected(self, name: str) -> Bounded:
        """The value called `name` as far as it is known: exactly, or as a view of what is known exactly."""
        if name in self._known or name in self._captured.parameters:
            return eb.exact(self.value(name))
        return self._evaluate([self._nodes[name]], set(self._known), NO_PLANS)[name]

    def _evaluate(self, outputs: Sequence[fx.Node], known: set[str], plans: Plans) -> dict[str, Bounded]:
        nodes = cone(outputs, known)
        computed = {node.name for node in nodes}
        read = {n.name for node in nodes for n in node.all_input_nodes} | {node.name for node in outputs}
        env = {name: self.value(name) for name in sorted(read - computed)}
        results = evaluate(nodes, env, plans)
        return {node.name: results.get(node.name) or eb.exact(env[node.name]) for node in outputs}


def _interior(padded: Array, amounts: Sequence[int]) -> Array:
    """What padding by `amounts` (last dimension first, as PyTorch has it) put its frame around."""
    first = padded.ndim - len(amounts) // 2
    sides = zip(padded.shape[first:], reversed(amounts[::2]), reversed(amounts[1::2]), strict=True)
    ranges = [slice(max(0, low), extent - max(0, high)) for extent, low, high in sides]
    return padded[(..., *ranges)]


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [extent for extent in shape if extent != 1]


def held(tensor: Tensor) -> Array:
    """A tensor's values as the device holds them: floating values rounded to BF16."""
    if tensor.is_floating_point():
        return to_numpy(tensor).astype(ml_dtypes.bfloat16).astype(np.float64)
    return to_numpy(tensor).astype(np.float64)
