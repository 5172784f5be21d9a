"""Error bounds accumulated over whole calls, and over several calls by what they leave in the device's memory.

Kernels are judged on what they really read (`verify`); here nothing is read from the device: every value is the exact
one with a bound that holds for the device's, from the model's inputs and parameters on.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, fx

from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.entry_points import NamedPlan
from atalla_mlir.frontend.partition import Plan
from atalla_mlir.host.equal_operations import first_of_equal, shared
from atalla_mlir.host.error_bound import Bounded, exact
from atalla_mlir.host.kernel_check import held
from atalla_mlir.host.oracle import Plans, cone, evaluate
from atalla_mlir.loadable.format import Loadable


class AccumulatedBounds:
    """Floating results of a sequence of calls with the error that the program in `loadable` may have in them."""

    def __init__(self, plans: Sequence[NamedPlan], loadable: Loadable) -> None:
        self._plans = {named.name: named.plan for named in plans}
        self._loadable = loadable
        self.state: dict[str, Bounded] = {}
        """Buffers that calls change, by name."""
        for named in plans:
            for name, state in named.plan.captured.state.items():
                self.state[name] = exact(held(state.initial))

    def call(self, entry: str, inputs: Sequence[Tensor]) -> dict[str, Bounded]:
        """The floating results of one call by name; changes `state` as the call does."""
        captured = self._plans[entry].captured
        if len(inputs) != len(captured.inputs):
            raise BadInputError(f"entry point '{entry}' takes {len(captured.inputs)} tensors, got {len(inputs)}")
        nodes = {node.name: node for node in captured.graph.nodes if node.op != "output"}
        updates = {name: state.updated for name, state in captured.state.items() if state.updated is not None}
        results = [name for name in captured.outputs if isinstance(name, str) and _is_floating(nodes[name])]
        env = {
            **{name: exact(held(value)) for name, value in captured.parameters.items()},
            **{name: exact(held(value)) for name, value in zip(captured.inputs, inputs, strict=True)},
            **{name: value for name, value in self.state.items() if name in captured.state},
        }
        wanted = cone([nodes[name] for name in (*results, *updates.values())], env)
        values = {**env, **evaluate(wanted, env, self._arithmetic(self._plans[entry]))}
        self.state.update({name: values[updated] for name, updated in updates.items()})
        return {name: values[name] for name in results}

    def _arithmetic(self, plan: Plan) -> Plans:
        """The order of sums and the bounds of functions of all kernels of an entry point."""
        entries = {step.entry for step in plan.device_steps}
        found = [Plans.from_json(row) for row in self._loadable.meta["kernels"] if row["entry"] in entries]
        sums = {name: plan for plans in found for name, plan in plans.sums.items()}
        expansions = {name: bound for plans in found for name, bound in plans.expansions.items()}
        return shared(Plans(sums, expansions), first_of_equal(plan.captured.graph))


def _is_floating(node: fx.Node) -> bool:
    return node.meta["val"].is_floating_point()
