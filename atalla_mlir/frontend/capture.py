"""Capture: a PyTorch model becomes one flat graph of primitive ATen operations with named values.

The names of the graph's nodes are the names by which everything later speaks of values: coverage, kernels, verify.
"""

from __future__ import annotations

import contextlib
import operator
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import HigherOrderOperator, OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from atalla_mlir.errors import AtallaError, BadInputError, UnsupportedError
from atalla_mlir.frontend import constants, rewrites
from atalla_mlir.frontend.decompositions import table
from atalla_mlir.frontend.exported import is_static, reshaped, specialised
from atalla_mlir.frontend.quiet_failure import quiet_failure
from atalla_mlir.frontend.source import source_lines

Model = nn.Module | ExportedProgram
"""What can be captured."""


@dataclass(frozen=True)
class State:
    """A buffer of the module that stays in the device's memory and changes between calls."""

    target: str
    """Where the module keeps it."""
    initial: Tensor
    """Its value before the first call."""
    updated: str | None
    """Name of the value that it has after a call; None when the call only reads it."""


@dataclass(frozen=True)
class Captured:
    """A model as a graph: what it reads, what it computes, what it returns."""

    graph: fx.Graph
    """Placeholders, then one primitive ATen operation per node; every node carries its fake tensor in meta['val']."""
    inputs: tuple[str, ...]
    """Names of the tensors that a caller passes, in the order of the flattened arguments."""
    parameters: Mapping[str, Tensor]
    """Node name -> value of each parameter, buffer and constant that the graph reads."""
    constants: frozenset[str]
    """Those of `parameters` that were computed here from others, or written in the model's code."""
    targets: Mapping[str, str]
    """Node name -> where the module keeps it ("fc1.weight")."""
    outputs: tuple[str | OutputConstant, ...]
    """Flat outputs: the name of a value, or a Python constant that the model returns."""
    in_spec: pytree.TreeSpec
    """How positional and keyword arguments flatten."""
    out_spec: pytree.TreeSpec
    flat_constants: Mapping[int, object]
    """Position among the flattened arguments -> the Python constant that the capture was made with."""
    originals: Mapping[str, str]
    """Node name -> the ATen operation of the model that it was made from ("aten.softmax.int")."""
    origins: Mapping[str, str]
    """Node name -> the node of the exported program, before decomposition, that it was made from."""
    sources: Mapping[str, str]
    """Node name -> `file.py:line` of the model's code, relative to the model's root."""
    state: Mapping[str, State] = field(default_factory=dict[str, State])
    """Placeholder name -> buffer that this or another entry point changes."""


@dataclass(frozen=True)
class OutputConstant:
    """A flat output that is a Python value and not a tensor."""

    value: int | float | bool | str | None


def capture(
    model: Model,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    method: str = "forward",
    resident: frozenset[str] = frozenset(),
) -> Captured:
    """Export `model` for the shapes of `args` and reduce it to primitive operations; a module is taken in eval mode.

    `method` is what is called of a module. An exported program with dynamic shapes is specialised for `args`. Buffers
    that the call changes become state, and so do those in `resident`, which other calls change.
    """
    with warnings.catch_warnings():
        # PyTorch warns about its own use of pytree when it copies a program
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        return _capture(model, args, kwargs or {}, method, resident)


def _capture(
    model: Model, args: tuple[Any, ...], kwargs: Mapping[str, Any], method: str, resident: frozenset[str]
) -> Captured:
    if not isinstance(model, (nn.Module, ExportedProgram)):
        got = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise BadInputError(f"expected a torch.nn.Module or an ExportedProgram, got {got}")
    if isinstance(model, ExportedProgram):
        if method != "forward":
            raise BadInputError(f"an exported program has no method '{method}'; it is forward that was exported")
        exported = specialised(model, args, kwargs)
    else:
        exported = _export(model, args, kwargs, method)
    before = {node.name: str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    try:
        exported = reshaped(exported).run_decompositions(table())
    except Exception as error:
        raise UnsupportedError(f"cannot decompose the model into primitive operations: {_first_line(error)}") from error
    return _from_exported(exported, before, resident)


def _export(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], method: str) -> ExportedProgram:
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), quiet_failure(), _as_forward(model, method):
            return torch.export.export(model, args, dict(kwargs), strict=False)
    except AtallaError:
        raise
    except Exception as error:
        raise _export_error(model, error) from error
    finally:
        for module, mode in training.items():
            module.training = mode


@contextlib.contextmanager
def _as_forward(model: nn.Module, method: str) -> Iterator[None]:
    """Let a call of `model` be a call of `method`, so that its parameters keep the names that forward gives them."""
    if method == "forward":
        yield
        return
    chosen = getattr(model, method, None)
    if not callable(chosen):
        raise BadInputError(f"{type(model).__name__} has no method '{method}'")
    before = model.__dict__.get("forward")
    model.__dict__["forward"] = chosen
    try:
        yield
    finally:
        del model.__dict__["forward"]
        if before is not None:
            model.__dict__["forward"] = before


def _export_error(model: nn.Module, error: Exception) -> UnsupportedError | BadInputError:
    name = type(model).__name__
    text = _first_line(error)
    kind = type(error).__name__
    if "DataDependent" in kind or "data-dependent" in text:
        return UnsupportedError(
            f"{name} decides on values of its tensors, which are not known when compiling: {text}; "
            "use torch.where or move the decision out of the model"
        )
    if isinstance(error, TypeError) and ("forward()" in text or "argument" in text):
        return BadInputError(f"the example inputs do not fit {name}: {text}")
    return UnsupportedError(f"torch.export cannot capture {name}: {kind}: {text}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _from_exported(exported: ExportedProgram, before: Mapping[str, str], resident: frozenset[str]) -> Captured:
    _refuse_foreign_calls(exported)
    signature = exported.graph_signature
    updates = _updates(exported)
    state: dict[str, State] = {}
    values: dict[str, Tensor] = {}
    targets: dict[str, str] = {}
    inputs: list[str] = []
    fixed: dict[int, object] = {}
    position = 0
    for spec in signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            if hasattr(spec.arg, "value"):
                fixed[position] = spec.arg.value  # pyright: ignore[reportAttributeAccessIssue]
            else:
                inputs.append(spec.arg.name)
            position += 1
            continue
        if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR) or spec.target is None:
            raise UnsupportedError(f"model state '{spec.target}' of kind {spec.kind.name} cannot be compiled")
        if spec.target in updates or (spec.target in resident and spec.kind is InputKind.BUFFER):
            state[spec.arg.name] = State(spec.target, _state(exported, spec.target), updates.get(spec.target))
            continue
        targets[spec.arg.name] = spec.target
        values[spec.arg.name] = _state(exported, spec.target)
    outputs = _outputs(exported)
    in_spec, out_spec = exported.call_spec.in_spec, exported.call_spec.out_spec
    if in_spec is None or out_spec is None:
        raise BadInputError("the exported program does not say how its arguments are nested; export it again")
    calls = [node for node in exported.graph.nodes if node.op == "call_function"]
    originals = {node.name: _original(node, before) for node in calls}
    first = constants.fold(exported.graph_module, values)
    folded = rewrites.rewrite(first.graph, first.values)
    literal = {spec.arg.name for spec in signature.input_specs if spec.kind is InputKind.CONSTANT_TENSOR}
    return Captured(
        graph=folded.graph,
        inputs=tuple(inputs),
        parameters=folded.values,
        constants=frozenset((first.computed | folded.computed | literal) & set(folded.values)),
        targets={name: target for name, target in targets.items() if name in folded.values},
        outputs=outputs,
        sources=source_lines(folded.graph),
        in_spec=in_spec,
        out_spec=out_spec,
        flat_constants=fixed,
        originals=originals,
        state=state,
        origins={node.name: origin for node in calls if (origin := _origin(node)) in before},
    )


def _refuse_foreign_calls(exported: ExportedProgram) -> None:
    """Everything that is called must be an operation with a schema: no nested graphs, no arithmetic on extents."""
    sources = source_lines(exported.graph)
    for node in exported.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem or isinstance(node.target, OpOverload):
            continue
        where = f" at {sources[node.name]}" if node.name in sources else ""
        if isinstance(node.target, HigherOrderOperator):
            raise UnsupportedError(f"{node.target}{where}: regions and control flow inside a model cannot be compiled")
        cause = _of_unknown_size(exported.graph)
        if cause is None:
            raise UnsupportedError(f"{node.name}{where}: arithmetic on sizes that are known only at run time")
        where = f" at {sources[cause.name]}" if cause.name in sources else ""
        raise UnsupportedError(
            f"{cause.target}{where}: how many elements its result has depends on values known only at run time; "
            "give it a fixed size, for example with torch.where"
        )


def _of_unknown_size(graph: fx.Graph) -> fx.Node | None:
    """The first operation that makes a tensor of unknown size from such of known ones."""
    for node in graph.nodes:
        tensors = [value for n in (node, *node.all_input_nodes) if isinstance(value := n.meta.get("val"), Tensor)]
        if node.op == "call_function" and tensors and not is_static(tensors[0]) and all(map(is_static, tensors[1:])):
            return node
    return None


def _state(exported: ExportedProgram, target: str) -> Tensor:
    value = exported.state_dict[target] if target in exported.state_dict else exported.constants[target]
    if not isinstance(value, Tensor):
        raise UnsupportedError(f"model state '{target}' is a {type(value).__name__}, not a tensor")
    return value.detach()


def _updates(exported: ExportedProgram) -> dict[str, str]:
    """Buffer that the model changes -> name of the value that it has at the end."""
    specs = exported.graph_signature.output_specs
    return {str(spec.target): spec.arg.name for spec in specs if spec.kind is OutputKind.BUFFER_MUTATION}


def _outputs(exported: ExportedProgram) -> tuple[str | OutputConstant, ...]:
    found: list[str | OutputConstant] = []
    for spec in exported.graph_signature.output_specs:
        if spec.kind is OutputKind.BUFFER_MUTATION:
            continue
        if spec.kind is not OutputKind.USER_OUTPUT:
            raise UnsupportedError(
                f"the model changes '{spec.target}' while it runs ({spec.kind.name.lower()}); "
                "pass the state in and return it"
            )
        found.append(OutputConstant(spec.arg.value) if hasattr(spec.arg, "value") else spec.arg.name)  # pyright: ignore
    return tuple(found)


def _original(node: fx.Node, before: Mapping[str, str]) -> str:
    return before.get(_origin(node), str(node.target))


def _origin(node: fx.Node) -> str:
    history = node.meta.get("from_node") or []
    return history[-1].name if history else ""
