"""Powers of two that values are multiplied by become part of the parameters that the values are made of.

Attention multiplies its scores by the root of the width of a head, which is a power of two for widths of 16, 64 and
256. The linear that makes the queries can do that: its weights and bias are scaled once, when compiling. That rounds
nothing, since no element falls below the smallest normal number (`scaled_values` says what is followed how).

A parameter is scaled only where all that read it, in all entry points, want that: it is never stored twice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor

from atalla_mlir.frontend.capture import Captured
from atalla_mlir.frontend.scaled_values import ScaledConstant, scaled_constants
from atalla_mlir.frontend.scales import divided_operand, scaled_operand

aten = torch.ops.aten

MIN_FACTOR = 2.0**-32
FLOAT32_ROUNDING = 2.0**-22
"""Exporters to ONNX write the root of a scale on both operands: of its square this much may be missing."""


@dataclass(frozen=True, eq=False)
class _Fold:
    """A multiplication `link` of `operand` by `factor`, and the constants that take its place."""

    link: fx.Node
    operand: fx.Node
    factor: float
    constants: tuple[ScaledConstant, ...]

    def reads(self, name: str) -> bool:
        return any(scaled.constant.name == name for scaled in self.constants)


def fold_scales(captures: Sequence[Captured]) -> list[Captured]:
    """`captures` with scales folded; equal names of parameters mean equal contents. Graphs change in place."""
    folds = _agreed(captures, [fold for captured in captures for fold in _folds(captured)])
    scaled: dict[str, tuple[str, Tensor]] = {}
    taken = {node.name for captured in captures for node in captured.graph.nodes}
    values = {name: value for captured in captures for name, value in captured.parameters.items()}
    for fold in folds:
        for part in fold.constants:
            name = part.constant.name
            if name not in scaled:
                scaled[name] = (_new_name(name, taken), _scaled(values[name], part.elements, fold.factor))
    for fold in folds:
        _remove(fold)
    return [_with_parameters(captured, scaled) for captured in captures]


def _folds(captured: Captured) -> Iterator[_Fold]:
    """The scales of a graph that constants can take over; those without values, as when ExecuTorch asks, cannot."""

    def is_constant(node: fx.Node) -> bool:
        value = captured.parameters.get(node.name) if node.op == "placeholder" else None
        return value is not None and not isinstance(value, FakeTensor)

    claimed: set[tuple[fx.Node, fx.Node]] = set()
    for link in captured.graph.nodes:
        scale = _scale(link, captured.parameters)
        if scale is None:
            continue
        operand, factor = scale
        constants = scaled_constants(operand, link, is_constant) or ()
        uses = {(scaled.reader, scaled.constant) for scaled in constants}
        values = [(captured.parameters[scaled.constant.name], scaled.elements) for scaled in constants]
        if uses and not uses & claimed and all(_is_exact(value, elements, factor) for value, elements in values):
            claimed |= uses
            yield _Fold(link, operand, factor, constants)


def _scale(link: fx.Node, values: Mapping[str, Tensor]) -> tuple[fx.Node, float] | None:
    """What `link` multiplies by what power of two below one, of a number that is one but for its own rounding."""
    found = scaled_operand(link, values) or divided_operand(link, values)
    if found is None:
        return None
    operand, factor = found
    before, after = operand.meta["val"], link.meta["val"]
    if before.shape != after.shape or before.dtype != after.dtype or not before.is_floating_point():
        return None
    if not MIN_FACTOR <= factor < 1:
        return None
    nearest = 2.0 ** round(math.log2(factor))
    return (operand, nearest) if nearest < 1 and abs(factor / nearest - 1) < FLOAT32_ROUNDING else None


def _is_exact(value: Tensor, elements: Tensor, factor: float) -> bool:
    """Whether no element that is scaled becomes smaller than the smallest normal number, of its type or of BF16."""
    smallest = max(torch.finfo(value.dtype).smallest_normal, torch.finfo(torch.bfloat16).smallest_normal)
    sizes = value.abs()
    if bool(sizes.amin() >= smallest / factor):  # most parameters have no zeros
        return True
    return not bool(((sizes != 0) & (sizes < smallest / factor) & elements).any())


def _agreed(captures: Sequence[Captured], folds: Sequence[_Fold]) -> list[_Fold]:
    """Those of `folds` whose constants everybody who reads them wants scaled alike."""
    readers: dict[str, int] = {}
    for captured in captures:
        for node in captured.graph.nodes:
            if node.op == "placeholder" and node.name in captured.parameters:
                readers[node.name] = readers.get(node.name, 0) + len(node.users)
    agreed = list(folds)
    while True:
        refused = {name for name, uses in _uses(agreed).items() if len(uses) < readers[name] or not _are_alike(uses)}
        if not refused:
            return agreed
        agreed = [fold for fold in agreed if not any(map(fold.reads, refused))]


def _uses(folds: Sequence[_Fold]) -> dict[str, list[tuple[float, Tensor]]]:
    """Factor and scaled elements for each reader of each constant."""
    found: dict[str, list[tuple[float, Tensor]]] = {}
    for fold in folds:
        for scaled in fold.constants:
            found.setdefault(scaled.constant.name, []).append((fold.factor, scaled.elements))
    return found


def _are_alike(uses: Sequence[tuple[float, Tensor]]) -> bool:
    factor, elements = uses[0]
    return all(f == factor and torch.equal(*torch.broadcast_tensors(e, elements)) for f, e in uses[1:])


def _scaled(value: Tensor, elements: Tensor, factor: float) -> Tensor:
    return torch.where(elements, value * factor, value)


def _new_name(name: str, taken: set[str]) -> str:
    found, number = f"{name}_scaled", 1
    while found in taken:
        found, number = f"{name}_scaled_{number}", number + 1
    taken.add(found)
    return found


def _remove(fold: _Fold) -> None:
    """Let readers of the product with the factor read what was multiplied; a result of the model keeps its name."""
    link, graph = fold.link, fold.link.graph
    name, is_returned = link.name, any(user.op == "output" for user in link.users)
    others = [node for node in link.all_input_nodes if node is not fold.operand]
    link.replace_all_uses_with(fold.operand)
    graph.erase_node(link)
    for node in others:
        if not node.users and node.target is aten.full.default:
            graph.erase_node(node)
    if is_returned:
        fold.operand.name = name


def _with_parameters(captured: Captured, scaled: Mapping[str, tuple[str, Tensor]]) -> Captured:
    """`captured` with other names and values for the parameters that are scaled; they are constants from now on."""
    own = {name: new for name, new in scaled.items() if name in captured.parameters}
    if not own:
        return captured
    for node in captured.graph.nodes:
        if node.op == "placeholder" and node.name in own:
            node.name = own[node.name][0]
    parameters = dict(own.get(name, (name, value)) for name, value in captured.parameters.items())
    constants = (captured.constants - own.keys()) | {name for name, _ in own.values()}
    targets = {name: target for name, target in captured.targets.items() if name not in own}
    return dataclasses.replace(captured, parameters=parameters, constants=constants, targets=targets)
